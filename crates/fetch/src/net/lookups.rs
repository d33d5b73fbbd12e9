//! The threads on which names are looked up. A look-up cannot be cancelled, so one that nobody answers holds its thread until the
//! system gives it up. It does not keep its place as long: when it is late another one begins, up to a limit.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use overlapped::{Executor, JobError};
use overlapped_proto::limits;
use overlapped_proto::time::Nanos;

use crate::clock::Clock;

/// The look-ups of a run, or of a client.
#[derive(Clone, Debug)]
pub(crate) struct Lookups {
    /// The threads.
    view: Executor,
    running: Arc<Mutex<Running>>,
}

#[derive(Debug, Default)]
struct Running {
    /// In the order in which they began.
    lookups: Vec<Lookup>,
    next: u64,
    /// Of those that wait for a place. Some of them may not wait any more, since nobody wants their name now.
    waiting: VecDeque<Waker>,
}

#[derive(Debug)]
struct Lookup {
    number: u64,
    began: Nanos,
    /// Another one has its place.
    is_late: bool,
}

/// A look-up that runs; dropped when it ends.
struct Guard {
    running: Arc<Mutex<Running>>,
    number: u64,
}

impl Lookups {
    pub(crate) fn new(executor: &Executor) -> Self {
        let threads = limits::DNS_PARALLEL_MAX + limits::DNS_LATE_MAX;
        Self { view: executor.limited("dns", threads), running: Arc::default() }
    }

    /// Runs `work`, which blocks, when there is a place. It may have to be polled each [`limits::DNS_RETRY`] for that, because who is
    /// told of a place may not want it any more, and one that is late says nothing. So no timer is in it, which would belong to one
    /// of the runtimes that wait for it.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        clock: Clock,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, JobError> {
        let number = poll_fn(|cx| {
            let mut running = lock(&self.running);
            match running.begin(clock.now()) {
                Some(number) => Poll::Ready(number),
                None => {
                    running.wait(cx.waker());
                    Poll::Pending
                }
            }
        });
        let guard = Guard { number: number.await, running: Arc::clone(&self.running) };
        let job = self.view.submit(move || {
            let _ends_with_the_lookup = guard;
            work()
        });
        job.await
    }
}

impl Running {
    /// Begins one, if there is a place: its number.
    fn begin(&mut self, now: Nanos) -> Option<u64> {
        let late = self.late();
        let placed = self.lookups.iter_mut().filter(|lookup| !lookup.is_late);
        let over = placed.take_while(|lookup| now >= lookup.began + limits::DNS_LATE);
        over.take(limits::DNS_LATE_MAX.saturating_sub(late)).for_each(|lookup| lookup.is_late = true);
        if self.lookups.len() - self.late() >= limits::DNS_PARALLEL_MAX {
            return None;
        }
        self.next += 1;
        self.lookups.push(Lookup { number: self.next, began: now, is_late: false });
        Some(self.next)
    }

    fn late(&self) -> usize {
        self.lookups.iter().filter(|lookup| lookup.is_late).count()
    }

    fn wait(&mut self, waker: &Waker) {
        self.waiting.push_back(waker.clone());
        if self.waiting.len() > limits::DNS_WAKERS_MAX {
            self.waiting.pop_front();
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut running = lock(&self.running);
        running.lookups.retain(|lookup| lookup.number != self.number);
        let told = running.waiting.len().min(limits::DNS_WAKERS_TOLD);
        let told: Vec<_> = running.waiting.drain(..told).collect();
        drop(running);
        told.into_iter().for_each(Waker::wake);
    }
}

/// Nothing panics under this lock, so what a poisoned one guards is whole.
fn lock(running: &Mutex<Running>) -> MutexGuard<'_, Running> {
    running.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::sync::mpsc;
    use std::time::{Duration, Instant};

    use futures_util::FutureExt;

    use super::*;

    type LookUp = Pin<Box<dyn Future<Output = Result<(), JobError>>>>;

    /// Polls these until something holds; those that have ended are taken out.
    fn poll_until(waiting: &mut Vec<LookUp>, holds: impl Fn(&[LookUp]) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !holds(waiting) {
            assert!(Instant::now() < deadline, "{} wait", waiting.len());
            waiting.retain_mut(|look_up| look_up.as_mut().now_or_never().is_none());
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// As many as have places are stuck, again and again; and those whose names nobody wants any more are never polled again.
    #[test]
    fn what_is_late_passes_its_place_on_up_to_a_limit() {
        let executor = Executor::builder().max_workers(200).build().unwrap();
        let (lookups, clock) = (Lookups::new(&executor), Clock::start());
        let (end, stuck) = mpsc::channel::<()>();
        let stuck = Arc::new(Mutex::new(stuck));
        let look_up = || -> LookUp {
            let (lookups, stuck) = (lookups.clone(), Arc::clone(&stuck));
            Box::pin(async move {
                let work = move || {
                    let _ = stuck.lock().unwrap_or_else(PoisonError::into_inner).recv();
                };
                lookups.run(clock, work).await
            })
        };
        let running = || lock(&lookups.running).lookups.len();
        let most = limits::DNS_PARALLEL_MAX + limits::DNS_LATE_MAX;
        let mut waiting: Vec<_> = (0..200).map(|_| look_up()).collect();
        for look_up in &mut waiting {
            assert!(look_up.as_mut().now_or_never().is_none());
        }
        assert_eq!(running(), limits::DNS_PARALLEL_MAX, "none is late yet");
        let mut forgotten = waiting.split_off(150);
        poll_until(&mut waiting, |_| running() == most);
        std::thread::sleep(limits::DNS_LATE.into());
        for look_up in &mut waiting {
            assert!(look_up.as_mut().now_or_never().is_none());
        }
        assert_eq!(running(), most, "this is the limit");
        // Each that ends makes room.
        drop(end);
        poll_until(&mut waiting, |waiting| waiting.is_empty() && running() == 0);
        poll_until(&mut forgotten, |forgotten| forgotten.is_empty());
    }
}
