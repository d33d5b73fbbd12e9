//! Validates the headers that a caller may set, so that a list or a command line cannot smuggle a second request.

use crate::error::ErrorKind;
use crate::limits;
use crate::outcome::Failure;
use crate::sanitize;

/// Checks a header that a caller wants to send.
///
/// ```
/// use overlapped_proto::header;
///
/// assert!(header::check("Accept", "text/html").is_ok());
/// assert!(header::check("X-A", "1\r\nHost: evil.example").is_err());
/// assert!(header::check("Content-Length", "5").is_err());
/// ```
///
/// # Errors
///
/// `input.header`: the name is not a token, the value has control characters (RFC 9110, section 5.5), the field belongs
/// to the framing of the message, which is not the caller's, it is a `Host` that no request can carry, or it is a
/// `Proxy-Authorization`, which is the proxy's.
pub fn check(name: &str, value: &str) -> Result<(), Failure> {
    const FRAMING: &[&str] = &[
        "connection",
        "content-length",
        "expect",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    let shown = || sanitize::quote(name.as_bytes(), limits::QUOTE_BYTES_MAX);
    let problem = if name.is_empty() || !name.bytes().all(is_token) {
        format!("{:?} is not the name of a header", shown())
    } else if value.bytes().any(|byte| (byte < 0x20 && byte != b'\t') || byte == 0x7f) {
        format!("the header {} has a control character in its value", shown())
    } else if FRAMING.iter().any(|framing| name.eq_ignore_ascii_case(framing)) {
        format!("the header {} is set by the program itself", shown())
    } else if name.eq_ignore_ascii_case("proxy-authorization") {
        // Sent as it is given, it would reach the host, and not the proxy of a tunnel.
        "the header Proxy-Authorization is for a proxy, and not for the host: --proxy-user NAME:PASSWORD sends it to the proxy"
            .to_owned()
    } else if name.eq_ignore_ascii_case("host") && !value.bytes().all(|byte| byte.is_ascii_graphic()) {
        format!("the header {} names no host: only visible ASCII characters can be sent in it", shown())
    } else {
        return Ok(());
    };
    Err(Failure::new(ErrorKind::InputHeader, problem))
}

/// Checks a header of a request that is sent as it is, with the fields that frame the message.
///
/// # Errors
///
/// `input.header`: the name is not a token, or the value has a character that would end the line or the message.
pub fn check_raw(name: &str, value: &[u8]) -> Result<(), Failure> {
    let problem = if name.is_empty() || !name.bytes().all(is_token) {
        "is not the name of a header"
    } else if value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
        "has a line end or a NUL in its value"
    } else {
        return Ok(());
    };
    let shown = sanitize::quote(name.as_bytes(), limits::QUOTE_BYTES_MAX);
    Err(Failure::new(ErrorKind::InputHeader, format!("the header {shown:?} {problem}")))
}

/// True for the characters that names and methods consist of (RFC 9110, section 5.6.2).
pub(crate) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_sent() {
        let check = |name, value, expected: bool| {
            assert_eq!(check(name, value).is_ok(), expected, "{name:?}: {value:?}")
        };
        check("Accept", "*/*", true);
        check("X-Anything", "", true);
        check("X-Tab", "a\tb", true);
        check("X-Text", "\u{e4}\u{f6}", true);
        check("Host", "other.example", true);
        check("Host", "", true); // takes the caller's away
        check("host", "other.example:81", true);
        check("Host", "a b", false);
        check("HOST", "b\u{fc}cher.example", false);
        check("", "a", false);
        check("X A", "a", false);
        check("X:", "a", false);
        check("X\u{e4}", "a", false);
        check("X\r\nHost", "a", false);
        check("X", "a\r\nHost: b", false);
        check("X", "a\nb", false);
        check("X", "a\rb", false);
        check("X", "a\0b", false);
        check("X", "a\x7fb", false);
        check("transfer-ENCODING", "chunked", false);
        check("Connection", "close", false);
        check("Proxy-authorization", "Basic x", false);
    }
}
