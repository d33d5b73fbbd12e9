//! A worker that waits in the middle of a job: it sleeps, is replaced, and runs what it waits for if no thread can. The core decides which.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use super::Pool;
use super::current::with_current;
use super::work::postpone_next;
use crate::core::{Across, Core, Elsewhere, On, Verdict, Woken, refuse_across};
use crate::error::JobError;
use crate::guard::guarded;
use crate::sync::Guard;
use crate::timer;
use crate::worker::{Sleeper, Worker};

/// A worker whose job waits: while it sleeps, another thread may take its place.
pub(crate) struct Waiting {
    pool: Arc<Pool>,
    me: Arc<Worker>,
    id: u64,
}

impl Waiting {
    /// `None` on a thread that is no worker of the pool.
    pub(crate) fn begin(pool: &Arc<Pool>, sleeper: &Arc<Sleeper>) -> Option<Self> {
        let (me, held) = with_current(pool, |current| (Arc::clone(&current.worker), current.lanes.clone()))?;
        // In a waker, say, of the job that has just ended here.
        postpone_next(pool);
        let id = pool.core().waits(&me, sleeper, held);
        Some(Waiting { pool: Arc::clone(pool), me, id })
    }

    /// Sleeps until woken or until the deadline. If a job is to be run here meanwhile, it is.
    /// However that ends, it comes back only with all places that this job has in views.
    pub(crate) fn sleep(&self, sleeper: &Sleeper, on: On, deadline: Option<Instant>) -> Slept {
        let slept = self.sleep_on(sleeper, on, deadline);
        // Other wake-ups are ignored meanwhile: what it waits for is checked afterwards in any case.
        while !self.has_all_places() {
            sleeper.sleep(None);
        }
        slept
    }

    fn has_all_places(&self) -> bool {
        let (verdict, effects) = self.pool.core().takes_back(self.id);
        self.pool.apply(effects);
        let Some(verdict) = verdict else { return true };
        assert!(self.heed(verdict), "who takes back its places has no wait to be refused");
        false
    }

    /// Whether it sleeps; then the pool's verdict is carried out.
    fn heed(&self, verdict: Verdict) -> bool {
        match verdict {
            Verdict::Sleep => {}
            Verdict::Deadlock => return false,
            Verdict::Ask(others) => self.ask(others),
            Verdict::Discard(job) => self.pool.discard(vec![job], || JobError::WouldDeadlock),
        }
        true
    }

    fn sleep_on(&self, sleeper: &Sleeper, on: On, deadline: Option<Instant>) -> Slept {
        let mut on = Arc::new(on);
        let (verdict, effects) = self.pool.core().sleeps(self.id, &mut on);
        drop(on);
        self.pool.apply(effects);
        if !self.heed(verdict) {
            return Slept::Deadlock;
        }
        let help_by = timer::wake_by();
        let in_time = sleeper.sleep(deadline.into_iter().chain(help_by).min());
        let (woken, effects) = self.pool.core().woken(self.id);
        self.pool.apply(effects);
        match woken {
            Woken::Plainly if in_time => Slept::Woken,
            Woken::Plainly => {
                timer::help();
                let over = deadline.is_some_and(|deadline| deadline <= Instant::now());
                if over { Slept::TimedOut } else { Slept::Woken }
            }
            Woken::ToRun(task) => {
                self.pool.run_inside(&self.me, task);
                Slept::Woken
            }
            Woken::Deadlock => Slept::Deadlock,
        }
    }

    /// Whether it would sleep for ever depends on other pools, too. All are searched together, so that two searches at the same time
    /// refuse one wait and not two. The mutexes are taken in the order of their addresses.
    fn ask(&self, mut unknown: Vec<Arc<dyn Elsewhere>>) {
        let address = |pool: &Arc<dyn Elsewhere>| Arc::as_ptr(pool).addr();
        let own = Arc::clone(&self.pool) as Arc<dyn Elsewhere>;
        let first = address(&own);
        let mut pools = BTreeMap::from([(first, own)]);
        let mut tried = false;
        loop {
            pools.extend(unknown.into_iter().map(|pool| (address(&pool), pool)));
            let mut guards: Vec<(usize, Guard<'_, Core>)> =
                pools.iter().map(|(address, pool)| (*address, pool.core())).collect();
            // The one that asks is the first of the chart.
            guards.sort_by_key(|(address, _)| *address != first);
            let mut cores: Vec<(usize, &mut Core)> =
                guards.iter_mut().map(|(address, core)| (*address, &mut **core)).collect();
            let answer = refuse_across(&mut cores, self.id, &mut tried);
            drop(cores);
            drop(guards);
            match answer {
                Across::Live => return,
                Across::Ask(more) => unknown = more,
                Across::LetThrough(address, effects) => {
                    if let Some(pool) = pools.get(&address) {
                        Arc::clone(pool).carry_out(effects);
                    }
                    unknown = Vec::new();
                }
                // If it was another's, this one may have completed another circle as well.
                Across::Refused(waker) => {
                    guarded(move || waker.wake());
                    unknown = Vec::new();
                }
            }
        }
    }

    /// How many jobs are run inside others here.
    pub(crate) fn depth(&self) -> usize {
        with_current(&self.pool, |current| current.depth).unwrap_or(0)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.pool.is_forked() {
            return;
        }
        let (on, effects) = self.pool.core().forget(self.id);
        drop(on);
        self.pool.apply(effects);
    }
}

/// How a sleep ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slept {
    Woken,
    TimedOut,
    /// It would have lasted for ever.
    Deadlock,
}
