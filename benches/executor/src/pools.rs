//! The pools, behind one trait: submit a closure, get a future.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex};

use futures::channel::oneshot;

pub trait Pool: Clone + Send + Sync + 'static {
    type Handle: Future<Output = ()> + Send + Unpin;
    fn submit(&self, work: fn()) -> Self::Handle;

    /// Submits `n` jobs and awaits all of them, in the way that suits the pool.
    fn batch(&self, n: usize, work: fn()) {
        let handles: Vec<_> = (0..n).map(|_| self.submit(work)).collect();
        futures::executor::block_on(async {
            for handle in handles {
                handle.await;
            }
        });
    }
}

/// A future whose output does not matter.
pub struct Ignore<F>(F);

impl<F: Future + Unpin> Future for Ignore<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> std::task::Poll<()> {
        Pin::new(&mut self.0).poll(cx).map(drop)
    }
}

/// Ours, each job awaited in turn as the peers' are.
#[derive(Clone)]
pub struct Ours(pub overlapped::Executor);

impl Pool for Ours {
    type Handle = Ignore<overlapped::Job<()>>;
    fn submit(&self, work: fn()) -> Self::Handle {
        Ignore(self.0.submit(work))
    }
}

/// Ours, with `gather`.
#[derive(Clone)]
pub struct OursGather(pub overlapped::Executor);

impl Pool for OursGather {
    type Handle = Ignore<overlapped::Job<()>>;
    fn submit(&self, work: fn()) -> Self::Handle {
        Ignore(self.0.submit(work))
    }
    fn batch(&self, n: usize, work: fn()) {
        let jobs: Vec<_> = (0..n).map(|_| self.0.submit(work)).collect();
        overlapped::block_on(overlapped::gather(jobs)).expect("no job fails");
    }
}

/// Ours, with `gather`, for jobs that have or need more than a plain one.
#[derive(Clone)]
pub struct OursKind(pub overlapped::Executor, pub Kind);

#[derive(Clone, Copy)]
pub enum Kind {
    Timeout,
    Cancellable,
    View,
}

impl OursKind {
    pub fn new(executor: &overlapped::Executor, kind: Kind) -> Self {
        match kind {
            Kind::Timeout | Kind::Cancellable => OursKind(executor.clone(), kind),
            Kind::View => OursKind(executor.limited("view", 1_000), kind),
        }
    }
}

impl Pool for OursKind {
    type Handle = Ignore<overlapped::Job<()>>;
    fn submit(&self, work: fn()) -> Self::Handle {
        Ignore(match self.1 {
            Kind::Timeout => self.0.submit(work).timeout(std::time::Duration::from_secs(60)),
            Kind::Cancellable => self.0.submit_cancellable(move |_| work()),
            Kind::View => self.0.submit(work),
        })
    }
    fn batch(&self, n: usize, work: fn()) {
        let jobs: Vec<_> = (0..n).map(|_| self.submit(work).0).collect();
        overlapped::block_on(overlapped::gather(jobs)).expect("no job fails");
    }
}

#[derive(Clone)]
pub struct Tokio(pub tokio::runtime::Handle);

impl Pool for Tokio {
    type Handle = Ignore<tokio::task::JoinHandle<()>>;
    fn submit(&self, work: fn()) -> Self::Handle {
        Ignore(self.0.spawn_blocking(work))
    }
}

/// tokio as its users have it: the submitter is a task of the runtime.
#[derive(Clone)]
pub struct TokioTask(pub tokio::runtime::Handle);

impl Pool for TokioTask {
    type Handle = Ignore<tokio::task::JoinHandle<()>>;
    fn submit(&self, work: fn()) -> Self::Handle {
        Ignore(self.0.spawn_blocking(work))
    }
    fn batch(&self, n: usize, work: fn()) {
        let task = self.0.spawn(async move {
            let handles: Vec<_> = (0..n).map(|_| tokio::task::spawn_blocking(work)).collect();
            for handle in handles {
                handle.await.expect("no job fails");
            }
        });
        futures::executor::block_on(task).expect("no task fails");
    }
}

#[derive(Clone)]
pub struct Blocking;

impl Pool for Blocking {
    type Handle = Ignore<blocking::Task<()>>;
    fn submit(&self, work: fn()) -> Self::Handle {
        Ignore(blocking::unblock(work))
    }
}

#[derive(Clone)]
pub struct Rayon(pub Arc<rayon_core::ThreadPool>);

impl Pool for Rayon {
    type Handle = Ignore<oneshot::Receiver<()>>;
    fn submit(&self, work: fn()) -> Self::Handle {
        let (send, receive) = oneshot::channel();
        self.0.spawn(move || {
            work();
            let _ = send.send(());
        });
        Ignore(receive)
    }
}

type Boxed = Box<dyn FnOnce() + Send>;

/// The limit to stay near: a channel, threads and nothing else.
#[derive(Clone)]
pub struct Bare(crossbeam_channel::Sender<Boxed>);

impl Bare {
    pub fn new(workers: usize) -> Self {
        let (send, receive) = crossbeam_channel::unbounded::<Boxed>();
        for _ in 0..workers {
            let receive = receive.clone();
            std::thread::spawn(move || receive.iter().for_each(|job| job()));
        }
        Bare(send)
    }
}

impl Pool for Bare {
    type Handle = Ignore<oneshot::Receiver<()>>;
    fn submit(&self, work: fn()) -> Self::Handle {
        let (send, receive) = oneshot::channel();
        let job = move || {
            work();
            let _ = send.send(());
        };
        self.0.send(Box::new(job)).expect("workers are there");
        Ignore(receive)
    }
}

/// What one writes in an afternoon.
#[derive(Clone)]
pub struct Plain(Arc<(Mutex<VecDeque<Boxed>>, Condvar)>);

impl Plain {
    pub fn new(workers: usize) -> Self {
        let shared = Arc::new((Mutex::new(VecDeque::<Boxed>::new()), Condvar::new()));
        for _ in 0..workers {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || {
                loop {
                    let mut queue = shared.0.lock().expect("no panics");
                    let job = loop {
                        match queue.pop_front() {
                            Some(job) => break job,
                            None => queue = shared.1.wait(queue).expect("no panics"),
                        }
                    };
                    drop(queue);
                    job();
                }
            });
        }
        Plain(shared)
    }
}

impl Pool for Plain {
    type Handle = Ignore<oneshot::Receiver<()>>;
    fn submit(&self, work: fn()) -> Self::Handle {
        let (send, receive) = oneshot::channel();
        let job = move || {
            work();
            let _ = send.send(());
        };
        self.0.0.lock().expect("no panics").push_back(Box::new(job));
        self.0.1.notify_one();
        Ignore(receive)
    }
}

/// One of each.
pub struct All {
    pub ours: overlapped::Executor,
    pub tokio: tokio::runtime::Runtime,
    pub sharded: tokio::runtime::Runtime,
    pub rayon: Arc<rayon_core::ThreadPool>,
    pub bare: Bare,
    pub plain: Plain,
}

impl All {
    pub fn new(workers: usize) -> Self {
        let mut tokio = tokio::runtime::Builder::new_multi_thread();
        tokio.worker_threads(2).max_blocking_threads(workers);
        let plain = tokio.build().expect("a runtime");
        let sharded = tokio.enable_sharded_blocking_queue().build().expect("a runtime");
        let rayon = rayon_core::ThreadPoolBuilder::new().num_threads(workers).build().expect("a pool");
        All {
            ours: overlapped::Executor::builder().max_workers(workers).build().expect("an executor"),
            tokio: plain,
            sharded,
            rayon: Arc::new(rayon),
            bare: Bare::new(workers),
            plain: Plain::new(workers),
        }
    }
}
