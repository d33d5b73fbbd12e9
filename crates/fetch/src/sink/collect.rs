//! Records kept in memory, for lists that are short.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use overlapped_proto::record::Record;

use super::Sink;

/// A sink that keeps the records, and where to find them.
#[must_use]
pub fn collect() -> (Box<dyn Sink>, Collected) {
    let collected = Collected::default();
    (Box::new(collected.clone()), collected)
}

/// The records that [`collect`]'s sink has taken.
#[derive(Clone, Debug, Default)]
pub struct Collected(Arc<Mutex<Vec<Record>>>);

impl Collected {
    /// The records so far; they are not kept here any longer.
    #[must_use]
    pub fn take(&self) -> Vec<Record> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Sink for Collected {
    fn accept(&mut self, record: &mut Record) -> io::Result<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(record.clone());
        Ok(())
    }

    fn commit(&mut self) -> io::Result<()> {
        Ok(())
    }
}
