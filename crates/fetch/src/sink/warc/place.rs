//! Where an archive goes on: its files, their names, and its checkpoint.

use std::io;
use std::path::{Path, PathBuf};

use overlapped_proto::journal::{Checkpoint, End};

/// The end of an archive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// The number of the file that is written to, from 0.
    pub(crate) number: u32,
    /// Its end.
    pub(crate) end: End,
    /// Bytes of the files before it.
    pub(crate) before: u64,
    /// A checksum of their ends.
    pub(crate) sum: u32,
    /// The end of the lines for the index.
    pub(crate) index: End,
}

impl Place {
    /// The beginning of the next file; `end`: of the one before.
    pub(crate) fn after(self, end: End) -> Self {
        let mut chain = End { bytes: 0, sum: self.sum };
        chain.append(&end.bytes.to_le_bytes());
        chain.append(&end.sum.to_le_bytes());
        Self {
            number: self.number + 1,
            end: End::default(),
            before: self.before + end.bytes,
            sum: chain.sum,
            ..self
        }
    }

    /// That of a checkpoint.
    ///
    /// # Errors
    ///
    /// The checkpoint is that of another kind of sink ([`io::ErrorKind::InvalidData`]).
    pub(crate) fn of(checkpoint: &Checkpoint) -> io::Result<Self> {
        if *checkpoint == Checkpoint::default() {
            return Ok(Self::default());
        }
        Self::decode(checkpoint)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the state has no length of it"))
    }

    fn decode(checkpoint: &Checkpoint) -> Option<Self> {
        fn take<const N: usize>(from: &mut &[u8]) -> Option<[u8; N]> {
            let (taken, rest) = from.split_first_chunk::<N>()?;
            *from = rest;
            Some(*taken)
        }
        let mut from = &*checkpoint.data;
        let number = u32::from_le_bytes(take(&mut from)?);
        let before = u64::from_le_bytes(take(&mut from)?);
        let [sum, end] = [u32::from_le_bytes(take(&mut from)?), u32::from_le_bytes(take(&mut from)?)];
        let index =
            End { bytes: u64::from_le_bytes(take(&mut from)?), sum: u32::from_le_bytes(take(&mut from)?) };
        let end = End { bytes: checkpoint.position.checked_sub(before)?, sum: end };
        from.is_empty().then_some(Self { number, end, before, sum, index })
    }
}

impl From<Place> for Checkpoint {
    fn from(place: Place) -> Self {
        let Place { number, end, before, sum, index } = place;
        let mut data = number.to_le_bytes().to_vec();
        data.extend_from_slice(&before.to_le_bytes());
        data.extend_from_slice(&sum.to_le_bytes());
        data.extend_from_slice(&end.sum.to_le_bytes());
        data.extend_from_slice(&index.bytes.to_le_bytes());
        data.extend_from_slice(&index.sum.to_le_bytes());
        Self { position: before + end.bytes, data: data.into() }
    }
}

/// The path of a file of the archive: the first has the name that was given, the next ones a number before the suffix.
pub(crate) fn file(path: &Path, number: u32) -> PathBuf {
    if number == 0 {
        return path.to_owned();
    }
    let (stem, suffix) = parts(path);
    path.with_file_name(format!("{stem}-{number:05}{suffix}"))
}

/// The path of its index.
pub(crate) fn index(path: &Path) -> PathBuf {
    path.with_file_name(format!("{}.cdxj", parts(path).0))
}

/// True if its records are compressed.
pub(super) fn is_packed(path: &Path) -> bool {
    parts(path).1.to_ascii_lowercase().ends_with(".gz")
}

fn parts(path: &Path) -> (String, String) {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let lower = name.to_ascii_lowercase();
    let suffix = [".warc.gz", ".warc"].into_iter().find(|suffix| lower.ends_with(suffix)).unwrap_or_default();
    let (stem, suffix) = name.split_at_checked(name.len() - suffix.len()).unwrap_or((&name, ""));
    (stem.to_owned(), suffix.to_owned())
}

/// Checks that no further file of an earlier archive is there, which would be taken for one of this archive.
///
/// # Errors
///
/// One is ([`io::ErrorKind::InvalidInput`]).
pub(super) fn check(path: &Path) -> io::Result<()> {
    let (stem, suffix) = parts(path);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Ok(entries) = folder.read_dir() else { return Ok(()) };
    let is_further = |name: &str| {
        let number =
            name.strip_prefix(&*stem).and_then(|rest| rest.strip_prefix('-')?.strip_suffix(&*suffix));
        number.is_some_and(|text| {
            text.len() >= 5 && text.bytes().all(|byte| byte.is_ascii_digit()) && text != "00000"
        })
    };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    match names.filter(|name| is_further(name)).min() {
        None => Ok(()),
        Some(name) => {
            let what = format!("{name} is there, of an earlier archive of this name");
            Err(io::Error::new(io::ErrorKind::InvalidInput, what))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_comes_back() {
        let end = |bytes, sum| End { bytes, sum };
        let place = Place { end: end(10, 2), index: end(3, 4), ..Place::default().after(end(1_000, 7)) };
        let checkpoint = Checkpoint::from(place);
        assert_eq!((checkpoint.position, Place::of(&checkpoint).unwrap()), (1_010, place));
        assert_ne!(Place::default().after(end(1_000, 8)).sum, place.sum);
        assert_eq!(Place::of(&Checkpoint::default()).unwrap(), Place::default());
        let lines = Checkpoint::from(end(10, 2));
        assert!(Place::of(&lines).is_err() && checkpoint.end().is_none(), "that of another kind of sink");
    }

    #[test]
    fn names_of_files() {
        let check = |path: &str, number, expected: &str| {
            assert_eq!(file(Path::new(path), number), Path::new(expected))
        };
        check("a/c.warc.gz", 0, "a/c.warc.gz");
        check("a/c.warc.gz", 1, "a/c-00001.warc.gz");
        check("C.WARC", 123_456, "C-123456.WARC");
        assert_eq!(index(Path::new("a/c.warc.gz")), Path::new("a/c.cdxj"));
        assert!(is_packed(Path::new("a.WARC.GZ")) && !is_packed(Path::new("a.gz.warc")));
    }
}
