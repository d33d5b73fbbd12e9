//! Lines out of blocks that are cut anywhere. No more than one line is held, and of that no more than the limit.

use crate::limits::INPUT_ROW_BYTES_MAX;

/// One line, without its end.
#[derive(Debug)]
pub(super) struct Line<'a> {
    /// From 1.
    pub(super) number: u64,
    /// Where it begins in the list.
    pub(super) offset: u64,
    /// Its length in the list.
    pub(super) bytes: u64,
    /// True if it is longer than the limit, and `text` is only its beginning.
    pub(super) cut: bool,
    pub(super) text: &'a [u8],
}

/// Splits at LF, CRLF and CR.
#[derive(Debug)]
pub(super) struct Lines {
    number: u64,
    offset: u64,
    bytes: u64,
    /// The beginning of the line that the last block ended in.
    held: Vec<u8>,
    /// The last byte was CR: an LF right after it belongs to the same line end.
    after_cr: bool,
}

impl Lines {
    pub(super) fn new() -> Self {
        Self { number: 1, offset: 0, bytes: 0, held: Vec::new(), after_cr: false }
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
            let Some(end) = memchr::memchr2(b'\n', b'\r', block) else { return self.hold(block) };
            let (text, rest) = block.split_at(end);
            let Some((&ending, rest)) = rest.split_first() else { return };
            self.end(text, each);
            self.offset += 1;
            self.after_cr = ending == b'\r';
            block = rest;
        }
    }

    /// The list ends here.
    pub(super) fn finish(&mut self, each: &mut impl FnMut(Line<'_>)) {
        if self.bytes > 0 {
            self.end(&[], each);
        }
    }

    fn hold(&mut self, text: &[u8]) {
        self.bytes += length(text.len());
        let room = (INPUT_ROW_BYTES_MAX + 1).saturating_sub(self.held.len());
        self.held.extend_from_slice(text.get(..room).unwrap_or(text));
    }

    /// `text` is the last part of the line.
    fn end(&mut self, text: &[u8], each: &mut impl FnMut(Line<'_>)) {
        let whole = if self.held.is_empty() {
            self.bytes = length(text.len());
            text
        } else {
            self.hold(text);
            &self.held
        };
        each(Line {
            number: self.number,
            offset: self.offset,
            bytes: self.bytes,
            cut: whole.len() > INPUT_ROW_BYTES_MAX,
            text: whole.get(..INPUT_ROW_BYTES_MAX).unwrap_or(whole),
        });
        self.number += 1;
        self.offset += self.bytes;
        self.bytes = 0;
        self.held.clear();
    }
}

fn length(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(blocks: &[&str], expected: &[(u64, u64, &str)]) {
        let mut lines = Lines::new();
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
        let mut lines = Lines::new();
        let mut seen = Vec::new();
        let mut each = |line: Line<'_>| seen.push((line.cut, line.bytes, line.offset, line.text.len()));
        for _ in 0..1_000 {
            lines.push(&[b'x'; 10_000], &mut each);
        }
        assert!(lines.held.capacity() <= 2 * INPUT_ROW_BYTES_MAX, "{}", lines.held.capacity());
        lines.push(b"\nnext\n", &mut each);
        assert_eq!(seen, [(true, 10_000_000, 0, INPUT_ROW_BYTES_MAX), (false, 4, 10_000_001, 4)]);
    }
}
