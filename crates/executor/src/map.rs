//! One blocking function over many inputs: a stream of results in input order, with a bounded window in flight. No more of the input is
//! taken than the window holds.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;

use crate::cancel::CancelToken;
use crate::error::JobError;
use crate::executor::Executor;
use crate::job::Job;
use crate::limits;
use crate::reserve::Reserve;

impl Executor {
    /// Calls `function` with every item on the pool; a stream of the results, in the order of the items.
    ///
    /// Items are taken from the iterator only as results are asked for: at most a window of them, 64 unless
    /// [set](Map::window), are on their way or wait to be given. So the input may be endless. When the queue is full, the stream
    /// waits for a place.
    ///
    /// ```
    /// use overlapped::{Executor, block_on};
    ///
    /// let executor = Executor::builder().max_workers(4).build()?;
    /// let mut squares = executor.map(1_u64.., |n| n * n);
    /// block_on(async {
    ///     assert_eq!(squares.next().await.unwrap().unwrap(), 1);
    ///     assert_eq!(squares.next().await.unwrap().unwrap(), 4);
    /// });
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Cancel safety
    ///
    /// `next` loses nothing when it is dropped. Dropping the stream cancels what is queued.
    #[track_caller]
    pub fn map<I, F, R>(&self, items: I, function: F) -> Map<I::IntoIter, F, R>
    where
        I: IntoIterator,
        I::Item: Send + 'static,
        F: Fn(I::Item) -> R + Send + Sync + 'static,
        R: Send + 'static,
    {
        Map {
            executor: self.located(),
            items: items.into_iter(),
            function: Arc::new(function),
            window: limits::MAP_WINDOW,
            jobs: VecDeque::new(),
            reserve: None,
            exhausted: false,
            cancellable: false,
        }
    }
}

impl Executor {
    /// As [`map`](Executor::map), for a function that can be asked to stop: dropping the stream asks all calls that run.
    #[track_caller]
    pub fn map_cancellable<I, F, R>(
        &self,
        items: I,
        function: F,
    ) -> Map<I::IntoIter, impl Fn(I::Item) -> R + Send + Sync + 'static, R>
    where
        I: IntoIterator,
        I::Item: Send + 'static,
        F: Fn(&CancelToken, I::Item) -> R + Send + Sync + 'static,
        R: Send + 'static,
    {
        let map = self.map(items, move |item| {
            let token = CancelToken::current().expect("a job of this map has a token");
            function(&token, item)
        });
        Map { cancellable: true, ..map }
    }
}

/// See [`Executor::map`].
#[must_use = "nothing is called until the stream is read"]
pub struct Map<I, F, R> {
    executor: Executor,
    items: I,
    function: Arc<F>,
    window: usize,
    jobs: VecDeque<Job<R>>,
    /// Waits for a place in a queue that was full.
    reserve: Option<Reserve>,
    exhausted: bool,
    /// Its jobs have tokens.
    cancellable: bool,
}

/// How the first of the calls gets a place in the queue.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Queueing {
    /// It waits in line, until `next` is dropped.
    InLine,
    /// Only if there is a place during a poll.
    WhilePolled,
}

impl<I, F, R> Unpin for Map<I, F, R> {}

impl<I, F, R> Map<I, F, R>
where
    I: Iterator,
    I::Item: Send + 'static,
    F: Fn(I::Item) -> R + Send + Sync + 'static,
    R: Send + 'static,
{
    /// How many items may be on their way; at least 1.
    pub fn window(mut self, items: usize) -> Self {
        self.window = items.max(1);
        self
    }

    /// The next result, or `None` after the last.
    pub async fn next(&mut self) -> Option<Result<R, JobError>> {
        /// When `next` is dropped, it leaves the line for a place in the queue.
        struct Leave<'a, I, F, R>(&'a mut Map<I, F, R>);
        impl<I, F, R> Drop for Leave<'_, I, F, R> {
            fn drop(&mut self) {
                self.0.reserve = None;
            }
        }
        let leave = Leave(self);
        std::future::poll_fn(|cx| leave.0.poll_result(cx, Queueing::InLine)).await
    }

    fn poll_result(&mut self, cx: &mut Context<'_>, queueing: Queueing) -> Poll<Option<Result<R, JobError>>> {
        self.fill(cx, queueing);
        let Some(first) = self.jobs.front_mut() else {
            return if self.exhausted { Poll::Ready(None) } else { Poll::Pending };
        };
        let result = match Pin::new(first).poll(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(result) => result,
        };
        self.jobs.pop_front();
        Poll::Ready(Some(result))
    }

    /// Submits until the window is full, the items are at their end, or the queue has no room.
    fn fill(&mut self, cx: &mut Context<'_>, queueing: Queueing) {
        while !self.exhausted && self.jobs.len() < self.window {
            // With results in hand, the stream may not be polled again soon: then it must hold no place in the line.
            let only_asks = queueing == Queueing::WhilePolled || !self.jobs.is_empty();
            self.reserve = self.reserve.take().filter(|reserve| reserve.only_asks() == only_asks);
            let executor = &self.executor;
            let reserve = self
                .reserve
                .get_or_insert_with(|| if only_asks { executor.ask_for_place() } else { executor.reserve() });
            let permit = match Pin::new(reserve).poll(cx) {
                Poll::Pending => return,
                Poll::Ready(permit) => permit,
            };
            self.reserve = None;
            let Some(item) = self.items.next() else {
                self.exhausted = true;
                return;
            };
            let function = Arc::clone(&self.function);
            let call = move || function(item);
            self.jobs.push_back(match permit {
                Ok(permit) if self.cancellable => permit.submit_cancellable(move |_| call()),
                Ok(permit) => permit.submit(call),
                // Shut down: the job resolves to that error.
                Err(_) => self.executor.submit(call),
            });
        }
    }
}

/// A `Stream` may never be polled again, so it does not wait in line for a place in the queue: it takes one that is free when it is
/// polled, and is woken when there may be one. [`Map::next`] waits in line.
impl<I, F, R> Stream for Map<I, F, R>
where
    I: Iterator,
    I::Item: Send + 'static,
    F: Fn(I::Item) -> R + Send + Sync + 'static,
    R: Send + 'static,
{
    type Item = Result<R, JobError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_result(cx, Queueing::WhilePolled)
    }
}

impl<I, F, R> fmt::Debug for Map<I, F, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Map")
            .field("in_flight", &self.jobs.len())
            .field("window", &self.window)
            .finish_non_exhaustive()
    }
}
