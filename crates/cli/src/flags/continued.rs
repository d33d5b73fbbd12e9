//! `-C -`: the file of one URL that is fetched in several runs.

use overlapped_fetch::{Left, Request};

/// A file that is fetched in several runs.
#[derive(Clone, Debug)]
pub(crate) struct Continued {
    pub(crate) url: String,
    /// What an earlier run has left of it.
    pub(crate) left: Option<Left>,
}

/// Asks for what is missing of a file that an earlier run has begun, and for its last byte again, so that there is always one
/// to send. A body that has changed since comes whole.
pub(super) fn continued(mut request: Request, continued: Option<&Continued>) -> Request {
    let Some(continued) = continued else { return request };
    // Ranges are those of the encoded body. One that is encoded nevertheless is decoded.
    request.headers.retain(|(name, _)| !name.eq_ignore_ascii_case("accept-encoding"));
    request.headers.push(("accept-encoding".to_owned(), "identity".to_owned()));
    if let Some(left) = &continued.left {
        request.headers.push(("range".to_owned(), format!("bytes={}-", left.bytes - 1)));
        request.headers.push(("if-range".to_owned(), left.validator.clone()));
    }
    request
}
