//! The payloads that an archive has, by their digests: the ones met last, in bounded memory.

use std::hash::RandomState;

use overlapped_proto::limits;
use overlapped_proto::lru::Lru;
use overlapped_proto::record::warc::{Digest, Original, RecordId};

/// The payloads met last.
#[derive(Default)]
pub(super) struct Seen {
    known: Lru<Digest, Capture, RandomState>,
    /// Bytes of their URLs.
    bytes: usize,
}

/// The record that has a payload.
#[derive(Clone, Debug)]
pub(super) struct Capture {
    pub(super) id: RecordId,
    pub(super) unix_us: i64,
    pub(super) target: Box<str>,
}

impl Capture {
    pub(super) fn original(&self) -> Original<'_> {
        Original { id: self.id, unix_us: self.unix_us, target: &self.target }
    }
}

impl Seen {
    pub(super) fn find(&mut self, digest: &Digest) -> Option<Capture> {
        self.known.get(digest).cloned()
    }

    /// Adds a payload that is not in it; the ones met longest ago go.
    pub(super) fn insert(&mut self, digest: Digest, capture: Capture) {
        self.bytes += capture.target.len();
        self.known.insert(digest, capture);
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
        let digest = |number: u64| {
            let mut digest = Digest::default();
            digest.iter_mut().zip(number.to_le_bytes()).for_each(|(to, byte)| *to = byte);
            digest
        };
        let id = RecordId::new(0, 0, Some(Row(0)), 0, Kind::Response);
        let add = |seen: &mut Seen, number, length: usize| {
            seen.insert(digest(number), Capture { id, unix_us: 0, target: "x".repeat(length).into() });
        };
        let most = limits::WARC_PAYLOADS_MAX as u64;
        (0..most + 10).for_each(|number| add(&mut seen, number, 20));
        assert_eq!(seen.known.len() as u64, most);
        assert!(seen.find(&digest(9)).is_none() && seen.find(&digest(10)).is_some());
        add(&mut seen, u64::MAX, limits::WARC_PAYLOADS_BYTES_MAX - 20);
        assert_eq!(seen.known.len(), 2);
    }
}
