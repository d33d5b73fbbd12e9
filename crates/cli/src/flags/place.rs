//! Where a run has its files: what it writes has a directory, and no two of its files are the same.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use overlapped_fetch::WholeFile;

use crate::exit::Error;

/// A path of the command, and what names it there.
pub(crate) type Named<'a> = (&'static str, &'a Path);

/// The files that the run writes, and the lists that it reads.
///
/// # Errors
///
/// [`Error::Usage`]: a written one is the same file as another, in whatever spelling.
pub(super) fn distinct(written: &[Named<'_>], lists: &[Named<'_>]) -> Result<Vec<PathBuf>, Error> {
    let all = [written, lists].concat();
    for (at, (flag, path)) in written.iter().enumerate() {
        if let Some((other, _)) = all.iter().skip(at + 1).find(|(_, other)| is_same(path, other)) {
            let shown = path.display();
            return Err(Error::Usage(format!("{flag} {shown} is the file of {other} as well: name another")));
        }
    }
    Ok(all.into_iter().map(|(_, path)| path.to_owned()).collect())
}

/// What is written has a directory to be in, before anything is fetched.
pub(super) fn check_directories<'a>(written: impl Iterator<Item = Named<'a>>) -> Result<(), Error> {
    for (flag, path) in written {
        let above = path.parent().unwrap_or(Path::new(""));
        let missing = above.metadata().is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
        if missing && above != Path::new("") {
            return Err(Error::Usage(format!(
                "{flag} {}: there is no directory {}: make it first (mkdir -p)",
                path.display(),
                above.display()
            )));
        }
    }
    Ok(())
}

/// What is written whole replaces a plain file or a symbolic link, before anything is fetched: a named pipe could have been
/// put there by another user, and is not waited for.
///
/// # Errors
///
/// [`Error::Output`]: there is something else. [`Error::Usage`]: only another user may replace it.
pub(crate) fn check_replaced<'a>(written: impl IntoIterator<Item = Named<'a>>) -> Result<(), Error> {
    written.into_iter().try_for_each(|(flag, path)| {
        WholeFile::check(path).map_err(|error| {
            let shown = path.display();
            if error.kind() == io::ErrorKind::PermissionDenied {
                return Error::Usage(format!("cannot write to {shown}: {error}: name another {flag}"));
            }
            Error::Output(format!("cannot write to {shown}: {error}: remove it, or name another {flag}"))
        })
    })
}

/// No file or directory of the command is where the run keeps its state, in whatever spelling and through whatever link:
/// files of the state are replaced and removed without asking.
///
/// # Errors
///
/// [`Error::Usage`]: one is there.
pub(super) fn check_apart(state: &Path, named: &[Named<'_>]) -> Result<(), Error> {
    let Some(resolved_state) = resolved(state) else { return Ok(()) };
    let is_inside = |path: &Path| resolved(path).is_some_and(|path| path.starts_with(&resolved_state));
    match named.iter().find(|(_, path)| is_inside(path)) {
        None => Ok(()),
        Some((flag, path)) => Err(Error::Usage(format!(
            "{flag} {} is in {}, where a run keeps its state: name another",
            path.display(),
            state.display()
        ))),
    }
}

/// True if both are one file, or will be. A device may be named as often as one likes.
fn is_same(a: &Path, b: &Path) -> bool {
    let is_one = |a: &fs::Metadata, b: &fs::Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
    if let (Ok(a), Ok(b)) = (a.metadata(), b.metadata()) {
        return a.is_file() && is_one(&a, &b);
    }
    let folder = |path: &Path| match path.parent() {
        Some(above) if !above.as_os_str().is_empty() => above.metadata().ok(),
        _ => Path::new(".").metadata().ok(),
    };
    a.file_name() == b.file_name() && folder(a).zip(folder(b)).is_some_and(|(a, b)| is_one(&a, &b))
}

/// The path without links, `.` and `..`. What does not exist yet has the name that it is given.
fn resolved(path: &Path) -> Option<PathBuf> {
    let mut missing: Vec<OsString> = Vec::new();
    let mut above = std::path::absolute(path).ok()?;
    loop {
        if let Ok(real) = above.canonicalize() {
            return Some(missing.iter().rev().fold(real, |path, name| path.join(name)));
        }
        missing.push(above.file_name()?.to_owned());
        above.pop();
    }
}
