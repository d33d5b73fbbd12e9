//! A value that is lent to one task after the other on an executor, and comes back with the result of each.
//!
//! The value moves: its owner has it, or one task. So no lock is needed, and nothing is shared between threads but the
//! job of the executor.

use std::pin::Pin;
use std::task::{Context, Poll};

use overlapped::{Executor, Job as Task};

use crate::error::Error;

/// A value of type `T`, and tasks that use it and have a result of type `R`.
pub(crate) struct Lent<T: Send + 'static, R: Send + 'static>(State<T, R>);

/// Where the value is.
enum State<T: Send + 'static, R: Send + 'static> {
    /// With its owner. No task is running.
    Here(T),
    /// With a running task.
    Away(Task<(T, R)>),
    /// A task has failed and has dropped it.
    Lost,
    /// The owner has taken it for good.
    Taken,
}

/// What happens to the value.
enum Event<T: Send + 'static, R: Send + 'static> {
    /// The owner takes it.
    Take,
    /// The owner has given it to a task.
    Lend(Task<(T, R)>),
    /// The task has given it back.
    Return(T),
    /// The task has failed.
    Fail,
}

impl<T: Send + 'static, R: Send + 'static> Lent<T, R> {
    pub(crate) fn new(value: T) -> Self {
        Self(State::Here(value))
    }

    /// True while the owner has the value, so that a task can be started.
    pub(crate) fn is_here(&self) -> bool {
        match self.0 {
            State::Here(_) => true,
            State::Away(_) | State::Lost | State::Taken => false,
        }
    }

    /// Starts a task with the value. After this, [`Lent::poll`] is to be called.
    ///
    /// # Panics
    ///
    /// The value is not [here](Lent::is_here).
    pub(crate) fn lend(&mut self, executor: &Executor, work: impl FnOnce(T) -> (T, R) + Send + 'static) {
        let value = self.moved(Event::Take).expect("the owner has what it lends");
        let task = executor.submit(move || work(value));
        self.moved(Event::Lend(task));
    }

    /// Polls the running task: its result if it has completed, `None` if it has not or if there is none. To be called
    /// again after a wake-up.
    ///
    /// # Errors
    ///
    /// The task has panicked or was refused, and the value is lost.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Result<Option<R>, Error> {
        let task = match &mut self.0 {
            State::Away(task) => task,
            State::Here(_) | State::Lost | State::Taken => return Ok(None),
        };
        match Pin::new(task).poll(cx) {
            Poll::Pending => Ok(None),
            Poll::Ready(Ok((value, result))) => {
                self.moved(Event::Return(value));
                Ok(Some(result))
            }
            Poll::Ready(Err(error)) => {
                self.moved(Event::Fail);
                Err(Error::task("a thread of the engine has stopped", &error))
            }
        }
    }

    /// Takes the value for good.
    ///
    /// # Panics
    ///
    /// The value is not [here](Lent::is_here).
    pub(crate) fn take(&mut self) -> T {
        self.moved(Event::Take).expect("the owner has what it takes")
    }

    /// The one function that moves the value. Returns it to an owner that takes it.
    fn moved(&mut self, event: Event<T, R>) -> Option<T> {
        let (next, given) = match (std::mem::replace(&mut self.0, State::Taken), event) {
            (State::Here(value), Event::Take) => (State::Taken, Some(value)),
            (State::Taken, Event::Lend(task)) => (State::Away(task), None),
            (State::Away(_), Event::Return(value)) => (State::Here(value), None),
            (State::Away(_), Event::Fail) => (State::Lost, None),
            (gone @ (State::Away(_) | State::Lost | State::Taken), Event::Take) => (gone, None),
            (State::Here(_) | State::Away(_) | State::Lost, Event::Lend(_)) => {
                unreachable!("the owner lends only what it has taken")
            }
            (State::Here(_) | State::Lost | State::Taken, Event::Return(_) | Event::Fail) => {
                unreachable!("only a running task ends")
            }
        };
        self.0 = next;
        given
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use overlapped::block_on;

    use super::*;

    fn executor() -> Executor {
        Executor::builder().max_workers(1).build().unwrap()
    }

    fn wait<T: Send, R: Send>(lent: &mut Lent<T, R>) -> Result<R, Error> {
        block_on(poll_fn(|cx| match lent.poll(cx) {
            Ok(None) => Poll::Pending,
            Ok(Some(result)) => Poll::Ready(Ok(result)),
            Err(error) => Poll::Ready(Err(error)),
        }))
    }

    #[test]
    fn each_task_has_the_value_and_gives_it_back() {
        let executor = executor();
        let mut lent = Lent::new(Vec::new());
        for round in 0..3 {
            assert!(lent.is_here());
            lent.lend(&executor, move |mut value| {
                value.push(round);
                let length = value.len();
                (value, length)
            });
            assert!(!lent.is_here());
            assert_eq!(wait(&mut lent).unwrap(), round + 1);
        }
        assert_eq!(lent.take(), [0, 1, 2]);
        assert!(!lent.is_here());
    }

    #[test]
    fn without_a_task_there_is_no_result() {
        let mut lent: Lent<(), ()> = Lent::new(());
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert!(lent.poll(&mut cx).unwrap().is_none());
        lent.take();
        assert!(lent.poll(&mut cx).unwrap().is_none());
    }

    #[test]
    fn a_task_that_panics_loses_the_value_and_is_reported_once() {
        let executor = executor();
        let mut lent: Lent<(), ()> = Lent::new(());
        lent.lend(&executor, |()| panic!("planted"));
        let error = wait(&mut lent).unwrap_err();
        assert!(error.to_string().contains("a thread of the engine has stopped"), "{error}");
        assert!(!lent.is_here());
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert!(lent.poll(&mut cx).unwrap().is_none());
    }

    #[test]
    #[should_panic(expected = "the owner has what it lends")]
    fn what_is_away_cannot_be_lent_again() {
        let executor = executor();
        let mut lent: Lent<(), ()> = Lent::new(());
        lent.lend(&executor, |()| panic!("planted"));
        wait(&mut lent).unwrap_err();
        lent.lend(&executor, |()| ((), ()));
    }
}
