//! The encoding of a spilled row: its position in the list, or all of its content.
//!
//! Positions are delta-encoded: a row that directly follows the one before it, as in a list sorted by host, takes one or
//! two bytes. Only rows that were not tried yet are spilled, so no state of an attempt is encoded.

use std::ops::RangeInclusive;

use crate::input::url;
use crate::job::{Ask, Job, Method, Row, Span};
use crate::time::Nanos;
use crate::varint;

/// A decoded row.
#[derive(Clone, Debug)]
pub enum Entry {
    /// It is to be read again from its list.
    Listed(Row, Span),
    /// Its whole content.
    Whole(Box<Job>),
}

impl Entry {
    /// Its position in the list, if it is to be read again.
    #[must_use]
    pub fn place(&self) -> Option<(Row, Span)> {
        match self {
            Self::Listed(row, span) => Some((*row, *span)),
            Self::Whole(_) => None,
        }
    }
}

/// The row right behind the last one, in the list and in the file; its length is in the higher bits.
const FOLLOWS: u64 = 0;
/// Another row of the file, with its number, offset and length.
const LISTED: u64 = 1;
/// A row with its whole content.
const WHOLE: u64 = 2;
const KIND_BITS: u32 = 2;

/// The lengths of a line end.
const GAPS: RangeInclusive<u64> = 1..=2;

/// The state of the delta encoding after the rows before. Encoder and decoder pass through the same states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Before {
    /// The number of the row that would follow.
    row: u64,
    /// The offset where the last row ended.
    end: u64,
    /// Bytes between two rows.
    gap: u64,
}

impl Before {
    pub(super) const START: Self = Self { row: 0, end: 0, gap: 1 };

    pub(super) fn put(&mut self, job: &Job, out: &mut Vec<u8>) {
        match job.span {
            Some(span) if job.row.0 == self.row && span.offset() == self.end + self.gap => {
                varint::put((span.bytes() << KIND_BITS) | FOLLOWS, out);
            }
            Some(span) => {
                varint::put(LISTED, out);
                put_apart(job.row.0, self.row, out);
                put_apart(span.offset(), self.end, out);
                varint::put(span.bytes(), out);
            }
            None => {
                let mut whole = Vec::new();
                put_job(job, &mut whole);
                varint::put(WHOLE, out);
                put_apart(job.row.0, self.row, out);
                put_bytes(&whole, out);
            }
        }
        self.pass(job.row, job.span);
    }

    /// Decodes a row from the front of `bytes`; `None` if it is incomplete, and then nothing is taken.
    pub(super) fn take(&mut self, bytes: &mut &[u8]) -> Option<Entry> {
        let mut rest = *bytes;
        let first = varint::take(&mut rest)?;
        let entry = match first & ((1 << KIND_BITS) - 1) {
            FOLLOWS => {
                let span = Span::new(self.end.checked_add(self.gap)?, first >> KIND_BITS)?;
                Entry::Listed(Row(self.row), span)
            }
            LISTED => {
                let row = take_apart(self.row, &mut rest)?;
                let offset = take_apart(self.end, &mut rest)?;
                Entry::Listed(Row(row), Span::new(offset, varint::take(&mut rest)?)?)
            }
            WHOLE => {
                let row = take_apart(self.row, &mut rest)?;
                Entry::Whole(Box::new(take_job(Row(row), &mut take_bytes(&mut rest)?)?))
            }
            _ => return None,
        };
        match &entry {
            Entry::Listed(row, span) => self.pass(*row, Some(*span)),
            Entry::Whole(job) => self.pass(job.row, None),
        }
        *bytes = rest;
        Some(entry)
    }

    fn pass(&mut self, row: Row, span: Option<Span>) {
        if let Some(span) = span {
            let gap = span.offset().wrapping_sub(self.end);
            if row.0 == self.row && GAPS.contains(&gap) {
                self.gap = gap;
            }
            self.end = span.end();
        }
        self.row = row.0.wrapping_add(1);
    }
}

fn put_job(job: &Job, out: &mut Vec<u8>) {
    // A row that was not tried has nothing else: its host is that of its URL, and its times begin when it is read back.
    let Job { row: _, span: _, url: _, host: _, given: _, ask, became_get: _, crossed_origin: _, .. } = job;
    put_bytes(job.given().as_bytes(), out);
    varint::put(u64::from(ask.is_some()), out);
    if let Some(ask) = ask {
        put_ask(ask, out);
    }
}

fn take_job(row: Row, bytes: &mut &[u8]) -> Option<Job> {
    let given = take_text(bytes)?;
    let mut job = Job::new(row, url::parse(given).ok()?).given_as(given);
    if varint::take(bytes)? > 0 {
        job.ask = Some(Box::new(take_ask(bytes)?));
    }
    Some(job)
}

fn put_ask(ask: &Ask, out: &mut Vec<u8>) {
    let Ask {
        id,
        method,
        headers,
        body,
        body_file,
        out: path,
        etag,
        last_modified,
        sha256,
        timeout,
        meta,
        meta_dropped,
    } = ask;
    let method = method.as_ref().map(Method::as_str);
    let texts = [id, body_file, path, etag, last_modified, meta].map(Option::as_deref);
    for text in [method].into_iter().chain(texts) {
        put_optional(text.map(str::as_bytes), out);
    }
    varint::put(u64::from(*meta_dropped), out);
    put_optional(body.as_deref(), out);
    put_optional(sha256.as_ref().map(|digest| digest.as_slice()), out);
    put_optional(timeout.map(|timeout| timeout.0.to_le_bytes()).as_ref().map(<[u8; 8]>::as_slice), out);
    varint::put(headers.len() as u64, out);
    for (name, value) in headers {
        put_bytes(name.as_bytes(), out);
        put_bytes(value.as_bytes(), out);
    }
}

fn take_ask(bytes: &mut &[u8]) -> Option<Ask> {
    let mut text = || Some(take_optional(bytes)?.map(std::str::from_utf8).transpose().ok()?.map(Box::from));
    let (method, id): (Option<Box<str>>, _) = (text()?, text()?);
    let (body_file, out, etag, last_modified, meta) = (text()?, text()?, text()?, text()?, text()?);
    let meta_dropped = varint::take(bytes)? > 0;
    let body = take_optional(bytes)?.map(Into::into);
    let sha256 = take_optional(bytes)?.map(TryInto::try_into).transpose().ok()?;
    let timeout = take_optional(bytes)?.map(TryInto::try_into).transpose().ok()?;
    let mut ask = Ask {
        id,
        method: method.map(|method| Method::parse(&method).ok_or(())).transpose().ok()?,
        headers: Vec::new(),
        body,
        body_file,
        out,
        etag,
        last_modified,
        sha256,
        timeout: timeout.map(|timeout| Nanos(u64::from_le_bytes(timeout))),
        meta,
        meta_dropped,
    };
    for _ in 0..varint::take(bytes)? {
        ask.headers.push((take_text(bytes)?.into(), take_text(bytes)?.into()));
    }
    Some(ask)
}

fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    varint::put(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

fn take_bytes<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let count = varint::take(bytes)?;
    varint::take_bytes(bytes, count)
}

fn take_text<'a>(bytes: &mut &'a [u8]) -> Option<&'a str> {
    std::str::from_utf8(take_bytes(bytes)?).ok()
}

fn put_optional(bytes: Option<&[u8]>, out: &mut Vec<u8>) {
    varint::put(u64::from(bytes.is_some()), out);
    if let Some(bytes) = bytes {
        put_bytes(bytes, out);
    }
}

fn take_optional<'a>(bytes: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    match varint::take(bytes)? {
        0 => Some(None),
        _ => take_bytes(bytes).map(Some),
    }
}

/// Appends a number as its difference from `from`, zigzag-encoded.
fn put_apart(number: u64, from: u64, out: &mut Vec<u8>) {
    let apart = number.wrapping_sub(from).cast_signed();
    varint::put(((apart << 1) ^ (apart >> 63)).cast_unsigned(), out);
}

fn take_apart(from: u64, bytes: &mut &[u8]) -> Option<u64> {
    let folded = varint::take(bytes)?;
    Some(from.wrapping_add((folded >> 1) ^ (folded & 1).wrapping_neg()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(row: u64, offset: u64, bytes: u64) -> Job {
        let job = Job::new(Row(row), "http://a/".parse().unwrap());
        Job { span: Span::new(offset, bytes), ..job }
    }

    /// Writes rows down and reads them again; answers with how many bytes each took.
    fn check(jobs: &[Job]) -> Vec<usize> {
        let (mut before, mut out, mut lengths) = (Before::START, Vec::new(), Vec::new());
        for job in jobs {
            let length = out.len();
            before.put(job, &mut out);
            lengths.push(out.len() - length);
        }
        let (mut before, mut rest) = (Before::START, out.as_slice());
        for job in jobs {
            for cut in 0..rest.len().min(lengths[0]) {
                let (mut none, mut part) = (before, &rest[..cut.min(rest.len() - 1)]);
                if none.take(&mut part).is_none() {
                    assert_eq!((none, part.len()), (before, cut.min(rest.len() - 1)), "nothing is taken");
                }
            }
            match before.take(&mut rest).unwrap() {
                Entry::Listed(row, span) => assert_eq!((row, Some(span)), (job.row, job.span)),
                Entry::Whole(back) => assert_eq!(format!("{back:?}"), format!("{job:?}")),
            }
        }
        assert!(rest.is_empty());
        lengths
    }

    #[test]
    fn rows_that_follow_take_two_bytes() {
        assert_eq!(check(&[listed(0, 0, 20), listed(1, 21, 20), listed(2, 42, 80)]), [4, 1, 2]);
        // CRLF, a comment between two rows, a row of another host between.
        assert_eq!(check(&[listed(0, 0, 20), listed(1, 22, 20), listed(2, 44, 20)]), [4, 4, 1]);
        assert_eq!(check(&[listed(7, 99, 20), listed(8, 150, 20), listed(9, 171, 20)]), [5, 4, 1]);
        assert_eq!(check(&[listed(7, 99, 20), listed(9, 150, 20), listed(10, 171, 20)]), [5, 4, 1]);
    }

    #[test]
    fn any_order_comes_back() {
        let far = (1 << 46) - 1;
        check(&[listed(9, far, 1), listed(3, 0, (1 << 18) - 1), listed(u64::MAX, 5, 5), listed(0, far, 9)]);
    }

    #[test]
    fn all_that_a_row_says_comes_back() {
        let text = || Some(Box::from("t\u{e4}xt\n"));
        let asks = [
            Ask::default(),
            Ask { id: text(), ..Ask::default() },
            Ask { method: Some(Method::Post), ..Ask::default() },
            Ask { method: Some(Method::Other("purge".into())), ..Ask::default() },
            Ask { headers: vec![("a".into(), "b".into()), ("a".into(), "".into())], ..Ask::default() },
            Ask { body: Some(Box::from([0, 255, 10])), ..Ask::default() },
            Ask { body: Some(Box::from([])), ..Ask::default() },
            Ask { body_file: text(), ..Ask::default() },
            Ask { out: text(), ..Ask::default() },
            Ask { etag: text(), ..Ask::default() },
            Ask { last_modified: text(), ..Ask::default() },
            Ask { sha256: Some([7; 32]), ..Ask::default() },
            Ask { timeout: Some(Nanos::MAX), ..Ask::default() },
            Ask { meta: Some("{\"a\":1}".into()), ..Ask::default() },
            Ask { meta_dropped: true, ..Ask::default() },
        ];
        let job = |row, given: &str| Job::new(Row(row), given.parse().unwrap()).given_as(given);
        let mut jobs = vec![job(4, "http://a/"), job(5, "HTTP://u:p@\u{e4}.example:80/\u{e4} b?#f")];
        jobs.extend(
            (0..).zip(asks).map(|(row, ask)| Job { ask: Some(Box::new(ask)), ..job(row, "http://b/") }),
        );
        jobs.push(listed(90, 90, 90));
        check(&jobs);
    }
}
