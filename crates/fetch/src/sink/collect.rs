//! Records kept in memory, for short lists.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use overlapped_proto::record::Record;

use super::Sink;

/// A sink that keeps the records in memory, and a handle to them.
///
/// ```
/// use overlapped_fetch::{Bulk, Config, Input, sink};
///
/// let (records, collected) = sink::collect();
/// let urls = Input::Urls(Box::new(["no url".to_owned()].into_iter()));
/// Bulk::new(Config::default())?.input(urls).sink(records).start()?.wait()?;
/// assert!(collected.take()[0].failure.is_some());
/// # Ok::<(), overlapped_fetch::Error>(())
/// ```
#[must_use]
pub fn collect() -> (Box<dyn Sink>, Collected) {
    let collected = Collected::default();
    (Box::new(collected.clone()), collected)
}

/// The records that the sink of [`collect`] has taken.
#[derive(Clone, Debug, Default)]
pub struct Collected(Arc<Mutex<Vec<Record>>>);

impl Collected {
    /// Takes the records out.
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
