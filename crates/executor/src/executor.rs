//! The executor's handle and its views: the public names of what `pool` and `core` do.

use std::fmt;
use std::panic::Location;
use std::sync::Arc;

use crate::cancel::CancelToken;
use crate::cell::{Awaited, Cell, Task};
use crate::core::Entry;
use crate::error::{Full, JobError};
use crate::job::Job;
use crate::metrics::Metrics;
use crate::origin::{Label, Origin};
use crate::pool::{self, Pool};
use crate::sync::Mutex;
use crate::trace::Trace;
use crate::view_id::{ROOT, ViewId};

/// A pool of threads for calls that block, as a handle that is cheap to clone.
///
/// Jobs start in the order in which they were submitted. Threads are started when they are wanted, up to `max_workers`, and let go
/// after `keep_alive` without work. When the last handle is dropped, what is queued still runs, and then the threads end; to wait
/// for that, or to hurry it, there is [`shutdown`](Executor::shutdown).
///
/// ```
/// use overlapped::{Executor, block_on};
///
/// let executor = Executor::builder().max_workers(5).build()?;
/// let job = executor.submit(|| std::fs::read_to_string("Cargo.toml"));
/// let text = block_on(job).unwrap()?;
/// assert!(text.contains("overlapped"));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct Executor {
    handle: Arc<Handle>,
    /// The label of the jobs that are submitted through this handle.
    label: Option<Label>,
    /// The place that these jobs are attributed to, instead of the call of `submit`.
    at: Option<&'static Location<'static>>,
}

struct Handle {
    pool: Arc<Pool>,
    lane: ViewId,
    /// The handle of which this one is a view: a view keeps its executor open.
    _outer: Option<Executor>,
}

impl Executor {
    /// The first handle of a pool.
    pub(crate) fn of(pool: Arc<Pool>) -> Self {
        let handle = Handle { pool, lane: ROOT, _outer: None };
        Executor { handle: Arc::new(handle), label: None, at: None }
    }

    /// Hands a blocking call to the pool. The job is a future of its result.
    ///
    /// If the queue is full or the executor shut down, the job resolves to [`JobError::Rejected`]; to wait for a place instead, see
    /// [`reserve`](Executor::reserve), and to get the closure back, [`try_submit`](Executor::try_submit).
    ///
    /// ```
    /// use overlapped::{Executor, block_on};
    ///
    /// let job = Executor::global().submit(|| 6 * 7);
    /// assert_eq!(block_on(job).unwrap(), 42);
    /// ```
    ///
    /// Dropping the job cancels it. `let _ = executor.submit(…)` drops it in the same statement, without a warning from the
    /// compiler: if no thread has begun it by then, it never runs. To let it run without a handle, detach it:
    ///
    /// ```
    /// # let executor = overlapped::Executor::global();
    /// executor.submit(|| println!("runs, although nothing waits for it")).detach();
    /// ```
    ///
    /// Nothing may be borrowed from the stack, because the job may outlive the caller:
    ///
    /// ```compile_fail,E0373
    /// let text = String::from("on the stack");
    /// let job = overlapped::Executor::global().submit(|| text.len());
    /// ```
    #[track_caller]
    pub fn submit<F, R>(&self, closure: F) -> Job<R>
    where
        F: FnOnce() -> R + Send + 'static,
        R: Send + 'static,
    {
        self.send(closure, None, Entry::Ordinary)
    }

    /// As [`submit`](Executor::submit), but gives the closure back if it is not taken.
    ///
    /// # Errors
    ///
    /// [`Full`], with the closure and the reason.
    #[track_caller]
    pub fn try_submit<F, R>(&self, closure: F) -> Result<Job<R>, Full<F>>
    where
        F: FnOnce() -> R + Send + 'static,
        R: Send + 'static,
    {
        let pool = &self.handle.pool;
        let cell = Arc::new(self.cell(closure));
        match pool.submit(Arc::clone(&cell) as Arc<dyn Task>, Entry::Ordinary) {
            Ok(()) => Ok(Job::new(cell, Arc::clone(pool), None)),
            Err(why) => {
                let closure = cell.reclaim().expect("a job that was not let in was not started");
                Err(Full { closure, why })
            }
        }
    }

    /// As [`try_submit`](Executor::try_submit), for a closure that can be asked to stop while it runs.
    ///
    /// # Errors
    ///
    /// [`Full`], with the closure and the reason.
    #[track_caller]
    pub fn try_submit_cancellable<F, R>(&self, closure: F) -> Result<Job<R>, Full<F>>
    where
        F: FnOnce(&CancelToken) -> R + Send + 'static,
        R: Send + 'static,
    {
        let token = CancelToken::new();
        let own = token.clone();
        // Beside the job, so that it can be had back.
        let slot = Arc::new(Mutex::new(Some(closure)));
        let theirs = Arc::clone(&slot);
        let take =
            |slot: &Mutex<Option<F>>| slot.lock().take().expect("either the job takes it or its submitter");
        match self.try_submit(move || pool::with_token(&own, take(&theirs))) {
            Ok(job) => Ok(job.with_token(token)),
            Err(full) => Err(Full { closure: take(&slot), why: full.why }),
        }
    }

    /// As [`submit`](Executor::submit), for a closure that can be asked to stop while it runs.
    #[track_caller]
    pub fn submit_cancellable<F, R>(&self, closure: F) -> Job<R>
    where
        F: FnOnce(&CancelToken) -> R + Send + 'static,
        R: Send + 'static,
    {
        let token = CancelToken::new();
        let own = token.clone();
        self.send(move || pool::with_token(&own, closure), Some(token), Entry::Ordinary)
    }

    /// Lends an object to a blocking call and gives it back with the result.
    ///
    /// ```
    /// use std::io::Read;
    /// use overlapped::{Executor, block_on};
    ///
    /// let reader = std::io::Cursor::new(b"to be read".to_vec());
    /// let (reader, text) = block_on(Executor::global().run_with(reader, |reader| {
    ///     let mut text = String::new();
    ///     reader.read_to_string(&mut text).map(|_| text)
    /// })).unwrap();
    /// assert_eq!(text?, "to be read");
    /// assert_eq!(reader.position(), 10);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn run_with<T, F, R>(&self, mut object: T, closure: F) -> Job<(T, R)>
    where
        T: Send + 'static,
        F: FnOnce(&mut T) -> R + Send + 'static,
        R: Send + 'static,
    {
        self.submit(move || {
            let result = closure(&mut object);
            (object, result)
        })
    }

    /// A view: the same threads, with a limit, a queue and metrics of its own.
    ///
    /// At most `max_concurrency` jobs of the view run at a time; the others wait in the view's own queue, where they occupy no thread and
    /// delay no other job. A view of a view keeps to both limits. The view's queue is bounded as its executor's is.
    ///
    /// A job of the view that waits for another job keeps its place. If the awaited job, or one that this waits for, needs a place in the
    /// same view, it is lent that one, as in a direct call. So jobs of a view of limit 1 exclude each other also across waits. That is so
    /// in every wait of this crate, with a deadline or without. In [`block_on`](crate::block_on) the awaited jobs are those that the future
    /// has polled. A place is not lent to a job that waits for a place in a full queue, nor through a job of another executor.
    ///
    /// A wait may end before the job that has the place: a [`gather`](crate::gather) that fails early, a future that drops a job, a wait
    /// that ends with [`WouldDeadlock`](JobError::WouldDeadlock). Its result is that, but the job that waited goes on only with its
    /// place. If the borrower has not begun, it goes back to the front of the view's queue; otherwise the waiting job sleeps on until the
    /// borrower ends, or until another place of the view becomes free. What the borrower needs from the waiting job, such as a lock or a
    /// message, it does not get meanwhile. So a wait with a time limit, in a job of a view, may end late.
    ///
    /// While a view lives, the same name gives the same view again, so that a limit holds for all who name it. Views without a name
    /// are each their own.
    ///
    /// # Panics
    ///
    /// If the view of this name has another limit.
    ///
    /// ```
    /// let executor = overlapped::Executor::builder().max_workers(8).build()?;
    /// let dns = executor.limited("dns", 2);
    /// let job = dns.submit(|| std::net::ToSocketAddrs::to_socket_addrs(&("127.0.0.1", 80)));
    /// assert!(job.wait().unwrap().is_ok());
    /// assert_eq!(dns.metrics().completed, 1);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn limited(&self, name: &str, max_concurrency: usize) -> Executor {
        self.view(name, max_concurrency, None)
    }

    /// As [`limited`](Executor::limited), with a bound of its own for the view's queue, of at least 1.
    pub fn limited_queue(&self, name: &str, max_concurrency: usize, queue_limit: usize) -> Executor {
        self.view(name, max_concurrency, Some(queue_limit.max(1)))
    }

    /// The same executor, or view, for jobs of one kind: `running` and the report of a shutdown show the label beside the place where a
    /// job was submitted. Nothing else differs. Views and [`Unblock`](crate::Unblock)s of a labelled executor have its label.
    ///
    /// ```
    /// let executor = overlapped::Executor::builder().max_workers(1).build()?;
    /// let (go, gate) = std::sync::mpsc::channel::<()>();
    /// let job = executor.labelled("nightly backup").submit(move || gate.recv());
    /// while job.state() == overlapped::JobState::Queued {}
    /// let running = executor.running();
    /// assert_eq!(running[0].label.as_deref(), Some("nightly backup"));
    /// assert_eq!(running[0].submitted_at.file(), file!());
    /// # drop(go);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn labelled(&self, label: impl Into<String>) -> Executor {
        Executor { label: Some(Label::new(label.into())), ..self.clone() }
    }

    /// The same executor, with the caller's location as that of every job that is submitted through it.
    #[track_caller]
    pub(crate) fn located(&self) -> Executor {
        Executor { at: Some(self.at.unwrap_or(Location::caller())), ..self.clone() }
    }

    #[track_caller]
    fn cell<F, R>(&self, closure: F) -> Cell<F, R>
    where
        F: FnOnce() -> R + Send,
        R: Send,
    {
        let (pool, lane) = (&self.handle.pool, self.handle.lane);
        let origin = Origin { at: self.at.unwrap_or(Location::caller()), label: self.label.clone() };
        let view = || if pool.is_forked() { String::new() } else { pool.core().name(lane) };
        let trace = Trace::new(&origin, view);
        Cell::new(lane, origin, trace, pool.now(), closure)
    }

    fn view(&self, name: &str, limit: usize, queue_limit: Option<usize>) -> Executor {
        let pool = &self.handle.pool;
        if self.is_forked() {
            return self.clone();
        }
        let lane = pool.core().view(self.handle.lane, name, limit, queue_limit);
        #[allow(
            clippy::panic,
            reason = "two parts of a program that want different limits for one name are its defect"
        )]
        let lane = lane.unwrap_or_else(|(limit, queue)| {
            panic!("a view named {name:?} is there already, with a limit of {limit} and a queue of {queue}")
        });
        let handle = Handle { pool: Arc::clone(pool), lane, _outer: Some(self.clone()) };
        Executor { handle: Arc::new(handle), ..self.clone() }
    }

    /// What the executor, or the view, has counted.
    pub fn metrics(&self) -> Metrics {
        if self.is_forked() {
            return Metrics::default();
        }
        self.handle.pool.core().metrics(self.handle.lane)
    }

    /// Whether it takes no more jobs: it is shut down, or this is a forked child.
    pub fn is_closed(&self) -> bool {
        self.is_forked() || self.handle.pool.core().lane(self.handle.lane).closed
    }

    /// Whether the current thread is a worker of this executor, that is, whether this is called from one of its jobs.
    pub fn is_worker(&self) -> bool {
        pool::is_worker(&self.handle.pool)
    }

    pub(crate) fn pool(&self) -> &Arc<Pool> {
        &self.handle.pool
    }

    pub(crate) fn lane(&self) -> ViewId {
        self.handle.lane
    }

    /// Hands over a call that is let in however full the queue is, and lets it go. If the executor is shut down, the closure is
    /// dropped here.
    #[track_caller]
    pub(crate) fn submit_must_run(&self, closure: impl FnOnce() + Send + 'static) -> Job<()> {
        self.send(closure, None, Entry::MustRun)
    }

    /// Whether this process is a fork of the one that has the threads. It takes no lock.
    pub fn is_forked(&self) -> bool {
        self.handle.pool.is_forked()
    }

    #[track_caller]
    pub(crate) fn send<F, R>(&self, closure: F, token: Option<CancelToken>, entry: Entry) -> Job<R>
    where
        F: FnOnce() -> R + Send + 'static,
        R: Send + 'static,
    {
        let pool = &self.handle.pool;
        #[cfg(feature = "tokio")]
        let closure = pool.in_context(closure);
        let cell: Arc<dyn Awaited<R>> = Arc::new(self.cell(closure));
        if let Err(why) = pool.submit(Arc::clone(&cell) as Arc<dyn Task>, entry) {
            cell.discard(JobError::Rejected(why));
        }
        Job::new(cell, Arc::clone(pool), token)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if self.pool.is_forked() {
            // What is queued belongs to the parent, and may borrow from the stack of a scope that is no more: it is never dropped here.
            std::mem::forget(Arc::clone(&self.pool));
            return;
        }
        let (workers, mut wakers) =
            if self.lane == ROOT { self.pool.core().close(ROOT) } else { (Vec::new(), Vec::new()) };
        wakers.extend(self.pool.core().drop_handle(self.lane));
        self.pool.notify(&workers, wakers);
    }
}

impl fmt::Debug for Executor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let metrics = self.metrics();
        f.debug_struct("Executor")
            .field("queued", &metrics.queued)
            .field("running", &metrics.running)
            .field("threads", &metrics.threads)
            .finish_non_exhaustive()
    }
}
