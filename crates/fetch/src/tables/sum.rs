//! A sum of the content of a table in Parquet, in the metadata at its end: flipped bits in a page are noticed before a row of
//! it is used. Parquet has sums of pages of its own, which the writer of this program's library does not make.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt as _;

use overlapped_proto::limits::SHARD_READ_BYTES;
use overlapped_proto::prefix::Prefix;
use parquet::file::metadata::{KeyValue, ParquetMetaData};

const KEY: &str = "overlapped.sum";

/// A writer that sums what is written.
pub(crate) struct Summed<W> {
    to: W,
    prefix: Prefix,
}

impl<W: Write> Summed<W> {
    pub(crate) fn new(to: W) -> Self {
        Self { to, prefix: Prefix::default() }
    }

    /// The field of the metadata with the sum of what is written so far.
    pub(crate) fn field(&self) -> KeyValue {
        let listed = self.prefix.listed();
        KeyValue { key: KEY.to_owned(), value: Some(format!("{} {:016x}", listed.bytes, listed.sum)) }
    }

    /// How much is written.
    pub(crate) fn bytes(&self) -> u64 {
        self.prefix.listed().bytes
    }

    pub(crate) fn into_inner(self) -> W {
        self.to
    }
}

impl<W: Write> Write for Summed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.to.write(bytes)?;
        let at = self.bytes();
        self.prefix.read(at, bytes.get(..count).unwrap_or_default());
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Compares the content of a table with its sum, if it has one.
///
/// # Errors
///
/// [`io::ErrorKind::InvalidData`]: they differ. Other kinds: the file cannot be read.
///
/// # Blocking
///
/// On the disk, until the file is read.
pub(super) fn check(file: &File, metadata: &ParquetMetaData) -> io::Result<()> {
    let fields = metadata.file_metadata().key_value_metadata();
    let Some(field) = fields.and_then(|fields| fields.iter().find(|field| field.key == KEY)) else {
        return Ok(());
    };
    let differs = || {
        let message = "its content is not what was written: some bytes of it were changed; write it again";
        io::Error::new(io::ErrorKind::InvalidData, message)
    };
    let text = field.value.as_deref().unwrap_or_default();
    let expected = text
        .split_once(' ')
        .and_then(|(bytes, sum)| Some((bytes.parse::<u64>().ok()?, u64::from_str_radix(sum, 16).ok()?)));
    let (bytes, sum) = expected.ok_or_else(differs)?;
    if bytes > file.metadata()?.len() {
        return Err(differs());
    }
    let mut prefix = Prefix::default();
    let mut block = vec![0; SHARD_READ_BYTES];
    let mut at = 0;
    while at < bytes {
        let count = usize::try_from(bytes - at).unwrap_or(usize::MAX).min(block.len());
        let (part, _) = block.split_at_mut(count);
        file.read_exact_at(part, at)?;
        prefix.read(at, part);
        at += count as u64;
    }
    if prefix.listed().sum == sum { Ok(()) } else { Err(differs()) }
}
