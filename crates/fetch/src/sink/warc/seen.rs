//! The payloads that an archive has, by their digests and framing: the ones met last, in bounded memory.
//!
//! A `revisit` has the head of its own response and the body of another record. Readers, among them pywb, take the framing of that
//! body from the head, so a response without chunks must not refer to a body that is in chunks.

use std::hash::RandomState;
use std::sync::Arc;

use overlapped_proto::limits;
use overlapped_proto::lru::Lru;
use overlapped_proto::record::warc::{Digest, Original, RecordId};

/// The payloads met last.
#[derive(Default)]
pub(super) struct Seen {
    known: Lru<Payload, Capture, RandomState>,
    /// Bytes of their URLs.
    bytes: usize,
}

/// A payload as it is in a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Payload {
    pub(super) digest: Digest,
    /// It is in chunks there.
    pub(super) is_chunked: bool,
}

/// The record that has a payload.
#[derive(Clone, Debug)]
pub(super) struct Capture {
    pub(super) id: RecordId,
    pub(super) unix_us: i64,
    pub(super) target: Arc<str>,
}

impl Capture {
    pub(super) fn original(&self) -> Original<'_> {
        Original { id: self.id, unix_us: self.unix_us, target: &self.target }
    }
}

impl Seen {
    pub(super) fn find(&mut self, payload: &Payload) -> Option<Capture> {
        self.known.get(payload).cloned()
    }

    /// Adds a payload that is not in it; the ones met longest ago go.
    pub(super) fn insert(&mut self, payload: Payload, capture: Capture) {
        self.bytes += capture.target.len();
        self.known.insert(payload, capture);
        while self.known.len() > limits::WARC_PAYLOADS_MAX || self.bytes > limits::WARC_PAYLOADS_BYTES_MAX {
            let Some((_, oldest)) = self.known.pop_oldest() else { break };
            self.bytes -= oldest.target.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use overlapped_proto::job::Row;
    use overlapped_proto::record::warc::Kind;

    use super::*;

    #[test]
    fn the_table_is_bounded() {
        let mut seen = Seen::default();
        let payload = |number: u64| {
            let mut digest = Digest::default();
            digest.iter_mut().zip(number.to_le_bytes()).for_each(|(to, byte)| *to = byte);
            Payload { digest, is_chunked: false }
        };
        let id = RecordId::new(0, 0, Some(Row(0)), 0, Kind::Response);
        let add = |seen: &mut Seen, number, length: usize| {
            seen.insert(payload(number), Capture { id, unix_us: 0, target: "x".repeat(length).into() });
        };
        let most = limits::WARC_PAYLOADS_MAX as u64;
        (0..most + 10).for_each(|number| add(&mut seen, number, 20));
        assert_eq!(seen.known.len() as u64, most);
        assert!(seen.find(&payload(9)).is_none() && seen.find(&payload(10)).is_some());
        add(&mut seen, u64::MAX, limits::WARC_PAYLOADS_BYTES_MAX - 20);
        assert_eq!(seen.known.len(), 2);
    }
}
