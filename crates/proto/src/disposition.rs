//! The name of a file in `Content-Disposition` (RFC 6266).

use percent_encoding::percent_decode;

/// The name that a response suggests for its file, as it is written: it may hold anything, and is no safe path. `None`: it suggests
/// none.
///
/// `filename*` (RFC 8187, in UTF-8 or ISO 8859-1) comes before `filename`. A name that is no UTF-8 is read as ISO 8859-1, which
/// header fields had before it.
///
/// ```
/// use overlapped_proto::disposition::filename;
///
/// assert_eq!(filename(b"attachment; filename=\"a b.pdf\"").as_deref(), Some("a b.pdf"));
/// assert_eq!(filename(b"attachment; filename=x; filename*=UTF-8''%e2%82%ac.pdf").as_deref(), Some("\u{20ac}.pdf"));
/// assert_eq!(filename(b"inline"), None);
/// ```
#[must_use]
pub fn filename(value: &[u8]) -> Option<String> {
    let (mut plain, mut extended) = (None, None);
    let mut rest = value;
    while let Some(at) = next_parameter(rest) {
        rest = rest.get(at..).unwrap_or_default().trim_ascii_start();
        let Some(equals) = rest.iter().position(|byte| matches!(byte, b'=' | b';')) else { break };
        let name = rest.get(..equals).unwrap_or_default().trim_ascii();
        if rest.get(equals) == Some(&b';') {
            rest = rest.get(equals..).unwrap_or_default();
            continue;
        }
        let (text, behind) = parameter(rest.get(equals + 1..).unwrap_or_default());
        if name.eq_ignore_ascii_case(b"filename") {
            plain.get_or_insert_with(|| {
                String::from_utf8(text).unwrap_or_else(|error| latin1(error.as_bytes()))
            });
        } else if name.eq_ignore_ascii_case(b"filename*") && extended.is_none() {
            extended = decoded(&text);
        }
        rest = behind;
    }
    extended.or(plain).filter(|name| !name.is_empty())
}

/// The place behind the next semicolon.
fn next_parameter(rest: &[u8]) -> Option<usize> {
    rest.iter().position(|byte| *byte == b';').map(|at| at + 1)
}

/// The value of a parameter, a token or a quoted text, and what is behind it.
fn parameter(rest: &[u8]) -> (Vec<u8>, &[u8]) {
    let rest = rest.trim_ascii_start();
    let Some(quoted) = rest.strip_prefix(b"\"") else {
        let end = rest.iter().position(|byte| *byte == b';').unwrap_or(rest.len());
        let (text, behind) = rest.split_at_checked(end).unwrap_or((rest, &[]));
        return (text.trim_ascii().to_vec(), behind);
    };
    let (mut text, mut bytes) = (Vec::new(), quoted.iter());
    while let Some(&byte) = bytes.next() {
        match byte {
            b'"' => break,
            // A backslash quotes the next character. Before another one it is that of a path of Windows, as browsers take it.
            b'\\' => match bytes.as_slice().first() {
                Some(&next @ (b'"' | b'\\')) => {
                    bytes.next();
                    text.push(next);
                }
                Some(_) | None => text.push(byte),
            },
            _ => text.push(byte),
        }
    }
    (text, bytes.as_slice())
}

/// The text of `charset'language'percent-encoded`; `None`: another charset than UTF-8 and ISO 8859-1, which RFC 5987 asks for.
fn decoded(value: &[u8]) -> Option<String> {
    let mut parts = value.splitn(3, |byte| *byte == b'\'');
    let (charset, _, text) = (parts.next()?, parts.next()?, parts.next()?);
    let bytes: Vec<u8> = percent_decode(text).collect();
    if charset.eq_ignore_ascii_case(b"utf-8") {
        String::from_utf8(bytes).ok()
    } else {
        charset.eq_ignore_ascii_case(b"iso-8859-1").then(|| latin1(&bytes))
    }
}

/// ISO 8859-1: each byte is the character of its number.
fn latin1(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(value: impl AsRef<[u8]>, expected: Option<&str>) {
        let value = value.as_ref();
        assert_eq!(filename(value).as_deref(), expected, "{}", value.escape_ascii());
    }

    #[test]
    fn names_are_found() {
        check("attachment; filename=a.pdf", Some("a.pdf"));
        check("attachment;FileName = \"a;b.pdf\" ; x=y", Some("a;b.pdf"));
        check("attachment; x=\"filename=no\"; filename=yes", Some("yes"));
        check(r#"attachment; filename="a\"b\\c""#, Some("a\"b\\c"));
        check(r#"attachment; filename="C:\dir\x.pdf""#, Some(r"C:\dir\x.pdf"));
        check("attachment; filename*=utf-8'en'a%20b; filename=c", Some("a b"));
        check("attachment; filename*=ISO-8859-1'de'%e4%20b; filename=c", Some("\u{e4} b"));
        check("attachment; filename*=iso-8859-15''%a4; filename=c", Some("c"));
        check("attachment; filename*=''%e4; filename=c", Some("c"));
        check(b"attachment; filename=\"\xe9.txt\"", Some("\u{e9}.txt"));
        check(b"attachment; filename=\xe9\xff.txt; x=\xe9", Some("\u{e9}\u{ff}.txt"));
        check("attachment; filename=\u{e9}.txt", Some("\u{e9}.txt"));
        check("attachment; filename*=UTF-8''%ff; filename=c", Some("c"));
        check("attachment; filename; filename=c", Some("c"));
        check("attachment; filename=\"open", Some("open"));
        for none in
            ["", "attachment", "filename=x", "attachment; filename=", "attachment; filename=\"\"", ";;;=;\""]
        {
            check(none, None);
        }
    }
}
