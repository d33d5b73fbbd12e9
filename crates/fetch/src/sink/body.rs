//! Bodies only, one after another, as curl prints them.

use std::io::{self, Write};

use overlapped_proto::record::{Body, Record};

use super::Sink;
use crate::fs::open_patiently;

/// Writes every body to one writer.
pub struct BodyTo<W> {
    writer: W,
}

impl<W: Write + Send> BodyTo<W> {
    /// Writes to `writer`.
    pub fn new(writer: W) -> Self {
        Self { writer }
    }
}

impl<W: Write + Send> Sink for BodyTo<W> {
    fn accept(&mut self, record: &mut Record) -> io::Result<()> {
        match &record.body {
            Body::None => Ok(()),
            Body::Inline(bytes) => self.writer.write_all(bytes),
            Body::Spooled(body) => io::copy(&mut body.reader(), &mut self.writer).map(drop),
            Body::File(path) => io::copy(&mut open_patiently(path)?, &mut self.writer).map(drop),
        }
    }

    fn commit(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}
