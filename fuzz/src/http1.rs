//! An untrusted HTTP/1.1 response: parsed alike however it is split, within the limits, and never complete when truncated.

use overlapped_proto::http1::{HeadReader, Strictness};
use overlapped_proto::job::Method;
use overlapped_proto::limits;

use crate::take::Take;

const METHODS: [Method; 3] = [Method::Get, Method::Head, Method::Post];

/// Reads what follows the first bytes as a connection that then ends; those choose the method and the cuts.
pub fn http1(data: &[u8]) {
    let mut take = Take(data);
    let (method, cuts) = (&METHODS[usize::from(take.byte()) % METHODS.len()], take.bytes(3));
    let strict = check(method, Strictness::Strict, take.0, cuts);
    let lenient = check(method, Strictness::Lenient, take.0, cuts);
    // `identity` may be read in another way, and then the length counts.
    let coded = strict.fields.iter().any(|(name, _)| name == "transfer-encoding");
    if strict.status > 0 && (!coded || (lenient.status > 0 && !lenient.noted)) {
        assert_eq!(lenient, strict, "what is right is read alike");
    }
}

fn check(method: &Method, strictness: Strictness, bytes: &[u8], cuts: &[u8]) -> Read {
    let whole = read(method, strictness, bytes, &[]);
    assert_eq!(read(method, strictness, bytes, cuts), whole);
    if let Read { behind, proven: true, error: "", .. } = &whole {
        let needed = bytes.len() - behind;
        let short = read(method, strictness, &bytes[..needed - 1], cuts);
        assert_ne!(short.error, "", "one byte less is not a whole response");
    }
    whole
}

/// What became of the bytes.
#[derive(Debug, Default, PartialEq)]
struct Read {
    status: u16,
    fields: Vec<(String, Vec<u8>)>,
    data: Vec<u8>,
    /// Bytes behind the body.
    behind: usize,
    /// The body says where it ends.
    proven: bool,
    reusable: bool,
    /// Something in the head was overlooked.
    noted: bool,
    error: &'static str,
}

fn read(method: &Method, strictness: Strictness, mut input: &[u8], cuts: &[u8]) -> Read {
    let (mut read, mut reader, mut body) = (Read::default(), HeadReader::new(method, strictness), None);
    let mut unread = Vec::new();
    let mut cuts = cuts.iter().cycle();
    while !input.is_empty() {
        let length = cuts.next().map_or(input.len(), |&cut| 1 + usize::from(cut % 61)).min(input.len());
        unread.extend_from_slice(&input[..length]);
        input = &input[length..];
        if let Err(error) = take_in(&mut read, &mut reader, &mut body, &mut unread) {
            // How much of the body came before what is wrong with it, and what came behind, depends on the cuts.
            return Read { error, data: Vec::new(), ..read };
        }
    }
    let Some(body) = body else { return Read { error: reader.end(&unread).kind.name(), ..read } };
    read.error = body.end().err().map_or("", |failure| failure.kind.name());
    read.behind = unread.len();
    read
}

fn take_in(
    read: &mut Read,
    reader: &mut HeadReader,
    body: &mut Option<overlapped_proto::http1::Body>,
    unread: &mut Vec<u8>,
) -> Result<(), &'static str> {
    if body.is_none() {
        let mut rest = &unread[..];
        let found = reader.read(&mut rest).map_err(|failure| failure.kind.name())?;
        *unread = rest.to_vec();
        if let Some((head, after)) = found {
            assert!((200..1000).contains(&head.status) && head.headers.iter().count() <= limits::HEADERS_MAX);
            (read.status, read.reusable, read.proven) =
                (head.status, head.keeps_alive, after.tells_its_end());
            read.noted = !head.notes.is_empty();
            read.fields =
                head.headers.iter().map(|(name, value)| (name.to_owned(), value.to_vec())).collect();
            *body = Some(after);
        }
    }
    let Some(body) = body else { return Ok(()) };
    loop {
        let piece = body.next(unread).map_err(|failure| failure.kind.name())?;
        assert!(piece.framing + piece.data <= unread.len());
        read.data.extend_from_slice(&unread[piece.framing..piece.framing + piece.data]);
        unread.drain(..piece.framing + piece.data);
        if piece.data == 0 {
            return Ok(());
        }
    }
}
