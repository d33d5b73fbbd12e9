//! What an error of `h2` means for the request.

use std::io;

use h2::{Error, Reason};
use overlapped_proto::error::ErrorKind;
use overlapped_proto::outcome::Failure;

use super::meter::Received;
use crate::net::tls_failure::told;

/// Before the head of the response was read whole.
///
/// `h2` gives an error of a GOAWAY of the server only to streams above its last stream, and to requests that were not sent
/// because of it: those were not processed (RFC 9113, section 6.8). Neither were streams that were reset with
/// `REFUSED_STREAM` (section 8.7) or `HTTP_1_1_REQUIRED`.
pub(super) fn of_head(error: &Error, received: &Received) -> Failure {
    if let Some(failure) = of_connection(error, received) {
        return failure;
    }
    match error.reason() {
        Some(reason) if error.is_remote() && is_unprocessed(error, reason) => {
            let how = if error.is_go_away() { "closes the connection" } else { "refused the stream" };
            let message = format!("the server {how} and has not processed the request: {}", name(reason));
            Failure::new(ErrorKind::H2Refused, message)
        }
        Some(reason) if error.is_remote() => {
            Failure::new(ErrorKind::H2Reset, format!("the server reset the stream: {}", name(reason)))
        }
        Some(reason) => {
            let limit = received.head_bytes_max() >> 10;
            let message = format!(
                "the head of the response is not HTTP/2, or larger than {limit} KiB: {}",
                name(reason)
            );
            Failure::new(ErrorKind::H2Protocol, message)
        }
        None => match error.get_io() {
            Some(io) if is_end(io) => Failure::new(
                ErrorKind::HttpNoResponse,
                "the server closed the connection before the response",
            ),
            Some(io) => {
                let message = format!("the connection broke before the response: {}", told(io));
                Failure::new(ErrorKind::HttpReset, message)
            }
            None => Failure::new(ErrorKind::HttpReset, format!("the request cannot be sent: {error}")),
        },
    }
}

/// Inside the body.
pub(super) fn of_body(error: &Error, received: &Received) -> Failure {
    if let Some(failure) = of_connection(error, received) {
        return failure;
    }
    match error.reason() {
        Some(reason) if error.is_remote() => {
            let message = format!("the server reset the stream inside the body: {}", name(reason));
            Failure::new(ErrorKind::BodyReset, message)
        }
        Some(reason) => {
            let message = format!("the body is not what the head announces: {}", name(reason));
            Failure::new(ErrorKind::BodyFraming, message)
        }
        None => match error.get_io() {
            Some(io) if is_end(io) => {
                Failure::new(ErrorKind::BodyTruncated, "the connection ended inside the body")
            }
            Some(io) => {
                let message = format!("the connection broke inside the body: {}", told(io));
                Failure::new(ErrorKind::BodyReset, message)
            }
            None => Failure::new(ErrorKind::BodyReset, format!("the body cannot be read: {error}")),
        },
    }
}

/// The server asked for HTTP/1.1 by its reset.
pub(super) fn asks_for_http1(error: &Error) -> bool {
    error.is_remote() && error.reason() == Some(Reason::HTTP_1_1_REQUIRED)
}

/// An error of the connection, which ends all its streams, if it was found on this side.
fn of_connection(error: &Error, received: &Received) -> Option<Failure> {
    if let Some(refusal) = received.refusal() {
        return Some(refusal.clone());
    }
    if received.is_flooded() {
        let message = "the server sent too many frames that belong to no response";
        return Some(Failure::new(ErrorKind::H2Limit, message));
    }
    if received.is_foreign() {
        let what = if received.is_http1() { "HTTP/1" } else { "something else" };
        let message = format!("the server speaks {what} on a connection of HTTP/2");
        return Some(Failure::new(ErrorKind::H2Protocol, message));
    }
    if !is_ours(error) {
        return None;
    }
    match error.reason()? {
        Reason::ENHANCE_YOUR_CALM => Some(Failure::new(
            ErrorKind::H2Limit,
            "the server exceeded a limit of HTTP/2 on this connection: header bytes, or frames without content",
        )),
        reason => {
            let message = format!("the server violated HTTP/2 on this connection: {}", name(reason));
            Some(Failure::new(ErrorKind::H2Protocol, message))
        }
    }
}

/// True if the error ends the connection, and any of its requests and responses may be the reason.
pub(super) fn breaks_connection(error: &Error, received: &Received) -> bool {
    let is_orderly = error.is_remote() && error.reason() == Some(Reason::NO_ERROR);
    received.is_flooded() || error.is_go_away() && !is_orderly
}

/// An error of the connection that `h2` has found.
fn is_ours(error: &Error) -> bool {
    error.is_go_away() && error.is_library()
}

fn is_unprocessed(error: &Error, reason: Reason) -> bool {
    error.is_go_away() || matches!(reason, Reason::REFUSED_STREAM | Reason::HTTP_1_1_REQUIRED)
}

/// `h2` reports the end of the connection as a broken pipe.
fn is_end(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof)
}

/// The name of an error code as in the standard, such as `REFUSED_STREAM`, or the number of another one.
fn name(reason: Reason) -> String {
    let code = u32::from(reason);
    if code > u32::from(Reason::HTTP_1_1_REQUIRED) {
        return format!("error code {code}");
    }
    format!("{reason:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_codes_have_names_or_numbers() {
        let check = |code: u32, expected: &str| assert_eq!(name(Reason::from(code)), expected);
        check(0, "NO_ERROR");
        check(7, "REFUSED_STREAM");
        check(13, "HTTP_1_1_REQUIRED");
        check(14, "error code 14");
        check(u32::MAX, "error code 4294967295");
    }
}
