//! The three arms of a comparison: the same list fetched sequentially, on a thread pool, and by the engine.
//!
//! Each arm runs in a process of its own, and reads its URLs from standard input, one a line.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use overlapped::{Executor, block_on, gather};
use overlapped_fetch::{Bulk, Config, Input, Pace, Response, Retry, Sink};
use overlapped_proto::limits;
use overlapped_proto::record::Record;
use ureq::Agent;

use super::Account;
use crate::exit::Error;
use crate::flags::compare::Arm;
use crate::picture::{Bar, Phase};

/// Runs one arm and returns its measurements.
///
/// # Errors
///
/// The arm could not run at all. A URL that fails is a row of its results, not an error.
pub(super) fn run(arm: Arm, workers: usize) -> Result<Account, Error> {
    // Each thread may have a connection open.
    overlapped_fetch::raise_open_files_limit(workers);
    let urls: Vec<String> =
        io::stdin().lines().collect::<Result<_, _>>().map_err(|error| Error::stdin(&error))?;
    let (bars, threads) = match arm {
        Arm::Sequential => {
            let agent = agent();
            ((0..).zip(&urls).map(|(row, url)| get(&agent, row, url)).collect(), threads())
        }
        Arm::Pool => pool(urls, workers)?,
        Arm::Native => native(urls, workers)?,
    };
    Ok(Account { bars, cpu_s: cpu_s(), threads, memory_bytes: memory_bytes() })
}

/// A blocking call for each URL on a thread pool; the results are in the order of the list.
fn pool(urls: Vec<String>, workers: usize) -> Result<(Vec<Bar>, Option<u32>), Error> {
    let executor = Executor::builder().max_workers(workers).build();
    let executor = executor.map_err(|error| Error::Usage(format!("no thread can be started: {error}")))?;
    let agent = agent();
    let jobs = (0..).zip(urls).map(|(row, url)| {
        let agent = agent.clone();
        executor.submit(move || get(&agent, row, &url))
    });
    let bars = block_on(gather(jobs)).map_err(|error| Error::Usage(error.to_string()))?;
    // Idle threads are kept alive for a while, so they can still be counted here.
    Ok((bars, threads()))
}

/// The engine. Its limit per host is the number of threads of the pool, so that both arms have the same concurrency;
/// loopback hosts have no limit.
fn native(urls: Vec<String>, workers: usize) -> Result<(Vec<Bar>, Option<u32>), Error> {
    let config = Config {
        pace: Pace {
            parallel_max: workers.max(limits::PARALLEL_MAX),
            parallel_max_host: (workers > limits::PARALLEL_MAX_HOST).then_some(workers),
            // As in the other arms, each URL gets one attempt, and no host is parked.
            max_host_errors: 0,
            ..Pace::default()
        },
        retry: Retry { retries: 0, ..Retry::default() },
        response: Response { body: false, ..Response::default() },
        ordered: true,
        ..Config::default()
    };
    let seen = Arc::new(Mutex::new((Vec::new(), None)));
    let bulk = Bulk::new(config)?.input(Input::Urls(Box::new(urls.into_iter())));
    bulk.sink(Box::new(Bars(Arc::clone(&seen)))).start()?.wait()?;
    Ok(std::mem::take(&mut *seen.lock().unwrap_or_else(PoisonError::into_inner)))
}

/// A sink that keeps the times of rows, and samples the number of threads.
struct Bars(Arc<Mutex<(Vec<Bar>, Option<u32>)>>);

impl Sink for Bars {
    fn accept(&mut self, record: &mut Record) -> io::Result<()> {
        // A row that was never started keeps its place in the list.
        let never = || Bar::new(record.row.0, &record.url, "never started", false, now_s());
        let bar = Bar::of(record).unwrap_or_else(never);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0.push(bar);
        Ok(())
    }

    fn commit(&mut self) -> io::Result<()> {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.1 = seen.1.max(threads());
        Ok(())
    }
}

/// The blocking client of the first two arms. It reuses connections, so that the comparison is fair.
fn agent() -> Agent {
    let total: Duration = limits::TOTAL_TIMEOUT.into();
    Agent::config_builder().timeout_global(Some(total)).http_status_as_error(false).build().into()
}

/// One blocking call, to the last byte of the body.
fn get(agent: &Agent, row: u64, url: &str) -> Bar {
    let (started_s, clock) = (now_s(), Instant::now());
    let answer = agent.get(url).call();
    let head = clock.elapsed();
    let answer = answer.and_then(|mut answer| {
        io::copy(&mut answer.body_mut().as_reader(), &mut io::sink())?;
        Ok(answer.status().as_u16())
    });
    let (result, ok) = match answer {
        Ok(status) => (status.to_string(), status < 400),
        Err(error) => (error.to_string(), false),
    };
    let mut bar = Bar::new(row, url, &result, ok, started_s);
    bar.set(Phase::Request, head.as_secs_f64());
    bar.set(Phase::Receive, (clock.elapsed() - head).as_secs_f64());
    bar
}

fn now_s() -> f64 {
    SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs_f64()
}

/// The CPU time of this process since its start.
#[cfg(unix)]
fn cpu_s() -> Option<f64> {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Some(spent.tv_sec as f64 + spent.tv_nsec as f64 / 1e9)
}

#[cfg(not(unix))]
fn cpu_s() -> Option<f64> {
    None
}

/// The number of threads of this process, on systems with /proc.
fn threads() -> Option<u32> {
    status("Threads:")
}

/// The peak resident memory of this process, on systems with /proc.
fn memory_bytes() -> Option<u64> {
    status("VmHWM:").map(|kib: u64| kib << 10)
}

/// A number from /proc/self/status.
fn status<T: std::str::FromStr>(name: &str) -> Option<T> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let value = status.lines().find_map(|line| line.strip_prefix(name))?;
    value.split_whitespace().next()?.parse().ok()
}
