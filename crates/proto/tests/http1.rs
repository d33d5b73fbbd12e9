//! Responses in bytes: what each rule makes of them, and that it makes no difference how they are cut.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use overlapped_proto::error::ErrorKind;
use overlapped_proto::http1::{Body, Head, HeadReader, Strictness};
use overlapped_proto::job::Method;
use overlapped_proto::limits;
use overlapped_proto::notes::Note;
use overlapped_proto::record::HttpVersion;
use proptest::prelude::*;

type Fields = Vec<(String, Vec<u8>)>;

/// What became of the bytes of a connection that then ended.
#[derive(Debug, Default, PartialEq)]
struct Read {
    head: Option<(u16, HttpVersion, Fields)>,
    data: Vec<u8>,
    /// Bytes behind the body.
    behind: usize,
    /// The body says where it ends.
    proven: bool,
    reusable: bool,
    notes: Vec<&'static str>,
    error: &'static str,
}

fn read(method: &Method, pieces: &[&[u8]]) -> Read {
    read_as(method, Strictness::Lenient, pieces)
}

fn read_as(method: &Method, strictness: Strictness, pieces: &[&[u8]]) -> Read {
    let mut read = Read::default();
    let reader = HeadReader::new(method, strictness);
    read.error = run(reader, pieces, &mut read).err().map_or("", ErrorKind::name);
    read
}

fn run(mut reader: HeadReader, pieces: &[&[u8]], read: &mut Read) -> Result<(), ErrorKind> {
    let mut found: Option<(Head, Body)> = None;
    let mut unread: Vec<u8> = Vec::new();
    for piece in pieces {
        unread.extend_from_slice(piece);
        if found.is_none() {
            let mut rest = &unread[..];
            found = reader.read(&mut rest).map_err(|failure| failure.kind)?;
            unread = rest.to_vec();
            if let Some((head, body)) = &found {
                let fields = head.headers.iter().map(|(name, value)| (name.to_owned(), value.to_vec()));
                read.head = Some((head.status, head.version, fields.collect()));
                (read.reusable, read.proven) = (head.keeps_alive, body.tells_its_end());
                read.notes = head.notes.iter().map(Note::name).collect();
            }
        }
        if let Some((_, body)) = &mut found {
            loop {
                let piece = body.next(&unread).map_err(|failure| failure.kind)?;
                read.data.extend_from_slice(&unread[piece.framing..piece.framing + piece.data]);
                unread.drain(..piece.framing + piece.data);
                if piece.data == 0 {
                    break;
                }
            }
        }
    }
    let Some((_, body)) = &found else { return Err(reader.end(&unread).kind) };
    read.behind = unread.len();
    body.end().map_err(|failure| failure.kind)
}

fn got(bytes: &str) -> Read {
    read(&Method::Get, &[bytes.as_bytes()])
}

fn got_strictly(bytes: &str) -> Read {
    read_as(&Method::Get, Strictness::Strict, &[bytes.as_bytes()])
}

const OK: &str = "HTTP/1.1 200 OK\r\n";
const LENGTH: &str = "Content-Length: 2\r\n";
const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";

#[test]
fn heads() {
    let check = |head: &str, expected: Option<(u16, HttpVersion)>| {
        let read = got(&format!("{head}\r\n"));
        assert_eq!(read.head.map(|(status, version, _)| (status, version)), expected, "{head:?}");
        assert_eq!(read.error, if expected.is_some() { "" } else { "http.parse" }, "{head:?}");
    };
    let (old, new) = (HttpVersion::Http10, HttpVersion::Http11);
    check("HTTP/1.1 200 OK\r\n", Some((200, new)));
    check("HTTP/1.0 404 Not Found\r\n", Some((404, old)));
    check("HTTP/1.1 200\r\n", Some((200, new)));
    check("HTTP/1.1 200 \r\n", Some((200, new)));
    check("HTTP/1.1 999 \u{fc}\r\n", Some((999, new)));
    check("HTTP/1.1 200 OK\nX: a\n", Some((200, new)));
    check("HTTP/1.1 200 OK\r\nX:\r\nY:  a b \r\n", Some((200, new)));
    for wrong in [
        "HTTP/1.2 200 OK\r\n",
        "HTTP/2.0 200 OK\r\n",
        "HTTP/0.9 200 OK\r\n",
        "ICY 200 OK\r\n",
        "http/1.1 200 OK\r\n",
        "HTTP/1.1  200 OK\r\n",
        "HTTP/1.1 20 OK\r\n",
        "HTTP/1.1 2000 OK\r\n",
        "HTTP/1.1 099 OK\r\n",
        "HTTP/1.1 -20 OK\r\n",
        "HTTP/1.1 200 O\0K\r\n",
        "HTTP/1.1 101 Switching\r\n",
        "HTTP/1.1 200 OK\r\nX: a\rb\r\n",
        "HTTP/1.1 200 OK\r\nX: a\0b\r\n",
        "HTTP/1.1 200OK\r\nX : a\r\n",
        "HTTP/1.1 20x OK\r\nX : a\r\n",
        "HTTP/1.2 200 OK\r\nX : a\r\n",
    ] {
        check(wrong, None);
    }
}

/// A head, the fields that are read of it, and the notes.
type Overlooked = (&'static str, &'static [(&'static str, &'static str)], &'static [&'static str]);

/// Heads that browsers, curl, wget and Python accept: what is read of them in front of `Content-Length: 2`, and what is
/// noted. All are refused where HTTP is to be strict.
const OVERLOOKED: &[Overlooked] = &[
    ("HTTP/1.1 200 OK\r\nX: a\r\n b\r\n", &[("x", "a b")], &["obs-fold"]),
    ("HTTP/1.1 200 OK\r\nX: a \r\n\t b \r\n  c\r\nY: d\r\n", &[("x", "a b c"), ("y", "d")], &["obs-fold"]),
    ("HTTP/1.1 200 OK\r\nX:\r\n b\r\n", &[("x", "b")], &["obs-fold"]),
    ("HTTP/1.1 200 OK\r\nX: a\r\n \t\r\n", &[("x", "a")], &["obs-fold"]),
    ("HTTP/1.1 200 OK\nX: a\n b\n", &[("x", "a b")], &["obs-fold"]),
    ("HTTP/1.1 200 OK\r\nX : a\r\nY \t : b\r\n", &[("x", "a"), ("y", "b")], &["space-before-colon"]),
    ("HTTP/1.1 200 OK\r\n X: a\r\nY: b\r\n", &[("y", "b")], &["line-skipped"]),
    ("HTTP/1.1 200 OK\r\nno field\r\nY: b\r\n", &[("y", "b")], &["line-skipped"]),
    ("HTTP/1.1 200 OK\r\nno field\r\n  goes on: here\r\nY: b\r\n", &[("y", "b")], &["line-skipped"]),
    ("HTTP/1.1 200 OK\r\n: a\r\n:\r\n", &[], &["line-skipped"]),
    ("HTTP/1.1 200 OK\r\nX Bad: a\r\n[Y]: b\r\nZ\u{e4}: c\r\n", &[], &["line-skipped"]),
    ("HTTP/1.1 200 OK\r\nX: a\u{1b}[1mb\u{7f}\r\n", &[("x", "a\u{1b}[1mb\u{7f}")], &["control-in-value"]),
    ("HTTP/1.1 200 \u{1b}[1mOK\r\nX: a\r\n", &[("x", "a")], &["control-in-value"]),
    ("\r\nHTTP/1.1 200 OK\r\nX: a\r\n", &[("x", "a")], &["blank-lines"]),
    ("\n\r\n\nHTTP/1.1 200 OK\r\nX: a\r\n", &[("x", "a")], &["blank-lines"]),
    (
        "\r\nHTTP/1.1 103 E\r\nL : x\r\n\r\n\nHTTP/1.1 200 OK\r\nX: a\r\n b\x01\r\n \r\nbad\r\n",
        &[("x", "a b\x01")],
        &["blank-lines", "obs-fold", "space-before-colon", "line-skipped", "control-in-value"],
    ),
];

#[test]
fn what_browsers_overlook_is_read_and_noted() {
    for (head, fields, notes) in OVERLOOKED {
        let bytes = format!("{head}{LENGTH}\r\nok+");
        let read = got(&bytes);
        assert_eq!(
            (read.error, &*read.data, read.behind, read.reusable),
            ("", &b"ok"[..], 1, true),
            "{head:?}"
        );
        assert_eq!(read.notes, *notes, "{head:?}");
        let mut found = read.head.unwrap().2;
        assert_eq!(found.pop().unwrap().0, "content-length");
        let expected = fields.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec()));
        assert_eq!(found, expected.collect::<Vec<_>>(), "{head:?}");
        assert_eq!(got_strictly(&bytes).error, "http.parse", "{head:?}");
    }
}

/// Fields behind a status line, and the body, each of which says in its own way where the message ends.
const FRAMED: &[(&str, &str, &[&str])] = &[
    ("1.0", "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", &["http10-chunked"]),
    (
        "1.0",
        "Transfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        &["http10-chunked"],
    ),
    ("1.1", "Transfer-Encoding: identity\r\nContent-Length: 2\r\n\r\nok", &["te-identity"]),
    ("1.1", "Content-Length: 2\r\nTransfer-Encoding:\r\n\r\nok", &["te-identity"]),
    ("1.0", "Content-Length: 2\r\nTransfer-Encoding: Identity, identity\r\n\r\nok", &["te-identity"]),
    ("1.1", "Transfer-Encoding: identity\r\n\r\nok", &["te-identity"]),
    ("1.1", "Content-Length : 2\r\n\r\nok", &["space-before-colon"]),
    ("1.1", "Content-Length : 2\r\nContent-Length: 2\r\n\r\nok", &["space-before-colon"]),
    (
        "1.1",
        "Content-Length\t: 7\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        &["space-before-colon"],
    ),
];

#[test]
fn framing_that_has_one_reading_is_read_and_its_connection_closed() {
    for (version, rest, notes) in FRAMED {
        let read = got(&format!("HTTP/{version} 200 OK\r\n{rest}"));
        assert_eq!((read.error, &*read.data, &*read.notes), ("", &b"ok"[..], *notes), "{version} {rest:?}");
        assert!(!read.reusable || !read.proven, "{version} {rest:?}");
    }
    // Whose fold adds nothing.
    let read = got(&format!("{OK}Content-Length: 2\r\n \t\r\nX: a\r\n\r\nok+"));
    assert_eq!(
        (read.error, &*read.data, &*read.notes, read.reusable),
        ("", &b"ok"[..], &["obs-fold"][..], true)
    );
}

/// Lines in which one reader may find a length or a coding, and another none or a different one.
const AMBIGUOUS: &[&str] = &[
    "Content-Length:\r\n 2\r\n",
    "Content-Length: 2\r\n 3\r\n",
    "Transfer-Encoding:\r\n chunked\r\n",
    "Transfer-Encoding: chunked\r\n , identity\r\n",
    "X: a\r\n Content-Length: 2\r\n",
    "X: a\r\n\tTransfer-Encoding: chunked\r\n",
    " Transfer-Encoding: chunked\r\n",
    "no field\r\n Content-Length: 2\r\n",
    "Transfer-Encoding : chunked\r\n",
    "Transfer-Encoding\t: identity\r\nContent-Length: 2\r\n",
    "Content-Length : 2\r\nContent-Length: 3\r\n",
    "Content-Length 2\r\n",
    "Content Length: 2\r\n",
    "Content-Length\u{b}: 2\r\n",
    "\u{feff}Content-Length: 2\r\n",
    "(Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding chunked\r\n",
    "\"Transfer-Encoding\": chunked\r\n",
    "Transfer\u{a0}Encoding: chunked\r\n",
    "Content-Length: \u{b}2\r\n",
    "Content-Length: 2\u{c}\r\n",
    "Transfer-Encoding: \u{b}chunked\r\n",
    "Transfer-Encoding: chunked\u{c}\r\n",
    "X : a\r\nTransfer-Encoding: x\u{1}, chunked\r\n",
    "X: a\r\n b\rContent-Length: 2\r\n",
    "no field\rContent-Length: 2\r\n",
    "bad name: \0\r\n",
    "X : a\0\r\n",
    "X : a\r\nContent-Length: 2\r\nContent-Length: 3\r\n",
    "X : a\r\nTransfer-Encoding: chunked, chunked\r\n",
    "X : a\r\nTransfer-Encoding: identity, gzip\r\n",
];

#[test]
fn what_could_be_read_in_two_ways_is_refused() {
    for lines in AMBIGUOUS {
        for version in ["1.0", "1.1"] {
            let bytes = format!("HTTP/{version} 200 OK\r\n{lines}\r\n");
            for read in [got(&bytes), got_strictly(&bytes)] {
                assert_eq!((read.error, read.head), ("http.parse", None), "{lines:?}");
            }
        }
    }
    let both =
        "HTTP/1.0 200 OK\r\nContent-Length: 7\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    assert_eq!((got(both).error, got_strictly(both).error), ("http.parse", "http.parse"));
    let blanks = |count: u32| format!("{}{OK}{LENGTH}\r\nok", "\r\n".repeat(count as usize));
    assert_eq!(got(&blanks(limits::BLANK_LINES_MAX)).error, "");
    assert_eq!(got(&blanks(limits::BLANK_LINES_MAX + 1)).error, "http.parse");
}

/// Every head above: whole, byte by byte, and cut in two at every place.
#[test]
fn heads_are_the_same_however_they_are_cut() {
    let overlooked = OVERLOOKED.iter().map(|(head, ..)| format!("{head}{LENGTH}\r\nok+"));
    let framed = FRAMED.iter().map(|(version, rest, _)| format!("HTTP/{version} 200 OK\r\n{rest}"));
    let ambiguous = AMBIGUOUS.iter().map(|lines| format!("{OK}{lines}\r\nok"));
    for head in overlooked.chain(framed).chain(ambiguous) {
        let bytes = head.as_bytes();
        for strictness in [Strictness::Lenient, Strictness::Strict] {
            let whole = read_as(&Method::Get, strictness, &[bytes]);
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            assert_eq!(read_as(&Method::Get, strictness, &single), whole, "{head:?} byte by byte");
            for at in 0..bytes.len() {
                let (left, right) = bytes.split_at(at);
                assert_eq!(read_as(&Method::Get, strictness, &[left, right]), whole, "{head:?} cut at {at}");
            }
        }
    }
}

/// The connection ended inside a head, which may go better the next time.
#[test]
fn a_head_that_is_cut_is_named() {
    let head = format!("\r\n{OK}X: a\r\n b\r\n{LENGTH}\r\n");
    for end in 0..head.len() {
        let expected = if end == 0 || end == 2 { "http.no_response" } else { "http.truncated" };
        assert_eq!(got(&head[..end]).error, expected, "cut at {end}");
    }
    assert_eq!(got("HTTP/1.1 100 x\r\n\r\n").error, "http.no_response");
    assert_eq!(got("HTTP/1.1 100 x\r\n\r\nH").error, "http.truncated");
    assert_eq!(got("SSH-2.0-x\r\n").error, "http.parse");
}

#[test]
fn fields_keep_their_order_and_their_bytes() {
    let bytes = b"HTTP/1.1 200 OK\r\nSet-Cookie: a\r\nX-\x41: \xe4 b \r\nset-cookie:\tc\r\n\r\n";
    let fields = read(&Method::Get, &[bytes]).head.unwrap().2;
    let expected = [("set-cookie", &b"a"[..]), ("x-a", b"\xe4 b"), ("set-cookie", b"c")];
    assert_eq!(fields, expected.map(|(name, value)| (name.to_owned(), value.to_vec())));
}

#[test]
fn where_a_body_ends() {
    let check = |fields: &str, body: &str, data: &str, behind: usize, error: &str| {
        let read = got(&format!("{OK}{fields}\r\n{body}"));
        let found = (String::from_utf8(read.data).unwrap(), read.behind, read.error);
        assert_eq!(found, (data.to_owned(), behind, error), "{fields:?}");
    };
    check(LENGTH, "okHTTP", "ok", 4, "");
    check(LENGTH, "o", "o", 0, "body.truncated");
    check("Content-Length: 0\r\n", "ok", "", 2, "");
    check("Content-Length: 2\r\nContent-Length: 02\r\n", "ok", "ok", 0, "");
    check("Content-Length: 2, 2\r\n", "ok", "ok", 0, "");
    check("", "ok", "ok", 0, "");
    check(CHUNKED, "2\r\nok\r\n0\r\n\r\nHTTP", "ok", 4, "");
    check("Transfer-Encoding: identity\r\nTransfer-Encoding: Chunked\r\n", "0\r\n\r\n", "", 0, "");
    check("Transfer-Encoding: identity , chunked\r\n", "0\r\n\r\n", "", 0, "");
    check(&format!("{CHUNKED}{LENGTH}"), "3\r\nokk\r\n0\r\n\r\n", "okk", 0, "");
    check(&format!("Content-Length: x\r\n{CHUNKED}"), "0\r\n\r\n", "", 0, "");
    for none in ["identity", "Identity, identity", ""] {
        check(&format!("Transfer-Encoding: {none}\r\n{LENGTH}"), "okay", "ok", 2, "");
        check(&format!("Transfer-Encoding: {none}\r\n"), "okay", "okay", 0, "");
        let strict = got_strictly(&format!("{OK}Transfer-Encoding: {none}\r\n{LENGTH}\r\nokay"));
        assert_eq!((&*strict.data, strict.proven), (&b"okay"[..], false));
    }
    for wrong in
        ["2, 3", "2,", "+2", "-2", "0x2", "2 2", "two", "", "18446744073709551616", "2\r\nContent-Length: 3"]
    {
        check(&format!("Content-Length: {wrong}\r\n"), "ok", "", 0, "http.parse");
    }
    for wrong in
        ["chunked, chunked", "chunked\r\nTransfer-Encoding: chunked", "chunked, gzip, chunked, chunked"]
    {
        check(&format!("Transfer-Encoding: {wrong}\r\n"), "0\r\n\r\n", "", 0, "http.parse");
    }
    // Empty members are passed over (RFC 9110, section 5.6.1). Not every reader does that, so the connection ends.
    for listed in ["chunked,", ", chunked", "chunked , ,"] {
        check(&format!("Transfer-Encoding: {listed}\r\n"), "2\r\nok\r\n0\r\n\r\n", "ok", 0, "");
        let head = format!("{OK}Transfer-Encoding: {listed}\r\n\r\n");
        assert!(!got(&head).reusable, "{listed}");
    }
    for unasked in [
        "gzip, chunked",
        "gzip\r\nTransfer-Encoding: chunked",
        "gzip",
        "chunked, gzip",
        "chunked, identity",
        "chunked\r\nTransfer-Encoding:",
        ",gzip,chunked",
        "xchunked",
        "chunked;q=1",
    ] {
        check(&format!("Transfer-Encoding: {unasked}\r\n"), "0\r\n\r\n", "", 0, "http.parse");
    }
    let old = got_strictly("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    assert_eq!(old.error, "http.parse");
}

#[test]
fn some_responses_have_no_body_whatever_they_say() {
    let check = |method: Method, status: &str, fields: &str| {
        let read = read(&method, &[format!("HTTP/1.1 {status}\r\n{fields}\r\nok").as_bytes()]);
        assert_eq!(
            (read.data.len(), read.behind, read.proven, read.error),
            (0, 2, true, ""),
            "{status} {fields:?}"
        );
    };
    for fields in ["", LENGTH, CHUNKED, "Content-Length: x\r\n"] {
        check(Method::Head, "200 OK", fields);
        check(Method::Get, "204 No Content", fields);
        check(Method::Get, "304 Not Modified", fields);
    }
}

/// A server may send the body all the same, and late: it would be taken for the next response.
#[test]
fn a_connection_with_a_body_that_is_forbidden_is_not_used_again() {
    let check = |method: Method, head: &str, expected: bool| {
        let read = read(&method, &[format!("{head}\r\n").as_bytes()]);
        assert_eq!((read.reusable, read.error), (expected, ""), "{method} {head:?}");
    };
    for (method, status) in [(Method::Head, 200), (Method::Head, 404), (Method::Get, 204), (Method::Get, 304)]
    {
        for fields in ["", "Content-Length: 0\r\n", "Content-Length: 0, 00\r\n"] {
            check(method.clone(), &format!("HTTP/1.1 {status} x\r\n{fields}"), true);
        }
        for fields in [LENGTH, CHUNKED, "Content-Length: x\r\n", "Transfer-Encoding: identity\r\n"] {
            check(method.clone(), &format!("HTTP/1.1 {status} x\r\n{fields}"), false);
        }
    }
    let end = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n";
    check(Method::Get, &format!("HTTP/1.1 103 Early\r\nLink: x\r\n\r\n{end}"), true);
    check(Method::Get, &format!("HTTP/1.1 103 Early\r\n{LENGTH}\r\n{end}"), false);
    check(Method::Get, &format!("HTTP/1.1 100 Continue\r\n{CHUNKED}\r\n{end}"), false);
}

#[test]
fn an_end_that_is_not_told_is_not_proven() {
    for (fields, proven) in
        [("", false), ("Transfer-Encoding: identity\r\n", false), (LENGTH, true), (CHUNKED, true)]
    {
        assert_eq!(got(&format!("{OK}{fields}\r\n")).proven, proven, "{fields:?}");
    }
}

#[test]
fn who_keeps_the_connection() {
    let check = |version: &str, fields: &str, expected: bool| {
        let read = got(&format!("HTTP/{version} 200 OK\r\nContent-Length: 5\r\n{fields}\r\n0\r\n\r\n"));
        assert_eq!((read.reusable, read.error), (expected, ""), "{version} {fields:?}");
    };
    check("1.1", "", true);
    check("1.1", "Connection: keep-alive\r\n", true);
    check("1.1", "Connection: Close\r\n", false);
    check("1.1", "Connection: x, close ,y\r\n", false);
    check("1.1", "Connection: closed\r\n", true);
    check("1.1", "Connection: keep-alive\r\nConnection: close\r\n", false);
    check("1.1", CHUNKED, false);
    check("1.0", "", false);
    check("1.0", "Connection: Keep-Alive\r\n", true);
    check("1.0", "Connection: keep-alive, close\r\n", false);
}

#[test]
fn chunks() {
    let check = |body: &str, data: &str, error: &str| {
        let read = got(&format!("{OK}{CHUNKED}\r\n{body}"));
        assert_eq!((&*String::from_utf8(read.data).unwrap(), read.error), (data, error), "{body:?}");
    };
    check("2\r\nok\r\n0\r\n\r\n", "ok", "");
    check("1\r\no\r\n01\r\nk\r\n000\r\n\r\n", "ok", "");
    check("A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n", "01234567890123456789", "");
    check("2;a=\"b;c\";d\r\nok\r\n0;e\r\n\r\n", "ok", "");
    check("2 \t;a\r\nok\r\n0\t\r\n\r\n", "ok", "");
    check("0\r\nT: 1\r\nContent-Length: 9\r\nU:\r\n\r\n", "", "");
    for cut in ["", "2", "2\r", "2\r\n", "2\r\nok\r\n", "2\r\nok\r\n0\r\n", "2\r\nok\r\n0\r\nT: 1\r\n"] {
        check(cut, if cut.contains("ok") { "ok" } else { "" }, "body.truncated");
    }
    for wrong in [
        "\r\n", "x\r\n", "-2\r\n", "+2\r\n", "0x2\r\n", " 2\r\n", ";a\r\n", "2 2\r\n", "2\nok", "2\r\r\n",
        "2;a\n", "2;\0",
    ] {
        check(wrong, "", "body.framing");
    }
    check("00000000000000000\r\n", "", "body.framing");
    check("ffffffffffffffff\r\nx", "x", "body.truncated");
    for wrong in ["2\r\nokay\r\n", "2\r\nok\n0\r\n\r\n", "2\r\nok0\r\n\r\n"] {
        check(wrong, "ok", "body.framing");
    }
    for wrong in [
        "0\r\nHTTP/1.1 200 OK\r\n\r\n",
        "0\r\n X: y\r\n\r\n",
        "0\r\nX : y\r\n\r\n",
        "0\r\nX: y\n\r\n",
        "0\r\nX: \0\r\n",
        "0\r\n\n",
    ] {
        check(wrong, "", "body.framing");
    }
}

#[test]
fn limits_hold_to_the_byte() {
    let check =
        |bytes: String, expected: &str| assert_eq!(got(&bytes).error, expected, "{} bytes", bytes.len());
    let end = format!("{LENGTH}\r\nok");
    let fields = |count: usize| format!("{OK}{}{end}", "X: y\r\n".repeat(count - 1));
    check(fields(limits::HEADERS_MAX), "");
    check(fields(limits::HEADERS_MAX + 1), "http.limit");
    let sized =
        |bytes: usize| format!("{OK}X: {}\r\n{end}", "y".repeat(bytes - OK.len() - end.len() + 2 - 5));
    check(sized(limits::HEAD_BYTES_MAX), "");
    check(sized(limits::HEAD_BYTES_MAX + 1), "http.limit");
    let interim = |count| format!("{}{OK}{end}", "HTTP/1.1 103 Early\r\nLink: x\r\n\r\n".repeat(count));
    check(interim(limits::INTERIM_RESPONSES_MAX as usize), "");
    check(interim(limits::INTERIM_RESPONSES_MAX as usize + 1), "http.limit");
    let one = limits::CHUNK_EXTENSION_BYTES_MAX as usize;
    let extended = |extensions: &[usize]| {
        let chunk = |&bytes: &usize| format!("1;{}\r\no\r\n", "e".repeat(bytes));
        format!("{OK}{CHUNKED}\r\n{}0\r\n\r\n", extensions.iter().map(chunk).collect::<String>())
    };
    check(extended(&[one; 2]), "");
    check(extended(&[1, one + 1]), "body.framing");
    check(format!("{OK}{CHUNKED}\r\n1{}", " ".repeat(one + 1)), "body.framing");
    // Over all chunks: a fixed number, and eight for each byte of data before.
    let free = limits::CHUNK_EXTENSIONS_BYTES_FREE as usize;
    check(extended(&[one, one, one, free - 3 * one, 4 * 8]), "");
    check(extended(&[one, one, one, free - 3 * one, 4 * 8 + 1]), "body.framing");
    let trailed = |bytes: usize| {
        format!("{OK}{CHUNKED}\r\n0\r\n{}\r\n", format!("{}:\r\n", "t".repeat(6)).repeat(bytes / 8))
    };
    check(trailed(limits::TRAILER_BYTES_MAX), "");
    check(trailed(limits::TRAILER_BYTES_MAX + 8), "body.framing");
}

/// Were it parsed anew with every byte, this would take hours.
#[test]
fn a_head_that_drips_is_not_parsed_with_every_byte() {
    let head = format!("{OK}X: {}", "y".repeat(limits::HEAD_BYTES_MAX));
    let mut reader = HeadReader::new(&Method::Get, Strictness::Lenient);
    let refused = (1..=head.len()).find(|&end| reader.read(&mut &head.as_bytes()[..end]).is_err());
    assert_eq!(refused, Some(limits::HEAD_BYTES_MAX));
}

/// A response as a server means it: the bytes, and what a client must make of them.
fn responses() -> impl Strategy<Value = (Vec<u8>, Read)> {
    let field = ("[a-zA-Z][a-zA-Z0-9-]{0,8}Z", "[!-~]([ -~]{0,10}[!-~])?");
    let fields = proptest::collection::vec(field, 0..6);
    let chunks = proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..20), 0..5);
    (0..3_usize, 200..600_u16, fields, chunks, 0..3_usize, 0..4_usize).prop_filter_map(
        "a status without a body",
        |(interim, status, fields, chunks, framing, behind)| {
            if status == 204 || status == 304 {
                return None;
            }
            let mut bytes = b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\n".repeat(interim);
            bytes.extend(format!("HTTP/1.1 {status} x\r\n").bytes());
            let data = chunks.concat();
            let how = match framing {
                0 => Some(("Content-Length".to_owned(), data.len().to_string())),
                1 => Some(("Transfer-Encoding".to_owned(), "chunked".to_owned())),
                _ => None,
            };
            let fields: Vec<_> = fields.into_iter().chain(how).collect();
            fields.iter().for_each(|(name, value)| bytes.extend(format!("{name}: {value}\r\n").bytes()));
            bytes.extend(b"\r\n");
            if framing == 1 {
                for chunk in &chunks {
                    bytes.extend(format!("{:x}\r\n", chunk.len()).bytes());
                    bytes.extend(chunk);
                    bytes.extend(b"\r\n");
                }
                bytes.extend(b"0\r\nT: 1\r\n\r\n");
            } else {
                bytes.extend(&data);
            }
            let behind = if framing == 2 { 0 } else { behind };
            bytes.extend(b"HTTP".iter().take(behind));
            let fields =
                fields.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value.into_bytes()));
            let head = Some((status, HttpVersion::Http11, fields.collect()));
            let read =
                Read { head, data, behind, proven: framing != 2, reusable: true, notes: vec![], error: "" };
            Some((bytes, read))
        },
    )
}

/// Bytes that are nearly a response.
fn scraps() -> impl Strategy<Value = Vec<u8>> {
    const SCRAPS: [&str; 36] = [
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.0 200 OK\r\n",
        "HTTP/1.1 100 x\r\n\r\n",
        "HTTP/1.1 204 x\r\n",
        "HTTP/1.",
        "1 ",
        "\r\n",
        "\r\n\r\n",
        "\n",
        "\r",
        ":",
        " ",
        "Content-Length: 3\r\n",
        "Content-Length:",
        "Transfer-Encoding: chunked\r\n",
        "chunked",
        "Connection: close\r\n",
        "3\r\nabc\r\n",
        "0\r\n",
        "0\r\n\r\n",
        ";x=y",
        "5",
        "abc",
        "X: y\r\n",
        "\0",
        "\u{fc}",
        ",",
        "\t",
        " folded\r\n",
        " \r\n",
        "X : y\r\n",
        "bad name: y\r\n",
        "Content-Length : 3\r\n",
        " Content-Length: 3\r\n",
        "\u{b}",
        "identity",
    ];
    proptest::collection::vec(proptest::sample::select(&SCRAPS[..]), 1..24)
        .prop_map(|scraps| scraps.concat().into_bytes())
}

fn cut<'a>(bytes: &'a [u8], cuts: &[proptest::sample::Index]) -> Vec<&'a [u8]> {
    let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    at.extend([0, bytes.len()]);
    at.sort_unstable();
    at.windows(2).map(|ends| &bytes[ends[0]..ends[1]]).filter(|piece| !piece.is_empty()).collect()
}

proptest! {
    #[test]
    fn what_a_server_means_is_what_is_read(
        (bytes, expected) in responses(),
        cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..8),
    ) {
        prop_assert_eq!(read(&Method::Get, &cut(&bytes, &cuts)), expected);
    }

    #[test]
    fn pieces_make_no_difference(
        bytes in scraps(),
        cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..8),
    ) {
        let whole = read(&Method::Get, &[&bytes]);
        prop_assert_eq!(&read(&Method::Get, &cut(&bytes, &cuts)), &whole);
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        prop_assert_eq!(&read(&Method::Get, &single), &whole);
    }

    #[test]
    fn what_is_read_strictly_is_read_alike_without_a_note(bytes in scraps()) {
        let strict = read_as(&Method::Get, Strictness::Strict, &[&bytes]);
        let lenient = read(&Method::Get, &[&bytes]);
        // `identity` is taken as absent, and then the length counts.
        let fields = strict.head.iter().flat_map(|(_, _, fields)| fields);
        let coded = fields.clone().any(|(name, _)| name == "transfer-encoding");
        if strict.head.is_some() && (!coded || (lenient.head.is_some() && lenient.notes.is_empty())) {
            prop_assert_eq!(lenient, strict);
        }
    }

    #[test]
    fn a_response_that_ends_too_early_is_never_whole(
        (bytes, expected) in responses(),
        end in any::<proptest::sample::Index>(),
    ) {
        let whole = bytes.len() - expected.behind;
        let found = read(&Method::Get, &[&bytes[..end.index(whole)]]);
        let in_head = found.head.is_none() && ["http.no_response", "http.truncated"].contains(&found.error);
        let in_body = found.head.is_some() && (found.error == "body.truncated" || !found.proven);
        prop_assert!(in_head || in_body, "{found:?}");
    }
}
