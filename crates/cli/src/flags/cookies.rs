//! `-b` and `-c`: the cookies that every request carries, and the jar of the run.

use std::io;
use std::path::{Path, PathBuf};

use overlapped_fetch::{CookieJar, CookieLines};

use super::fetch::Flags;
use crate::exit::Error;

/// The jar of a run, and its files.
#[derive(Debug)]
pub(crate) struct Cookies {
    pub(crate) jar: CookieJar,
    /// Where it is written at the end.
    pub(crate) kept: Option<Kept>,
    /// What the files have that it was read from.
    pub(crate) read: Vec<(PathBuf, CookieLines)>,
}

/// The value of `-c`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    /// `-`
    Stdout,
    File(PathBuf),
}

/// The jar, if `-c` or a `-b` with a file asks for one.
///
/// # Errors
///
/// A file cannot be read, or has no cookies.
pub(super) fn jar(flags: &Flags) -> Result<Option<Cookies>, Error> {
    let files: Vec<&str> = values(flags).filter(|value| !is_text(value)).collect();
    if files.is_empty() && flags.cookie_jar.is_none() {
        return Ok(None);
    }
    let kept = match &flags.cookie_jar {
        Some(path) if path == Path::new("-") => Some(Kept::Stdout),
        path => path.clone().map(Kept::File),
    };
    let mut cookies = Cookies { jar: CookieJar::new(), kept, read: Vec::new() };
    for path in files.into_iter().filter(|file| !file.is_empty()).map(Path::new) {
        match cookies.jar.read(path) {
            // The file of `-c` is not there before the first run.
            Err(error)
                if error.kind() == io::ErrorKind::NotFound && flags.cookie_jar.as_deref() == Some(path) => {}
            Err(error) => return Err(Error::reading(path, &error)),
            Ok(lines) if lines.strange > 0 && lines.cookies == 0 && cookies.jar.is_empty() => {
                return Err(Error::Usage(format!(
                    "-b {}: there are no cookies in this file; it must be in the format of Netscape, which curl, wget \
                     and browsers' exports use",
                    path.display()
                )));
            }
            Ok(lines) => cookies.read.push((path.to_owned(), lines)),
        }
    }
    Ok(Some(cookies))
}

/// The `Cookie` field of every request.
pub(super) fn text(flags: &Flags) -> Option<String> {
    let texts: Vec<&str> = values(flags).filter(|value| is_text(value)).collect();
    (!texts.is_empty()).then(|| texts.join("; "))
}

fn values(flags: &Flags) -> impl Iterator<Item = &str> {
    flags.cookies.iter().map(String::as_str)
}

/// As with curl, a value with `=` is text, and any other the name of a file.
pub(crate) fn is_text(value: &str) -> bool {
    value.contains('=')
}
