//! What lies between the interpreter and a run of the engine: rows on their way in, records on their way out, both bounded.
//!
//! Nothing here attaches to the interpreter, because the engine's threads call it.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Wake;
use std::time::{Duration, Instant};

use overlapped_fetch::{Record, Row, Sink};

use crate::failure::reworded;
use crate::limits;
use crate::shore::Waiter;

/// The queues of one run.
#[derive(Default)]
pub(crate) struct Exchange {
    state: Mutex<State>,
    /// The consumer waits here for records, for room for rows, or for the end.
    news: Condvar,
    /// The engine's reader of the list waits here for rows.
    rows: Condvar,
    /// The sink waits here for room for records, and a feeding thread for room for rows.
    room: Condvar,
}

#[derive(Default)]
struct State {
    rows: VecDeque<Row>,
    /// No row will follow.
    complete: bool,
    /// The list could not be read to its end, so the run must not end as a complete one.
    broken: bool,
    records: VecDeque<Record>,
    /// The consumer is gone.
    closed: bool,
    /// The future of the run is to be polled.
    roused: bool,
    /// The run is over: a waiter would get no news any more.
    over: bool,
    /// Tasks of event loops that wait for news, each of which looks by itself when it is woken.
    waiters: Vec<Waiter>,
}

/// What the consumer finds.
pub(crate) enum News {
    /// Some records.
    Records(VecDeque<Record>),
    /// There is room for rows.
    Room,
    /// The future of the run is to be polled.
    Roused,
    /// None of these before the time was over.
    Nothing,
}

impl Exchange {
    /// No code panics while it holds the lock, so a poisoned value is consistent.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many rows are wanted now.
    pub(crate) fn room(&self) -> usize {
        let state = self.lock();
        if state.rows.len() < limits::ROWS_LOW { limits::ROWS_WAITING - state.rows.len() } else { 0 }
    }

    /// Adds rows. Never waits: the caller has asked for the room.
    pub(crate) fn push(&self, rows: impl IntoIterator<Item = Row>) {
        self.lock().rows.extend(rows);
        self.rows.notify_one();
    }

    /// Adds a row; true if no more are wanted for now.
    pub(crate) fn push_one(&self, row: Row) -> bool {
        let mut state = self.lock();
        state.rows.push_back(row);
        let (is_first, is_full) = (state.rows.len() == 1, state.rows.len() >= limits::ROWS_WAITING);
        let is_over = state.closed;
        drop(state);
        if is_first {
            self.rows.notify_one();
        }
        is_full || is_over
    }

    /// Waits until rows are wanted; false if none will be any more, `None` if the time was over first.
    pub(crate) fn wait_for_room(&self, time: Duration) -> Option<bool> {
        let full = |state: &mut State| state.rows.len() >= limits::ROWS_LOW && !state.closed;
        let (state, _) =
            self.room.wait_timeout_while(self.lock(), time, full).unwrap_or_else(PoisonError::into_inner);
        if state.closed {
            return Some(false);
        }
        (state.rows.len() < limits::ROWS_LOW).then_some(true)
    }

    /// Ends the list.
    pub(crate) fn complete(&self) {
        self.lock().complete = true;
        self.rows.notify_one();
    }

    /// Ends the list before its end, because it cannot be read on.
    pub(crate) fn break_off(&self) {
        self.lock().broken = true;
        self.complete();
    }

    /// Ends both directions, for a consumer that goes away.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        (state.closed, state.complete) = (true, true);
        let dropped = (std::mem::take(&mut state.rows), std::mem::take(&mut state.records));
        let waiters = std::mem::take(&mut state.waiters);
        drop(state);
        drop(dropped);
        waiters.into_iter().for_each(Waiter::wake);
        self.rows.notify_all();
        self.room.notify_all();
        self.news.notify_all();
    }

    /// The rows that are there, for the engine.
    ///
    /// # Errors
    ///
    /// There are none, and the list cannot be read on.
    ///
    /// # Blocking
    ///
    /// Until there is one, or the list has ended.
    pub(crate) fn batch(&self, most: usize) -> io::Result<Vec<Row>> {
        let none = |state: &mut State| state.rows.is_empty() && !state.complete;
        let mut state = self.rows.wait_while(self.lock(), none).unwrap_or_else(PoisonError::into_inner);
        if state.rows.is_empty() && state.broken {
            return Err(io::Error::other("it ended with an exception"));
        }
        let count = state.rows.len().min(most);
        let batch = state.rows.drain(..count).collect();
        let low = state.rows.len() < limits::ROWS_LOW && !state.complete;
        let waiters = if low { std::mem::take(&mut state.waiters) } else { Vec::new() };
        drop(state);
        if low {
            self.news.notify_one();
            self.room.notify_all();
        }
        waiters.into_iter().for_each(Waiter::wake);
        Ok(batch)
    }

    /// What there is for the consumer now. `wants_rows`: it has rows to give. After [`News::Roused`] it polls the run.
    pub(crate) fn look(&self, wants_rows: bool) -> News {
        let mut state = self.lock();
        let news = Self::found(&mut state, wants_rows, &self.room);
        if matches!(news, News::Roused) {
            state.roused = false;
        }
        news
    }

    /// Waits for news, which [`Exchange::look`] finds again unless it is records.
    ///
    /// # Blocking
    ///
    /// For `time` at the most.
    pub(crate) fn wait(&self, wants_rows: bool, time: Duration) -> News {
        let until = Instant::now() + time;
        let mut state = self.lock();
        loop {
            match Self::found(&mut state, wants_rows, &self.room) {
                News::Nothing => {}
                news @ (News::Records(_) | News::Room | News::Roused) => return news,
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return News::Nothing;
            }
            state = self.news.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Has every consumer look again: one of them has found that the run is over.
    pub(crate) fn end(&self) {
        let mut state = self.lock();
        state.over = true;
        self.tell(state);
    }

    /// Has `waiter` woken at the next news, as all others that wait; gives it back if there are some already.
    pub(crate) fn subscribe(&self, wants_rows: bool, waiter: Waiter) -> Option<Waiter> {
        let mut state = self.lock();
        let wanted = wants_rows && state.rows.len() < limits::ROWS_LOW;
        if !state.records.is_empty() || state.roused || state.closed || state.over || wanted {
            return Some(waiter);
        }
        state.waiters.push(waiter);
        None
    }

    /// Takes a waiter back that has been cancelled. One that is woken by now has others woken beside it, so that no news is
    /// lost with it.
    pub(crate) fn unsubscribe(&self, is_it: impl Fn(&Waiter) -> bool) {
        let mut state = self.lock();
        let at = state.waiters.iter().position(is_it);
        let waiter = at.map(|at| state.waiters.swap_remove(at));
        drop(state);
        drop(waiter);
    }

    fn found(state: &mut State, wants_rows: bool, room: &Condvar) -> News {
        if !state.records.is_empty() {
            room.notify_all();
            return News::Records(std::mem::take(&mut state.records));
        }
        if wants_rows && state.rows.len() < limits::ROWS_LOW {
            return News::Room;
        }
        if state.roused {
            return News::Roused;
        }
        News::Nothing
    }

    fn tell(&self, mut state: MutexGuard<'_, State>) {
        let waiters = std::mem::take(&mut state.waiters);
        drop(state);
        self.news.notify_one();
        waiters.into_iter().for_each(Waiter::wake);
    }
}

/// Wakes the consumer when the future of the run is to be polled.
impl Wake for Exchange {
    fn wake(self: Arc<Self>) {
        let mut state = self.lock();
        state.roused = true;
        self.tell(state);
    }
}

/// The sink of a run: hands records to the consumer, and waits while it has too many.
pub(crate) struct Outlet {
    exchange: Arc<Exchange>,
    gathered: Vec<Record>,
}

impl Outlet {
    pub(crate) fn new(exchange: Arc<Exchange>) -> Self {
        Self { exchange, gathered: Vec::new() }
    }

    fn hand_over(&mut self) -> io::Result<()> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        let full = |state: &mut State| state.records.len() >= limits::RECORDS_WAITING && !state.closed;
        let state = self.exchange.lock();
        let mut state = self.exchange.room.wait_while(state, full).unwrap_or_else(PoisonError::into_inner);
        if state.closed {
            // The run is being aborted; its other outputs are still written.
            drop(state);
            self.gathered.clear();
            return Ok(());
        }
        let was_empty = state.records.is_empty();
        state.records.extend(self.gathered.drain(..));
        if was_empty {
            self.exchange.tell(state);
        }
        Ok(())
    }
}

impl Sink for Outlet {
    fn accept(&mut self, record: &mut Record) -> io::Result<()> {
        self.gathered.push(reworded(record.clone()));
        if self.gathered.len() >= limits::RECORDS_TOGETHER { self.hand_over() } else { Ok(()) }
    }

    fn commit(&mut self) -> io::Result<()> {
        self.hand_over()
    }
}
