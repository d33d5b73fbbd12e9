//! Waits in jobs that once hung, or were refused without need: each ends, and a circle is an error.

// Helpers of tests, too, may do what tests may.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use overlapped::{
    Executor, Job, JobError, JobSet, Shutdown, Unblock, Until, as_completed, block_on, gather, wait,
};

/// Runs it on a thread of its own; one that hangs is a failure.
fn ends<T: Send + 'static>(scenario: impl FnOnce() -> T + Send + 'static) -> T {
    let (tell, told) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        let _ = tell.send(scenario());
    });
    match told.recv_timeout(Duration::from_secs(30)) {
        Ok(result) => result,
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("it hangs"),
        Err(mpsc::RecvTimeoutError::Disconnected) => std::panic::resume_unwind(thread.join().unwrap_err()),
    }
}

fn executor(workers: usize) -> Executor {
    Executor::builder().max_workers(workers).build().unwrap()
}

/// A pool in which no thread can take the place of one that waits.
fn without_stand_ins(workers: usize) -> Executor {
    Executor::builder().max_workers(workers).stand_in_workers(0).build().unwrap()
}

/// Longer than any of these tests.
const LONG: Duration = Duration::from_secs(600);

fn is_dead<T>(result: &Result<T, JobError>) -> bool {
    matches!(result, Err(JobError::WouldDeadlock))
}

// Circles.

/// Two jobs, each in a view of limit 1, that wait at the same time for the other's view.
fn crossed<T: Send + 'static>(executor: &Executor, wait_in: fn(Executor) -> T) -> Vec<Job<T>> {
    let views = [executor.limited("one", 1), executor.limited("other", 1)];
    let barrier = Arc::new(Barrier::new(2));
    let jobs = (0..2).map(|n| {
        let (other, barrier) = (views[1 - n].clone(), Arc::clone(&barrier));
        views[n].submit(move || {
            barrier.wait();
            wait_in(other)
        })
    });
    jobs.collect()
}

#[test]
fn scope_circle_of_two_views_is_a_panic_of_one() {
    for stand_ins in [0, 4] {
        let refused = ends(move || {
            let executor = Executor::builder().max_workers(2).stand_in_workers(stand_ins).build().unwrap();
            let jobs = crossed(&executor, |other| other.scope(|scope| drop(scope.submit(|| ()))));
            let results = block_on(gather(jobs).return_errors());
            results.iter().filter(|result| matches!(result, Err(JobError::Panicked(_)))).count()
        });
        assert_eq!(refused, 1);
    }
}

#[test]
fn scope_circle_is_an_error_where_the_job_of_the_scope_is_waited_for() {
    let dead = ends(|| {
        let executor = executor(2);
        let jobs = crossed(&executor, |other| other.scope(|scope| is_dead(&scope.submit(|| ()).wait())));
        block_on(gather(jobs)).unwrap().into_iter().filter(|dead| *dead).count()
    });
    assert_eq!(dead, 1);
}

#[test]
fn a_scope_that_completes_two_circles_at_once_has_both_refused() {
    // Only the first was: no worker fell asleep afterwards, and so none found the second.
    let refused = ends(|| {
        let executor = executor(4);
        let views = [executor.limited("one", 1), executor.limited("other", 1)];
        let barrier = Arc::new(Barrier::new(2));
        let (theirs, both) = (views[1].clone(), Arc::clone(&barrier));
        let other = views[0].submit(move || {
            both.wait();
            theirs.submit(|| ()).wait().is_ok()
        });
        let (first, root) = (views[0].clone(), executor.clone());
        let job = views[1].submit(move || {
            barrier.wait();
            let refused = AtomicUsize::new(0);
            root.scope(|scope| {
                for _ in 0..2 {
                    scope.submit(|| {
                        refused
                            .fetch_add(usize::from(is_dead(&first.submit(|| ()).wait())), Ordering::SeqCst);
                    });
                }
            });
            refused.load(Ordering::SeqCst)
        });
        let refused = job.wait().unwrap();
        // Either the two jobs of the scope, or the one that holds the place which they want.
        (refused, other.wait().unwrap())
    });
    assert!(refused == (2, true) || refused == (0, false), "{refused:?}");
}

/// Two jobs; each is given a handle of the other, waits for it in this way, and tells what came of that.
fn pair<R>(executors: [Executor; 2], wait: fn(&Executor, Job<()>) -> R) -> Vec<R>
where
    R: Send + 'static,
{
    let (tell, told) = mpsc::channel();
    let (gives, jobs): (Vec<_>, Vec<_>) = executors
        .iter()
        .map(|executor| {
            let (give, take) = mpsc::channel::<Job<()>>();
            let (tell, inner) = (tell.clone(), executor.clone());
            let job = executor.submit(move || tell.send(wait(&inner, take.recv().unwrap())).unwrap());
            (give, job)
        })
        .unzip();
    drop(tell);
    for (give, job) in gives.iter().rev().zip(jobs) {
        give.send(job).unwrap();
    }
    told.iter().collect()
}

fn pair_of_one(wait: fn(&Executor, Job<()>) -> bool) -> usize {
    let told = ends(move || {
        let executor = executor(2);
        pair([executor.clone(), executor], wait)
    });
    assert_eq!(told.len(), 2);
    told.into_iter().filter(|told| *told).count()
}

#[test]
fn cyc_expires_in_is_an_error_of_one() {
    assert_eq!(pair_of_one(|_, job| is_dead(&job.expires_in(LONG).wait())), 1);
    assert_eq!(pair_of_one(|_, job| is_dead(&block_on(job.expires_in(LONG)))), 1);
}

#[test]
fn cyc_timeout_ends_at_the_deadline() {
    let told = pair_of_one(|_, job| {
        let result = job.timeout(Duration::from_millis(50)).wait();
        matches!(result, Err(JobError::TimedOut { .. } | JobError::WouldDeadlock))
    });
    assert!(told >= 1);
}

#[test]
fn cyc_wait_timeout_ends_at_the_deadline() {
    assert!(pair_of_one(|_, mut job| job.wait_timeout(Duration::from_millis(50)).is_none()) >= 1);
}

#[test]
fn gather_mixed_circle_is_an_error_of_one() {
    let dead = pair_of_one(|inner, job| is_dead(&gather([inner.submit(|| ()).timeout(LONG), job]).wait()));
    assert_eq!(dead, 1);
    let dead = pair_of_one(|inner, job| is_dead(&block_on(gather([inner.submit(|| ()).timeout(LONG), job]))));
    assert_eq!(dead, 1);
}

#[test]
fn cyc_wait_fn_is_an_error_of_one() {
    for until in [Until::First, Until::FirstError, Until::All] {
        let told = ends(move || {
            let executor = executor(2);
            let wait: fn(&Executor, Job<()>) -> Results = match until {
                Until::First => |_, job| results(wait([job], Until::First)),
                Until::FirstError => |_, job| results(wait([job], Until::FirstError)),
                Until::All => |_, job| results(wait([job], Until::All)),
            };
            pair([executor.clone(), executor], wait)
        });
        assert_eq!(told.iter().flatten().filter(|result| is_dead(result)).count(), 1, "{until:?}");
    }
}

type Results = Vec<Result<(), JobError>>;

fn results(wait: overlapped::Wait<()>) -> Results {
    block_on(wait).done.into_iter().map(|(_, result)| result).collect()
}

#[test]
fn a_circle_through_the_first_of_several_results_is_an_error_of_one() {
    let dead = pair_of_one(|_, job| {
        let mut stream = as_completed([job]);
        let first = block_on(stream.next());
        assert!(block_on(stream.next()).is_none());
        is_dead(&first.unwrap().1)
    });
    assert_eq!(dead, 1);
    let dead = pair_of_one(|_, job| {
        let mut set = JobSet::new();
        set.insert(job);
        let first = block_on(set.next());
        assert!(set.is_empty());
        is_dead(&first.unwrap())
    });
    assert_eq!(dead, 1);
    let dead = pair_of_one(|executor, job| {
        let mut set = JobSet::new();
        (0..9).for_each(|_| set.insert(executor.submit(|| ())));
        block_on(set.next()).unwrap().unwrap();
        set.insert(job);
        // The others need no thread of the circle.
        let results: Vec<_> = (0..9).map(|_| block_on(set.next()).unwrap()).collect();
        let refused = results.iter().filter(|result| is_dead(result)).count();
        assert!(refused <= 1);
        refused == 1
    });
    assert_eq!(dead, 1);
}

/// Jobs that cannot begin were noted before it: it was refused, and dropped, in the place of one of them.
#[test]
fn a_job_that_was_added_to_a_set_of_refused_ones_is_given() {
    ends(|| {
        let (full, other) = (without_stand_ins(1), executor(2));
        let inner = full.clone();
        let job = full.submit(move || {
            let mut set: JobSet<u32> = JobSet::new();
            set.insert(other.submit(|| 0));
            (1..5).for_each(|n| set.insert(inner.submit(move || n)));
            let mut results = Vec::new();
            block_on(async {
                while let Some(result) = set.next().await {
                    if is_dead(&result) && !results.iter().any(is_dead) {
                        set.insert(other.submit(|| {
                            std::thread::sleep(Duration::from_millis(50));
                            100
                        }));
                    }
                    results.push(result);
                }
            });
            results
        });
        let results = job.wait().unwrap();
        assert_eq!(results.iter().filter(|result| is_dead(result)).count(), 4, "{results:?}");
        let given: Vec<u32> = results.iter().filter_map(|result| result.as_ref().ok().copied()).collect();
        assert_eq!(given, [0, 100], "{results:?}");
    });
}

#[test]
fn a_job_that_was_refused_to_a_set_is_not_given_again_when_it_ends() {
    // Its place in the set is not another's before it has told its end.
    ends(|| {
        let executor = executor(2);
        let (give, take) = mpsc::channel::<Job<()>>();
        let (tell, told) = mpsc::channel();
        let inner = executor.clone();
        let job = executor.submit(move || {
            let mut set = JobSet::new();
            set.insert(take.recv().unwrap());
            assert!(is_dead(&block_on(set.next()).unwrap()));
            for n in 0..3 {
                set.insert(inner.submit(|| ()));
                assert_eq!(set.len(), 1, "{n}");
                block_on(set.next()).unwrap().unwrap();
            }
            tell.send(set).unwrap();
        });
        give.send(job).unwrap();
        let mut set = told.recv().unwrap();
        for _ in 0..100 {
            set.insert(executor.submit(|| ()));
            block_on(set.next()).unwrap().unwrap();
        }
        assert!(set.is_empty() && block_on(set.next()).is_none());
    });
}

// Places in views.

/// In a job of a view of limit 1: how many jobs of that view this has seen through.
fn in_a_view(seen: fn(&Executor, Vec<Job<usize>>) -> usize) {
    for executor in [executor(4), executor(1)] {
        let sum = ends(move || {
            let view = executor.limited("one", 1);
            let inner = view.clone();
            let job = view.submit(move || {
                let jobs = (0..5).map(|n| inner.submit(move || n)).collect();
                seen(&inner, jobs)
            });
            let sum = job.wait().unwrap();
            assert_eq!(view.submit(|| 1).wait().unwrap(), 1);
            assert!(view.shutdown_blocking(Shutdown::Drain, None).is_complete());
            assert_eq!((view.metrics().running, view.metrics().queued), (0, 0));
            sum
        });
        assert_eq!(sum, 10);
    }
}

#[test]
fn vself_as_completed() {
    in_a_view(|_, jobs| {
        let mut stream = as_completed(jobs);
        block_on(async {
            let mut sum = 0;
            while let Some((_, result)) = stream.next().await {
                sum += result.unwrap();
            }
            sum
        })
    });
}

#[test]
fn vself_job_set() {
    in_a_view(|view, jobs| {
        let mut set = JobSet::new();
        jobs.into_iter().for_each(|job| set.insert(job));
        set.insert(view.submit(|| 0));
        let mut sum = 0;
        while let Some(result) = block_on(set.next()) {
            sum += result.unwrap();
        }
        sum
    });
}

#[test]
fn vself_job_set_that_grows_between_polls() {
    in_a_view(|view, jobs| {
        let mut set = JobSet::new();
        jobs.into_iter().for_each(|job| set.insert(job));
        block_on(async {
            let mut sum = 0;
            for _ in 0..3 {
                let next = poll_fn(|cx| Poll::Ready(pin!(set.next()).poll(cx))).await;
                if let Poll::Ready(result) = next {
                    sum += result.unwrap().unwrap();
                }
                set.insert(view.submit(|| 0));
            }
            while let Some(result) = set.next().await {
                sum += result.unwrap();
            }
            sum
        })
    });
}

#[test]
fn vself_wait_fn() {
    in_a_view(|_, jobs| {
        let all = block_on(wait(jobs, Until::All).within(LONG));
        all.done.into_iter().map(|(_, result)| result.unwrap()).sum()
    });
    in_a_view(|_, mut jobs| {
        let mut sum = 0;
        while !jobs.is_empty() {
            let waited = block_on(wait(jobs, Until::First));
            sum += waited.done.into_iter().map(|(_, result)| result.unwrap()).sum::<usize>();
            jobs = waited.pending.into_iter().map(|(_, job)| job).collect();
        }
        sum
    });
}

#[test]
fn vself_deadlines() {
    in_a_view(|_, jobs| jobs.into_iter().map(|job| job.timeout(LONG).wait().unwrap()).sum());
    in_a_view(|_, jobs| jobs.into_iter().map(|job| job.expires_in(LONG).wait().unwrap()).sum());
    in_a_view(|_, jobs| jobs.into_iter().map(|mut job| job.wait_timeout(LONG).unwrap().unwrap()).sum());
    in_a_view(|_, mut jobs| {
        let timed = jobs.pop().unwrap().timeout(LONG);
        gather(jobs.into_iter().chain([timed])).wait().unwrap().into_iter().sum()
    });
    in_a_view(|_, jobs| {
        block_on(gather(jobs.into_iter().map(|job| job.timeout(LONG)))).unwrap().iter().sum()
    });
}

/// Polls each future with a waker of its own, as `FuturesUnordered` does: only those that were woken.
struct Unordered<F>(Vec<Option<F>>, Arc<Woken>);

struct Woken(std::sync::Mutex<(Vec<usize>, Option<Waker>)>);

struct WakeOne(Arc<Woken>, usize);

impl Wake for WakeOne {
    fn wake(self: Arc<Self>) {
        let waker = {
            let mut woken = self.0.0.lock().unwrap();
            woken.0.push(self.1);
            woken.1.take()
        };
        waker.into_iter().for_each(Waker::wake);
    }
}

impl<F: Future + Unpin> Unordered<F> {
    fn new(futures: Vec<F>) -> Self {
        let all = (0..futures.len()).collect();
        let woken = Arc::new(Woken(std::sync::Mutex::new((all, None))));
        Unordered(futures.into_iter().map(Some).collect(), woken)
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<F::Output>> {
        if self.0.iter().all(Option::is_none) {
            return Poll::Ready(None);
        }
        self.1.0.lock().unwrap().1 = Some(cx.waker().clone());
        loop {
            let next = self.1.0.lock().unwrap().0.pop();
            let Some(at) = next else { return Poll::Pending };
            let Some(future) = &mut self.0[at] else { continue };
            let waker = Waker::from(Arc::new(WakeOne(Arc::clone(&self.1), at)));
            if let Poll::Ready(output) = Pin::new(future).poll(&mut Context::from_waker(&waker)) {
                self.0[at] = None;
                return Poll::Ready(Some(output));
            }
        }
    }
}

#[test]
fn vself_futures_unordered() {
    in_a_view(|_, jobs| {
        let mut all = Unordered::new(jobs);
        let mut sum = 0;
        while let Some(result) = block_on(std::future::poll_fn(|cx| all.poll_next(cx))) {
            sum += result.unwrap();
        }
        sum
    });
    in_a_view(|_, jobs| {
        let mut all = Unordered::new(vec![gather(jobs)]);
        let all = block_on(std::future::poll_fn(|cx| all.poll_next(cx)));
        all.unwrap().unwrap().into_iter().sum()
    });
}

#[test]
fn vself_unblock() {
    use futures_core::Stream;
    use futures_io::AsyncRead;

    in_a_view(|view, _| {
        let mut stream = Unblock::on(view, 0..5_usize);
        let mut sum = 0;
        while let Some(n) = block_on(std::future::poll_fn(|cx| Pin::new(&mut stream).poll_next(cx))) {
            sum += n;
        }
        sum
    });
    in_a_view(|view, _| {
        let mut reader = Unblock::on(view, std::io::Cursor::new(vec![1_u8; 10]));
        let mut bytes = [0; 10];
        block_on(std::future::poll_fn(|cx| Pin::new(&mut reader).poll_read(cx, &mut bytes))).unwrap()
    });
    in_a_view(|view, _| {
        let mut object = Unblock::on(view, 10_usize);
        block_on(object.with(|n| *n)).unwrap()
    });
}

#[test]
fn a_place_that_was_lent_comes_back_before_a_wait_with_a_deadline_ends() {
    let most = ends(|| {
        let executor = executor(4);
        let view = executor.limited("one", 1);
        let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let inner = view.clone();
        let counts = (Arc::clone(&running), Arc::clone(&most));
        let enter = move || counts.1.fetch_max(counts.0.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        let job = view.submit(move || {
            let theirs = (enter.clone(), Arc::clone(&running));
            let mut slow = inner.submit(move || {
                theirs.0();
                std::thread::sleep(Duration::from_millis(100));
                theirs.1.fetch_sub(1, Ordering::SeqCst);
            });
            drop(slow.wait_timeout(Duration::from_millis(5)));
            enter();
            running.fetch_sub(1, Ordering::SeqCst);
        });
        job.wait().unwrap();
        most.load(Ordering::SeqCst)
    });
    assert_eq!(most, 1);
}

// Without a thread.

#[test]
fn view_nothread_waits_of_many_for_a_small_view() {
    for workers in [1, 2] {
        ends(move || {
            let executor = without_stand_ins(workers);
            let view = executor.limited("one", 1);
            let jobs: Vec<_> = (0..50)
                .map(|n| {
                    let view = view.clone();
                    executor.submit(move || {
                        let mut ran = 0;
                        match n % 4 {
                            0 => ran += view.submit(|| 1).wait().unwrap(),
                            1 => view.scope(|scope| drop(scope.submit(|| ran += 1))),
                            2 => ran += gather([view.submit(|| 1)]).wait().unwrap()[0],
                            _ => ran += view.submit(|| 1).expires_in(LONG).wait().unwrap(),
                        }
                        assert_eq!(ran, 1);
                    })
                })
                .collect();
            block_on(gather(jobs)).unwrap();
        });
    }
}

#[test]
fn queued_stranger_makes_no_deadlock() {
    // It has the view's place, and no thread: the job that is waited for goes first.
    for nested in [false, true] {
        ends(move || {
            let executor = without_stand_ins(1);
            let outer = executor.limited("outer", 1);
            let view = if nested { outer.limited("inner", 1) } else { outer };
            let (inner, theirs) = (view.clone(), executor.clone());
            let job = executor.submit(move || {
                let stranger = inner.submit(|| 1);
                let behind = theirs.submit(|| 3);
                (inner.submit(|| 2).wait(), stranger, behind)
            });
            let (result, stranger, behind) = job.wait().unwrap();
            assert_eq!(result.unwrap(), 2);
            assert_eq!((stranger.wait().unwrap(), behind.wait().unwrap()), (1, 3));
            let mut ran = false;
            let inner = view.clone();
            executor.scope(|scope| {
                scope.submit(|| {
                    inner.submit(|| ()).detach();
                    inner.scope(|scope| drop(scope.submit(|| ran = true)));
                });
            });
            assert!(ran);
        });
    }
}

// Combinators with wakers of their own, when no thread is left.

fn next<F: Future + Unpin>(all: &mut Unordered<F>) -> Option<F::Output> {
    block_on(std::future::poll_fn(|cx| all.poll_next(cx)))
}

#[test]
fn futures_unordered_without_a_thread_gives_an_error_for_each_job() {
    for in_view in [false, true] {
        let results = ends(move || {
            let executor = without_stand_ins(1);
            let own = if in_view { executor.limited("one", 1) } else { executor };
            let inner = own.clone();
            let job = own.submit(move || {
                let mut all = Unordered::new((0..100).map(|n| inner.submit(move || n)).collect());
                std::iter::from_fn(|| next(&mut all)).collect::<Vec<_>>()
            });
            job.wait().unwrap()
        });
        assert_eq!(results.iter().filter(|result| is_dead(result)).count(), 100);
    }
}

#[test]
fn a_wait_inside_a_job_of_futures_unordered_is_refused_without_a_thread() {
    let result = ends(|| {
        let executor = without_stand_ins(2);
        let inner = executor.clone();
        let job = executor.submit(move || {
            let innermost = inner.clone();
            let outer = inner.submit(move || is_dead(&block_on(innermost.submit(|| ()))));
            next(&mut Unordered::new(vec![outer]))
        });
        job.wait().unwrap()
    });
    assert!(result.unwrap().unwrap());
}

#[test]
fn futures_unordered_waits_for_a_deadline_without_a_thread() {
    let result = ends(|| {
        let executor = without_stand_ins(1);
        let inner = executor.clone();
        let job = executor.submit(move || {
            let job = inner.submit(|| ()).expires_in(Duration::from_millis(20));
            next(&mut Unordered::new(vec![job]))
        });
        job.wait().unwrap().unwrap()
    });
    assert!(matches!(result, Err(JobError::TimedOut { started: false })));
}

#[test]
fn futures_unordered_is_given_up_beside_an_expiring_job_that_has_begun() {
    let dead = ends(|| {
        let executor = without_stand_ins(2);
        let inner = executor.clone();
        let job = executor.submit(move || {
            let (begin, begins) = mpsc::channel();
            let innermost = inner.clone();
            let begun = inner.submit(move || {
                begin.send(()).unwrap();
                next(&mut Unordered::new(vec![innermost.submit(|| ())])).unwrap()
            });
            let begun = begun.expires_in(LONG);
            begins.recv().unwrap();
            begun.wait().unwrap()
        });
        is_dead(&job.wait().unwrap())
    });
    assert!(dead);
}

#[test]
fn futures_unordered_beside_something_else_is_not_refused() {
    let told = ends(|| {
        let executor = without_stand_ins(1);
        let inner = executor.clone();
        let told = Arc::new(std::sync::Mutex::new((false, None::<Waker>)));
        let theirs = Arc::clone(&told);
        let job = executor.submit(move || {
            let mut all = Unordered::new(vec![inner.submit(|| ())]);
            block_on(std::future::poll_fn(|cx| {
                if let Poll::Ready(result) = all.poll_next(cx) {
                    return Poll::Ready(result);
                }
                let mut told = theirs.lock().unwrap();
                told.1 = Some(cx.waker().clone());
                if told.0 { Poll::Ready(None) } else { Poll::Pending }
            }))
        });
        while executor.metrics().blocked == 0 {
            std::thread::yield_now();
        }
        let waker = {
            let mut told = told.lock().unwrap();
            told.0 = true;
            told.1.take()
        };
        waker.unwrap().wake();
        job.wait().unwrap()
    });
    assert!(told.is_none());
}

/// Runs `job` in a view of limit 1, and then `stranger` is queued in the view of that view that `job` is given, which has limit 1 as well:
/// it has the inner view's place.
fn behind_a_stranger<T: Send + 'static>(
    stand_ins: usize,
    job: impl FnOnce(&Executor, &Executor) -> T + Send + 'static,
) -> T {
    ends(move || {
        let executor = Executor::builder().max_workers(1).stand_in_workers(stand_ins).build().unwrap();
        let outer = executor.limited("outer", 1);
        let inner = outer.limited("inner", 1);
        let (tell, told) = mpsc::channel();
        let views = (outer.clone(), inner.clone());
        let job = outer.submit(move || {
            told.recv().unwrap();
            job(&views.0, &views.1)
        });
        let stranger = inner.submit(|| ());
        tell.send(()).unwrap();
        let result = job.wait().unwrap();
        stranger.wait().unwrap();
        result
    })
}

#[test]
fn a_place_that_is_lent_to_another_awaited_job_is_waited_for_and_no_wait_refused() {
    for stand_ins in [0, 4] {
        let result = behind_a_stranger(stand_ins, |outer, inner| {
            gather([outer.submit(|| 1), inner.submit(|| 2)]).wait()
        });
        assert_eq!(result.unwrap(), [1, 2]);
    }
    let result = behind_a_stranger(4, |outer, inner| {
        let jobs = [outer.submit(|| 1), inner.submit(|| 2), inner.submit(|| 3)];
        block_on(gather(jobs).return_errors())
    });
    assert_eq!(result.into_iter().map(Result::unwrap).collect::<Vec<_>>(), [1, 2, 3]);
}

#[test]
fn a_wait_deep_inside_one_that_takes_back_its_place_is_not_refused() {
    let results = ends(|| {
        let executor = Executor::builder().max_workers(2).stand_in_workers(8).build().unwrap();
        let outer = executor.limited("outer", 1);
        let inner = outer.limited("inner", 1);
        let (tell, told) = mpsc::channel();
        let (pool, views) = (executor.clone(), (outer.clone(), inner.clone()));
        let job = outer.submit(move || {
            told.recv().unwrap();
            let outer = views.0.clone();
            let mut last = outer.submit(move || {
                let deep = views.1.clone();
                let jobs =
                    [views.1.submit(|| 1), views.0.submit(move || block_on(deep.submit(|| 2)).unwrap())];
                gather(jobs).wait()
            });
            // It ends when this one, the last and the deepest sleep. Until then this one may go on, and so give back its place.
            let metrics = pool.clone();
            let mut first = pool.submit(move || {
                while metrics.metrics().blocked < 3 {
                    std::thread::yield_now();
                }
            });
            let mut over = false;
            block_on(std::future::poll_fn(|cx| {
                over = over || Pin::new(&mut first).poll(cx).is_ready();
                Pin::new(&mut last).poll(cx)
            }))
        });
        let stranger = inner.submit(|| ());
        tell.send(()).unwrap();
        let results = job.wait().unwrap().unwrap();
        stranger.wait().unwrap();
        results
    });
    assert_eq!(results.unwrap(), [1, 2]);
}

#[test]
fn a_wait_with_a_deadline_lets_its_job_through_before_a_queued_stranger() {
    let result = behind_a_stranger(4, |_, inner| inner.submit(|| 2).timeout(LONG).wait());
    assert_eq!(result.unwrap(), 2);
    let done = behind_a_stranger(4, |_, inner| {
        let awaited = wait([inner.submit(|| 2)], Until::All).within(LONG);
        block_on(awaited).done.len()
    });
    assert_eq!(done, 1);
    let result = behind_a_stranger(4, |_, inner| block_on(async { block_on(inner.submit(|| 2)) }));
    assert_eq!(result.unwrap(), 2);
}

#[test]
fn a_worker_that_runs_some_of_its_jobs_goes_on_to_those_behind_a_queued_stranger() {
    let results = ends(|| {
        let executor = without_stand_ins(1);
        let view = executor.limited("view", 1);
        let pool = executor.clone();
        let job = executor.submit(move || {
            let stranger = view.submit(|| 0);
            let jobs = [pool.submit(|| 1), pool.submit(|| 2), view.submit(|| 3), view.submit(|| 4)];
            (gather(jobs).wait(), stranger)
        });
        let (results, stranger) = job.wait().unwrap();
        assert_eq!(stranger.wait().unwrap(), 0);
        results
    });
    assert_eq!(results.unwrap(), [1, 2, 3, 4]);
}

#[test]
fn scope_foreign_view_full_submits_all_the_same() {
    for stand_ins in [0, 256] {
        ends(move || {
            let executor = Executor::builder().max_workers(1).stand_in_workers(stand_ins).build().unwrap();
            let view = executor.limited_queue("one", 1, 2);
            let inner = view.clone();
            let ran = AtomicUsize::new(0);
            executor.scope(|scope| {
                scope.submit(|| {
                    inner.submit(|| ()).detach();
                    inner.submit(|| ()).detach();
                    inner.scope(|scope| {
                        for _ in 0..20 {
                            scope.submit(|| ran.fetch_add(1, Ordering::SeqCst));
                        }
                    });
                });
            });
            assert_eq!(ran.load(Ordering::SeqCst), 20);
        });
    }
}

#[test]
fn a_scope_in_a_full_queue_does_not_wait_behind_a_job_that_needs_its_place() {
    ends(|| {
        let outer = executor(2).limited("outer", 1);
        let view = outer.limited_queue("view", 1, 1);
        let (begin, begins) = mpsc::channel();
        let (go, goes) = mpsc::channel();
        let inner = view.clone();
        let job = outer.submit(move || {
            inner.scope(|scope| {
                let first = scope.submit(|| ());
                begin.send(()).unwrap();
                goes.recv().unwrap();
                // The place of the first goes to another in line, whose job needs the place in `outer` that this one has.
                drop((first, scope.submit(|| ())));
            });
        });
        begins.recv().unwrap();
        let mut place = Box::pin(view.reserve());
        assert!(place.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        go.send(()).unwrap();
        let other = block_on(place).unwrap().submit(|| ());
        job.wait().unwrap();
        other.wait().unwrap();
    });
}

#[test]
fn scope_view_nothread_default_is_an_error_at_the_bound() {
    // More scopes in scopes than threads: run inside each other until the bound, and then refused.
    fn nest(view: &Executor, levels: usize, ran: &AtomicUsize) {
        ran.fetch_add(1, Ordering::SeqCst);
        if levels > 0 {
            view.scope(|scope| drop(scope.submit(|| nest(view, levels - 1, ran))));
        }
    }
    for limit in [1, 64] {
        let ran = ends(move || {
            let executor = executor(1);
            let view = executor.limited("some", limit);
            let ran = Arc::new(AtomicUsize::new(0));
            let (inner, counted) = (view.clone(), Arc::clone(&ran));
            view.submit(move || nest(&inner, 300, &counted)).wait().unwrap();
            assert_eq!(view.submit(|| 1).wait().unwrap(), 1);
            ran.load(Ordering::SeqCst)
        });
        assert_eq!(ran, 301);
        let refused = ends(move || {
            let executor = without_stand_ins(1);
            let view = executor.limited("some", limit);
            let ran = Arc::new(AtomicUsize::new(0));
            let (inner, counted) = (view.clone(), Arc::clone(&ran));
            let result = view.submit(move || nest(&inner, 100_000, &counted)).wait();
            assert_eq!(view.submit(|| 1).wait().unwrap(), 1);
            matches!(result, Err(JobError::Panicked(_)))
        });
        assert!(refused);
    }
}

#[test]
fn gather_mixed_nothread_runs_what_has_no_deadline() {
    ends(|| {
        let executor = without_stand_ins(1);
        let ran = Arc::new(AtomicUsize::new(0));
        let (inner, counted) = (executor.clone(), Arc::clone(&ran));
        let job = executor.submit(move || {
            let counted = [Arc::clone(&counted), counted];
            let jobs = counted.map(|counted| inner.submit(move || counted.fetch_add(1, Ordering::SeqCst)));
            let [first, second] = jobs;
            let late = inner.submit(|| 9).timeout(Duration::from_millis(50));
            gather([first, second.expires_in(LONG), late]).wait()
        });
        assert!(matches!(job.wait().unwrap(), Err(JobError::TimedOut { started: false })));
        assert_eq!(ran.load(Ordering::SeqCst), 2);
    });
}

#[test]
fn gather_two_executors_nothread_runs_its_own() {
    ends(|| {
        let (executor, other) = (without_stand_ins(1), without_stand_ins(1));
        let inner = executor.clone();
        let job = executor.submit(move || gather([inner.submit(|| 1), other.submit(|| 2)]).wait().unwrap());
        assert_eq!(job.wait().unwrap(), [1, 2]);
    });
}

// Two executors, and the end of one.

#[test]
fn a_circle_over_two_executors_is_an_error_of_one() {
    let waits: [fn(&Executor, Job<()>) -> bool; 3] = [
        |_, job| is_dead(&job.wait()),
        |_, job| is_dead(&block_on(job)),
        |inner, job| is_dead(&gather([inner.submit(|| ()), job]).wait()),
    ];
    for wait in waits {
        for _ in 0..20 {
            let told = ends(move || pair([executor(2), executor(2)], wait));
            assert_eq!(told.into_iter().filter(|dead| *dead).count(), 1);
        }
    }
}

#[test]
fn shutdown_job_waits_for_shutter() {
    for how in [Shutdown::Drain, Shutdown::CancelAll] {
        ends(move || {
            let executor = executor(4);
            let (give, take) = mpsc::channel::<Job<bool>>();
            let waits = executor.submit(move || take.recv().unwrap().wait());
            let closer = executor.clone();
            let (started, starts) = mpsc::channel();
            let shutter = executor.submit(move || {
                started.send(()).unwrap();
                closer.shutdown_blocking(how, None).is_complete()
            });
            starts.recv().unwrap();
            give.send(shutter).unwrap();
            assert!(waits.wait().unwrap().unwrap());
            assert!(executor.shutdown_blocking(how, None).is_complete());
        });
    }
}

// The cost.

/// Each job of a chain waits for the next.
fn chain(executors: &[Executor], levels: usize) -> usize {
    let Some(next) = levels.checked_sub(1) else { return 0 };
    let executor = executors[levels % executors.len()].clone();
    let all = executors.to_vec();
    executor.submit(move || chain(&all, next)).wait().unwrap() + 1
}

#[test]
fn a_chain_of_800_jobs_in_views_ends() {
    // Each sleep looked at all sleepers, and at all that these slept on.
    let executor = Executor::builder().max_workers(2).stand_in_workers(1000).build().unwrap();
    let views = [executor.limited("one", 1), executor.limited("many", 400)];
    let all = [views[0].clone(), executor, views[1].clone()];
    for executors in [&all[..1], &all[1..2], &all[2..], &all[..]] {
        let executors = executors.to_vec();
        assert_eq!(ends(move || chain(&executors, 800)), 800);
    }
}

/// A place goes to a job that its holder waits for through a job between, also where each is in a combinator with wakers of its own.
#[test]
fn a_place_is_lent_through_a_job_of_no_view_that_waits_in_a_combinator() {
    fn first_of<T: Send + 'static>(job: Job<T>) -> Result<T, JobError> {
        let mut jobs = Unordered::new(vec![job]);
        block_on(poll_fn(|cx| jobs.poll_next(cx))).unwrap()
    }
    let pool = executor(4);
    let one = pool.limited("one", 1);
    let (tell, told) = mpsc::channel();
    let view = one.clone();
    one.submit(move || {
        let between = pool.submit(move || first_of(view.submit(|| 1)));
        tell.send(first_of(between)).unwrap();
    })
    .detach();
    let result = told.recv_timeout(Duration::from_secs(60)).expect("the place is lent");
    assert_eq!(result.unwrap().unwrap(), 1);
}
