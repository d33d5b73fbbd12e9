//! The progress of a run, and its summary at the end. Never to standard output, which is for data.

pub(crate) mod watch;
pub(crate) mod summary;
mod line;
pub(crate) mod signals;
pub(crate) mod figures;

use std::io::Write as _;
use std::path::Path;

use overlapped_fetch::WholeFile;

use crate::exit::Error;

/// The permission bits of a file, before those that the user's mask takes.
pub(crate) const MODE: u32 = 0o666;

/// Writes a file such that a reader finds the old one or the whole new one, never a part. A link is replaced.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let written = WholeFile::create(path, MODE).and_then(|mut file| {
        file.write_all(bytes)?;
        file.finish()
    });
    written.map_err(|error| Error::writing(path, &error))
}
