//! An executor whose only thread and whose queue of one place can be occupied: the next job is refused.

use std::sync::mpsc;

use overlapped::{Executor, Job, block_on};

pub(crate) struct Jam {
    pub(crate) executor: Executor,
    /// The thread is busy until this is dropped.
    pub(crate) open: Option<mpsc::Sender<()>>,
    /// The job that runs, and the one that is queued.
    pub(crate) jobs: Vec<Job<()>>,
}

impl Jam {
    pub(crate) fn new() -> Self {
        let executor = Executor::builder().max_workers(1).queue_limit(1).build().unwrap();
        Jam { executor, open: None, jobs: Vec::new() }
    }

    pub(crate) fn jam(&mut self) {
        assert!(self.open.is_none(), "it is jammed already");
        let (open, gate) = mpsc::channel::<()>();
        let (begun, begins) = mpsc::channel();
        let busy = move || {
            begun.send(()).unwrap();
            let _ = gate.recv();
        };
        self.jobs.push(block_on(self.executor.reserve()).unwrap().submit(busy));
        begins.recv().unwrap();
        self.jobs.push(block_on(self.executor.reserve()).unwrap().submit(|| ()));
        self.open = Some(open);
    }

    pub(crate) fn clear(&mut self) {
        self.open = None;
        self.jobs.drain(..).for_each(|job| job.wait().unwrap());
    }
}
