//! Building an executor, and the process-wide one.

use std::fmt;
use std::io;
use std::sync::OnceLock;
use std::time::Duration;

use crate::core::Bounds;
use crate::error::Panic;
use crate::executor::Executor;
use crate::limits;
use crate::panic_site;
use crate::pool::{NewThread, Pool, Settings, spawn_std};

static GLOBAL: OnceLock<Executor> = OnceLock::new();

impl Executor {
    /// Settings of a new executor.
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// The process's common executor, built with the defaults when it is first asked for. It is never shut down by itself.
    ///
    /// [`Builder::build_global`] builds it otherwise.
    pub fn global() -> &'static Executor {
        GLOBAL.get_or_init(|| Executor::builder().assemble().0)
    }
}

/// The settings of an [`Executor`].
///
/// | setting | default |
/// | --- | --- |
/// | `max_workers` | 512 |
/// | `min_workers` | 0 |
/// | `stand_in_workers` | 256, or 4 x `max_workers` if that is more |
/// | `queue_limit` | 1,048,576 |
/// | `keep_alive` | 10 s |
/// | `thread_name` | `overlapped`, followed by a number |
/// | `stack_size` | the system's |
///
/// ```
/// use overlapped::Executor;
///
/// let executor = Executor::builder().max_workers(8).queue_limit(1_000).thread_name("disk").build()?;
/// assert_eq!(executor.submit(|| 6 * 7).wait().unwrap(), 42);
/// # Ok::<(), std::io::Error>(())
/// ```
#[must_use = "nothing happens until `build`"]
pub struct Builder {
    max_workers: usize,
    min_workers: usize,
    extra_workers: Option<usize>,
    queue_limit: usize,
    settings: Settings,
}

impl Builder {
    fn new() -> Self {
        Builder {
            max_workers: limits::MAX_WORKERS,
            min_workers: 0,
            extra_workers: None,
            queue_limit: limits::QUEUE_JOBS,
            settings: Settings {
                keep_alive: limits::KEEP_ALIVE,
                thread_name: "overlapped".to_owned(),
                stack_size: None,
                on_thread_start: None,
                on_thread_stop: None,
                on_panic: None,
                spawn: Box::new(spawn_std),
                #[cfg(feature = "tokio")]
                tokio_context: false,
            },
        }
    }

    /// At most this many jobs run at a time; at least 1, at most 1,048,576. One that has waited for another job continues at once when
    /// its wait ends, beside the one that took its place.
    pub fn max_workers(mut self, threads: usize) -> Self {
        self.max_workers = threads.max(1);
        self
    }

    /// This many threads are started at once and do not end while idle; at most `max_workers`.
    pub fn min_workers(mut self, threads: usize) -> Self {
        self.min_workers = threads;
        self
    }

    /// At most this many threads, beyond `max_workers`, stand in for workers that sleep in the middle of a job; by default 256 or four
    /// times `max_workers`, whichever is more. They are started one at a time, when such a worker sleeps and jobs wait.
    ///
    /// With 0, or when all are in use, [`Job::wait`](crate::Job::wait), [`Gather::wait`](crate::Gather::wait) and the end of a scope run what they
    /// wait for on their own thread. A future ([`block_on`](crate::block_on)) runs nothing, nor does a wait with a time limit, nor one inside 64
    /// such jobs: if no other thread can come either, its jobs give [`JobError::WouldDeadlock`](crate::JobError::WouldDeadlock), or end at the
    /// limit.
    pub fn stand_in_workers(mut self, threads: usize) -> Self {
        self.extra_workers = Some(threads);
        self
    }

    /// At most this many jobs wait to be run; at least 1.
    pub fn queue_limit(mut self, jobs: usize) -> Self {
        self.queue_limit = jobs;
        self
    }

    /// How long a thread beyond `min_workers` stays without work.
    pub fn keep_alive(mut self, time: Duration) -> Self {
        self.settings.keep_alive = time;
        self
    }

    /// What the threads are called; a number follows. It cannot contain a NUL.
    pub fn thread_name(mut self, name: impl Into<String>) -> Self {
        self.settings.thread_name = name.into();
        self
    }

    /// The size of a thread's stack, in bytes; the system may make it larger.
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.settings.stack_size = Some(bytes);
        self
    }

    /// Runs on every new thread before its first job.
    pub fn on_thread_start(mut self, hook: impl Fn() + Send + Sync + 'static) -> Self {
        self.settings.on_thread_start = Some(Box::new(hook));
        self
    }

    /// Runs on every thread after its last job.
    pub fn on_thread_stop(mut self, hook: impl Fn() + Send + Sync + 'static) -> Self {
        self.settings.on_thread_stop = Some(Box::new(hook));
        self
    }

    /// Called with every panic of a job, on its worker, before the job settles. For a detached job this is the only report.
    pub fn on_panic(mut self, hook: impl Fn(&Panic) + Send + Sync + 'static) -> Self {
        self.settings.on_panic = Some(Box::new(hook));
        self
    }

    /// Notes where jobs panic, for [`Panic::location`]. This adds to the process's panic hook, which is why it is not done unasked; the
    /// hook that was there still runs.
    pub fn panic_locations(self) -> Self {
        panic_site::watch();
        self
    }

    /// Starts threads in a way of your own: with an affinity, attached to an interpreter, refused in a test. The closure is the
    /// thread's whole life and must be run on a new thread, or dropped. A thread for [deadlines](crate::Job::timeout) is asked for in this way only
    /// if the system has refused it.
    pub fn spawn_thread<S>(mut self, spawn: S) -> Self
    where
        S: Fn(NewThread, Box<dyn FnOnce() + Send>) -> io::Result<()> + Send + Sync + 'static,
    {
        self.settings.spawn = Box::new(spawn);
        self
    }

    /// Builds the executor and starts its first `min_workers` threads.
    ///
    /// # Errors
    ///
    /// If the system refuses one of these threads; [`InvalidInput`](io::ErrorKind::InvalidInput) if a setting is out of its bounds.
    pub fn build(self) -> io::Result<Executor> {
        self.check().map_err(|what| io::Error::new(io::ErrorKind::InvalidInput, what))?;
        let (executor, ahead) = self.assemble();
        for _ in 0..ahead {
            executor.pool().core().starts_ahead();
            executor.pool().start_thread()?;
        }
        Ok(executor)
    }

    /// Builds the process's common executor, [`Executor::global`], before anything uses it.
    ///
    /// # Errors
    ///
    /// As [`build`](Builder::build); and [`AlreadyExists`](io::ErrorKind::AlreadyExists) if the common executor is there already, by an
    /// earlier call or because something has used it.
    pub fn build_global(self) -> io::Result<&'static Executor> {
        let taken = || io::Error::new(io::ErrorKind::AlreadyExists, "the common executor is there already");
        if GLOBAL.get().is_some() {
            return Err(taken());
        }
        GLOBAL.set(self.build()?).map_err(|_| taken())?;
        Ok(Executor::global())
    }

    /// Jobs run in the tokio runtime in which they were submitted, as those of `spawn_blocking` do: `Handle::current()` works in them,
    /// and so does what needs it. Jobs of [`try_submit`](Executor::try_submit) excepted.
    #[cfg(feature = "tokio")]
    pub fn tokio_context(mut self) -> Self {
        self.settings.tokio_context = true;
        self
    }

    fn check(&self) -> Result<(), String> {
        let limits =
            [("max_workers", self.max_workers), ("stand_in_workers", self.extra_workers.unwrap_or(0))];
        for (name, threads) in limits {
            if threads > limits::THREADS_MAX {
                return Err(format!("{name} is {threads}; at most {} are possible", limits::THREADS_MAX));
            }
        }
        if self.settings.thread_name.contains('\0') {
            let name = &self.settings.thread_name;
            return Err(format!(
                "thread_name is {name:?}; the name of a thread cannot contain a NUL: leave it out"
            ));
        }
        if let Some(bytes) = self.settings.stack_size.filter(|bytes| *bytes > limits::STACK_BYTES_MAX) {
            let most = limits::STACK_BYTES_MAX;
            return Err(format!("stack_size is {bytes} bytes; at most {most} are possible"));
        }
        if self.queue_limit == 0 {
            return Err("queue_limit is 0, so every job would be rejected; at least 1 is needed".to_owned());
        }
        Ok(())
    }

    fn assemble(self) -> (Executor, usize) {
        let min = self.min_workers.min(self.max_workers);
        let extra = self.extra_workers.unwrap_or_else(|| limits::stand_in_workers(self.max_workers));
        let pool = Pool::new(Bounds { min, max: self.max_workers, extra }, self.queue_limit, self.settings);
        (Executor::of(pool), min)
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("max_workers", &self.max_workers)
            .field("min_workers", &self.min_workers)
            .field("queue_limit", &self.queue_limit)
            .field("keep_alive", &self.settings.keep_alive)
            .finish_non_exhaustive()
    }
}
