//! Jobs a second and CPU a job, with 10,000 outstanding.

use std::time::{Duration, Instant};

use crate::pools::{All, Blocking, Kind, Ours, OursGather, OursKind, Pool, Rayon, Tokio, TokioTask};
use crate::{cpu_nanos, median};

const OUTSTANDING: usize = 10_000;
const ROUNDS: usize = 9;
const KIND_ROUNDS: usize = 31;
const NAMES: [&str; 9] = [
    "ours, gather",
    "ours, in turn",
    "bare channel",
    "tokio",
    "tokio, in a task",
    "blocking",
    "rayon",
    "Mutex<VecDeque>",
    "tokio, sharded",
];

pub fn header(work: &str) {
    println!("| {work}: workers, submitters | {} | ratio | to tokio's best | to blocking |", NAMES.join(" | "));
    println!("|{}", " --- |".repeat(NAMES.len() + 4));
}

pub fn run(workers: usize, submitters: usize, work: &str) {
    let work = match work {
        "noop" => noop,
        "1us" => one_micro,
        _ => ten_micros,
    };
    if let Ok(only) = std::env::var("ONLY") {
        return alone(&only, workers, submitters, work);
    }
    let pools = All::new(workers);
    let mut samples: Vec<Vec<(f64, f64)>> = vec![Vec::new(); NAMES.len()];
    for round in 0..=ROUNDS {
        let measured = [
            measure(&OursGather(pools.ours.clone()), submitters, work),
            measure(&Ours(pools.ours.clone()), submitters, work),
            measure(&pools.bare, submitters, work),
            measure(&Tokio(pools.tokio.handle().clone()), submitters, work),
            measure(&TokioTask(pools.tokio.handle().clone()), submitters, work),
            measure(&Blocking, submitters, work),
            measure(&Rayon(pools.rayon.clone()), submitters, work),
            measure(&pools.plain, submitters, work),
            measure(&Tokio(pools.sharded.handle().clone()), submitters, work),
        ];
        // The first round warms up.
        if round > 0 {
            samples.iter_mut().zip(measured).for_each(|(samples, sample)| samples.push(sample));
        }
    }
    let medians: Vec<(f64, f64)> = samples
        .into_iter()
        .map(|samples| {
            let (rates, cpu): (Vec<f64>, Vec<f64>) = samples.into_iter().unzip();
            (median(rates), median(cpu))
        })
        .collect();
    print!("| {workers} w, {submitters} s |");
    for (rate, cpu) in &medians {
        print!(" {:.0} k ({cpu:.2}) |", rate / 1000.0);
    }
    let ours = medians[0];
    let tokio = medians[3].0.max(medians[4].0).max(medians[8].0);
    println!(
        " {:.2}, {:.2} | {:.1} | {:.1} |",
        ours.0 / medians[2].0,
        ours.1 / medians[2].1,
        ours.0 / tokio,
        ours.0 / medians[5].0
    );
}

/// What jobs of each kind cost beside plain ones: ratios within a round.
pub fn kinds() {
    let ours = overlapped::Executor::builder().max_workers(2).build().expect("an executor");
    let kinds = [Kind::Timeout, Kind::Cancellable, Kind::View].map(|kind| OursKind::new(&ours, kind));
    let mut ratios: [Vec<f64>; 3] = Default::default();
    for round in 0..=KIND_ROUNDS {
        let plain = measure(&OursGather(ours.clone()), 1, noop).1;
        let measured = kinds.each_ref().map(|kind| measure(kind, 1, noop).1 / plain);
        if round > 0 {
            ratios.iter_mut().zip(measured).for_each(|(ratios, ratio)| ratios.push(ratio));
        }
    }
    println!("| CPU over that of a plain job | with a timeout | cancellable | in a view |");
    println!("| --- | --- | --- | --- |");
    let [timeout, cancellable, view] = ratios.map(median);
    println!("| 2 workers, 1 submitter | {timeout:.2} | {cancellable:.2} | {view:.2} |");
}

/// A number of jobs of one kind, in batches, for a profiler that counts: `count timeout 100000`.
pub fn count(kind: &str, jobs: usize) {
    const BATCH: usize = 1_000;
    let ours = overlapped::Executor::builder().max_workers(1).build().expect("an executor");
    for _ in 0..jobs / BATCH {
        match kind {
            "plain" => OursGather(ours.clone()).batch(BATCH, noop),
            "timeout" => OursKind::new(&ours, Kind::Timeout).batch(BATCH, noop),
            "cancellable" => OursKind::new(&ours, Kind::Cancellable).batch(BATCH, noop),
            "view" => OursKind::new(&ours, Kind::View).batch(BATCH, noop),
            "turn" => Ours(ours.clone()).batch(BATCH, noop),
            "trip" => (0..BATCH).for_each(|_| Ours(ours.clone()).batch(1, noop)),
            _ => panic!("no such kind"),
        }
    }
}

/// One pool for a second, for a profiler: `ONLY=gather jobs 2 8 noop`.
fn alone(only: &str, workers: usize, submitters: usize, work: fn()) {
    let executor = || overlapped::Executor::builder().max_workers(workers).build().expect("an executor");
    let (rate, cpu) = match only {
        "gather" => repeat(&OursGather(executor()), submitters, work),
        "turn" => repeat(&Ours(executor()), submitters, work),
        "timeout" => repeat(&OursKind::new(&executor(), Kind::Timeout), submitters, work),
        "cancellable" => repeat(&OursKind::new(&executor(), Kind::Cancellable), submitters, work),
        "view" => repeat(&OursKind::new(&executor(), Kind::View), submitters, work),
        _ => repeat(&crate::pools::Bare::new(workers), submitters, work),
    };
    println!("{only} {workers} w, {submitters} s: {:.0} k ({cpu:.2})", rate / 1000.0);
}

fn repeat<P: Pool>(pool: &P, submitters: usize, work: fn()) -> (f64, f64) {
    let (rates, cpu): (Vec<f64>, Vec<f64>) = (0..40).map(|_| measure(pool, submitters, work)).unzip();
    (median(rates), median(cpu))
}

/// (jobs a second, CPU microseconds a job)
fn measure<P: Pool>(pool: &P, submitters: usize, work: fn()) -> (f64, f64) {
    let each = OUTSTANDING / submitters;
    let (start, cpu) = (Instant::now(), cpu_nanos());
    let counts: Vec<usize> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..submitters)
            .map(|_| {
                scope.spawn(|| {
                    let mut jobs = 0;
                    while start.elapsed() < Duration::from_millis(25) {
                        pool.batch(each, work);
                        jobs += each;
                    }
                    jobs
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("no panics")).collect()
    });
    let jobs = counts.iter().sum::<usize>() as f64;
    (jobs / start.elapsed().as_secs_f64(), (cpu_nanos() - cpu) as f64 / 1000.0 / jobs)
}

fn noop() {}

fn one_micro() {
    spin(1_000);
}

fn ten_micros() {
    spin(10_000);
}

/// Some work of about this long, without a look at the clock.
fn spin(nanos: u32) {
    let mut x = std::hint::black_box(1_u32);
    for _ in 0..nanos / 2 {
        x = std::hint::black_box(x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223));
    }
    std::hint::black_box(x);
}
