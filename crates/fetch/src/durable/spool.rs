//! A list that comes through a pipe is gone when the process is; so it is written down while it is read.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// What the list is called while it is being read, and when it is all there.
pub(super) const NAMES: [&str; 2] = ["list", "list.whole"];

/// A list on its way through the run directory.
pub(crate) enum Spooled {
    /// It is all there, as a file.
    Whole(PathBuf),
    /// It is still read.
    Coming(Box<dyn Read + Send>),
}

/// Opens the list of the run in `directory`; what is not there yet comes `from` the pipe.
pub(super) fn open(directory: &Path, from: Box<dyn Read + Send>) -> io::Result<Spooled> {
    let [path, whole] = NAMES.map(|name| directory.join(name));
    if whole.exists() {
        return Ok(Spooled::Whole(whole));
    }
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&path)?;
    let known = file.metadata()?.len();
    Ok(Spooled::Coming(Box::new(Tee { from, file, known, path, whole })))
}

struct Tee {
    from: Box<dyn Read + Send>,
    file: File,
    /// Bytes that an earlier process has written down, and that are yet to come again.
    known: u64,
    path: PathBuf,
    whole: PathBuf,
}

impl Tee {
    /// What comes again must be what came before.
    fn compare(&mut self, block: &[u8]) -> io::Result<()> {
        let differs = |what: &str| Err(io::Error::new(io::ErrorKind::InvalidData, what.to_owned()));
        let mut before = vec![0; block.len()];
        self.file.read_exact(&mut before)?;
        self.known -= block.len() as u64;
        match (block.is_empty(), before == block) {
            (true, _) => {
                differs("it ends before the point that the stopped run had read: give all of it again")
            }
            (false, false) => differs("it is not the list that the stopped run was reading"),
            (false, true) => Ok(()),
        }
    }
}

impl Read for Tee {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.known > 0 {
            let room = buffer.len().min(usize::try_from(self.known).unwrap_or(usize::MAX));
            let count = self.from.read(buffer.get_mut(..room).unwrap_or_default())?;
            self.compare(buffer.get(..count).unwrap_or_default())?;
            return Ok(count);
        }
        let count = self.from.read(buffer)?;
        self.file.write_all(buffer.get(..count).unwrap_or_default())?;
        if count == 0 && !buffer.is_empty() {
            self.file.sync_all()?;
            std::fs::rename(&self.path, &self.whole)?;
        }
        Ok(count)
    }
}
