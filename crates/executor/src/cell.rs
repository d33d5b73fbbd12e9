//! The one allocation of a job: its place in the pool, its closure and then its result, and the waker or group to notify.
//!
//! It is independent of the queues. Taking the job out of its queue, under the pool's lock, transfers ownership of the closure: that
//! caller calls `run` or `discard` once.

use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crate::error::{JobError, Panic};
use crate::group::Group;
use crate::guard::{guarded, wake_guarded};
use crate::origin::Origin;
use crate::sync::{AtomicU32, AtomicU64, Mutex, Ordering};
use crate::trace::Trace;
use crate::view_id::ViewId;

/// In `ticket`, above all tickets of queues: the job runs. The low half is the number of the worker.
const RUNNING: u64 = u64::MAX << 32;

/// The job has ended, or was taken out of its queue for good.
const GONE: u64 = u64::MAX;

/// In `id`: a worker sleeps on the job, or did.
const AWAITED: u64 = 1 << 63;

/// In `id`: it was detached, so its deadlines are void.
const DETACHED: u64 = 1 << 62;

/// In `id`: its place in the queue was given to another.
const PLACE_GIVEN: u64 = 1 << 61;

/// The pool's bookkeeping of one job. Written under the lock of the inbox while the job enters it, otherwise under the pool's.
pub(crate) struct Place {
    pub(crate) lane: ViewId,
    pub(crate) origin: Origin,
    at: AtomicU32,
    ticket: AtomicU64,
    id: AtomicU64,
}

/// Where in the pool a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Position {
    /// In the queue of this lane.
    Queued(ViewId),
    /// On the worker of this number.
    Running(u32),
    /// It has ended, was cancelled or was not let in.
    Gone,
}

impl Place {
    fn new(lane: ViewId, origin: Origin) -> Self {
        Place {
            lane,
            origin,
            at: AtomicU32::new(lane.0),
            ticket: AtomicU64::new(GONE),
            id: AtomicU64::new(0),
        }
    }

    pub(crate) fn position(&self) -> Position {
        match self.ticket() {
            GONE => Position::Gone,
            running if running >= RUNNING => Position::Running(running as u32),
            _ => Position::Queued(self.at()),
        }
    }

    /// The lane in whose queue the job is.
    pub(crate) fn at(&self) -> ViewId {
        ViewId(self.at.load(Ordering::Relaxed))
    }

    pub(crate) fn ticket(&self) -> u64 {
        self.ticket.load(Ordering::Relaxed)
    }

    pub(crate) fn id(&self) -> u64 {
        self.id.load(Ordering::Relaxed) & !(AWAITED | DETACHED | PLACE_GIVEN)
    }

    pub(crate) fn is_awaited(&self) -> bool {
        self.id.load(Ordering::Relaxed) & AWAITED != 0
    }

    /// Under the pool's lock, once the job is in a queue.
    pub(crate) fn set_awaited(&self) {
        self.id.store(self.id.load(Ordering::Relaxed) | AWAITED, Ordering::Relaxed);
    }

    pub(crate) fn is_detached(&self) -> bool {
        self.id.load(Ordering::Relaxed) & DETACHED != 0
    }

    /// Under the pool's lock, once the job is in a queue.
    pub(crate) fn set_detached(&self) {
        self.id.store(self.id.load(Ordering::Relaxed) | DETACHED, Ordering::Relaxed);
    }

    pub(crate) fn is_place_given(&self) -> bool {
        self.id.load(Ordering::Relaxed) & PLACE_GIVEN != 0
    }

    /// Under the pool's lock, once the job is in a queue.
    pub(crate) fn set_place_given(&self) {
        self.id.store(self.id.load(Ordering::Relaxed) | PLACE_GIVEN, Ordering::Relaxed);
    }

    pub(crate) fn set_queued(&self, at: ViewId, ticket: u64) {
        self.at.store(at.0, Ordering::Relaxed);
        self.ticket.store(ticket, Ordering::Relaxed);
    }

    /// A worker has taken it out of its queue to run it.
    pub(crate) fn set_running(&self, worker: u32) {
        self.ticket.store(RUNNING | u64::from(worker), Ordering::Relaxed);
    }

    /// The job is in no queue and on no worker. Its old ticket must not be used again: the number of a view is reused, and so are its
    /// tickets.
    pub(crate) fn set_gone(&self) {
        self.ticket.store(GONE, Ordering::Relaxed);
    }

    pub(crate) fn set_id(&self, id: u64) {
        self.id.store(id, Ordering::Relaxed);
    }
}

/// The operations of the pool on a job.
pub(crate) trait Task: Send + Sync {
    fn place(&self) -> &Place;

    fn look(&self) -> Look;

    /// Runs the closure, and calls `worker.ended` before the result becomes visible. Returns whether dropping the result may run user
    /// code.
    fn run(&self, started: u64, worker: &mut dyn Ending) -> bool;

    /// Drops the closure instead of running it.
    fn discard(&self, why: JobError);

    /// As `discard`, if the closure has not been started, even if a worker has taken the job out of its queue. Returns whether it was
    /// discarded.
    fn withdraw(&self, why: JobError) -> bool;

    /// Settles a running job with `why`. Its result will be dropped.
    fn give_up(&self, why: JobError);
}

/// The worker that runs a job.
pub(crate) trait Ending {
    /// The closure has returned; the result is not visible yet. Returns the time. From here on the worker counts as free, so a caller that
    /// waits for the result and then submits the next job needs only one thread.
    fn ended(&mut self, end: Ended<'_>) -> u64;

    /// The result is visible, and is about to wake this waker, which may be user code and block.
    fn waking(&mut self, waker: &Waker);

    /// A result without a handle is about to be dropped, which is user code and may block.
    fn dropping(&mut self);
}

/// How a job ended after a worker had taken it out of its queue.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Finish {
    Returned,
    Panicked,
    /// It was withdrawn before it started.
    Withdrawn,
}

/// What `run` reports before the result becomes visible.
pub(crate) struct Ended<'a> {
    pub(crate) how: Finish,
    pub(crate) submitted: u64,
    pub(crate) panic: Option<&'a Panic>,
}

/// The operations of a job's handle.
pub(crate) trait Awaited<R>: Task {
    /// A waker that it had before and that is not to be woken any more goes to `let_go`.
    fn poll(&self, cx: &Context<'_>, let_go: &dyn Fn(Waker)) -> Poll<Result<R, JobError>>;
    fn take(&self) -> Option<Result<R, JobError>>;
    /// Its handle waits no longer: lets go of a waker of this kind.
    fn unlisten(&self, is_own: &dyn Fn(&Waker) -> bool);
    /// As `poll`, with a group instead of a waker.
    fn attach(&self, group: &Arc<Group>, number: u32, let_go: &dyn Fn(Waker));
}

/// A snapshot of a job's progress. Times are nanoseconds on the pool's clock.
pub(crate) enum Look {
    Queued { submitted: u64 },
    Running { waited: u64, started: u64 },
    Settled { waited: u64, ran: Option<u64> },
}

pub(crate) struct Cell<F, R> {
    place: Place,
    state: Mutex<State<F, R>>,
}

struct State<F, R> {
    phase: Phase<F, R>,
    /// When it was submitted; once it has started, how long it had waited.
    waited: u64,
    /// When it started; once it has ended, how long it ran; `NEVER` if it was discarded or given up.
    ran: u64,
}

const NEVER: u64 = u64::MAX;

/// Whom to wake now that the job has settled; or the result that came too late.
type Settled<R> = Result<Option<Waker>, Result<R, JobError>>;

/// The `u32` is the job's number in its group. It is not part of the listener because here it occupies padding: a queued job is 8 bytes
/// smaller.
enum Phase<F, R> {
    Queued(F, Trace, u32, Listener),
    Running(u32, Listener),
    Settled(Result<R, JobError>),
    /// The result was handed out.
    Taken,
}

/// What is notified when the job settles. Before the first poll it is the no-op waker: a variant for "none" would make this three words
/// instead of two, because the niche of `Waker` holds one other variant.
enum Listener {
    Waker(Waker),
    Group(Arc<Group>),
}

impl Listener {
    fn none() -> Self {
        Listener::Waker(Waker::noop().clone())
    }

    /// It is not to be notified any more.
    fn let_go(self, let_go: &dyn Fn(Waker)) {
        match self {
            Listener::Waker(waker) => let_go(waker),
            Listener::Group(group) => drop(group),
        }
    }

    /// The job has settled. Returns the waker to call.
    fn told(self, number: u32, ok: bool) -> Option<Waker> {
        match self {
            Listener::Waker(waker) if waker.will_wake(Waker::noop()) => None,
            Listener::Waker(waker) => Some(waker),
            Listener::Group(group) => group.complete(number, ok),
        }
    }
}

impl<F, R> Phase<F, R> {
    /// `None` once it has settled.
    fn listener(&mut self) -> Option<(&mut u32, &mut Listener)> {
        match self {
            Phase::Queued(_, _, number, listener) | Phase::Running(number, listener) => {
                Some((number, listener))
            }
            Phase::Settled(_) | Phase::Taken => None,
        }
    }
}

impl<F, R> Cell<F, R>
where
    F: FnOnce() -> R,
{
    pub(crate) fn new(lane: ViewId, origin: Origin, trace: Trace, now: u64, closure: F) -> Self {
        Cell {
            place: Place::new(lane, origin),
            state: Mutex::new(State {
                phase: Phase::Queued(closure, trace, 0, Listener::none()),
                waited: now,
                ran: 0,
            }),
        }
    }

    /// Gives the closure back, if the cell never entered a queue.
    pub(crate) fn reclaim(&self) -> Option<F> {
        let phase = mem::replace(&mut self.state.lock().phase, Phase::Taken);
        match phase {
            Phase::Queued(closure, ..) => Some(closure),
            Phase::Running(..) | Phase::Settled(_) | Phase::Taken => None,
        }
    }

    /// Queued -> Running: the caller owns the closure now.
    fn start(&self, started: u64) -> Option<(F, Trace, u64)> {
        let mut state = self.state.lock();
        match mem::replace(&mut state.phase, Phase::Taken) {
            Phase::Queued(closure, trace, number, listener) => {
                state.phase = Phase::Running(number, listener);
                let submitted = state.waited;
                state.waited = started.saturating_sub(submitted);
                state.ran = started;
                Some((closure, trace, submitted))
            }
            other @ (Phase::Running(..) | Phase::Settled(_) | Phase::Taken) => {
                state.phase = other;
                None
            }
        }
    }

    /// Queued or Running -> Settled; returns the waker to call. If the job is settled already, because it was given up, returns the late
    /// result.
    fn settle(&self, result: Result<R, JobError>, ended: Option<u64>) -> Settled<R> {
        self.settle_if(result, ended, |_| true)
    }

    /// The same, from some phases only.
    fn settle_if(
        &self,
        result: Result<R, JobError>,
        ended: Option<u64>,
        may: impl FnOnce(&Phase<F, R>) -> bool,
    ) -> Settled<R> {
        let ok = result.is_ok();
        let (closure, number, listener) = {
            let mut state = self.state.lock();
            if !may(&state.phase) {
                return Err(result);
            }
            match state.phase {
                Phase::Queued(..) | Phase::Running(..) if ended.is_some() => {}
                Phase::Queued(..) => (state.waited, state.ran) = (0, NEVER),
                Phase::Running(..) => state.ran = NEVER,
                Phase::Settled(_) | Phase::Taken => return Err(result),
            }
            if let Some(ended) = ended {
                state.ran = ended.saturating_sub(state.ran);
            }
            match mem::replace(&mut state.phase, Phase::Settled(result)) {
                Phase::Queued(closure, trace, number, listener) => (Some((closure, trace)), number, listener),
                Phase::Running(number, listener) => (None, number, listener),
                Phase::Settled(_) | Phase::Taken => unreachable!("it was neither a moment ago"),
            }
        };
        // Dropping the closure of a job that never ran drops its captures, which is user code.
        if let Some(closure) = closure {
            guarded(move || drop(closure));
        }
        Ok(listener.told(number, ok))
    }
}

impl<F, R> Task for Cell<F, R>
where
    F: FnOnce() -> R + Send,
    R: Send,
{
    fn place(&self) -> &Place {
        &self.place
    }

    fn look(&self) -> Look {
        let state = self.state.lock();
        match state.phase {
            Phase::Queued(..) => Look::Queued { submitted: state.waited },
            Phase::Running(..) => Look::Running { waited: state.waited, started: state.ran },
            Phase::Settled(_) | Phase::Taken => {
                Look::Settled { waited: state.waited, ran: (state.ran != NEVER).then_some(state.ran) }
            }
        }
    }

    fn run(&self, started: u64, worker: &mut dyn Ending) -> bool {
        let Some((closure, trace, submitted)) = self.start(started) else {
            // It was withdrawn between the queue and here.
            worker.ended(Ended { how: Finish::Withdrawn, submitted: started, panic: None });
            return true;
        };
        let caught = || {
            catch_unwind(AssertUnwindSafe(closure)).map_err(|payload| JobError::Panicked(Panic::new(payload)))
        };
        let waited = started.saturating_sub(submitted);
        let result = trace.run(self.place.id(), waited, caught, Result::is_err);
        let panic = match &result {
            Err(JobError::Panicked(panic)) => Some(panic),
            Ok(_) | Err(_) => None,
        };
        let rest = panic.is_some() || mem::needs_drop::<R>();
        let how = if panic.is_some() { Finish::Panicked } else { Finish::Returned };
        let ended = worker.ended(Ended { how, submitted, panic });
        match self.settle(result, Some(ended)) {
            Ok(None) => {}
            Ok(Some(waker)) => {
                worker.waking(&waker);
                wake_guarded(Some(waker));
            }
            Err(late) => {
                worker.dropping();
                guarded(move || drop(late));
            }
        }
        rest
    }

    fn discard(&self, why: JobError) {
        match self.settle(Err(why), None) {
            Ok(waker) => wake_guarded(waker),
            Err(unused) => debug_assert!(unused.is_err(), "only a job that ran has a result"),
        }
    }

    fn withdraw(&self, why: JobError) -> bool {
        let settled = self.settle_if(Err(why), None, |phase| matches!(phase, Phase::Queued(..)));
        settled.map(wake_guarded).is_ok()
    }

    fn give_up(&self, why: JobError) {
        self.discard(why);
    }
}

impl<F, R> Awaited<R> for Cell<F, R>
where
    F: FnOnce() -> R + Send,
    R: Send,
{
    fn poll(&self, cx: &Context<'_>, let_go: &dyn Fn(Waker)) -> Poll<Result<R, JobError>> {
        {
            let mut state = self.state.lock();
            match state.phase.listener() {
                Some((_, Listener::Waker(old))) if old.will_wake(cx.waker()) => return Poll::Pending,
                Some(_) => {}
                None => return Poll::Ready(take_settled(&mut state.phase).expect("it is given once")),
            }
        }
        // To clone or to drop a waker is the user's code: not under the lock.
        let new = Listener::Waker(cx.waker().clone());
        let mut state = self.state.lock();
        let Some((_, listener)) = state.phase.listener() else {
            let result = take_settled(&mut state.phase).expect("it is given once");
            drop(state);
            return Poll::Ready(result);
        };
        let old = mem::replace(listener, new);
        drop(state);
        old.let_go(let_go);
        Poll::Pending
    }

    fn take(&self) -> Option<Result<R, JobError>> {
        take_settled(&mut self.state.lock().phase)
    }

    fn unlisten(&self, is_own: &dyn Fn(&Waker) -> bool) {
        let mut state = self.state.lock();
        let Some((_, listener)) = state.phase.listener() else { return };
        if !matches!(listener, Listener::Waker(waker) if is_own(waker)) {
            return;
        }
        let old = mem::replace(listener, Listener::none());
        drop(state);
        drop(old);
    }

    fn attach(&self, group: &Arc<Group>, number: u32, let_go: &dyn Fn(Waker)) {
        let mut state = self.state.lock();
        match &mut state.phase {
            Phase::Settled(result) => {
                let ok = result.is_ok();
                drop(state);
                wake_guarded(group.complete(number, ok));
            }
            Phase::Queued(_, _, place, listener) | Phase::Running(place, listener) => {
                *place = number;
                let old = mem::replace(listener, Listener::Group(Arc::clone(group)));
                drop(state);
                old.let_go(let_go);
            }
            Phase::Taken => unreachable!("a group takes no job that has given its result"),
        }
    }
}

fn take_settled<F, R>(phase: &mut Phase<F, R>) -> Option<Result<R, JobError>> {
    if !matches!(phase, Phase::Settled(_)) {
        return None;
    }
    match mem::replace(phase, Phase::Taken) {
        Phase::Settled(result) => Some(result),
        Phase::Queued(..) | Phase::Running(..) | Phase::Taken => None,
    }
}
