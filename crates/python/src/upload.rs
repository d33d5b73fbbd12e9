//! The body of a request that comes from an iterator of Python: the thread that makes the request takes blocks from it, and
//! the client's thread sends them.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use overlapped_fetch::{Bytes, RequestBody, Stream};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::call::{Answer, check};
use crate::limits;

/// What the two threads share.
#[derive(Default)]
pub(crate) struct Feed {
    state: Mutex<State>,
    /// The thread with the iterator waits here for room, and for the answer.
    news: Condvar,
}

#[derive(Default)]
struct State {
    blocks: VecDeque<Bytes>,
    /// No block will follow.
    is_complete: bool,
    /// Wakes the request when there is a block.
    waker: Option<Waker>,
    /// The response, or that there is none.
    answer: Option<Answer>,
    /// The request was given up: there will be no answer.
    is_gone: bool,
}

impl State {
    fn is_answered(&self) -> bool {
        self.answer.is_some() || self.is_gone
    }
}

/// The request's end. When it is dropped without an answer, the request was given up.
pub(crate) struct Sent(Arc<Feed>);

impl Sent {
    pub(crate) fn new(feed: Arc<Feed>) -> Self {
        Self(feed)
    }

    /// The request is over, or the head of its response has come.
    pub(crate) fn answer(&self, answer: Answer) {
        self.0.lock().answer = Some(answer);
        self.0.news.notify_all();
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        self.0.lock().is_gone = true;
        self.0.news.notify_all();
    }
}

impl Feed {
    /// No code panics while it holds the lock, so a poisoned value is consistent.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The body of the request.
    pub(crate) fn body(self: &Arc<Self>, length: Option<u64>) -> RequestBody {
        RequestBody::stream(Blocks(Arc::clone(self)), length)
    }

    /// Takes blocks from an iterator until it ends or the request is answered, and returns the answer.
    ///
    /// # Errors
    ///
    /// What the iterator, or a handler of a signal, has raised, or that `abort` says no. The request is to be given up then.
    pub(crate) fn give(
        &self,
        py: Python<'_>,
        blocks: &Bound<'_, PyAny>,
        abort: Option<&Py<PyAny>>,
    ) -> PyResult<Answer> {
        for block in blocks.try_iter()? {
            let block = Bytes::copy_from_slice(block?.cast::<PyBytes>()?.as_bytes());
            let has_room = |state: &State| state.blocks.len() < limits::BLOCKS_WAITING;
            if !self.wait(py, abort, has_room)? {
                return self.answered();
            }
            self.add(|state| state.blocks.push_back(block));
        }
        self.add(|state| state.is_complete = true);
        self.wait(py, abort, |_| false)?;
        self.answered()
    }

    fn add(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        change(&mut state);
        let waker = state.waker.take();
        drop(state);
        waker.into_iter().for_each(Waker::wake);
    }

    /// Waits until the request is answered, or `is_met`; true: the latter.
    fn wait(
        &self,
        py: Python<'_>,
        abort: Option<&Py<PyAny>>,
        is_met: impl Fn(&State) -> bool + Sync,
    ) -> PyResult<bool> {
        loop {
            let (is_answered, is_met) = py.detach(|| {
                let waits = |state: &mut State| !state.is_answered() && !is_met(state);
                let waited = self.news.wait_timeout_while(self.lock(), limits::SIGNALS_EVERY, waits);
                let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
                (state.is_answered(), is_met(&state))
            });
            if is_answered || is_met {
                return Ok(!is_answered);
            }
            check(py, abort)?;
        }
    }

    fn answered(&self) -> PyResult<Answer> {
        let gone = || PyRuntimeError::new_err("the request was given up");
        self.lock().answer.take().ok_or_else(gone)
    }
}

/// The blocks for the request.
struct Blocks(Arc<Feed>);

impl Stream for Blocks {
    type Item = io::Result<Bytes>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut state = self.0.lock();
        let block = state.blocks.pop_front();
        if block.is_none() && !state.is_complete {
            state.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        drop(state);
        self.0.news.notify_all();
        Poll::Ready(block.map(Ok))
    }
}
