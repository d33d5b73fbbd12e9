//! An object lent to an executor, one operation at a time, and got back: the hand-over that [`Unblock`](crate::Unblock) is built on.
//!
//! The object is never lost when a job is refused or cancelled, and it is used and dropped on a worker as long as there is one.
//!
//! The object rests on a *desk* that owner and job share. A job carries a *lease* and no object: it takes the object when it runs and
//! puts it back when it ends, so that a job that never runs leaves it where it is. What the owner decides while an operation is under
//! way (a call that follows, the end) is left on the desk, and the job that has the object does it before it lets go.

use std::any::Any;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::error::JobError;
use crate::executor::Executor;
use crate::guard::guarded;
use crate::job::Job;
use crate::reserve::Permit;
use crate::sync::Mutex;

/// The owner's side. `D` is what an operation brings back.
pub(crate) struct Loan<T: Send + 'static, D: Send + 'static> {
    executor: Executor,
    desk: Arc<Desk<T>>,
    job: Option<Job<Option<D>>>,
}

type FollowUp<T> = Box<dyn FnOnce(&mut T) + Send>;
type End<T> = Box<dyn FnOnce(T) + Send>;

struct Desk<T>(Mutex<State<T>>);

struct State<T> {
    object: Object<T>,
    /// A job has a lease: it has neither ended nor been dropped.
    leased: bool,
    /// Calls that a job makes before it puts the object back.
    follow_ups: VecDeque<FollowUp<T>>,
    /// The owner was dropped; what a job does with the object instead of putting it back.
    end: Option<End<T>>,
}

/// Where the object is.
enum Object<T> {
    /// On the desk.
    Here(T),
    /// With a job.
    InUse,
    /// An operation panicked. The object was dropped by the job.
    Panicked,
    /// Its owner has it back, or an operation has consumed it.
    Given,
}

/// What happens to the object.
enum Event<T> {
    Taken,
    PutBack(T),
    Panicked,
    Consumed,
}

impl<T> State<T> {
    /// The state machine: the only function that moves the object. Returns the object for `Taken`.
    fn moved(&mut self, event: Event<T>) -> Option<T> {
        let (next, given) = match (std::mem::replace(&mut self.object, Object::InUse), event) {
            (Object::Here(object), Event::Taken) => (Object::InUse, Some(object)),
            (Object::InUse, Event::PutBack(object)) => (Object::Here(object), None),
            (Object::InUse, Event::Panicked) => (Object::Panicked, None),
            (Object::InUse, Event::Consumed) => (Object::Given, None),
            (gone @ (Object::Panicked | Object::Given), Event::Taken) => (gone, None),
            (Object::InUse, Event::Taken) => unreachable!("one operation at a time has the object"),
            (
                Object::Here(_) | Object::Panicked | Object::Given,
                Event::PutBack(_) | Event::Panicked | Event::Consumed,
            ) => unreachable!("only the job that took the object gives an account of it"),
        };
        self.object = next;
        given
    }
}

impl<T: Send + 'static, D: Send + 'static> Loan<T, D> {
    pub(crate) fn new(executor: &Executor, object: T) -> Self {
        let state =
            State { object: Object::Here(object), leased: false, follow_ups: VecDeque::new(), end: None };
        Loan { executor: executor.clone(), desk: Arc::new(Desk(Mutex::new(state))), job: None }
    }

    pub(crate) fn executor(&self) -> &Executor {
        &self.executor
    }

    /// Starts an operation, which may consume the object. There is none at this time.
    pub(crate) fn start(&mut self, operation: impl FnOnce(&mut Option<T>) -> D + Send + 'static) {
        let lease = self.lease();
        self.job = Some(self.executor.submit(move || lease.run(operation)));
    }

    /// As [`start`](Loan::start), in a place of the queue that was reserved.
    pub(crate) fn start_in(
        &mut self,
        permit: Permit,
        operation: impl FnOnce(&mut Option<T>) -> D + Send + 'static,
    ) {
        let lease = self.lease();
        self.job = Some(permit.submit(move || lease.run(operation)));
    }

    fn lease(&self) -> Lease<T> {
        assert!(self.job.is_none(), "one operation at a time");
        self.desk.0.lock().leased = true;
        Lease(Some(Arc::clone(&self.desk)))
    }

    /// What the operation under way brings; it is over then. `None` if the object is gone.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<D>, JobError>> {
        let job = self.job.as_mut().expect("an operation is under way");
        let result = Pin::new(job).poll(cx);
        if result.is_ready() {
            self.job = None;
        }
        result
    }

    /// Makes a call after the operation under way and before any other.
    pub(crate) fn follow(&mut self, call: FollowUp<T>) {
        self.desk.0.lock().follow_ups.push_back(call);
    }

    /// Takes the object back; `None` if it is gone. No operation is under way.
    pub(crate) fn take_back(&mut self) -> Option<T> {
        let mut state = self.desk.0.lock();
        let object = state.moved(Event::Taken)?;
        state.moved(Event::Consumed);
        Some(object)
    }

    /// Leaves the object to `end`, which runs on the executor as soon as the object is at rest: in the place in the queue that the
    /// operation under way has, or in one beyond the queue's limit. If the executor has no threads any more, it runs here.
    pub(crate) fn part(&mut self, end: impl FnOnce(T) + Send + 'static) {
        if self.executor.is_forked() {
            // The object is the parent's to finish, and a thread that is not here may hold the lock.
            return;
        }
        let lease = {
            let mut state = self.desk.0.lock();
            match state.object {
                Object::Panicked | Object::Given => return,
                Object::Here(_) | Object::InUse => {}
            }
            state.end = Some(Box::new(end));
            (!std::mem::replace(&mut state.leased, true)).then(|| Lease(Some(Arc::clone(&self.desk))))
        };
        if let Some(job) = self.job.take() {
            job.detach();
        }
        if let Some(lease) = lease {
            self.executor.submit_must_run(move || lease.end()).detach();
        }
    }
}

/// What a job has of the object until it runs. Dropped with a job that is refused or cancelled.
struct Lease<T>(Option<Arc<Desk<T>>>);

impl<T> Lease<T> {
    /// The job: the calls that were to be made first, the operation, and what the owner has left on the desk meanwhile. Gives `None` if
    /// the object is gone.
    fn run<D>(mut self, operation: impl FnOnce(&mut Option<T>) -> D) -> Option<D> {
        let desk = self.0.take().expect("a lease runs once");
        let object = desk.first()?;
        let used = desk.use_by(object, |object| {
            while let Some(call) = desk.next_call() {
                call(object.as_mut().expect("only an operation consumes the object"));
            }
            operation(object)
        });
        match used {
            Ok((object, done)) => {
                desk.rest(object);
                Some(done)
            }
            Err(payload) => resume_unwind(payload),
        }
    }

    /// The job of an object that no operation will use again.
    fn end(mut self) {
        let desk = self.0.take().expect("a lease runs once");
        if let Some(object) = desk.first() {
            desk.rest(Some(object));
        }
    }
}

impl<T> Drop for Lease<T> {
    fn drop(&mut self) {
        let Some(desk) = self.0.take() else { return };
        let left = {
            let mut state = desk.0.lock();
            state.leased = false;
            if state.end.is_some() { state.moved(Event::Taken) } else { None }
        };
        // No other job will: the executor is shut down.
        if let Some(object) = left {
            desk.rest(Some(object));
        }
    }
}

impl<T> Desk<T> {
    fn first(&self) -> Option<T> {
        let mut state = self.0.lock();
        let object = state.moved(Event::Taken);
        // A job that finds the object gone puts nothing back.
        state.leased &= object.is_some();
        object
    }

    fn next_call(&self) -> Option<FollowUp<T>> {
        self.0.lock().follow_ups.pop_front()
    }

    /// Lets `f` use the object. After a panic the object is dropped here, not used again.
    fn use_by<R>(
        &self,
        object: T,
        f: impl FnOnce(&mut Option<T>) -> R,
    ) -> Result<(Option<T>, R), Box<dyn Any + Send>> {
        let mut object = Some(object);
        match catch_unwind(AssertUnwindSafe(|| f(&mut object))) {
            Ok(result) => Ok((object, result)),
            Err(payload) => {
                let left = {
                    let mut state = self.0.lock();
                    state.leased = false;
                    state.moved(Event::Panicked);
                    (std::mem::take(&mut state.follow_ups), state.end.take())
                };
                guarded(move || drop(object));
                guarded(move || drop(left));
                Err(payload)
            }
        }
    }

    /// Puts the object back, once all is done that was left on the desk.
    fn rest(&self, object: Option<T>) {
        let mut object = object;
        loop {
            match self.put_back(object) {
                Left::Nothing => return,
                Left::End(object, end) => return guarded(move || end(object)),
                Left::Call(here, call) => {
                    let used = self.use_by(here, |object| {
                        call(object.as_mut().expect("the object was just put here"));
                    });
                    match used {
                        Ok((here, ())) => object = here,
                        // The next operation finds the object gone; the one before has its own result.
                        Err(payload) => return guarded(move || drop(payload)),
                    }
                }
            }
        }
    }

    /// Puts the object back, unless something is still to be done with it.
    fn put_back(&self, object: Option<T>) -> Left<T> {
        let mut state = self.0.lock();
        let Some(object) = object else {
            state.leased = false;
            state.moved(Event::Consumed);
            return Left::Nothing;
        };
        if let Some(call) = state.follow_ups.pop_front() {
            return Left::Call(object, call);
        }
        state.leased = false;
        match state.end.take() {
            Some(end) => {
                state.moved(Event::Consumed);
                Left::End(object, end)
            }
            None => {
                state.moved(Event::PutBack(object));
                Left::Nothing
            }
        }
    }
}

/// What was left on the desk while a job had the object.
enum Left<T> {
    Nothing,
    Call(T, FollowUp<T>),
    End(T, End<T>),
}
