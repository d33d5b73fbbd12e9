//! The body of a request that is read from a file while it is sent, in blocks, on the executor.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use overlapped::{Executor, Job};
use overlapped_proto::request::BodyLength;

use super::upload::{Source, Upload};
use crate::fs::UploadFile;

struct FileBody {
    file: UploadFile,
    disk: Executor,
    /// Bytes that are read at once.
    block: usize,
    at: u64,
    reading: Option<Job<io::Result<Bytes>>>,
}

/// The content of a file, from its beginning, read on `disk` in blocks of `block` bytes, of which one is held.
pub(crate) fn upload(file: &UploadFile, disk: &Executor, block: usize) -> Box<Upload> {
    let source = FileBody { file: file.clone(), disk: disk.clone(), block, at: 0, reading: None };
    Box::new(Upload::new(Box::new(source), BodyLength::Known(file.bytes())))
}

impl Source for FileBody {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        let (at, block, file, disk) = (self.at, self.block, &self.file, &self.disk);
        if at == file.bytes() {
            return Poll::Ready(Ok(None));
        }
        let reading = self.reading.get_or_insert_with(|| {
            let file = file.clone();
            disk.submit(move || file.read(at, block))
        });
        let read = ready!(Pin::new(reading).poll(cx));
        self.reading = None;
        let block = read.map_err(io::Error::other)??;
        self.at += block.len() as u64;
        Poll::Ready(Ok(Some(block)))
    }
}
