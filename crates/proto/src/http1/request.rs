//! Writes the head of a request.

use crate::origin::Scheme;
use crate::redirect::harmless;
use crate::request::{BodyLength, RequestHead};

/// How the request line names what is asked for (RFC 9112, section 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetForm<'a> {
    /// By its path: to an origin, also through a tunnel.
    Origin,
    /// By its whole URL: to a proxy that forwards the request.
    Absolute {
        /// The value of `Proxy-Authorization`, for this proxy only.
        authorization: Option<&'a str>,
    },
}

/// Appends a request, up to its body, to `out`.
///
/// ```
/// use overlapped_proto::http1::{TargetForm, write_request};
/// use overlapped_proto::job::Method;
/// use overlapped_proto::origin::Scheme;
/// use overlapped_proto::request::RequestHead;
///
/// let head = RequestHead::new(&Method::Get, Scheme::Http, "a.test", "/", &[][..], 0)?;
/// let mut out = Vec::new();
/// write_request(&head, TargetForm::Origin, &mut out);
/// assert_eq!(out, b"GET / HTTP/1.1\r\nhost: a.test\r\n\r\n");
/// # Ok::<(), overlapped_proto::outcome::Failure>(())
/// ```
pub fn write_request(head: &RequestHead<'_>, form: TargetForm<'_>, out: &mut Vec<u8>) {
    write_with(head, form, out, push_field);
}

/// The same for an archive, as it was sent to the origin, whatever was between: `***` stands for the value of each field that is
/// not known to be harmless, as any of them may be a credential.
///
/// ```
/// use overlapped_proto::http1::write_request_shown;
/// use overlapped_proto::job::Method;
/// use overlapped_proto::origin::Scheme;
/// use overlapped_proto::request::RequestHead;
///
/// let fields = [("accept", "*/*"), ("authorization", "Bearer secret")].map(|(name, value)| (name.into(), value.into()));
/// let head = RequestHead::new(&Method::Get, Scheme::Http, "a.test", "/", &fields[..], 0)?;
/// let mut out = Vec::new();
/// write_request_shown(&head, &mut out);
/// assert_eq!(out, b"GET / HTTP/1.1\r\nhost: a.test\r\naccept: */*\r\nauthorization: ***\r\n\r\n");
/// # Ok::<(), overlapped_proto::outcome::Failure>(())
/// ```
pub fn write_request_shown(head: &RequestHead<'_>, out: &mut Vec<u8>) {
    out.reserve(SHOWN_BYTES + head.path().len());
    write_with(head, TargetForm::Origin, out, |name, value, out| {
        push_field(name, if is_shown(name) { value } else { b"***" }, out);
    });
}

/// Room that most heads fit into, without their paths.
const SHOWN_BYTES: usize = 256;

fn is_shown(name: &str) -> bool {
    const FRAMING: [&str; 4] = ["host", "content-length", "transfer-encoding", "connection"];
    harmless(name) || FRAMING.iter().any(|known| name.eq_ignore_ascii_case(known))
}

#[inline(always)]
fn write_with(
    head: &RequestHead<'_>,
    form: TargetForm<'_>,
    out: &mut Vec<u8>,
    push_field: impl Fn(&str, &[u8], &mut Vec<u8>),
) {
    out.extend_from_slice(head.method().as_str().as_bytes());
    out.push(b' ');
    let authorization = match form {
        TargetForm::Origin => None,
        // A request that is sent as it is may have its whole URL as its target already.
        TargetForm::Absolute { authorization } if !head.path().starts_with('/') => authorization,
        TargetForm::Absolute { authorization } => {
            out.extend_from_slice(scheme(head.scheme()).as_bytes());
            out.extend_from_slice(b"://");
            out.extend_from_slice(head.authority().as_bytes());
            authorization
        }
    };
    out.extend_from_slice(head.path().as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    if let Some(fields) = head.raw_fields() {
        fields.iter().for_each(|(name, value)| push_field(name, value, out));
    } else {
        push_field("host", head.host().as_bytes(), out);
        head.fields().for_each(|(name, value)| push_field(name, value, out));
        match head.body_length() {
            Some(BodyLength::Known(bytes)) => {
                push_field("content-length", itoa::Buffer::new().format(bytes).as_bytes(), out);
            }
            Some(BodyLength::Chunked) => push_field("transfer-encoding", b"chunked", out),
            None => {}
        }
    }
    if let Some(authorization) = authorization {
        push_field("proxy-authorization", authorization.as_bytes(), out);
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends the line before the data of a chunk, which is not empty. Behind the data comes [`CHUNK_END`].
pub fn write_chunk_size(bytes: usize, out: &mut Vec<u8>) {
    assert!(bytes > 0, "an empty chunk ends the body");
    out.extend_from_slice(format!("{bytes:x}\r\n").as_bytes());
}

/// What follows the data of a chunk.
pub const CHUNK_END: &[u8] = b"\r\n";

/// What follows the last chunk.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

fn push_field(name: &str, value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

const fn scheme(scheme: Scheme) -> &'static str {
    match scheme {
        Scheme::Http => "http",
        Scheme::Https => "https",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::Method;
    use crate::request::Field;

    fn written(method: &Method, form: TargetForm<'_>, fields: &[Field], body_bytes: u64) -> String {
        let head = RequestHead::new(method, Scheme::Http, "a:81", "/x?y", fields, body_bytes).unwrap();
        let mut out = b"before ".to_vec();
        write_request(&head, form, &mut out);
        String::from_utf8(out).unwrap().strip_prefix("before ").unwrap().to_owned()
    }

    #[test]
    fn what_is_sent() {
        let fields = [("accept", "*/*"), ("x-a", "\u{e4}")].map(|(name, value)| (name.into(), value.into()));
        let check = |method, body, line: &str, length: &str| {
            let expected =
                format!("{line} HTTP/1.1\r\nhost: a:81\r\naccept: */*\r\nx-a: \u{e4}\r\n{length}\r\n");
            assert_eq!(written(&method, TargetForm::Origin, &fields, body), expected);
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
    fn a_request_is_sent_as_it_is() {
        let fields = [("X-B", &b"1\xff"[..]), ("hOST", b"other"), ("Content-Length", b"3")]
            .map(|(name, value)| (name.into(), value.into()));
        let head = RequestHead::as_it_is(&Method::Get, Scheme::Http, "a", "/a%2e?%zz", &fields).unwrap();
        let mut out = Vec::new();
        write_request(&head, TargetForm::Origin, &mut out);
        let expected = b"GET /a%2e?%zz HTTP/1.1\r\nX-B: 1\xff\r\nhOST: other\r\nContent-Length: 3\r\n\r\n";
        assert_eq!(out, expected);
    }

    /// The host that the caller sets goes into the field. A proxy connects to that of the URL.
    #[test]
    fn a_proxy_is_told_the_whole_url() {
        let fields = [("host", "b"), ("accept", "*/*")].map(|(name, value)| (name.into(), value.into()));
        let expected = "GET http://a:81/x?y HTTP/1.1\r\nhost: b\r\naccept: */*\r\n";
        let form = |authorization| TargetForm::Absolute { authorization };
        assert_eq!(written(&Method::Get, form(None), &fields, 0), format!("{expected}\r\n"));
        let with = format!("{expected}proxy-authorization: Basic x\r\n\r\n");
        assert_eq!(written(&Method::Get, form(Some("Basic x")), &fields, 0), with);
    }
}
