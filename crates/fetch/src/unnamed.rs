//! Files without a name, for what need not outlive the run: nothing of them is left whatever happens.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::rlimit::{is_out_of_files, patiently};

/// A new file in `folder`, for its owner alone: a row may hold a password. `name` is only used, for a moment, where the
/// file system knows no files without one.
///
/// # Errors
///
/// The file cannot be made.
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
        // Not every file system can do that.
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
