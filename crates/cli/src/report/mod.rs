//! What a run says about itself: while it runs, and when it has ended. Never to standard output, which is for data.

pub(crate) mod watch;
pub(crate) mod summary;
mod line;
pub(crate) mod signals;
pub(crate) mod figures;

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::exit::Error;

/// Writes a file such that a reader finds the old one or the whole new one, never a part.
///
/// What is there and is no file, such as `/dev/stderr` or a pipe, is written to as it is: a rename would put a file
/// in its place.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    if path.metadata().is_ok_and(|found| !found.is_file()) {
        return fs::write(path, bytes).map_err(|error| Error::writing(path, &error));
    }
    let (part, file) = create_part(path)?;
    let written = (&file).write_all(bytes).and_then(|()| fs::rename(&part, path));
    written.map_err(|error| {
        let _ = fs::remove_file(&part);
        Error::writing(path, &error)
    })
}

/// A new file beside `path`. What has its name, such as a link that another user has put there, is left alone.
fn create_part(path: &Path) -> Result<(PathBuf, File), Error> {
    let name =
        path.file_name().ok_or_else(|| Error::Output(format!("{} is no file name", path.display())))?;
    let mut tries = 0..PART_TRIES_MAX;
    loop {
        let number = tries.next();
        let mut part = OsString::from(".");
        part.push(name);
        part.push(format!(".{}-{}.part", std::process::id(), number.unwrap_or(PART_TRIES_MAX)));
        let part = path.with_file_name(part);
        match File::create_new(&part) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && number.is_some() => {}
            made => return made.map(|file| (part, file)).map_err(|error| Error::writing(path, &error)),
        }
    }
}

/// Names that are tried for a file that is not whole yet.
const PART_TRIES_MAX: u32 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    /// The link was followed, and what it led to overwritten.
    #[test]
    fn a_link_in_the_place_of_a_part_is_left_alone() {
        let folder = std::env::temp_dir().join(format!("overlapped-part-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("theirs"), "theirs").unwrap();
        for number in 0..2 {
            let name = format!(".s.json.{}-{number}.part", std::process::id());
            std::os::unix::fs::symlink("theirs", folder.join(name)).unwrap();
        }
        write_whole(&folder.join("s.json"), b"{}").unwrap();
        assert_eq!(fs::read(folder.join("s.json")).unwrap(), b"{}");
        assert_eq!(fs::read(folder.join("theirs")).unwrap(), b"theirs");
        fs::remove_dir_all(&folder).unwrap();
    }
}
