//! What a run says about itself: while it runs, and when it has ended. Never to standard output, which is for data.

pub(crate) mod watch;
pub(crate) mod summary;
mod line;
pub(crate) mod figures;

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use crate::exit::Error;

/// Writes a file such that a reader finds the old one or the whole new one, never a part.
///
/// What is there and is no file, such as `/dev/stderr` or a pipe, is written to as it is: a rename would put a file
/// in its place.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    if path.metadata().is_ok_and(|found| !found.is_file()) {
        return fs::write(path, bytes).map_err(|error| Error::writing(path, &error));
    }
    let mut name = OsString::from(".");
    name.push(path.file_name().ok_or_else(|| Error::Output(format!("{} is no file name", path.display())))?);
    name.push(format!(".{}.part", std::process::id()));
    let part = path.with_file_name(name);
    let written = fs::write(&part, bytes).and_then(|()| fs::rename(&part, path));
    written.map_err(|error| {
        let _ = fs::remove_file(&part);
        Error::writing(path, &error)
    })
}
