//! Tests: how often the pool looks at jobs that are awaited together. It is a small number of times for each, however many there are.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::atomic::Ordering;

use crate::core::looks;
use crate::{Executor, JobSet, as_completed, block_on, gather};

/// For each job; one look at each of the others would be more than these.
const LOOKS_MAX: usize = 100;

/// In a job of each of three executors, one of which may wait for itself: how often the pool has looked at the jobs that this waits for.
fn check(name: &str, stand_ins: &[usize], wait: fn(&Executor, usize)) {
    const JOBS: usize = 1000;
    for stand_ins in stand_ins {
        let pool = Executor::builder().max_workers(2).stand_in_workers(*stand_ins).build().unwrap();
        let one = pool.limited("one", 1);
        let inner = pool.limited("three", 3).limited("two", 2);
        for (of, own) in [("pool", &pool), ("one", &one), ("two of three", &inner)] {
            // Those that it waits for are of its own view, or of none.
            for (to, theirs) in [("own", own), ("pool", &pool)] {
                let executor = theirs.clone();
                let job = own.submit(move || {
                    let looks = looks::begin();
                    wait(&executor, JOBS);
                    looks.load(Ordering::Relaxed)
                });
                let looks = job.wait().unwrap();
                assert!(looks <= LOOKS_MAX * JOBS, "{name}, {of} for {to}, {stand_ins}: {looks} for {JOBS}");
            }
        }
    }
}

#[test]
fn of_a_gather() {
    check("wait", &[0, 8], |executor, jobs| {
        gather((0..jobs).map(|n| executor.submit(move || n))).wait().unwrap();
    });
}

#[test]
fn of_a_scope() {
    // Without stand-ins, one that runs its own view's jobs looks at all that are left at each.
    check("scope", &[8], |executor, jobs| {
        executor.scope(|scope| (0..jobs).for_each(|n| drop(scope.submit(move || n))));
    });
}

#[test]
fn of_a_future_of_all() {
    check("block_on", &[0, 8], |executor, jobs| {
        block_on(gather((0..jobs).map(|n| executor.submit(move || n)))).unwrap();
    });
}

#[test]
fn of_a_set() {
    check("set", &[0, 8], |executor, jobs| {
        let mut set: JobSet<usize> = JobSet::new();
        (0..jobs).for_each(|n| set.insert(executor.submit(move || n)));
        let mut given = 0;
        while let Some(result) = block_on(set.next()) {
            given += usize::from(result.is_ok());
        }
        assert_eq!(given, jobs);
    });
}

#[test]
fn of_a_set_that_grows() {
    check("growing set", &[0, 8], |executor, jobs| {
        let mut set: JobSet<usize> = JobSet::new();
        (0..jobs).for_each(|n| set.insert(executor.submit(move || n)));
        let mut given = 0;
        while let Some(result) = block_on(set.next()) {
            given += usize::from(result.is_ok());
            if given <= jobs {
                set.insert(executor.submit(move || given));
            }
        }
        assert_eq!(given, 2 * jobs);
    });
}

#[test]
fn of_jobs_as_they_end() {
    check("as_completed", &[0, 8], |executor, jobs| {
        let mut all = as_completed((0..jobs).map(|n| executor.submit(move || n)));
        let given = block_on(async {
            let mut given = 0;
            while let Some((_, result)) = all.next().await {
                given += usize::from(result.is_ok());
            }
            given
        });
        assert_eq!(given, jobs);
    });
}
