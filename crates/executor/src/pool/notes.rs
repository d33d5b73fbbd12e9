//! Futures that a worker polls note what they wait for, so that its `block_on` can report what it sleeps on.

use std::sync::Arc;
use std::task::{Context, Waker};

use super::Pool;
use super::awaiting::{Awaiting, Noted};
use super::current::{with_any, with_current};
use crate::core::Unit;
use crate::limits;

/// A future that this thread polls waits for jobs, of which any unit is enough. True if they would never end while this thread waits: then
/// the future must give the error.
pub(crate) fn note_awaited<U: AsRef<[Arc<Unit>]>>(
    cx: &Context<'_>,
    units: impl FnOnce(&Arc<Pool>) -> U,
) -> bool {
    let noting = with_any(|current| current.awaited.is_some().then(|| Arc::clone(&current.pool)));
    let Some(pool) = noting.flatten() else { return false };
    // Made, and dropped, while nothing is borrowed.
    let units = units(&pool);
    let noted = with_current(&pool, |current| {
        let (awaited, units) = (current.awaited.as_mut()?, units.as_ref());
        if awaited.waker.will_wake(cx.waker()) {
            let is_dead = |unit: &Arc<Unit>| awaited.dead.iter().any(|dead| dead.is(unit));
            if !units.is_empty() && units.iter().all(is_dead) {
                return None;
            }
            // If there are any, it was polled before, with the same waker.
            let same = awaited.units.extract_if(.., |other| units.iter().any(|unit| unit.is(other)));
            let same: Vec<Arc<Unit>> = same.collect();
            if awaited.units.len() + units.len() <= limits::NOTED_MAX {
                awaited.futures += usize::from(same.is_empty());
                awaited.units.extend_from_slice(units);
                return Some(same);
            }
            awaited.more += 1;
        }
        current.worker.set_noting(true);
        let polled = current.polled.get_or_insert_default();
        Some(units.iter().flat_map(|unit| polled.note(Arc::clone(unit))).collect())
    });
    noted.is_some_and(|noted| noted.is_none())
}

/// The waker is also kept at this address, where only a job that was noted uses it.
pub(crate) fn note_beside(pool: &Arc<Pool>, cx: &Context<'_>, address: usize) {
    with_current(pool, |current| {
        let Some(awaited) = &mut current.awaited else { return };
        if awaited.more == 0 && awaited.waker.will_wake(cx.waker()) && !awaited.beside.contains(&address) {
            awaited.beside.push(address);
        }
    });
}

/// What was noted under this address, the first of its jobs, was given.
pub(crate) fn forget_polled(address: usize) {
    let forgotten = with_any(|current| current.polled.as_ref().and_then(|polled| polled.forget(address)));
    drop(forgotten);
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
        let more = std::mem::take(&mut awaited.more);
        let noted = Noted {
            copies: std::mem::take(&mut awaited.futures) + std::mem::take(&mut awaited.beside).len() + more,
            units,
            all: more == 0,
            polled: current.polled.clone(),
            in_view: !current.lanes.is_empty(),
        };
        Some((noted, dead))
    });
    let nothing = || Noted { units: Vec::new(), copies: 0, all: false, polled: None, in_view: false };
    taken.flatten().map_or_else(nothing, |(noted, ..)| noted)
}

/// In the next poll, these are to say that they would never end.
pub(crate) fn set_dead(pool: &Arc<Pool>, units: Vec<Arc<Unit>>) {
    let old = with_current(pool, |current| {
        current.awaited.as_mut().map(|awaited| std::mem::replace(&mut awaited.dead, units))
    });
    drop(old);
}
