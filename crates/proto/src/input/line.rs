//! Splits blocks into lines, incrementally. At most one line is held, up to the limit for a row.

use crate::limits::INPUT_ROW_BYTES_MAX;

use super::held::{Held, Line};

/// Splits at LF, CRLF and CR.
#[derive(Debug)]
pub(super) struct Lines {
    number: u64,
    offset: u64,
    /// The line that the last block ended in.
    held: Held,
    /// The last byte was CR: an LF right after it belongs to the same line end.
    after_cr: bool,
}

impl Lines {
    pub(super) fn new(held: Held) -> Self {
        Self { number: 1, offset: 0, held, after_cr: false }
    }

    /// Bytes that belong to no line, before the first.
    pub(super) fn skip(&mut self, bytes: u64) {
        self.offset += bytes;
    }

    pub(super) fn push(&mut self, mut block: &[u8], each: &mut impl FnMut(Line<'_>)) {
        while let Some((&first, after)) = block.split_first() {
            if std::mem::take(&mut self.after_cr) && first == b'\n' {
                self.offset += 1;
                block = after;
                continue;
            }
            let Some(end) = memchr::memchr2(b'\n', b'\r', block) else { return self.held.push(block) };
            let (text, rest) = block.split_at(end);
            let (&ending, rest) = rest.split_first().expect("a line end was found");
            self.end(text, each);
            self.offset += 1;
            self.after_cr = ending == b'\r';
            block = rest;
        }
    }

    /// The list ends here.
    pub(super) fn finish(&mut self, each: &mut impl FnMut(Line<'_>)) {
        if !self.held.is_empty() {
            self.end(&[], each);
        }
    }

    /// `text` is the last part of the line.
    fn end(&mut self, text: &[u8], each: &mut impl FnMut(Line<'_>)) {
        let (number, offset) = (self.number, self.offset);
        let bytes = if self.held.is_empty() && text.len() <= INPUT_ROW_BYTES_MAX {
            let bytes = text.len() as u64;
            each(Line { number, offset, bytes, cut: false, text, skimmed: None });
            bytes
        } else {
            self.held.push(text);
            each(self.held.line(number, offset));
            let bytes = self.held.bytes();
            self.held.clear();
            bytes
        };
        self.number += 1;
        self.offset += bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(blocks: &[&str], expected: &[(u64, u64, &str)]) {
        let mut lines = Lines::new(Held::plain());
        let mut seen = Vec::new();
        let mut each = |line: Line<'_>| {
            seen.push((line.number, line.offset, String::from_utf8_lossy(line.text).into_owned()))
        };
        for block in blocks {
            lines.push(block.as_bytes(), &mut each);
        }
        lines.finish(&mut each);
        let expected: Vec<_> = expected.iter().map(|&(n, at, text)| (n, at, text.to_owned())).collect();
        assert_eq!(seen, expected, "{blocks:?}");
    }

    #[test]
    fn all_three_line_ends() {
        check(&["a\nb\r\nc\rd"], &[(1, 0, "a"), (2, 2, "b"), (3, 5, "c"), (4, 7, "d")]);
        check(&["a\n\nb\n"], &[(1, 0, "a"), (2, 2, ""), (3, 3, "b")]);
        check(&["a\r\rb"], &[(1, 0, "a"), (2, 2, ""), (3, 3, "b")]);
        check(&["a\r", "\nb"], &[(1, 0, "a"), (2, 3, "b")]);
        check(&["", "a", "", "b\n", ""], &[(1, 0, "ab")]);
        check(&[""], &[]);
    }

    #[test]
    fn an_endless_line_is_not_held() {
        let mut lines = Lines::new(Held::plain());
        let mut seen = Vec::new();
        let mut each = |line: Line<'_>| seen.push((line.cut, line.bytes, line.offset, line.text.len()));
        for _ in 0..1_000 {
            lines.push(&[b'x'; 10_000], &mut each);
        }
        lines.push(b"\nnext\n", &mut each);
        assert_eq!(seen, [(true, 10_000_000, 0, INPUT_ROW_BYTES_MAX), (false, 4, 10_000_001, 4)]);
    }
}
