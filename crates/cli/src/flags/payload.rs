//! The files of flags that make the body of a request. What is small is held, what is large stays on disk.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use overlapped_fetch::UploadFile;
use overlapped_proto::limits;

use crate::exit::Error;

/// A body.
pub(super) enum Payload {
    Bytes(Vec<u8>),
    File(UploadFile),
}

impl Payload {
    /// The body that these pieces make together.
    ///
    /// # Errors
    ///
    /// They cannot be read.
    pub(super) fn of(pieces: impl IntoIterator<Item = UploadFile>) -> Result<Self, Error> {
        let whole = UploadFile::joined(pieces);
        if whole.bytes() > limits::UPLOAD_HELD_BYTES_MAX {
            return Ok(Self::File(whole));
        }
        let mut bytes = Vec::new();
        let read = whole.reader().read_to_end(&mut bytes);
        read.map(|_| Self::Bytes(bytes)).map_err(|error| sending(&error))
    }
}

/// The error of a file that was opened.
pub(super) fn sending(error: &io::Error) -> Error {
    Error::Usage(format!("the body to send: {error}"))
}

/// Opens the files that make a body, and holds those that are small, together no more than a limit.
#[derive(Default)]
pub(super) struct Opener {
    /// Bytes that are held.
    held: u64,
}

impl Opener {
    /// The content of a file as it is; `-` is standard input. A large one is read while it is sent.
    pub(super) fn file(&mut self, path: &str) -> Result<UploadFile, Error> {
        let room = self.room();
        let is_large = |found: &std::fs::Metadata| found.is_file() && found.len() > room;
        if path != "-" && Path::new(path).metadata().is_ok_and(|found| is_large(&found)) {
            return UploadFile::open(Path::new(path)).map_err(|error| reading(path, &error));
        }
        self.read(path, |input| held(input, room))
    }

    /// The same without line ends and NULs, as curl reads the file of a form. What is large is copied to an unnamed file.
    pub(super) fn form(&mut self, path: &str) -> Result<UploadFile, Error> {
        let room = self.room();
        self.read(path, |input| held(WithoutLineEnds(input), room))
    }

    fn room(&self) -> u64 {
        limits::UPLOAD_HELD_BYTES_MAX.saturating_sub(self.held)
    }

    fn read(
        &mut self,
        path: &str,
        read: impl FnOnce(&mut dyn Read) -> io::Result<UploadFile>,
    ) -> Result<UploadFile, Error> {
        let room = self.room();
        let file = match path {
            "-" => read(&mut io::stdin().lock()),
            path => File::open(path).and_then(|mut file| read(&mut file)),
        };
        let file = file.map_err(|error| reading(path, &error))?;
        // What is larger is on disk.
        self.held += Some(file.bytes()).filter(|bytes| *bytes <= room).unwrap_or(0);
        Ok(file)
    }
}

/// What a pipe has is needed again for further rows, redirects and retries.
fn held(mut input: impl Read, room: u64) -> io::Result<UploadFile> {
    let mut start = Vec::new();
    input.by_ref().take(room + 1).read_to_end(&mut start)?;
    if start.len() as u64 <= room {
        return Ok(UploadFile::held(start));
    }
    UploadFile::spool(Read::chain(&*start, input))
}

struct WithoutLineEnds<R>(R);

impl<R: Read> Read for WithoutLineEnds<R> {
    fn read(&mut self, block: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.0.read(block)?;
            let mut kept = 0;
            for at in 0..read {
                if block.get(at).is_some_and(|byte| !matches!(byte, b'\r' | b'\n' | 0)) {
                    block.swap(kept, at);
                    kept += 1;
                }
            }
            if kept > 0 || read == 0 {
                return Ok(kept);
            }
        }
    }
}

fn reading(path: &str, error: &io::Error) -> Error {
    Error::reading(Path::new(path), error)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// However many files there are, what is held of them has one limit.
    #[test]
    fn many_small_files_are_not_all_held() {
        let path = std::env::temp_dir().join(format!("overlapped-payload-{}", std::process::id()));
        std::fs::write(&path, vec![b'x'; 300 << 10]).unwrap();
        let (mut opener, name) = (Opener::default(), path.to_str().unwrap());
        let files: Vec<_> = (0..10).map(|_| opener.file(name).unwrap()).collect();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(opener.held, 3 * (300 << 10));
        let Ok(Payload::File(whole)) = Payload::of(files) else { panic!("it is large") };
        let mut content = Vec::new();
        whole.reader().read_to_end(&mut content).unwrap();
        assert!(content == vec![b'x'; 10 * (300 << 10)] && whole.bytes() == content.len() as u64);
    }
}
