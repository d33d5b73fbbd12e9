//! Futures that a worker polls note what they wait for, so that its `block_on` can say what it sleeps on.
//!
//! Must never note what can be woken by something else as well.

use std::sync::Arc;
use std::task::{Context, Waker};

use super::Pool;
use super::awaiting::{Awaiting, NOTED_MAX, Noted};
use super::current::{with_any, with_current};
use crate::core::Unit;

/// A future that this thread polls waits for jobs. Says whether they would never end while this thread waits: then it must say so.
pub(crate) fn note_awaited(cx: &Context<'_>, unit: impl FnOnce(&Arc<Pool>) -> Arc<Unit>) -> bool {
    let noting = with_any(|current| {
        let awaited = current.awaited.as_ref()?;
        let in_full = !awaited.many && awaited.waker.will_wake(cx.waker());
        (in_full || !current.lanes.is_empty()).then(|| Arc::clone(&current.pool))
    });
    let Some(pool) = noting.flatten() else { return false };
    // Made, and dropped, while nothing is borrowed.
    let unit = unit(&pool);
    let noted = with_current(&pool, |current| {
        let awaited = current.awaited.as_mut()?;
        let (in_full, in_view) = (awaited.waker.will_wake(cx.waker()), !current.lanes.is_empty());
        if in_full && awaited.dead.iter().any(|dead| dead.is(&unit)) {
            return None;
        }
        awaited.many |= in_full && awaited.units.len() >= NOTED_MAX;
        if in_full && !awaited.many {
            if !awaited.units.iter().any(|other| other.is(&unit)) {
                awaited.units.push(Arc::clone(&unit));
            }
            return Some(Vec::new());
        }
        Some(if in_view { current.others.note(Arc::clone(&unit)) } else { Vec::new() })
    });
    noted.is_some_and(|noted| noted.is_none())
}

/// The waker is also kept at this address, where only a job that was noted uses it.
pub(crate) fn note_beside(pool: &Arc<Pool>, cx: &Context<'_>, address: usize) {
    with_current(pool, |current| {
        let Some(awaited) = &mut current.awaited else { return };
        if !awaited.many && awaited.waker.will_wake(cx.waker()) && !awaited.beside.contains(&address) {
            awaited.beside.push(address);
        }
    });
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

/// What the last poll has come upon.
pub(crate) fn take_awaited(pool: &Arc<Pool>) -> Noted {
    let taken = with_current(pool, |current| {
        let awaited = current.awaited.as_mut()?;
        let (units, dead) = (std::mem::take(&mut awaited.units), std::mem::take(&mut awaited.dead));
        let over = current.others.sweep();
        let noted = Noted {
            copies: units.len() + std::mem::take(&mut awaited.beside).len(),
            units,
            all: !std::mem::take(&mut awaited.many),
            others: current.others.units.values().cloned().collect(),
        };
        Some((noted, dead, over))
    });
    let nothing = || Noted { units: Vec::new(), copies: 0, all: false, others: Vec::new() };
    taken.flatten().map_or_else(nothing, |(noted, ..)| noted)
}

/// In the next poll, these are to say that they would never end.
pub(crate) fn set_dead(pool: &Arc<Pool>, units: Vec<Arc<Unit>>) {
    let old = with_current(pool, |current| {
        current.awaited.as_mut().map(|awaited| std::mem::replace(&mut awaited.dead, units))
    });
    drop(old);
}
