//! Random operations on random executors, everything at once: views, scopes, cancels, deadlines, refusals, panics, nested waits, forks.
//! The oracles: each result is the right one and says nothing that was not asked for; no view runs more than it may; the jobs of one
//! submitter start in order; each closure is run or dropped, once; and what was counted adds up.
//!
//! `OVERLAPPED_STRESS` is the number of operations (the gate takes a sample), `OVERLAPPED_SEED` repeats what a failure has printed.
//! `OVERLAPPED_STRESS=100000000 cargo test --release -p overlapped --test stress` is the long run.

#![cfg(target_os = "linux")]
// Helpers of tests, too, may do what tests may.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, unsafe_code)]

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use overlapped::{
    CancelOutcome, Executor, Job, JobError, JobSet, Rejected, Shutdown, Unblock, block_on, gather,
};

unsafe extern "C" {
    fn fork() -> i32;
    fn _exit(code: i32) -> !;
    fn waitpid(process: i32, status: *mut i32, options: i32) -> i32;
    fn alarm(seconds: u32) -> u32;
}

/// Operations on one executor before it is shut down and another is built.
const ROUND: u64 = 30_000;
const SUBMITTERS: u64 = 3;

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(otherwise)
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

/// What is counted over all jobs of a round.
#[derive(Default)]
struct Counts {
    alive: AtomicI64,
    made: AtomicU64,
    ran: AtomicU64,
    running: [AtomicUsize; LANES],
}

/// The executor itself, and its views: their limits, and which one is within which.
const LANES: usize = 4;
const LIMITS: [usize; LANES] = [usize::MAX, 1, 3, 2];
/// A view of the third lane.
const INNER: usize = 3;

/// In a closure: it is counted when it is made, run and dropped.
struct Load {
    counts: Arc<Counts>,
    lane: usize,
    value: u64,
    /// Where jobs of one submitter in the view of limit 1 must come in order.
    order: Option<(Arc<AtomicU64>, u64)>,
}

impl Load {
    fn run(self) -> u64 {
        self.counts.ran.fetch_add(1, Ordering::Relaxed);
        if let Some((last, number)) = &self.order {
            let before = last.swap(*number, Ordering::SeqCst);
            assert!(before < *number, "job {number} of a submitter ran after job {before}");
        }
        let lanes: &[usize] = if self.lane == INNER { &[2, INNER] } else { &[self.lane] };
        for lane in lanes {
            let running = self.counts.running[*lane].fetch_add(1, Ordering::SeqCst) + 1;
            assert!(running <= LIMITS[*lane], "{running} jobs run in lane {lane}");
        }
        let value = (0..self.value % 64).fold(self.value, |value, _| std::hint::black_box(value)) * 2 + 1;
        for lane in lanes {
            self.counts.running[*lane].fetch_sub(1, Ordering::SeqCst);
        }
        value
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.counts.alive.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What may become of a job besides its result.
#[derive(Clone, Copy, Default)]
struct May {
    be_cancelled: bool,
    time_out: bool,
    panic: bool,
}

struct Submitter {
    random: Random,
    lanes: Vec<Executor>,
    counts: Arc<Counts>,
    /// The system refuses threads at times.
    refusing: bool,
    pending: Vec<(Job<u64>, u64, May)>,
    last: Arc<AtomicU64>,
    sent: u64,
}

impl Submitter {
    fn load(&mut self, lane: usize) -> (Load, u64) {
        let value = self.random.below(1 << 40);
        self.counts.alive.fetch_add(1, Ordering::Relaxed);
        self.counts.made.fetch_add(1, Ordering::Relaxed);
        self.sent += 1;
        let order = (lane == 1).then(|| (Arc::clone(&self.last), self.sent));
        (Load { counts: Arc::clone(&self.counts), lane, value, order }, value * 2 + 1)
    }

    fn check(&self, result: Result<u64, JobError>, expected: u64, may: May) {
        match result {
            Ok(value) => assert_eq!(value, expected),
            Err(JobError::Panicked(panic)) => assert!(may.panic, "{panic}"),
            Err(JobError::Cancelled) => assert!(may.be_cancelled, "it was not cancelled"),
            Err(JobError::TimedOut { .. }) => assert!(may.time_out, "it had no deadline"),
            Err(JobError::Rejected(Rejected::QueueFull)) => {}
            Err(JobError::Rejected(Rejected::NoThread) | JobError::WouldDeadlock) => assert!(self.refusing),
            Err(JobError::Rejected(why @ (Rejected::ShutDown | Rejected::Forked))) => panic!("{why}"),
        }
    }

    fn settle_oldest(&mut self) {
        if !self.pending.is_empty() {
            let (job, expected, may) = self.pending.swap_remove(0);
            let result = if self.random.below(2) == 0 { job.wait() } else { block_on(job) };
            self.check(result, expected, may);
        }
    }

    fn operate(&mut self) {
        let lane = self.random.below(LANES as u64) as usize;
        let executor = self.lanes[lane].clone();
        let wait = Duration::from_micros(self.random.below(2000));
        let mut may = May::default();
        let choice = self.random.below(100);
        if (84..96).contains(&choice) {
            return self.operate_more(choice, lane, &executor);
        }
        if choice >= 96 || self.pending.len() >= 64 {
            return self.settle_oldest();
        }
        let (load, expected) = self.load(lane);
        let job = match choice {
            0..40 => executor.submit(move || load.run()),
            40..46 => return drop(executor.submit(move || load.run())),
            46..52 => {
                may.be_cancelled = true;
                let job = executor.submit(move || load.run());
                let outcome = if choice < 49 { job.cancel() } else { job.cancel_handle().cancel() };
                assert_ne!(outcome, CancelOutcome::Requested);
                job
            }
            52..58 => {
                may.time_out = true;
                executor.submit(move || load.run()).timeout(wait)
            }
            58..62 => {
                may.time_out = true;
                executor.submit(move || load.run()).expires_in(wait)
            }
            62..67 => {
                may.be_cancelled = true;
                let job = executor.submit_cancellable(move |_| load.run());
                job.cancel();
                job
            }
            67..71 => return executor.submit(move || load.run()).detach(),
            71..76 => match executor.try_submit(move || load.run()) {
                Ok(job) => job,
                Err(full) => return drop(full),
            },
            76..80 => match block_on(executor.reserve()) {
                Ok(permit) if choice < 78 => permit.submit(move || load.run()),
                Ok(permit) => return drop(permit),
                Err(why) => panic!("{why}"),
            },
            _ => {
                may.panic = true;
                executor.submit(move || {
                    drop(load);
                    std::panic::resume_unwind(Box::new("on purpose"))
                })
            }
        };
        self.pending.push((job, expected, may));
    }

    /// Operations on many jobs, and from within jobs.
    fn operate_more(&mut self, choice: u64, lane: usize, executor: &Executor) {
        match choice {
            84..87 => {
                let jobs = self.pending.split_off(self.pending.len().saturating_sub(8));
                let (jobs, expected): (Vec<_>, Vec<_>) =
                    jobs.into_iter().map(|(job, expected, may)| (job, (expected, may))).unzip();
                for (result, (expected, may)) in
                    block_on(gather(jobs).return_errors()).into_iter().zip(expected)
                {
                    self.check(result, expected, may);
                }
            }
            87..89 => {
                // A view within the same limit could be full of such waits, which is an error and no hang.
                let ((inner, expected), root) = (self.load(0), self.lanes[0].clone());
                let (outer, _) = self.load(0);
                let job = self.lanes[0].submit(move || {
                    drop(outer);
                    root.submit(move || inner.run()).wait()
                });
                match job.wait() {
                    Ok(result) => self.check(result, expected, May::default()),
                    Err(error) => self.check(Err(error), expected, May::default()),
                }
            }
            89..91 => {
                let loads: Vec<_> = (0..4).map(|_| self.load(0)).collect();
                let sum = AtomicU64::new(0);
                let expected: u64 = loads.iter().map(|(_, expected)| expected).sum();
                let all = self.lanes[0].scope(|scope| {
                    let jobs: Vec<_> = loads
                        .into_iter()
                        .map(|(load, _)| scope.submit(|| sum.fetch_add(load.run(), Ordering::Relaxed)))
                        .collect();
                    jobs.into_iter().map(|job| job.wait().is_ok()).fold(true, |all, ok| all & ok)
                });
                assert!(!all || sum.into_inner() == expected);
            }
            91 => {
                let loads: Vec<_> = (0..8).map(|_| self.load(lane)).collect();
                let (loads, expected): (Vec<_>, Vec<_>) = loads.into_iter().unzip();
                let mut results = executor.map(loads, Load::run).window(3);
                for expected in expected {
                    let result = block_on(results.next()).expect("as many results as items");
                    self.check(result, expected, May::default());
                }
            }
            92 => {
                let mut set = JobSet::new();
                let mut sum = 0;
                for _ in 0..8 {
                    let (load, expected) = self.load(lane);
                    sum += expected;
                    set.insert(executor.submit(move || load.run()));
                }
                let results: Vec<_> = std::iter::from_fn(|| block_on(set.next())).collect();
                assert_eq!(results.len(), 8);
                let right = results.iter().all(Result::is_ok);
                assert!(!right || results.into_iter().flatten().sum::<u64>() == sum);
            }
            93 => {
                let mut object = Unblock::on(executor, io::Cursor::new(vec![7_u8; 100])).buffer(10);
                let mut bytes = [0; 30];
                let read = block_on(object.read_exact(&mut bytes));
                assert!(read.is_err() || bytes == [7; 30]);
                drop(object);
            }
            94 => {
                let metrics = executor.metrics();
                assert!(metrics.completed + metrics.cancelled <= metrics.submitted);
                assert!(!executor.is_closed());
            }
            _ => drop(self.lanes[0].limited("", 1).submit(|| ())),
        }
    }
}

/// In a child, everything answers.
fn fork_answers(lanes: &[Executor]) {
    // SAFETY: the child calls nothing of the parent's but the executor under test, whose promise this is; an alarm ends it if it hangs.
    let status = unsafe {
        match fork() {
            0 => {
                alarm(60);
                let right = lanes.iter().all(|executor| {
                    let job = executor.submit(|| 1).timeout(Duration::from_secs(1)).wait();
                    matches!(job, Err(JobError::Rejected(Rejected::Forked)))
                        && executor.try_submit(|| 1).is_err()
                        && block_on(executor.reserve()).is_err()
                        && executor.is_closed()
                });
                _exit(if right { 0 } else { 1 })
            }
            child => {
                let mut status = -1;
                waitpid(child, &mut status, 0);
                status
            }
        }
    };
    assert_eq!(status, 0, "a forked child hung (14) or had a wrong answer (256)");
}

fn build(random: &mut Random) -> (Executor, bool) {
    let refusing = random.below(4) == 0;
    let spawn_seed = random.next();
    let asked = AtomicU64::new(spawn_seed);
    let builder = Executor::builder()
        .max_workers([1, 2, 4, 8][random.below(4) as usize])
        .queue_limit([8, 64, 1 << 20][random.below(3) as usize])
        .keep_alive(Duration::from_millis(random.below(20)))
        .on_panic(|panic| assert_eq!(panic.message(), "on purpose"))
        .spawn_thread(move |new, run| {
            let number = asked.fetch_add(1, Ordering::Relaxed);
            if refusing && Random(number).below(4) == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            std::thread::Builder::new().name(new.name).spawn(run).map(drop)
        });
    (builder.build().unwrap(), refusing)
}

fn round(seed: u64, operations: u64) {
    let mut random = Random(seed);
    let (executor, refusing) = build(&mut random);
    let third = executor.limited("three", LIMITS[2]);
    let lanes = vec![
        executor.clone(),
        executor.limited("one", LIMITS[1]),
        third.clone(),
        third.limited("two", LIMITS[INNER]),
    ];
    let counts = Arc::<Counts>::default();
    let left: Vec<_> = std::thread::scope(|threads| {
        let submitters: Vec<_> = (0..SUBMITTERS)
            .map(|_| {
                let mut submitter = Submitter {
                    random: Random(random.next()),
                    lanes: lanes.clone(),
                    counts: Arc::clone(&counts),
                    refusing,
                    pending: Vec::new(),
                    last: Arc::default(),
                    sent: 0,
                };
                threads.spawn(move || {
                    (0..operations / SUBMITTERS).for_each(|_| submitter.operate());
                    submitter
                })
            })
            .collect();
        fork_answers(&lanes);
        submitters.into_iter().map(|submitter| submitter.join().unwrap()).collect()
    });
    let how = [Shutdown::Drain, Shutdown::CancelQueued, Shutdown::CancelAll][random.below(3) as usize];
    assert!(executor.shutdown_blocking(how, Some(Duration::from_secs(120))).is_complete());
    for mut submitter in left {
        for (job, expected, may) in std::mem::take(&mut submitter.pending) {
            submitter.check(job.wait(), expected, May { be_cancelled: true, ..may });
        }
    }
    assert_eq!(counts.alive.load(Ordering::Relaxed), 0, "closures that were neither run nor dropped");
    assert!(counts.ran.load(Ordering::Relaxed) <= counts.made.load(Ordering::Relaxed));
    for lane in &lanes {
        let metrics = lane.metrics();
        assert_eq!(metrics.submitted, metrics.completed + metrics.cancelled, "{metrics:?}");
        assert_eq!((metrics.queued, metrics.running), (0, 0));
    }
}

#[test]
fn random_operations_keep_every_promise() {
    let operations = number("OVERLAPPED_STRESS", 150_000);
    let mut random = Random(number("OVERLAPPED_SEED", std::process::id().into()));
    let mut left = operations;
    while left > 0 {
        let (seed, now) = (random.0, left.min(ROUND));
        random.next();
        let result = std::panic::catch_unwind(|| round(seed, now));
        assert!(result.is_ok(), "OVERLAPPED_SEED={seed} OVERLAPPED_STRESS={now} repeats this");
        left -= now;
    }
}
