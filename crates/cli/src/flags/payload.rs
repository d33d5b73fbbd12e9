//! The file of a flag that is the whole body of a request. What is small is held, what is large stays on disk.

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

/// The content of a file as it is; `-` is standard input. A large one is read while it is sent.
pub(super) fn of_file(path: &str) -> Result<Payload, Error> {
    let is_large = |found: &std::fs::Metadata| found.is_file() && found.len() > limits::UPLOAD_HELD_BYTES_MAX;
    if path != "-" && Path::new(path).metadata().is_ok_and(|found| is_large(&found)) {
        return UploadFile::open(Path::new(path)).map(Payload::File).map_err(|error| reading(path, &error));
    }
    read(path, |input| held(input))
}

/// The same without line ends and NULs, as curl reads the file of a form. What is large is copied to an unnamed file.
pub(super) fn of_form(path: &str) -> Result<Payload, Error> {
    read(path, |input| held(WithoutLineEnds(input)))
}

fn read(path: &str, read: impl FnOnce(&mut dyn Read) -> io::Result<Payload>) -> Result<Payload, Error> {
    let payload = match path {
        "-" => read(&mut io::stdin().lock()),
        path => File::open(path).and_then(|mut file| read(&mut file)),
    };
    payload.map_err(|error| reading(path, &error))
}

/// What a pipe has is needed again for further rows, redirects and retries.
fn held(mut input: impl Read) -> io::Result<Payload> {
    let mut start = Vec::new();
    input.by_ref().take(limits::UPLOAD_HELD_BYTES_MAX + 1).read_to_end(&mut start)?;
    if start.len() as u64 <= limits::UPLOAD_HELD_BYTES_MAX {
        return Ok(Payload::Bytes(start));
    }
    UploadFile::spool(Read::chain(&*start, input)).map(Payload::File)
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
