//! One client against a server, for so many requests: prints the requests and the CPU seconds of this process.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark ends by panicking, and prints")]

use std::io::Read;
use std::time::Instant;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use overlapped_fetch::{Client, Config, blocking};
use rustix::time::{ClockId, clock_gettime};

/// Requests at once.
const AT_ONCE: usize = 64;
/// Before the clock starts: connections are opened, and the first requests made.
const WARM: usize = 500;

fn cpu_s() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn one_at_a_time(requests: usize, mut get: impl FnMut() -> usize) {
    for _ in 0..WARM {
        get();
    }
    let (cpu, wall) = (cpu_s(), Instant::now());
    let bytes: usize = (0..requests).map(|_| get()).sum();
    report(requests, bytes, cpu, wall);
}

async fn many_at_once<F: Future<Output = usize>>(requests: usize, get: impl Fn() -> F) {
    let mut started = 0;
    let mut flying = FuturesUnordered::new();
    let (mut cpu, mut wall, mut bytes) = (cpu_s(), Instant::now(), 0);
    while started < WARM + requests || !flying.is_empty() {
        while started < WARM + requests && flying.len() < AT_ONCE {
            if started == WARM {
                (cpu, wall, bytes) = (cpu_s(), Instant::now(), 0);
            }
            started += 1;
            flying.push(get());
        }
        bytes += flying.next().await.unwrap_or_default();
    }
    report(requests, bytes, cpu, wall);
}

fn report(requests: usize, bytes: usize, cpu: f64, wall: Instant) {
    let (cpu, wall) = (cpu_s() - cpu, wall.elapsed().as_secs_f64());
    assert!(bytes >= requests * 1_000, "{bytes} bytes are too few");
    println!("{requests} {wall:.4} {cpu:.4}");
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (name, url, requests) =
        (arguments.next().unwrap(), arguments.next().unwrap(), arguments.next().unwrap());
    let requests: usize = requests.parse().unwrap();
    match &*name {
        "ours-blocking" => {
            let client = blocking::Client::new(Config::default()).unwrap();
            one_at_a_time(requests, || client.get(&url).send().unwrap().bytes().unwrap().len());
        }
        "ureq" => {
            let agent = ureq::Agent::new_with_defaults();
            one_at_a_time(requests, || {
                let mut body = Vec::new();
                agent.get(&url).call().unwrap().into_body().into_reader().read_to_end(&mut body).unwrap()
            });
        }
        "reqwest-blocking" => {
            let client = reqwest::blocking::Client::new();
            one_at_a_time(requests, || client.get(&url).send().unwrap().bytes().unwrap().len());
        }
        "ours-many" => {
            let client = Client::new(Config::default()).unwrap();
            let get = || async { client.get(&url).send().await.unwrap().bytes().await.unwrap().len() };
            runtime().block_on(many_at_once(requests, get));
        }
        "reqwest-many" => {
            let client = reqwest::Client::new();
            let get = || async { client.get(&url).send().await.unwrap().bytes().await.unwrap().len() };
            runtime().block_on(many_at_once(requests, get));
        }
        other => panic!("{other} is no client"),
    }
}
