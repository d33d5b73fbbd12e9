//! Temporary files without a name, which the system removes when the process ends in any way.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::rlimit::{is_out_of_files, patiently};

/// A new file in `folder`, with access for its owner only, since a row may hold a password. Where the file system does
/// not support `O_TMPFILE`, the file is created as `name` and unlinked at once.
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
    #[cfg(target_os = "linux")]
    {
        let mut unnamed = options.clone();
        unnamed.custom_flags(rustix::fs::OFlags::TMPFILE.bits().cast_signed());
        // Not every file system supports this.
        match unnamed.open(folder) {
            Err(error) if !is_out_of_files(&error) => {}
            opened => return opened,
        }
    }
    let path = folder.join(name);
    let file = options.clone().create_new(true).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}
