//! The text of a body: its bytes in the charset that is announced.

use encoding_rs::{Encoding, UTF_8};

/// Decodes a body. A byte order mark decides its charset, else the `charset` of `Content-Type`, else it is UTF-8. What is not
/// valid in it becomes U+FFFD.
pub(super) fn decode(body: &[u8], content_type: Option<&[u8]>) -> String {
    let announced = content_type.and_then(charset).and_then(Encoding::for_label);
    let (text, ..) = announced.unwrap_or(UTF_8).decode(body);
    text.into_owned()
}

/// The value of the parameter `charset`.
fn charset(content_type: &[u8]) -> Option<&[u8]> {
    let mut parameters = content_type.split(|&byte| byte == b';').skip(1);
    parameters.find_map(|parameter| {
        let at = parameter.iter().position(|&byte| byte == b'=')?;
        let (name, value) = parameter.split_at_checked(at)?;
        let value = value.get(1..)?.trim_ascii();
        let value = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value);
        name.trim_ascii().eq_ignore_ascii_case(b"charset").then_some(value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_charset_is_taken_from_the_mark_then_the_type() {
        let check = |content_type: &str, body: &[u8], expected: &str| {
            assert_eq!(decode(body, Some(content_type.as_bytes())), expected, "{content_type}");
        };
        check("text/html", b"a\xc3\xa4", "a\u{e4}");
        check("text/html; charset=iso-8859-1", b"a\xe4", "a\u{e4}");
        check("text/html; x=y;CHARSET = \"Windows-1252\"", b"\x80", "\u{20ac}");
        check("text/plain; charset=Shift_JIS", b"\x82\xa0", "\u{3042}");
        for charset in ["unknown", "utf-7", "\0\x1b[31m", "", "=", "\"", &"x".repeat(10 << 10)] {
            check(&format!("text/plain; charset={charset}"), b"+AGE-\xff", "+AGE-\u{fffd}");
        }
        check("text/plain; charset=iso-8859-1", b"\xef\xbb\xbf\xc3\xa4", "\u{e4}");
        check("text/plain; charset=utf-8", b"\xff\xfea\0", "a");
        assert_eq!(decode(b"\xc3\xa4", None), "\u{e4}");
    }
}
