//! Writes the head of a request. Its parts are validated, so that a row cannot smuggle a second request.

use crate::error::ErrorKind;
use crate::header::is_token;
use crate::job::Method;
use crate::outcome::Failure;

/// The head of a request for `target` at `host`, with `fields` in their order and the length of its body.
///
/// The fields must have passed [`header::check`](crate::header::check), which also refuses those that frame a message.
///
/// # Errors
///
/// `input.format`: the method is not a token. `input.url`: the host or the target has a character that would end it early.
pub fn request_head<'a>(
    method: &Method,
    target: &str,
    host: &str,
    fields: impl Iterator<Item = (&'a str, &'a str)> + Clone,
    body_bytes: usize,
) -> Result<Vec<u8>, Failure> {
    if !method.as_str().bytes().all(is_token) {
        return Err(Failure::new(ErrorKind::InputFormat, format!("{method} is not a method")));
    }
    if !is_visible(host) || !is_visible(target) {
        return Err(Failure::new(ErrorKind::InputUrl, "the URL cannot be sent in a request"));
    }
    let bytes: usize = fields.clone().map(|(name, value)| name.len() + value.len() + 4).sum();
    let mut head = Vec::with_capacity(bytes + method.as_str().len() + target.len() + host.len() + 64);
    push(&mut head, [method.as_str(), " ", target, " HTTP/1.1\r\n"]);
    push(&mut head, ["host: ", host, "\r\n", ""]);
    for (name, value) in fields {
        push(&mut head, [name, ": ", value, "\r\n"]);
    }
    if body_bytes > 0 || has_body(method) {
        push(&mut head, ["content-length: ", itoa::Buffer::new().format(body_bytes), "\r\n", ""]);
    }
    head.extend_from_slice(b"\r\n");
    Ok(head)
}

fn push(head: &mut Vec<u8>, parts: [&str; 4]) {
    parts.iter().for_each(|part| head.extend_from_slice(part.as_bytes()));
}

fn is_visible(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// True for methods whose semantics anticipate a body; then `Content-Length: 0` is sent if there is none (RFC 9110,
/// section 8.6).
fn has_body(method: &Method) -> bool {
    match method {
        Method::Post | Method::Put | Method::Patch => true,
        Method::Get | Method::Head | Method::Delete | Method::Options | Method::Other(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(method: Method, target: &str, host: &str, body_bytes: usize) -> Option<String> {
        let fields = [("accept", "*/*"), ("x-a", "\u{e4}")].into_iter();
        let head = request_head(&method, target, host, fields, body_bytes).ok()?;
        Some(String::from_utf8(head).unwrap())
    }

    #[test]
    fn what_is_sent() {
        let check = |method, body, line: &str, length: &str| {
            let expected =
                format!("{line} HTTP/1.1\r\nhost: a:81\r\naccept: */*\r\nx-a: \u{e4}\r\n{length}\r\n");
            assert_eq!(head(method, "/x?y", "a:81", body), Some(expected));
        };
        check(Method::Get, 0, "GET /x?y", "");
        check(Method::Get, 3, "GET /x?y", "content-length: 3\r\n");
        check(Method::Delete, 0, "DELETE /x?y", "");
        check(Method::Other("PURGE".into()), 0, "PURGE /x?y", "");
        for method in [Method::Post, Method::Put, Method::Patch] {
            let line = format!("{method} /x?y");
            check(method.clone(), 0, &line, "content-length: 0\r\n");
            check(method, 12, &line, "content-length: 12\r\n");
        }
    }

    #[test]
    fn what_would_be_two_requests_is_none() {
        for (target, host) in
            [("/a b", "a"), ("/\r\n", "a"), ("", "a"), ("/", "a\r\nx: y"), ("/", ""), ("/\0", "a")]
        {
            assert_eq!(head(Method::Get, target, host, 0), None, "{target:?} at {host:?}");
        }
    }
}
