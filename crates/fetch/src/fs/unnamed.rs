//! Temporary files without a name, which the system removes when the process ends in any way.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::open_files::patiently;
use super::system;

/// A new file in `folder`, with access for its owner only, since a row may hold a password. Where the file system has no
/// files without a name, the file is created as `name` and unlinked at once.
///
/// # Errors
///
/// The file cannot be created.
///
/// # Blocking
///
/// On the disk, and as [`patiently`] does.
pub(crate) fn unnamed(folder: &Path, name: &str) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    patiently(|| create(folder, name, &options))
}

fn create(folder: &Path, name: &str, options: &OpenOptions) -> io::Result<File> {
    if let Some(file) = system::unnamed(folder, options)? {
        return Ok(file);
    }
    let path = folder.join(name);
    let file = options.clone().create_new(true).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

/// Frees the space of a part of a file, where the file system can.
pub(crate) fn punch_hole(file: &File, offset: u64, bytes: u64) {
    system::punch_hole(file, offset, bytes);
}
