//! Futures that a worker polls note what they wait for, so that its `block_on` can report what it sleeps on.

use std::sync::Arc;
use std::task::{Context, Waker};

use super::Pool;
use super::awaiting::{Awaiting, Noted};
use super::current::{with_any, with_current};
use crate::core::Unit;
use crate::limits;
use crate::worker::Sleeper;

/// A future that this thread polls waits for jobs, of which any unit is enough; its waker is kept at this address. True if they would never
/// end while this thread waits: then the future must give the error.
pub(crate) fn note_awaited<U: AsRef<[Arc<Unit>]>>(
    cx: &Context<'_>,
    address: usize,
    units: impl FnOnce(&Arc<Pool>) -> U,
) -> bool {
    let noting = with_any(|current| current.awaited.is_some().then(|| Arc::clone(&current.pool)));
    let Some(pool) = noting.flatten() else { return false };
    // Made, and dropped, while nothing is borrowed.
    let units = units(&pool);
    let noted = with_current(&pool, |current| {
        let (awaited, units) = (current.awaited.as_mut()?, units.as_ref());
        // If it was polled before.
        let mut dropped = awaited.forget(address);
        if awaited.waker.will_wake(cx.waker()) {
            let is_dead = |unit: &Arc<Unit>| awaited.dead.iter().any(|dead| dead.is(unit));
            if !units.is_empty() && units.iter().all(is_dead) {
                return Some((true, dropped));
            }
            awaited.kept.insert(address);
            if awaited.units.len() + units.len() <= limits::NOTED_MAX {
                awaited.units.extend(units.iter().map(|unit| (address, Arc::clone(unit))));
                return Some((false, dropped));
            }
            awaited.more = true;
        }
        current.worker.set_noting(true);
        let polled = current.polled.get_or_insert_default();
        dropped.extend(units.iter().flat_map(|unit| polled.note(Arc::clone(unit))));
        Some((false, dropped))
    });
    noted.flatten().is_some_and(|(dead, _)| dead)
}

/// The waker is also kept at this address, where only a job that was noted uses it.
pub(crate) fn note_beside(pool: &Arc<Pool>, cx: &Context<'_>, address: usize) {
    with_current(pool, |current| {
        let Some(awaited) = &mut current.awaited else { return };
        if awaited.waker.will_wake(cx.waker()) {
            awaited.kept.insert(address);
        }
    });
}

/// What keeps a waker at this address does not wait any more.
pub(crate) fn forget(address: usize) {
    let forgotten = with_any(|current| {
        let units = current.awaited.as_mut().map(|awaited| awaited.forget(address));
        (units, current.polled.as_ref().and_then(|polled| polled.forget(address)))
    });
    drop(forgotten);
}

/// Whether this is the waker of the innermost `block_on` of this thread, a worker. Only here may a copy of it be dropped without a wake-up:
/// another thread would not know whether it is counted in `kept`.
pub(crate) fn is_own(waker: &Waker) -> bool {
    let own = |awaited: &Awaiting| awaited.waker.will_wake(waker);
    with_any(|current| current.awaited.as_ref().is_some_and(own)) == Some(true)
}

/// A waker was replaced where it was kept. If the `block_on` of another thread has counted it, that one is to look again at what can wake it.
pub(crate) fn let_go(waker: Waker) {
    if Sleeper::is_of_one(&waker) && !is_own(&waker) {
        waker.wake();
    }
}

/// A `block_on` begins, or with `None` something else that polls; gives back what was noted outside it.
pub(crate) fn swap_awaited(pool: &Arc<Pool>, waker: Option<&Waker>) -> Option<Awaiting> {
    let new = waker.cloned().map(Awaiting::new);
    with_current(pool, |current| std::mem::replace(&mut current.awaited, new)).flatten()
}

/// It ends.
pub(crate) fn restore_awaited(pool: &Arc<Pool>, outer: Option<Awaiting>) {
    let inner = with_current(pool, |current| std::mem::replace(&mut current.awaited, outer));
    drop(inner);
}

/// What the last poll has noted.
pub(crate) fn take_awaited(pool: &Arc<Pool>) -> Noted {
    let taken = with_current(pool, |current| {
        let awaited = current.awaited.as_mut()?;
        let (units, dead) = (std::mem::take(&mut awaited.units), std::mem::take(&mut awaited.dead));
        let noted = Noted {
            units: units.into_iter().map(|(_, unit)| unit).collect(),
            copies: std::mem::take(&mut awaited.kept).len(),
            all: !std::mem::take(&mut awaited.more),
            polled: current.polled.clone(),
        };
        Some((noted, dead))
    });
    let nothing = || Noted { units: Vec::new(), copies: 0, all: false, polled: None };
    taken.flatten().map_or_else(nothing, |(noted, ..)| noted)
}

/// In the next poll, these are to say that they would never end.
pub(crate) fn set_dead(pool: &Arc<Pool>, units: Vec<Arc<Unit>>) {
    let old = with_current(pool, |current| {
        current.awaited.as_mut().map(|awaited| std::mem::replace(&mut awaited.dead, units))
    });
    drop(old);
}
