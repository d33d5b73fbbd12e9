//! Splits one JSON array into its elements, incrementally. At most one element is held, up to the limit for a row.
//!
//! The syntax between the elements is checked here, that within them by the reader of a row. The first syntax error ends
//! the list with one bad row.

use super::held::{Held, Line};

/// What was read.
#[derive(Debug)]
pub(super) enum Item<'a> {
    Element(Line<'a>),
    /// The array is not JSON from here on.
    Broken(Broken<'a>),
}

/// Where and why.
#[derive(Debug)]
pub(super) struct Broken<'a> {
    pub(super) line: u64,
    pub(super) offset: u64,
    pub(super) problem: &'static str,
    /// The element that it is in, or its beginning.
    pub(super) element: &'a [u8],
}

/// Reads an array.
#[derive(Debug)]
pub(super) struct Array {
    state: State,
    /// The place of the next byte, and the line it is in.
    at: u64,
    line: u64,
    /// The line and the place where the element begins.
    begins: (u64, u64),
    held: Held,
}

/// What is expected next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// `[`
    Array,
    /// An element, or `]` if there is none.
    First,
    /// An element.
    Element,
    /// More of an object or a list, at this depth.
    Nested(usize),
    /// More of a string, at this depth; `true`: behind a backslash.
    Text(usize, bool),
    /// More of a number or a word.
    Word,
    /// `,` or `]`
    Comma,
    /// Nothing.
    End,
    /// Something was wrong: nothing more is read.
    Broken,
}

impl Array {
    pub(super) fn new(held: Held) -> Self {
        Self { state: State::Array, at: 0, line: 1, begins: (1, 0), held }
    }

    /// Goes on where an element begins.
    pub(super) fn resume(&mut self, offset: u64) {
        self.skip(offset);
        if offset > 0 {
            self.state = State::Element;
        }
    }

    /// Bytes that belong to nothing, before the rest.
    pub(super) fn skip(&mut self, bytes: u64) {
        self.at += bytes;
    }

    pub(super) fn push(&mut self, block: &[u8], each: &mut impl FnMut(Item<'_>)) {
        let mut rest = block;
        while let Some((&byte, after)) = rest.split_first() {
            match self.state {
                State::Nested(_) | State::Text(..) | State::Word => rest = self.inside(rest, each),
                State::Array | State::First | State::Element | State::Comma | State::End => {
                    self.between(byte, each);
                    rest = after;
                }
                State::Broken => return,
            }
        }
    }

    /// The list ends here.
    pub(super) fn finish(&mut self, each: &mut impl FnMut(Item<'_>)) {
        match self.state {
            // A list without a byte has no rows in any format.
            State::Array | State::End | State::Broken => {}
            State::First | State::Element | State::Comma => self.broken("the array is never closed", each),
            State::Nested(_) | State::Text(..) | State::Word => {
                self.broken("the list ends within an element of the array", each);
            }
        }
    }

    /// A byte between the elements.
    fn between(&mut self, byte: u8, each: &mut impl FnMut(Item<'_>)) {
        match (self.state, byte) {
            (_, b' ' | b'\t' | b'\r' | b'\n') => {}
            (State::Array, b'[') => self.state = State::First,
            (State::Array, _) => return self.broken("an array begins with [", each),
            (State::First | State::Comma, b']') => self.state = State::End,
            (State::Comma, b',') => self.state = State::Element,
            (State::Comma, _) => return self.broken("there is no comma behind an element", each),
            (State::End, _) => return self.broken("something follows the end of the array", each),
            (_, b',' | b']' | b'}' | b':') => return self.broken("an element is missing", each),
            (_, b'"') => self.begin(byte, State::Text(0, false)),
            (_, b'{' | b'[') => self.begin(byte, State::Nested(1)),
            (_, _) => self.begin(byte, State::Word),
        }
        self.pass(&[byte]);
    }

    fn begin(&mut self, byte: u8, state: State) {
        self.begins = (self.line, self.at);
        self.held.push(&[byte]);
        self.state = state;
    }

    fn pass(&mut self, bytes: &[u8]) {
        self.at += bytes.len() as u64;
        self.line += memchr::memchr_iter(b'\n', bytes).count() as u64;
    }

    /// Takes what belongs to the element, and returns the rest.
    fn inside<'a>(&mut self, bytes: &'a [u8], each: &mut impl FnMut(Item<'_>)) -> &'a [u8] {
        let end = bytes.iter().enumerate().find_map(|(i, byte)| self.ends_at(i, *byte));
        let (part, rest) = bytes.split_at_checked(end.unwrap_or(bytes.len())).unwrap_or((bytes, &[]));
        self.held.push(part);
        self.pass(part);
        if end.is_some() {
            each(Item::Element(self.held.line(self.begins.0, self.begins.1)));
            self.held.clear();
            self.state = State::Comma;
        }
        rest
    }

    /// The end of the element, if the byte at `i` ends it.
    fn ends_at(&mut self, i: usize, byte: u8) -> Option<usize> {
        self.state = match (self.state, byte) {
            (State::Text(depth, true), _) => State::Text(depth, false),
            (State::Text(depth, false), b'\\') => State::Text(depth, true),
            (State::Text(0, false), b'"') => return Some(i + 1),
            (State::Text(depth, false), b'"') => State::Nested(depth),
            (State::Nested(depth), b'"') => State::Text(depth, false),
            (State::Nested(depth), b'{' | b'[') => State::Nested(depth + 1),
            (State::Nested(1), b'}' | b']') => return Some(i + 1),
            (State::Nested(depth), b'}' | b']') => State::Nested(depth - 1),
            (State::Word, b' ' | b'\t' | b'\r' | b'\n' | b',' | b']' | b'}') => return Some(i),
            (same, _) => same,
        };
        None
    }

    fn broken(&mut self, problem: &'static str, each: &mut impl FnMut(Item<'_>)) {
        let element = self.held.line(self.begins.0, self.begins.1).text;
        each(Item::Broken(Broken { line: self.line, offset: self.at, problem, element }));
        self.state = State::Broken;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(list: &str, expected: &[&str]) {
        for size in [1, 3, list.len().max(1)] {
            let mut array = Array::new(Held::plain());
            let mut seen = Vec::new();
            let mut each = |item: Item<'_>| {
                seen.push(match item {
                    Item::Element(line) => {
                        format!("{}:{} {}", line.number, line.offset, String::from_utf8_lossy(line.text))
                    }
                    Item::Broken(broken) => format!("{}:{} {}", broken.line, broken.offset, broken.problem),
                });
            };
            list.as_bytes().chunks(size).for_each(|block| array.push(block, &mut each));
            array.finish(&mut each);
            assert_eq!(seen, expected, "{list:?} in blocks of {size}");
        }
    }

    #[test]
    fn elements() {
        check("", &[]);
        check(" \n", &[]);
        check("[]", &[]);
        check(" [ ] \n", &[]);
        check(r#"["a"]"#, &[r#"1:1 "a""#]);
        check(
            "[\n  {\"a\": [1, \"]}\"]},\n  \"b\\\"\"\n]\n",
            &["2:4 {\"a\": [1, \"]}\"]}", "3:24 \"b\\\"\""],
        );
        check("[1,null , [[]]]", &["1:1 1", "1:3 null", "1:10 [[]]"]);
    }

    #[test]
    fn an_array_that_is_none_says_where() {
        check("{}", &["1:0 an array begins with ["]);
        check("[\"a\",\n]", &["1:1 \"a\"", "2:6 an element is missing"]);
        check("[,]", &["1:1 an element is missing"]);
        check("[1 2,3]", &["1:1 1", "1:3 there is no comma behind an element"]);
        check("[1]\n[2]", &["1:1 1", "2:4 something follows the end of the array"]);
        check("[1,", &["1:1 1", "1:3 the array is never closed"]);
        check("[1", &["1:2 the list ends within an element of the array"]);
        check("[{\"a\":\"]", &["1:8 the list ends within an element of the array"]);
    }
}
