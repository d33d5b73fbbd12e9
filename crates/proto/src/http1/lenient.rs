//! The lenient parser, for a head that the strict parser refuses. It reads heads as browsers and curl do, as long as every
//! reader finds the same end of the message: what could hide a `Content-Length` or `Transfer-Encoding` from one reader and
//! not from another is refused, because it allows response smuggling.
//!
//! It parses whole heads, in linear time.

use std::borrow::Cow;

use super::framing::trim;
use crate::error::ErrorKind;
use crate::header::is_token;
use crate::limits;
use crate::notes::{Note, Notes};
use crate::outcome::Failure;
use crate::record::HttpVersion;

/// A head in its parts.
#[derive(Debug)]
pub(super) struct Lines<'a> {
    pub(super) status: u16,
    pub(super) version: HttpVersion,
    pub(super) fields: Vec<(&'a str, Cow<'a, [u8]>)>,
    pub(super) notes: Notes,
    /// A `Content-Length` with blanks before its colon, which some readers ignore.
    pub(super) doubtful_length: bool,
}

/// What a folded line, which begins with a blank, continues.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Above {
    Field,
    /// The status line, or a line that was skipped.
    Nothing,
}

/// True if no head can begin so.
pub(super) fn is_no_head(input: &[u8]) -> bool {
    !input.iter().zip(b"HTTP/1.").all(|(byte, expected)| byte == expected)
}

/// The bytes of the head that `input` begins with, its empty line included.
pub(super) fn end_of_head(input: &[u8]) -> Option<usize> {
    memchr::memchr_iter(b'\n', input).find_map(|at| match input.get(at + 1..)? {
        [b'\n', ..] => Some(at + 2),
        [b'\r', b'\n', ..] => Some(at + 3),
        _ => None,
    })
}

impl<'a> Lines<'a> {
    /// Takes a whole head apart.
    ///
    /// # Errors
    ///
    /// `http.parse`: it is not HTTP/1.0 or 1.1, or could be read in two ways. `http.limit`: it has too many lines.
    pub(super) fn read(head: &'a [u8]) -> Result<Self, Failure> {
        if memchr::memchr(0, head).is_some() {
            return Err(refused("it has a NUL"));
        }
        if memchr::memchr_iter(b'\r', head).any(|at| head.get(at + 1) != Some(&b'\n')) {
            return Err(refused("it has a CR that ends no line"));
        }
        let mut lines =
            head.split(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        let mut read = Self::of_status_line(lines.next().unwrap_or_default())?;
        let mut above = Above::Nothing;
        for (count, line) in lines.take_while(|line| !line.is_empty()).enumerate() {
            if count == limits::HEADERS_MAX {
                return Err(Failure::new(ErrorKind::HttpLimit, "the response has too many fields"));
            }
            above = match line.first() {
                Some(b' ' | b'\t') => read.go_on(line, above)?,
                _ => read.begin(line)?,
            };
        }
        Ok(read)
    }

    fn of_status_line(line: &[u8]) -> Result<Self, Failure> {
        let wrong = || refused("it does not begin with a status line");
        let (version, rest) = match line.split_at_checked(9) {
            Some((b"HTTP/1.0 ", rest)) => (HttpVersion::Http10, rest),
            Some((b"HTTP/1.1 ", rest)) => (HttpVersion::Http11, rest),
            _ => return Err(wrong()),
        };
        let (digits, reason) = rest.split_first_chunk::<3>().ok_or_else(wrong)?;
        if !digits.iter().all(u8::is_ascii_digit) || !(reason.is_empty() || reason.starts_with(b" ")) {
            return Err(wrong());
        }
        let status = digits.iter().fold(0, |status, digit| status * 10 + u16::from(digit - b'0'));
        let mut notes = Notes::default();
        if has_control(reason) {
            notes.add(Note::ControlInValue);
        }
        Ok(Self { status, version, fields: Vec::new(), notes, doubtful_length: false })
    }

    /// A line that begins with a blank: it belongs to the one above.
    fn go_on(&mut self, line: &'a [u8], above: Above) -> Result<Above, Failure> {
        let more = trim(line);
        if resembles_framing(more) {
            return Err(refused("a folded line looks like a field that says where the body ends"));
        }
        let last = if above == Above::Field { self.fields.last_mut() } else { None };
        let Some((name, value)) = last else {
            self.notes.add(Note::LineSkipped);
            return Ok(Above::Nothing);
        };
        self.notes.add(Note::ObsFold);
        if more.is_empty() {
            return Ok(above);
        }
        if is_framing(name) {
            return Err(refused("a field that says where the body ends goes on in another line"));
        }
        if has_control(more) {
            self.notes.add(Note::ControlInValue);
        }
        let value = value.to_mut();
        if !value.is_empty() {
            value.push(b' ');
        }
        value.extend_from_slice(more);
        Ok(above)
    }

    /// A line of its own: a field, or one to be skipped.
    fn begin(&mut self, line: &'a [u8]) -> Result<Above, Failure> {
        let (given, value) = match memchr::memchr(b':', line).and_then(|colon| line.split_at_checked(colon)) {
            Some((name, value)) => (name, value.get(1..).unwrap_or_default()),
            None => (line, &b""[..]),
        };
        let name = trim(given);
        let is_field =
            given.len() < line.len() && !name.is_empty() && name.iter().all(|&byte| is_token(byte));
        let name = std::str::from_utf8(name).ok().filter(|_| is_field);
        let Some(name) = name else {
            if resembles_framing(given) {
                return Err(refused("a line that is no field looks like one that says where the body ends"));
            }
            self.notes.add(Note::LineSkipped);
            return Ok(Above::Nothing);
        };
        if name.len() < given.len() {
            self.notes.add(Note::SpaceBeforeColon);
            if name.eq_ignore_ascii_case("transfer-encoding") {
                return Err(refused("a Transfer-Encoding has blanks before its colon"));
            }
            self.doubtful_length |= name.eq_ignore_ascii_case("content-length");
        }
        let value = trim(value);
        if has_control(value) {
            self.notes.add(Note::ControlInValue);
            if is_framing(name) {
                return Err(refused("a field that says where the body ends has a control character"));
            }
        }
        self.fields.push((name, Cow::Borrowed(value)));
        Ok(Above::Field)
    }
}

fn is_framing(name: &str) -> bool {
    name.eq_ignore_ascii_case("content-length") || name.eq_ignore_ascii_case("transfer-encoding")
}

/// True if another reader might find a field in it that says where the body ends: its letters begin with such a name.
fn resembles_framing(text: &[u8]) -> bool {
    let letters = || text.iter().filter(|byte| byte.is_ascii_alphabetic()).map(u8::to_ascii_lowercase);
    let begins_with = |name: &[u8]| letters().take(name.len()).eq(name.iter().copied());
    begins_with(b"contentlength") || begins_with(b"transferencoding")
}

/// Control characters but the tab.
fn has_control(text: &[u8]) -> bool {
    text.iter().any(|&byte| (byte < 0x20 && byte != b'\t') || byte == 0x7f)
}

fn refused(why: &str) -> Failure {
    Failure::new(ErrorKind::HttpParse, format!("the head of the response cannot be used: {why}"))
}
