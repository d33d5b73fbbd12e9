//! Jobs that borrow from the caller's stack: a call that blocks, as `std::thread::scope` does, until all of them are done.
//!
//! The call neither returns nor unwinds while a job of the scope exists. That makes the `unsafe` block sound, which erases the lifetime of
//! the closures.

#![allow(unsafe_code)]

use std::cell::RefCell;
use std::fmt;
use std::marker::PhantomData;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crate::block_on::{Awaits, block_on, drive};
use crate::cell::{Position, Task};
use crate::core::{Need, Refusal, Settles, Unit};
use crate::error::{JobError, Panic, Rejected};
use crate::executor::Executor;
use crate::guard::{guarded, wake_guarded};
use crate::job::{CancelHandle, CancelOutcome, Job, target_of};
use crate::pool::{self, Pool};
use crate::reserve::Permit;
use crate::sync::{AtomicBool, AtomicUsize, Mutex, Ordering};
use crate::view_id::ROOT;

impl Executor {
    /// Runs jobs that may borrow from this stack, and blocks until all of them are done.
    ///
    /// ```
    /// let executor = overlapped::Executor::builder().max_workers(4).build()?;
    /// let mut numbers = vec![1, 2, 3, 4, 5, 6];
    /// let (left, right) = numbers.split_at_mut(3);
    /// executor.scope(|scope| {
    ///     scope.submit(|| left.iter_mut().for_each(|n| *n *= 10));
    ///     scope.submit(|| right.iter_mut().for_each(|n| *n *= 100));
    /// });
    /// assert_eq!(numbers, [10, 20, 30, 400, 500, 600]);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// There is no scope to await, and there can be none: a future may be forgotten half-way, and the jobs would go on borrowing
    /// from a stack that is gone. What is submitted outside a scope must own what it uses:
    ///
    /// ```compile_fail,E0597
    /// # async fn borrow() {
    /// let executor = overlapped::Executor::global();
    /// let numbers = vec![1, 2, 3];
    /// let slice = &numbers[..];
    /// executor.submit(move || slice.len()).await.unwrap();
    /// # }
    /// ```
    ///
    /// and a job of a scope cannot be carried out of it:
    ///
    /// ```compile_fail
    /// let executor = overlapped::Executor::global();
    /// let mut escaped = None;
    /// executor.scope(|scope| {
    ///     escaped = Some(scope.submit(|| 1));
    /// });
    /// ```
    ///
    /// # Panics
    ///
    /// Goes on panicking if `f` does, after the jobs are done; and if a job panicked whose handle was dropped without waiting for it. If
    /// such a job did not run at all, because the executor was shut down or a circle of waits had to be broken, that is a panic as well: no job is lost in silence.
    ///
    /// # Blocking
    ///
    /// Until all jobs are done; where a failure is to end the others, there is [`try_scope`](Executor::try_scope). On a worker of this
    /// executor another thread takes the place of this one meanwhile; if none can come, jobs of the scope that are still queued are run
    /// here and now, up to 64 deep. Queued jobs that could never begin while this waits for them are discarded: their handles give
    /// [`JobError::WouldDeadlock`], and without one it is a panic.
    pub fn scope<'env, F, T>(&self, f: F) -> T
    where
        F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> T,
    {
        let scope = Scope::new(self);
        let result = catch_unwind(AssertUnwindSafe(|| f(&scope)));
        scope.finish();
        match result {
            Err(payload) => resume_unwind(payload),
            Ok(result) => scope.panic().map_or(result, |panic| panic.resume()),
        }
    }
}

/// Where jobs that borrow are submitted; see [`Executor::scope`].
pub struct Scope<'scope, 'env: 'scope> {
    executor: Executor,
    latch: Arc<Latch>,
    /// It ends on a worker; then the jobs, some of which may have to be run here at the end.
    on_worker: bool,
    tasks: Mutex<Tasks>,
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

impl<'scope, 'env> Scope<'scope, 'env> {
    pub(crate) fn new(executor: &Executor) -> Self {
        Scope {
            executor: executor.clone(),
            latch: Arc::new(Latch {
                open: AtomicUsize::new(0),
                cancelled: AtomicBool::new(false),
                waker: Mutex::new(None),
                begins: Mutex::new(None),
                panic: Mutex::new(None),
            }),
            on_worker: pool::current_pool().is_some(),
            tasks: Mutex::new(Tasks { open: Vec::new(), added: 0 }),
            scope: PhantomData,
            env: PhantomData,
        }
    }

    /// The panic of a job that no handle has taken.
    pub(crate) fn panic(&self) -> Option<Panic> {
        self.latch.panic.lock().take()
    }

    pub(crate) fn latch(&self) -> Arc<Latch> {
        Arc::clone(&self.latch)
    }

    /// As [`Executor::submit`], for a closure that borrows for `'scope`. Dropping the handle cancels nothing: the scope waits.
    ///
    /// # Blocking
    ///
    /// While the queue is full: until there is a place. In a job of the same executor (of the same view, if this is one) the closure is
    /// then run here and now, as a direct call. In another job of the executor of this view, until a job of the scope has begun, which may
    /// be run here; if none is queued, the closure goes in beyond the limit.
    #[track_caller]
    pub fn submit<F, R>(&'scope self, closure: F) -> ScopedJob<'scope, R>
    where
        F: FnOnce() -> R + Send + 'scope,
        R: Send + 'scope,
    {
        self.submit_fallible(move || Some(closure()))
    }

    /// As `submit`; if the closure gives nothing, neither does the handle.
    #[track_caller]
    pub(crate) fn submit_fallible<F, R>(&'scope self, closure: F) -> ScopedJob<'scope, R>
    where
        F: FnOnce() -> Option<R> + Send + 'scope,
        R: Send + 'scope,
    {
        let slot = Arc::new(Mutex::new(Slot { result: None, state: Awaiting::Handle }));
        let task = ScopedTask {
            closure: Some(closure),
            slot: Some(Arc::clone(&slot)),
            open: Open::new(&self.latch),
        };
        let run = move || task.run();
        #[cfg(feature = "tokio")]
        let run = self.executor.pool().in_context(run);
        let borrowing: Box<dyn FnOnce() + Send + 'scope> = Box::new(run);
        // SAFETY: the two types differ in a lifetime alone, so their layout is the same. What the closure borrows outlives it:
        // `finish` runs before `'scope` ends, whether the scope's own closure returned or panicked, and does not return before
        // every `Open` is dropped; and a `ScopedTask` lets go of its own last, after all that it borrows.
        let owning = unsafe {
            mem::transmute::<Box<dyn FnOnce() + Send + 'scope>, Box<dyn FnOnce() + Send + 'static>>(borrowing)
        };
        let job = self.enter(owning);
        if let Some(job) = job.as_ref().filter(|_| self.on_worker) {
            let mut tasks = self.tasks.lock();
            tasks.open.push(job.task());
            tasks.added += 1;
            drop(tasks);
            // A job of the scope has submitted another: if the end of the scope already waits, it must wait for this one too.
            self.latch.wake();
        }
        ScopedJob { job, slot, latch: Arc::clone(&self.latch), scope: PhantomData }
    }

    /// Lets a job in. `None`: it was run here, and its result is in its slot.
    #[track_caller]
    fn enter(&self, closure: Box<dyn FnOnce() + Send>) -> Option<Job<()>> {
        let full = match self.executor.try_submit(closure) {
            Ok(job) => return Some(job),
            Err(full) => full,
        };
        if full.why != Rejected::QueueFull {
            // The job says why.
            return Some(self.executor.submit(full.closure));
        }
        if pool::is_within(self.executor.pool(), self.executor.lane()) {
            (full.closure)();
            return None;
        }
        let place = match self.executor.is_worker() {
            false => Some(block_on(self.executor.reserve())),
            true => self.place_after_others(),
        };
        Some(match place {
            Some(Ok(permit)) => permit.submit(full.closure),
            Some(Err(_)) => self.executor.submit(full.closure),
            None => self.executor.submit_must_run(full.closure),
        })
    }

    /// On a worker: a place in the full queue of a view that this is no job of, once one of the scope's own jobs has begun there, if need
    /// be on this thread. `None` if none of them is queued, or can begin: the queue may never get shorter.
    fn place_after_others(&self) -> Option<Result<Permit, Rejected>> {
        let mut reserve = pin!(self.executor.reserve());
        loop {
            let is_queued = |position| matches!(position, Position::Queued(_));
            let queued = self.tasks(is_queued);
            if queued.is_empty() {
                return None;
            }
            let place = std::future::poll_fn(|cx| {
                if let Poll::Ready(place) = reserve.as_mut().poll(cx) {
                    return Poll::Ready(Some(place));
                }
                // The place of one that has begun may have gone to another in line, which may wait for this very job.
                self.latch.listen_to_begins(cx);
                let all_queued = queued.iter().all(|task| is_queued(task.place().position()));
                if all_queued { Poll::Pending } else { Poll::Ready(None) }
            });
            let unit = |own: &Arc<Pool>| self.unit(Need::Any, &queued, own);
            let awaits = Awaits::Jobs { unit: &unit, refusal: Refusal::Error };
            if let Some(place) = drive(pin!(place), None, awaits).ok()? {
                return Some(place);
            }
        }
    }

    /// The jobs of the scope in such a position.
    fn tasks(&self, wanted: impl Fn(Position) -> bool) -> Vec<Arc<dyn Task>> {
        let mut tasks = self.tasks.lock();
        tasks.open.retain(|task| task.place().position() != Position::Gone);
        tasks.open.iter().filter(|task| wanted(task.place().position())).cloned().collect()
    }

    fn unit(&self, need: Need, tasks: &[Arc<dyn Task>], own: &Arc<Pool>) -> Arc<Unit> {
        let target = |task| target_of(task, self.executor.pool(), Settles::ByItself, own);
        Unit::new(need, tasks.iter().map(target).collect())
    }

    /// Waits for all jobs.
    pub(crate) fn finish(&self) {
        let never_unwind = Abort;
        // Made again only when jobs were added.
        let made = RefCell::new(None::<(u64, Arc<Unit>)>);
        let unit = |own: &Arc<Pool>| {
            let added = self.tasks.lock().added;
            let mut made = made.borrow_mut();
            match &*made {
                Some((of, unit)) if *of == added => Arc::clone(unit),
                Some(_) | None => {
                    let unit = self.unit(Need::All, &self.tasks(|_| true), own);
                    *made = Some((added, Arc::clone(&unit)));
                    unit
                }
            }
        };
        // In a forked child no thread borrows from this stack.
        let forked = || self.executor.is_forked();
        loop {
            let all_done =
                std::future::poll_fn(|cx| if forked() { Poll::Ready(()) } else { self.latch.poll(cx) });
            let awaits = Awaits::Jobs { unit: &unit, refusal: Refusal::Discard };
            if drive(pin!(all_done), None, awaits).is_ok() {
                break;
            }
            // What a view holds up would never begin while this waits for it; or, if there is nothing of the kind, what has no thread.
            let mut never = self.tasks(|position| matches!(position, Position::Queued(lane) if lane != ROOT));
            if never.is_empty() {
                never = self.tasks(|position| matches!(position, Position::Queued(_)));
            }
            for task in never {
                self.executor.pool().cancel(&*task, JobError::WouldDeadlock);
            }
        }
        mem::forget(never_unwind);
    }
}

impl fmt::Debug for Scope<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").finish_non_exhaustive()
    }
}

/// Jobs that were queued when they were last looked at, and how many there were in all.
struct Tasks {
    open: Vec<Arc<dyn Task>>,
    added: u64,
}

/// To unwind out of the wait would free what jobs still borrow.
struct Abort;

impl Drop for Abort {
    fn drop(&mut self) {
        std::process::abort();
    }
}

/// A job of a scope: wait for it inside the scope, or leave it to the scope's end.
pub struct ScopedJob<'scope, R> {
    /// `None` for a job that was run at once, by `submit`.
    job: Option<Job<()>>,
    slot: Arc<Mutex<Slot<R>>>,
    latch: Arc<Latch>,
    scope: PhantomData<&'scope ()>,
}

struct Slot<R> {
    result: Option<Result<R, Panic>>,
    state: Awaiting,
}

/// What receives the result of a job.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Awaiting {
    /// The handle.
    Handle,
    /// The handle; the job will not run.
    HandleNotRun,
    /// The scope, as the handle was dropped.
    Scope,
    /// Nothing: the wait has ended, or the job was cancelled.
    Nothing,
}

impl<R> ScopedJob<'_, R> {
    /// Blocks this thread until the job has ended.
    ///
    /// # Errors
    ///
    /// As [`Job::wait`].
    ///
    /// # Blocking
    ///
    /// Until the job has ended.
    pub fn wait(mut self) -> Result<R, JobError> {
        if let Some(job) = self.job.take()
            && let Err(error) = job.wait()
        {
            self.slot.lock().state = Awaiting::Nothing;
            return Err(error);
        }
        let mut slot = self.slot.lock();
        slot.state = Awaiting::Nothing;
        let result = slot.result.take();
        drop(slot);
        // A job that has failed in a `try_scope` leaves none.
        result.map_or(Err(JobError::Cancelled), |result| result.map_err(JobError::Panicked))
    }

    pub(crate) fn cancel_handle(&self) -> Option<CancelHandle> {
        self.job.as_ref().map(Job::cancel_handle)
    }

    /// Takes the job out of the queue, if it is still there.
    pub fn cancel(&self) -> CancelOutcome {
        let outcome = self.job.as_ref().map_or(CancelOutcome::TooLate, Job::cancel);
        if outcome == CancelOutcome::Removed {
            // Only now: a job that runs must find that its result is still wanted.
            self.slot.lock().state = Awaiting::Nothing;
        }
        outcome
    }
}

impl<R> Drop for ScopedJob<'_, R> {
    fn drop(&mut self) {
        let (state, result) = {
            let mut slot = self.slot.lock();
            let state = slot.state;
            if state == Awaiting::Handle {
                slot.state = Awaiting::Scope;
            }
            (state, slot.result.take())
        };
        if let Some(job) = self.job.take() {
            job.detach();
        }
        match (state, result) {
            (Awaiting::HandleNotRun, _) => self.latch.did_not_run(),
            (_, Some(Err(panic))) => self.latch.keep(panic),
            (Awaiting::Handle | Awaiting::Scope | Awaiting::Nothing, _) => {}
        }
    }
}

impl<R> fmt::Debug for ScopedJob<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScopedJob").field("job", &self.job).finish_non_exhaustive()
    }
}

/// What the pool runs. Its fields are dropped in this order, and `open`, the last, is what the scope waits for.
struct ScopedTask<F, R> {
    closure: Option<F>,
    slot: Option<Arc<Mutex<Slot<R>>>>,
    open: Open,
}

impl<F: FnOnce() -> Option<R>, R> ScopedTask<F, R> {
    fn run(mut self) {
        let (Some(closure), Some(slot)) = (self.closure.take(), self.slot.take()) else { return };
        self.open.0.begins();
        let result = catch_unwind(AssertUnwindSafe(closure)).map_err(Panic::new).transpose();
        let late = {
            let mut slot = slot.lock();
            match slot.state {
                Awaiting::Handle | Awaiting::HandleNotRun => {
                    slot.result = result;
                    None
                }
                Awaiting::Scope | Awaiting::Nothing => result,
            }
        };
        match late {
            Some(Err(panic)) => self.open.0.keep(panic),
            Some(Ok(value)) => guarded(move || drop(value)),
            None => {}
        }
        // If the handle went away meanwhile, this is the last of the result.
        guarded(move || drop(slot));
    }
}

impl<F, R> Drop for ScopedTask<F, R> {
    fn drop(&mut self) {
        let (closure, slot) = (self.closure.take(), self.slot.take());
        if let (Some(_), Some(slot)) = (&closure, &slot) {
            let mut slot = slot.lock();
            match slot.state {
                Awaiting::Handle => slot.state = Awaiting::HandleNotRun,
                Awaiting::Scope => self.open.0.did_not_run(),
                Awaiting::HandleNotRun | Awaiting::Nothing => {}
            }
        }
        guarded(move || drop(closure));
        guarded(move || drop(slot));
    }
}

/// Open as long as a job of the scope exists.
pub(crate) struct Latch {
    open: AtomicUsize,
    /// The scope itself has cancelled what had not begun.
    cancelled: AtomicBool,
    waker: Mutex<Option<Waker>>,
    /// To be woken when a job begins.
    begins: Mutex<Option<Waker>>,
    panic: Mutex<Option<Panic>>,
}

impl Latch {
    fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        let new = cx.waker().clone();
        let old = self.waker.lock().replace(new);
        drop(old);
        if self.open.load(Ordering::Acquire) == 0 { Poll::Ready(()) } else { Poll::Pending }
    }

    fn wake(&self) {
        let waker = self.waker.lock().take();
        wake_guarded(waker);
    }

    fn listen_to_begins(&self, cx: &Context<'_>) {
        let new = cx.waker().clone();
        let old = self.begins.lock().replace(new);
        drop(old);
    }

    fn begins(&self) {
        let waker = self.begins.lock().take();
        wake_guarded(waker);
    }

    /// From now on it is no panic if a job does not run.
    pub(crate) fn set_cancelled(&self) {
        self.cancelled.store(true, Ordering::Release);
    }

    /// A job did not run, and no handle is left to report it.
    fn did_not_run(&self) {
        if !self.cancelled.load(Ordering::Acquire) {
            let why = "a job of the scope did not run: the executor was shut down or has no thread, or it would have \
                       waited for ever";
            self.keep(Panic::new(Box::new(why)));
        }
    }

    fn keep(&self, panic: Panic) {
        let mut kept = self.panic.lock();
        let late = if kept.is_some() { Some(panic) } else { kept.replace(panic) };
        drop(kept);
        guarded(move || drop(late));
    }
}

struct Open(Arc<Latch>);

impl Open {
    fn new(latch: &Arc<Latch>) -> Self {
        latch.open.fetch_add(1, Ordering::Relaxed);
        Open(Arc::clone(latch))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if self.0.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.wake();
        }
    }
}
