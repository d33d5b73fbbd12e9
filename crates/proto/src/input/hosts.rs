//! Reads a list of plain URLs for their hosts alone, at a fraction of the cost of parsing them.
//!
//! A URL whose host is written as most are is not parsed; any other is parsed like that of a row.

use super::held::{Held, Line};
use super::line::Lines;
use super::reader::{BYTE_ORDER_MARK, START_BYTES, is_utf16, utf16};
use super::{text, url};
use crate::error::ErrorKind;
use crate::limits;
use crate::outcome::Failure;

/// One row of such a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostRow<'a> {
    /// Its number.
    pub row: u64,
    /// The row without blanks around it; of one that is too long the beginning.
    pub text: &'a [u8],
    /// Its host, as in a parsed URL, or what kind of bad row it is.
    pub host: Result<&'a str, ErrorKind>,
}

/// Reads the hosts of a list of plain URLs.
///
/// ```
/// use overlapped_proto::input::Hosts;
///
/// let mut hosts = Vec::new();
/// let mut reader = Hosts::default();
/// reader.push(b"http://a.test/1\n# no row\nHTTP://B.test", &mut |row| hosts.push(row.host.map(str::to_owned)))?;
/// reader.finish(&mut |row| hosts.push(row.host.map(str::to_owned)))?;
/// assert_eq!(hosts, [Ok("a.test".to_owned()), Ok("b.test".to_owned())]);
/// # Ok::<(), overlapped_proto::outcome::Failure>(())
/// ```
#[derive(Debug)]
pub struct Hosts {
    lines: Lines,
    /// The first bytes, until there are enough to know the encoding.
    start: Option<Vec<u8>>,
    urls: url::Parser,
    next: u64,
}

impl Default for Hosts {
    fn default() -> Self {
        let (lines, urls) = (Lines::new(Held::plain()), url::Parser::default());
        Self { lines, start: Some(Vec::new()), urls, next: 0 }
    }
}

impl Hosts {
    /// Reads the next block, and passes every row that ends in it to `sink`.
    ///
    /// # Errors
    ///
    /// The list is not UTF-8 at all; nothing more can be read from it.
    pub fn push(&mut self, block: &[u8], sink: &mut impl FnMut(HostRow<'_>)) -> Result<(), Failure> {
        let Some(start) = &mut self.start else {
            self.feed(block, sink);
            return Ok(());
        };
        let (head, rest) = block.split_at(block.len().min(START_BYTES - start.len()));
        start.extend_from_slice(head);
        if start.len() == START_BYTES {
            self.open(sink)?;
            self.feed(rest, sink);
        }
        Ok(())
    }

    /// Ends the list.
    ///
    /// # Errors
    ///
    /// As [`Hosts::push`].
    pub fn finish(&mut self, sink: &mut impl FnMut(HostRow<'_>)) -> Result<(), Failure> {
        self.open(sink)?;
        let Self { lines, urls, next, .. } = self;
        lines.finish(&mut |line| read(&line, urls, next, sink));
        Ok(())
    }

    fn open(&mut self, sink: &mut impl FnMut(HostRow<'_>)) -> Result<(), Failure> {
        let Some(start) = self.start.take() else { return Ok(()) };
        if is_utf16(&start) {
            return Err(utf16());
        }
        self.feed(start.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&start), sink);
        Ok(())
    }

    fn feed(&mut self, block: &[u8], sink: &mut impl FnMut(HostRow<'_>)) {
        let Self { lines, urls, next, .. } = self;
        lines.push(block, &mut |line| read(&line, urls, next, sink));
    }
}

fn read(line: &Line<'_>, urls: &mut url::Parser, next: &mut u64, sink: &mut impl FnMut(HostRow<'_>)) {
    let bytes = line.text.trim_ascii();
    if bytes.is_empty() || bytes.starts_with(b"#") {
        return;
    }
    let row = *next;
    *next += 1;
    if line.cut {
        let text = bytes.get(..limits::GIVEN_BYTES_MAX).unwrap_or(bytes);
        return sink(HostRow { row, text, host: Err(ErrorKind::InputTooLong) });
    }
    let url = match text(bytes) {
        Ok(url) => url,
        Err(failure) => return sink(HostRow { row, text: bytes, host: Err(failure.kind) }),
    };
    if let Some(host) = plain(url) {
        return sink(HostRow { row, text: bytes, host: Ok(host) });
    }
    match urls.parse(url) {
        Ok(parsed) => sink(HostRow { row, text: bytes, host: Ok(parsed.host_str().unwrap_or_default()) }),
        Err(failure) => sink(HostRow { row, text: bytes, host: Err(failure.kind) }),
    }
}

/// The host of a URL that can be fetched, if it is a name in lower case that stands for itself: no address, no port, no
/// other character than letters, digits, hyphens and dots, no label in Punycode.
fn plain(url: &str) -> Option<&str> {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"))?;
    let bytes = rest.as_bytes();
    let (mut label, mut end) = (0, bytes.len());
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'x' if at == label && rest.get(at..).is_some_and(|label| label.starts_with("xn--")) => {
                return None;
            }
            b'a'..=b'z' | b'0'..=b'9' | b'-' => {}
            b'.' if at > label => label = at + 1,
            b'/' | b'?' | b'#' => {
                end = at;
                break;
            }
            _ => return None,
        }
    }
    let host = rest.get(..end)?;
    // A last label that begins with a digit may be that of an address.
    let is_name = bytes.get(label).is_some_and(u8::is_ascii_lowercase) && label < end;
    let has_control = bytes.iter().fold(false, |any, byte| any | (*byte < b' '));
    (is_name && !has_control).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::{Format, Options, Reader};
    use crate::job::HostKey;

    /// The hosts are those that the reader of rows finds, whatever the blocks.
    fn check(list: &[u8]) {
        let mut expected = Vec::new();
        let mut reader = Reader::new(Format::Text, Options::default());
        let mut sink = |read: crate::input::RowRead| {
            let row = read.row().0;
            expected.push((row, read.job.map(|job| job.host).map_err(|bad| bad.failure.kind)));
        };
        reader.push(list, &mut sink).unwrap();
        reader.finish(&mut sink).unwrap();
        for size in [1, 7, list.len().max(1)] {
            let mut found = Vec::new();
            let mut hosts = Hosts::default();
            let mut sink = |row: HostRow<'_>| found.push((row.row, row.host.map(HostKey::new)));
            list.chunks(size).for_each(|block| hosts.push(block, &mut sink).unwrap());
            hosts.finish(&mut sink).unwrap();
            assert_eq!(found, expected, "{}", String::from_utf8_lossy(list));
        }
    }

    #[test]
    fn hosts_are_those_of_parsed_urls() {
        check(b"");
        check(b"\xef\xbb\xbfhttp://a.test/\n\n# no\r\nhttps://b.test?x\rhttp://c.test#y");
        for url in [
            "http://A.test/",
            "http://a.test./x",
            "http://a..test/",
            "http://.a.test/",
            "http://a.test:80/",
            "http://a.test:0/",
            "http://a.test:99999/",
            "http://u:p@a.test/",
            "http://1.2.3.4/",
            "http://1.2.3/",
            "http://a.1/",
            "http://a.0x7/",
            "http://a.b2/",
            "http://localhost",
            "http://-a.test-/",
            "http://r3---sn-x.a.test/",
            "http://xn--a.test/",
            "http://xn--bcher-kva.test/",
            "http://a.xn--q/",
            "http://b\u{fc}cher.test/",
            "http://a_b.test/",
            "http://a%2etest/",
            "http:\\\\a.test\\b",
            "http:/a.test/b",
            "http:///a.test/b",
            "http://",
            "http:///",
            "https://?x",
            "http://[::1]/",
            "http://a b.test/",
            "http://a.test/a b",
            "http://a.test/\u{7}",
            "http://a.test/a\tb",
            "  http://a.test/  ",
            "ftp://a.test/",
            "a.test",
            "http://a.test/\0",
        ] {
            check(url.as_bytes());
        }
        check(b"http://a.test/\xff\nhttp://b.test/");
        check(&[b"http://a.test/".as_slice(), &[b'x'; limits::INPUT_ROW_BYTES_MAX]].concat());
        let label = "a".repeat(300);
        check(format!("http://{label}.test/").as_bytes());
    }

    #[test]
    fn a_list_in_utf16_is_refused() {
        assert!(Hosts::default().push(b"h\0t\0", &mut |_| {}).is_err());
    }
}
