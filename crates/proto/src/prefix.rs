//! How much of a list was read, and by what that part is known again: a hash that grows with what is read.

use xxhash_rust::xxh3::Xxh3Default;

use crate::journal::Listed;

/// The first bytes of a list, as they are read.
///
/// ```
/// use overlapped_proto::prefix::Prefix;
///
/// let (mut once, mut again) = (Prefix::default(), Prefix::default());
/// once.read(0, b"http://a/\nhttp://b/\n");
/// again.read(0, b"http://a/\n");
/// // What was read before is passed over.
/// again.read(5, b"//a/\nhttp://b/\n");
/// assert_eq!(once.listed(), again.listed());
/// assert_eq!(once.listed().bytes, 20);
/// ```
#[derive(Clone, Default)]
pub struct Prefix {
    hash: Xxh3Default,
    bytes: u64,
}

impl std::fmt::Debug for Prefix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.listed().fmt(f)
    }
}

impl Prefix {
    /// These bytes were read, the first of them at byte `at` of the list.
    ///
    /// # Panics
    ///
    /// If bytes before them were not.
    pub fn read(&mut self, at: u64, block: &[u8]) {
        assert!(at <= self.bytes, "a list is read without a gap");
        let known = usize::try_from(self.bytes - at).unwrap_or(usize::MAX).min(block.len());
        let (_, new) = block.split_at(known);
        self.hash.update(new);
        self.bytes += new.len() as u64;
    }

    /// How many bytes that are, and their hash.
    #[must_use]
    pub fn listed(&self) -> Listed {
        Listed { bytes: self.bytes, sum: self.hash.digest() }
    }
}
