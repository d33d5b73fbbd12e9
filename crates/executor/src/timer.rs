//! One thread that waits for deadlines, for the whole process; it is there only while there are any.
//!
//! Must never be on the way of a job that has no deadline.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::guard::guarded;
use crate::pool::{NewThread, spawn_std};

type Key = (Instant, u64);
type Action = Box<dyn FnOnce() + Send>;

struct Timers {
    entries: BTreeMap<Key, Action>,
    next: u64,
    running: bool,
}

static TIMERS: Mutex<Timers> = Mutex::new(Timers { entries: BTreeMap::new(), next: 0, running: false });
static CHANGED: Condvar = Condvar::new();

/// How long the thread stays when there is nothing left to wait for.
const LINGER: Duration = Duration::from_secs(10);

/// Something that will be done at its time, unless this is dropped before.
#[derive(Debug)]
pub(crate) struct Timer(Key);

impl Timer {
    /// `None` for a time so far off that it never comes.
    pub(crate) fn after(wait: Duration, action: impl FnOnce() + Send + 'static) -> Option<Timer> {
        let at = Instant::now().checked_add(wait)?;
        let mut timers = lock();
        let key = (at, timers.next);
        timers.next += 1;
        timers.entries.insert(key, Box::new(action));
        if timers.running {
            if timers.entries.keys().next() == Some(&key) {
                CHANGED.notify_one();
            }
        } else {
            timers.running = true;
            drop(timers);
            let new = NewThread { name: "overlapped-timer".to_owned(), stack_size: None };
            if spawn_std(new, Box::new(run)).is_err() {
                // The next timer tries again; until then this one is late.
                lock().running = false;
            }
        }
        Some(Timer(key))
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        let action = lock().entries.remove(&self.0);
        drop(action);
    }
}

fn lock() -> MutexGuard<'static, Timers> {
    TIMERS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn run() {
    let mut timers = lock();
    loop {
        let now = Instant::now();
        let wait = match timers.entries.first_key_value() {
            Some((&(at, _), _)) if at <= now => {
                if let Some((_, action)) = timers.entries.pop_first() {
                    drop(timers);
                    guarded(action);
                    timers = lock();
                }
                continue;
            }
            Some((&(at, _), _)) => at - now,
            None => LINGER,
        };
        let (guard, waited) = CHANGED.wait_timeout(timers, wait).unwrap_or_else(PoisonError::into_inner);
        timers = guard;
        if waited.timed_out() && timers.entries.is_empty() {
            timers.running = false;
            return;
        }
    }
}
