//! The article's two programs: a blocking client in a loop, and the same client on an executor.
//!
//! `cargo run -p overlapped --example article -- http://127.0.0.1:8000/a http://127.0.0.1:8000/b`

#![allow(clippy::print_stdout)]

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use overlapped::{Executor, block_on, gather};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let urls: Vec<String> = std::env::args().skip(1).collect();

    // 1. One after the other: the program is blocked while each request waits.
    let start = Instant::now();
    let responses: Vec<String> = urls.iter().map(|url| get(url)).collect();
    println!("[{}]\nsequential: {:.3} s\n", responses.join(", "), start.elapsed().as_secs_f64());

    // 2. The same calls on five threads, awaited together; the responses come in the order of the input.
    let executor = Executor::builder().max_workers(5).build()?;
    let start = Instant::now();
    let requests = gather(urls.into_iter().map(|url| executor.submit(move || get(&url))));
    println!("meanwhile, the sum of the first million numbers: {}", (1..=1_000_000_u64).sum::<u64>());
    let responses = block_on(requests)?;
    println!("[{}]\noverlapped: {:.3} s", responses.join(", "), start.elapsed().as_secs_f64());
    Ok(())
}

/// A client that only knows how to block.
fn get(url: &str) -> String {
    println!("Start: {url}: {:.3}", now().as_secs_f64());
    let status = match ureq::get(url).call() {
        Ok(response) => response.status().as_u16().to_string(),
        Err(ureq::Error::StatusCode(status)) => status.to_string(),
        Err(error) => error.to_string(),
    };
    println!("End: {url}: {status}: {:.3}", now().as_secs_f64());
    format!("<Response [{status}]>")
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
