//! An incremental hash of the part of a list that was read, by which a resumed run checks that it is the same list.

use xxhash_rust::xxh3::Xxh3Default;

use crate::journal::Listed;

/// The length and the hash of a prefix of a list.
///
/// ```
/// use overlapped_proto::prefix::Prefix;
///
/// let (mut once, mut again) = (Prefix::default(), Prefix::default());
/// once.read(0, b"http://a/\nhttp://b/\n");
/// again.read(0, b"http://a/\n");
/// // Bytes that were hashed before are skipped.
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
    /// Adds a block that begins at byte `at` of the list. Bytes that were added before are skipped.
    ///
    /// # Panics
    ///
    /// If the block leaves a gap behind the bytes added before.
    pub fn read(&mut self, at: u64, block: &[u8]) {
        assert!(at <= self.bytes, "a list is read without a gap");
        let known = usize::try_from(self.bytes - at).unwrap_or(usize::MAX).min(block.len());
        let (_, new) = block.split_at(known);
        self.hash.update(new);
        self.bytes += new.len() as u64;
    }

    /// The number of bytes, and their hash.
    #[must_use]
    pub fn listed(&self) -> Listed {
        Listed { bytes: self.bytes, sum: self.hash.digest() }
    }
}
