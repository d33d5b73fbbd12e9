//! Records as a stream. Back-pressure: a slow consumer slows the fetching down.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures_core::Stream;
use overlapped_proto::limits;
use overlapped_proto::record::Record;

use crate::bulk::Bulk;
use crate::error::Error;
use crate::run::Run;
use crate::sink::Sink;
use crate::summary::Summary;

/// The stream of a run's records, from [`crate::Bulk::stream`].
///
/// It ends with the list. An error is its last item. Dropping it aborts the run.
///
/// ```
/// use std::future::poll_fn;
/// use std::pin::pin;
///
/// use overlapped_fetch::{Bulk, Config, Input, Stream};
/// # let server = overlapped_testkit::Server::start();
/// # let urls = ["/ok", "/status/404"].map(|path| server.url(path));
///
/// let records = Bulk::new(Config::default())?.input(Input::Urls(Box::new(urls.into_iter()))).stream()?;
/// let statuses = overlapped::block_on(async {
///     let (mut records, mut statuses) = (pin!(records), Vec::new());
///     // `while let Some(record) = records.next().await`, with `StreamExt` of the crate futures.
///     while let Some(record) = poll_fn(|cx| records.as_mut().poll_next(cx)).await {
///         statuses.extend(record?.status);
///     }
///     Ok::<_, overlapped_fetch::Error>(statuses)
/// })?;
/// assert_eq!(statuses.len(), 2);
/// # Ok::<(), overlapped_fetch::Error>(())
/// ```
pub struct Records {
    queue: Arc<Queue>,
    run: Option<Run>,
    summary: Option<Summary>,
    /// The error to be returned after the last record.
    failure: Option<Error>,
}

struct Sender(Arc<Queue>);

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    /// The sink waits here while the queue is full.
    room: Condvar,
}

#[derive(Default)]
struct State {
    records: VecDeque<Record>,
    reader: Option<Waker>,
    /// The consumer was dropped.
    closed: bool,
}

impl Bulk {
    /// Starts the run and returns its records as a stream, beside any sinks.
    ///
    /// # Errors
    ///
    /// As [`Bulk::start`].
    ///
    /// # Blocking
    ///
    /// As [`Bulk::start`].
    pub fn stream(self) -> Result<Records, Error> {
        let queue = Arc::new(Queue::default());
        let run = self.sink(Box::new(Sender(queue.clone()))).start()?;
        Ok(Records { queue, run: Some(run), summary: None, failure: None })
    }
}

impl Records {
    /// The summary of the run; `None` before the stream has ended.
    #[must_use]
    pub fn summary(&self) -> Option<&Summary> {
        self.summary.as_ref()
    }

    /// The run has ended: the rest of the queue is returned first, then its error, if any.
    fn ended(&mut self, result: Result<Summary, Error>) -> Poll<Option<Result<Record, Error>>> {
        self.run = None;
        match result {
            Err(error) => self.failure = Some(error),
            Ok(summary) => self.summary = Some(summary),
        }
        let left = self.queue.lock().records.pop_front();
        Poll::Ready(left.map(Ok).or_else(|| self.failure.take().map(Err)))
    }
}

impl Stream for Records {
    type Item = Result<Record, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        {
            let mut state = self.queue.lock();
            if let Some(record) = state.records.pop_front() {
                self.queue.room.notify_one();
                return Poll::Ready(Some(Ok(record)));
            }
            state.reader = Some(cx.waker().clone());
        }
        match &mut self.run {
            None => Poll::Ready(self.failure.take().map(Err)),
            Some(run) => match Pin::new(run).poll(cx) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(result) => self.ended(result),
            },
        }
    }
}

impl Drop for Records {
    fn drop(&mut self) {
        let mut state = self.queue.lock();
        state.closed = true;
        state.records.clear();
        drop(state);
        self.queue.room.notify_all();
    }
}

impl Sink for Sender {
    fn accept(&mut self, record: &mut Record) -> io::Result<()> {
        let full = |state: &mut State| state.records.len() >= limits::STREAM_RECORDS_MAX && !state.closed;
        let state = self.0.lock();
        let mut state = self.0.room.wait_while(state, full).unwrap_or_else(PoisonError::into_inner);
        if state.closed {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        state.records.push_back(record.clone());
        if let Some(reader) = state.reader.take() {
            drop(state);
            reader.wake();
        }
        Ok(())
    }

    fn commit(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Queue {
    /// No code panics while it holds the lock, so a poisoned value is consistent.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use overlapped::block_on;

    use super::*;
    use crate::config::Config;
    use crate::engine::feed::Input;
    use crate::error::ErrorClass;

    #[test]
    fn a_row_without_a_record_ends_the_stream_with_an_error() {
        let urls = ["no URL", "nor this"].map(str::to_owned).into_iter();
        let bulk = Bulk::new(Config::default()).unwrap().input(Input::Urls(Box::new(urls)));
        let queue = Arc::new(Queue::default());
        let mut assembled = bulk.sink(Box::new(Sender(queue.clone()))).assemble().unwrap();
        assembled.conductor.read += 1;
        let mut records = Records { queue, run: Some(assembled.start()), summary: None, failure: None };
        let mut next = || block_on(poll_fn(|cx| Pin::new(&mut records).poll_next(cx)));
        assert!(next().unwrap().is_ok());
        assert!(next().unwrap().is_ok());
        assert_eq!(next().unwrap().unwrap_err().class(), ErrorClass::Sum);
        assert!(next().is_none());
    }
}
