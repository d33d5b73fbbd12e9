//! A file in the page cache, read through each of the ways to make it asynchronous.

use std::fs::File;
use std::io::Read;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use futures::AsyncRead;
use futures::executor::block_on;

use crate::median;

const BYTES: usize = 64 << 20;
const ROUNDS: usize = 9;
const NAMES: [&str; 5] = ["std::fs", "ours", "ours, reading ahead", "tokio::fs", "blocking::Unblock"];

pub fn run() {
    let path = std::env::temp_dir().join(format!("overlapped-bench-{}", std::process::id()));
    std::fs::write(&path, vec![7_u8; BYTES]).expect("room for the file");
    let open = || File::open(&path).expect("the file");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    println!("| read size | {} | ours, best : tokio | ours, best : std |", NAMES.join(" | "));
    println!("|{}", " --- |".repeat(NAMES.len() + 3));
    for size in [8 << 10, 64 << 10, 1 << 20] {
        let mut samples: Vec<Vec<f64>> = vec![Vec::new(); NAMES.len()];
        for _ in 0..ROUNDS {
            let mut buffer = vec![0_u8; size];
            samples[0].push(rate(|| {
                let mut file = open();
                let mut sum = 0;
                loop {
                    match file.read(&mut buffer).expect("a read") {
                        0 => break sum,
                        n => sum += n,
                    }
                }
            }));
            samples[1].push(rate(|| drain(overlapped::Unblock::new(open()), &mut buffer)));
            samples[2].push(rate(|| drain(overlapped::Unblock::new(open()).read_ahead(4), &mut buffer)));
            samples[3].push(rate(|| {
                runtime.block_on(async {
                    let mut file = tokio::fs::File::from_std(open());
                    let mut sum = 0;
                    loop {
                        match tokio::io::AsyncReadExt::read(&mut file, &mut buffer).await.expect("a read") {
                            0 => break sum,
                            n => sum += n,
                        }
                    }
                })
            }));
            samples[4].push(rate(|| drain(blocking::Unblock::new(open()), &mut buffer)));
        }
        let medians: Vec<f64> = samples.into_iter().map(median).collect();
        print!("| {} KiB |", size >> 10);
        medians.iter().for_each(|rate| print!(" {rate:.2} |"));
        let ours = medians[1].max(medians[2]);
        println!(" {:.1} | {:.2} |", ours / medians[3], ours / medians[0]);
    }
    let _ = std::fs::remove_file(&path);
}

/// GiB a second.
fn rate(read: impl FnOnce() -> usize) -> f64 {
    let start = Instant::now();
    assert_eq!(read(), BYTES);
    BYTES as f64 / (1 << 30) as f64 / start.elapsed().as_secs_f64()
}

fn drain(mut reader: impl AsyncRead + Unpin, buffer: &mut [u8]) -> usize {
    block_on(async {
        let mut sum = 0;
        loop {
            let read = std::future::poll_fn(|cx: &mut Context<'_>| -> Poll<std::io::Result<usize>> {
                Pin::new(&mut reader).poll_read(cx, buffer)
            });
            match read.await.expect("a read") {
                0 => break sum,
                n => sum += n,
            }
        }
    })
}
