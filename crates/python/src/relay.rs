//! `Relay`: the requests of event loops on their way to a client's thread, and the loops that have results on the way back.
//!
//! Waking a thread costs a system call and a change of thread in either direction. So the requests that a loop makes in one
//! pass are handed over together (`Bridge::submit`), and a loop is woken once for the responses that a client's thread has
//! got from its sockets in one turn.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use overlapped_fetch::{Client, RequestError, Spawned};
use pyo3::prelude::*;

use crate::pending::{Make, Pending, Stage};
use crate::shore::{Delivery, Shore};

/// What the client's thread and the event loops share.
#[derive(Default)]
pub(crate) struct Relay(Mutex<State>);

#[derive(Default)]
struct State {
    /// The task is there.
    is_started: bool,
    submissions: Vec<Submission>,
    /// Loops that have results and were not woken.
    shores: Vec<Arc<Shore>>,
    /// Wakes the task of the client's thread.
    waker: Option<Waker>,
}

impl State {
    fn is_empty(&self) -> bool {
        self.submissions.is_empty() && self.shores.is_empty()
    }
}

impl Relay {
    /// No code panics while it holds the lock, so a poisoned value is consistent.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the task, unless that was done. It ends with the client's thread.
    ///
    /// # Errors
    ///
    /// The client has no thread, or this is a forked child.
    pub(crate) fn ensure_started(self: &Arc<Self>, client: &Client) -> Result<(), RequestError> {
        let mut state = self.lock();
        if !state.is_started {
            let relay = Arc::clone(self);
            client.spawn(poll_fn(move |cx| relay.turn(cx)))?;
            state.is_started = true;
        }
        Ok(())
    }

    /// The task: starts what was submitted, and wakes the loops whose results came before this turn.
    fn turn(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if !state.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            state.waker = Some(cx.waker().clone());
        }
        let (submissions, shores) =
            (std::mem::take(&mut state.submissions), std::mem::take(&mut state.shores));
        drop(state);
        submissions.into_iter().for_each(Submission::start);
        shores.iter().for_each(|shore| shore.wake());
        Poll::Pending
    }

    /// Hands work over to the client's thread.
    pub(crate) fn submit(&self, submissions: impl IntoIterator<Item = Submission>) {
        self.changed(|state| state.submissions.extend(submissions));
    }

    /// Has something done in the thread of a loop, after the other results of this turn of the client's thread.
    fn deliver(&self, shore: Arc<Shore>, delivery: Delivery) {
        if shore.push(delivery) {
            self.changed(|state| state.shores.push(shore));
        }
    }

    fn changed(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        let was_empty = state.is_empty();
        change(&mut state);
        // If there was something, the task is awake already. Without a waker it has not begun.
        let waker = if was_empty { state.waker.clone() } else { None };
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Work for a client's thread.
pub(crate) struct Submission {
    spawn: Box<dyn FnOnce() -> Result<Spawned, RequestError> + Send>,
    stage: Arc<Mutex<Stage>>,
}

impl Submission {
    /// Work whose result resumes the task that awaits `pending`. It is made on the client's thread, where it is also freed.
    pub(crate) fn new<W: Future<Output = Box<Make>> + Send + 'static>(
        client: &Client,
        relay: &Arc<Relay>,
        shore: &Arc<Shore>,
        pending: Py<Pending>,
        stage: Arc<Mutex<Stage>>,
        work: impl FnOnce() -> W + Send + 'static,
    ) -> Self {
        let (client, relay, shore) = (client.clone(), Arc::clone(relay), Arc::clone(shore));
        let spawn = Box::new(move || {
            let work = work();
            client.spawn(async move { relay.deliver(shore, Delivery::Answer(pending, work.await)) })
        });
        Self { spawn, stage }
    }

    /// Starts it, on the client's thread.
    fn start(self) {
        let mut stage = self.stage.lock().unwrap_or_else(PoisonError::into_inner);
        if let Stage::Submitted = *stage {
            let started = (self.spawn)();
            *stage = Stage::Started(started.expect("the thread is there: it runs this"));
        }
    }
}
