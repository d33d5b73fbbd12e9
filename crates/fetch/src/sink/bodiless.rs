//! An output whose records have no bodies, beside another one that has them.

use std::io;
use std::mem;

use overlapped_proto::record::{Body, Record};

use super::{Cut, Sink, SinkId};

/// A sink that gets every record without its body. The sinks that follow get the body again.
pub struct WithoutBodies(Box<dyn Sink>);

impl WithoutBodies {
    /// Passes records without bodies to `sink`.
    #[must_use]
    pub fn new(sink: Box<dyn Sink>) -> Self {
        Self(sink)
    }
}

impl Sink for WithoutBodies {
    fn accept(&mut self, record: &mut Record) -> io::Result<()> {
        let body = mem::replace(&mut record.body, Body::None);
        let taken = self.0.accept(record);
        record.body = body;
        taken
    }

    fn commit(&mut self) -> io::Result<()> {
        self.0.commit()
    }

    fn cut(&mut self) -> io::Result<Cut> {
        self.0.cut()
    }

    fn id(&self) -> Option<&SinkId> {
        self.0.id()
    }

    fn seal(&mut self) -> io::Result<()> {
        self.0.seal()
    }

    fn moves_bodies(&self) -> bool {
        // It has none to move.
        false
    }
}
