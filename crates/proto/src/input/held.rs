//! The buffer of a row of text or JSON that arrives in pieces: the whole row up to the limit. Of a longer row it keeps the
//! beginning and, if the row may be a record of an earlier run, the members that are used, so that bodies in records are
//! not buffered.

use crate::limits::{INPUT_RECORD_BYTES_MAX, INPUT_ROW_BYTES_MAX};

/// One row, without its end.
#[derive(Debug)]
pub(super) struct Line<'a> {
    /// The line it begins in, from 1.
    pub(super) number: u64,
    /// Where it begins in the list.
    pub(super) offset: u64,
    /// Its length in the list.
    pub(super) bytes: u64,
    /// True if it is longer than the limit, and `text` is only its beginning.
    pub(super) cut: bool,
    pub(super) text: &'a [u8],
    /// Of a longer one: an object with the members that are used of a record, each value that is not read as `null`.
    pub(super) skimmed: Option<&'a [u8]>,
}

/// The buffer of a row.
#[derive(Debug)]
pub(super) struct Held {
    text: Vec<u8>,
    bytes: usize,
    skim: Option<Skim>,
}

impl Held {
    /// For a row of which nothing is used beyond the limit.
    pub(super) fn plain() -> Self {
        Self { text: Vec::new(), bytes: 0, skim: None }
    }

    /// For a row that may be a record, of which the members with these names are used.
    pub(super) fn record(names: Vec<Box<str>>) -> Self {
        Self { skim: Some(Skim::new(names)), ..Self::plain() }
    }

    /// An empty buffer of the same kind.
    pub(super) fn anew(&self) -> Self {
        Self { skim: self.skim.as_ref().map(|skim| Skim::new(skim.names.clone())), ..Self::plain() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes as u64
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        let fitted = self.bytes <= INPUT_ROW_BYTES_MAX;
        self.bytes += bytes.len();
        if let Some(skim) = self.skim.as_mut().filter(|_| self.bytes > INPUT_ROW_BYTES_MAX) {
            if fitted {
                skim.push(&self.text);
            }
            skim.push(bytes);
        }
        let room = INPUT_ROW_BYTES_MAX.saturating_sub(self.text.len());
        self.text.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
    }

    /// The row that was received.
    pub(super) fn line(&self, number: u64, offset: u64) -> Line<'_> {
        let cut = self.bytes > INPUT_ROW_BYTES_MAX;
        Line {
            number,
            offset,
            bytes: self.bytes(),
            cut,
            text: &self.text,
            skimmed: self.skim.as_ref().filter(|_| cut).and_then(Skim::object),
        }
    }

    pub(super) fn clear(&mut self) {
        self.text.clear();
        self.bytes = 0;
        if let Some(skim) = &mut self.skim {
            skim.clear();
        }
    }
}

/// A streaming filter of a JSON object that keeps some of its members.
#[derive(Debug)]
struct Skim {
    names: Vec<Box<str>>,
    object: Vec<u8>,
    /// The limit was exceeded.
    full: bool,
    depth: usize,
    in_string: bool,
    escaped: bool,
    member: Member,
}

/// Where in a member of the object itself this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Member {
    /// In its name, which begins here in what is held.
    Name(usize),
    Held,
    PassedOver,
}

impl Skim {
    fn new(names: Vec<Box<str>>) -> Self {
        Self {
            names,
            object: Vec::new(),
            full: false,
            depth: 0,
            in_string: false,
            escaped: false,
            member: Member::Name(0),
        }
    }

    fn clear(&mut self) {
        self.object.clear();
        (self.full, self.depth, self.in_string, self.escaped) = (false, 0, false, false);
        self.member = Member::Name(0);
    }

    fn object(&self) -> Option<&[u8]> {
        (!self.full).then_some(&*self.object)
    }

    fn push(&mut self, mut bytes: &[u8]) {
        while let Some((&byte, after)) = bytes.split_first() {
            if self.in_string {
                bytes = self.string(bytes);
            } else {
                self.byte(byte);
                bytes = after;
            }
        }
    }

    /// Takes what belongs to the string, and returns the rest.
    fn string<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let end = match std::mem::take(&mut self.escaped) {
            true => 1,
            false => match memchr::memchr2(b'"', b'\\', bytes) {
                None => bytes.len(),
                Some(at) => {
                    self.escaped = bytes.get(at) == Some(&b'\\');
                    self.in_string = self.escaped;
                    at + 1
                }
            },
        };
        let (string, rest) = bytes.split_at_checked(end).unwrap_or((bytes, &[]));
        self.hold(string);
        rest
    }

    /// A byte outside strings.
    fn byte(&mut self, byte: u8) {
        match (byte, self.depth) {
            (b'"', _) => self.in_string = true,
            (b':', 1) => return self.name_ends(),
            (b',', 1) => {
                self.member = Member::Held;
                self.hold(b",");
                self.member = Member::Name(self.object.len());
                return;
            }
            (b'{' | b'[', depth) => {
                self.depth = depth + 1;
                if depth == 0 {
                    self.hold(&[byte]);
                    self.member = Member::Name(self.object.len());
                    return;
                }
            }
            (b'}' | b']', depth) => {
                self.depth = depth.saturating_sub(1);
                if self.depth == 0 {
                    self.member = Member::Held;
                }
            }
            _ => {}
        }
        self.hold(&[byte]);
    }

    fn name_ends(&mut self) {
        let Member::Name(from) = self.member else { return self.hold(b":") };
        let name = self.object.get(from..).unwrap_or_default().trim_ascii();
        let name = name.strip_prefix(b"\"").and_then(|name| name.strip_suffix(b"\"")).unwrap_or(name);
        let used = self.names.iter().any(|used| used.as_bytes() == name);
        self.hold(if used { b":" } else { b":null" });
        self.member = if used { Member::Held } else { Member::PassedOver };
    }

    fn hold(&mut self, bytes: &[u8]) {
        if self.member == Member::PassedOver || self.full {
            return;
        }
        if self.object.len() + bytes.len() > INPUT_RECORD_BYTES_MAX {
            self.full = true;
            return;
        }
        self.object.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(object: &str, expected: &str) {
        for size in [1, 7, object.len()] {
            let mut skim = Skim::new(vec!["a".into(), "b".into()]);
            object.as_bytes().chunks(size).for_each(|piece| skim.push(piece));
            assert_eq!(std::str::from_utf8(skim.object().unwrap()), Ok(expected), "{object}");
        }
    }

    #[test]
    fn values_that_are_not_used_are_passed_over() {
        check(r#"{"a":1,"x":2}"#, r#"{"a":1,"x":null}"#);
        check(r#"{"x" : [1,{"a":2}], "b" : {"x":"}"} }"#, r#"{"x" :null, "b" : {"x":"}"} }"#);
        check(r#"{"x":"\",\"a\":1}","b":"\\"}"#, r#"{"x":null,"b":"\\"}"#);
        check(r#""a string: {""#, r#""a string: {""#);
        check(r#"[{"a":1}]"#, r#"[{"a":1}]"#);
        check("{}", "{}");
    }

    #[test]
    fn a_body_is_not_held() {
        let mut held = Held::record(vec!["a".into()]);
        held.push(b"{\"x\":\"");
        for _ in 0..1_000 {
            held.push(&[b'y'; 10_000]);
        }
        held.push(b"\",\"a\":1}");
        assert_eq!(held.line(1, 0).skimmed, Some(&b"{\"x\":null,\"a\":1}"[..]));
        assert!(held.text.capacity() <= 2 * INPUT_ROW_BYTES_MAX, "{}", held.text.capacity());
        held.clear();
        held.push(b"{\"a\":\"");
        (0..1_000).for_each(|_| held.push(&[b'y'; 10_000]));
        assert_eq!(held.line(1, 0).skimmed, None);
    }
}
