//! The threads on which names are looked up. A look-up cannot be cancelled, so one that nobody answers holds its thread until the
//! system gives it up. It does not keep its place as long: when it is late another one begins, up to a limit.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use overlapped::{Executor, JobError};
use overlapped_proto::limits;
use overlapped_proto::time::Nanos;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::clock::Clock;

/// The look-ups of a run, or of a client.
#[derive(Clone, Debug)]
pub(crate) struct Lookups {
    /// The threads.
    view: Executor,
    /// Places for those that are not late.
    places: Arc<Semaphore>,
    running: Arc<Mutex<Running>>,
}

#[derive(Debug, Default)]
struct Running {
    /// In the order in which they began.
    lookups: Vec<Lookup>,
    next: u64,
}

#[derive(Debug)]
struct Lookup {
    number: u64,
    began: Nanos,
    /// `None`: it is late, and has passed its place on.
    place: Option<OwnedSemaphorePermit>,
}

/// A look-up that runs; dropped when it ends.
struct Guard {
    running: Arc<Mutex<Running>>,
    number: u64,
    clock: Clock,
}

impl Lookups {
    pub(crate) fn new(executor: &Executor) -> Self {
        Self {
            view: executor.limited("dns", limits::DNS_PARALLEL_MAX + limits::DNS_LATE_MAX),
            places: Arc::new(Semaphore::new(limits::DNS_PARALLEL_MAX)),
            running: Arc::default(),
        }
    }

    /// Runs `work`, which blocks, when there is a place. While there is none, those that wait must [pass on](Lookups::pass_on) the
    /// places of those that are late.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        clock: Clock,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, JobError> {
        let place = Arc::clone(&self.places).acquire_owned().await.expect("the places are never closed");
        let number = lock(&self.running).begin(place, clock.now());
        let guard = Guard { running: Arc::clone(&self.running), number, clock };
        let job = self.view.submit(move || {
            let _ends_with_the_lookup = guard;
            work()
        });
        job.await
    }

    /// When the next one is late, if others wait for its place.
    pub(crate) fn late_at(&self) -> Option<Nanos> {
        if self.places.available_permits() > 0 {
            return None;
        }
        let running = lock(&self.running);
        let first = running.lookups.iter().find(|lookup| lookup.place.is_some())?;
        (running.late() < limits::DNS_LATE_MAX).then(|| first.began + limits::DNS_LATE)
    }

    /// Gives the places of those that are late to those that wait.
    pub(crate) fn pass_on(&self, now: Nanos) {
        let passed = lock(&self.running).pass_on(now);
        drop(passed);
    }
}

impl Running {
    fn begin(&mut self, place: OwnedSemaphorePermit, now: Nanos) -> u64 {
        self.next += 1;
        self.lookups.push(Lookup { number: self.next, began: now, place: Some(place) });
        self.next
    }

    fn late(&self) -> usize {
        self.lookups.iter().filter(|lookup| lookup.place.is_none()).count()
    }

    /// The places of those that are late, to be dropped without the lock.
    fn pass_on(&mut self, now: Nanos) -> Vec<OwnedSemaphorePermit> {
        let left = limits::DNS_LATE_MAX.saturating_sub(self.late());
        let late = |lookup: &&mut Lookup| now >= lookup.began + limits::DNS_LATE;
        let placed = self.lookups.iter_mut().filter(|lookup| lookup.place.is_some());
        placed.take_while(late).take(left).filter_map(|lookup| lookup.place.take()).collect()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut running = lock(&self.running);
        let at = running.lookups.iter().position(|lookup| lookup.number == self.number);
        let ended = at.map(|at| running.lookups.remove(at));
        // One more may be late.
        let passed = running.pass_on(self.clock.now());
        drop(running);
        drop((ended, passed));
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

    /// Leaves those that have not ended.
    fn poll(waiting: &mut Vec<LookUp>) {
        waiting.retain_mut(|look_up| look_up.as_mut().now_or_never().is_none());
    }

    /// As many as have places are stuck, again and again.
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
        let mut waiting: Vec<_> = (0..200).map(|_| look_up()).collect();
        poll(&mut waiting);
        lookups.pass_on(clock.now());
        poll(&mut waiting);
        assert_eq!((running(), waiting.len()), (limits::DNS_PARALLEL_MAX, 200), "none is late yet");
        assert!(lookups.late_at().is_some());
        let later = clock.now() + Nanos::from_secs(3_600);
        for _ in 0..9 {
            lookups.pass_on(later);
            poll(&mut waiting);
        }
        assert_eq!(running(), limits::DNS_PARALLEL_MAX + limits::DNS_LATE_MAX);
        assert_eq!(lookups.late_at(), None);
        assert_eq!(lock(&lookups.running).late(), limits::DNS_LATE_MAX);
        // Each that ends makes room.
        drop(end);
        let deadline = Instant::now() + Duration::from_secs(60);
        while !waiting.is_empty() || running() > 0 {
            assert!(Instant::now() < deadline, "{} wait", waiting.len());
            poll(&mut waiting);
            std::thread::yield_now();
        }
        assert_eq!(lookups.places.available_permits(), limits::DNS_PARALLEL_MAX);
    }
}
