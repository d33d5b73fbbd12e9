//! One job outstanding: from `submit` to the awaited result.

use std::time::Instant;

use crate::pools::{All, Blocking, Ours, Pool, Rayon, Tokio};

const TRIPS: usize = 5_000;
const ROUNDS: usize = 5;

pub fn header() {
    println!("| p50 / p99 us | ours | bare channel | tokio | blocking | rayon | Mutex<VecDeque> |");
    println!("| --- | --- | --- | --- | --- | --- | --- |");
}

pub fn run(pinned: bool) {
    if pinned {
        pin();
    }
    let pools = All::new(2);
    let mut samples: [Vec<u64>; 6] = Default::default();
    for round in 0..=ROUNDS {
        let measured = [
            trips(&Ours(pools.ours.clone())),
            trips(&pools.bare),
            trips(&Tokio(pools.tokio.handle().clone())),
            trips(&Blocking),
            trips(&Rayon(pools.rayon.clone())),
            trips(&pools.plain),
        ];
        if round > 0 {
            samples.iter_mut().zip(measured).for_each(|(all, new)| all.extend(new));
        }
    }
    print!("| {} |", if pinned { "pinned to one processor" } else { "free" });
    for mut trips in samples {
        trips.sort_unstable();
        let at = |share: f64| trips[(trips.len() as f64 * share) as usize] as f64 / 1000.0;
        print!(" {:.1} / {:.1} |", at(0.5), at(0.99));
    }
    println!();
}

fn trips<P: Pool>(pool: &P) -> Vec<u64> {
    (0..TRIPS)
        .map(|_| {
            let start = Instant::now();
            futures::executor::block_on(pool.submit(|| ()));
            start.elapsed().as_nanos() as u64
        })
        .collect()
}

/// Every thread from here on shares one processor.
fn pin() {
    // SAFETY: the set is a plain array of bits, and outlives the calls.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(0, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set);
    }
}
