//! What an attempt brought, as plain data: what the attempt fills in and the shard turns into a record.

use overlapped_proto::error::ErrorKind;
use overlapped_proto::notes::Notes;
use overlapped_proto::outcome::{Ending, Failure};
use overlapped_proto::record::{Connection as Wire, Headers, Hold};
use overlapped_proto::redirect::Follow;
use overlapped_proto::time::Nanos;
use overlapped_proto::timing::Stopwatch;

use crate::body::drain::Drained;

/// What one attempt brought.
pub(crate) struct Answer {
    pub(crate) watch: Stopwatch,
    pub(crate) wire: Wire,
    pub(crate) status: Option<u16>,
    pub(crate) headers: Headers,
    /// What was overlooked in the head.
    pub(crate) notes: Notes,
    pub(crate) retry_after: Option<Nanos>,
    pub(crate) redirect: Option<Follow>,
    pub(crate) drained: Drained,
    /// Counts the head and the body.
    pub(crate) hold: Hold,
    /// Its body was handed on while it came: another attempt would hand it on twice.
    pub(crate) handed_on: bool,
    pub(crate) failure: Option<Failure>,
    /// What stood in the way of the attempt, for the scheduler to judge in its place: an answer to another request.
    pub(crate) refusal: Option<Ending>,
}

impl Answer {
    pub(crate) fn new(watch: Stopwatch) -> Self {
        Self {
            watch,
            wire: Wire::default(),
            status: None,
            headers: Headers::default(),
            notes: Notes::default(),
            retry_after: None,
            redirect: None,
            drained: Drained::default(),
            hold: Hold::default(),
            handed_on: false,
            failure: None,
            refusal: None,
        }
    }

    /// How the attempt ended, as the scheduler sees it.
    pub(crate) fn ending(&self) -> Ending {
        let ended = match (&self.failure, self.status) {
            (Some(_), Some(status)) if self.handed_on => Ending::Response { status, retry_after: None },
            (None, Some(status)) => Ending::Response { status, retry_after: self.retry_after },
            (Some(failure), _) => Ending::Failed(failure.kind),
            (None, None) => Ending::Failed(ErrorKind::Internal),
        };
        self.refusal.unwrap_or(ended)
    }

    /// True if nothing was sent, because this machine had no file or port for it.
    pub(crate) fn is_shortage(&self) -> bool {
        let resource = self.failure.as_ref().is_some_and(|failure| failure.kind == ErrorKind::Resource);
        resource && self.watch.timing().send.is_none()
    }

    /// An attempt that started and came to nothing.
    pub(crate) fn failed(ready: Nanos, now: Nanos, failure: Failure) -> Self {
        Self { failure: Some(failure), ..Self::new(Stopwatch::start(ready, now)) }
    }
}
