//! The executor's handle, its views, and how it is built.
//!
//! Must never start a thread or take a decision: it names what `pool` and `core` do.

use std::fmt;
use std::future::Future;
use std::io;
use std::panic::Location;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use crate::cancel::CancelToken;
use crate::cell::{Awaited, Cell, Task};
use crate::core::{Bounds, Entry};
use crate::error::{Full, JobError, Panic, Rejected};
use crate::job::Job;
use crate::lane::{Admission, Applicant, ROOT};
use crate::metrics::Metrics;
use crate::origin::{Label, Origin};
use crate::panic_site;
use crate::pool::{self, NewThread, Pool, Settings, spawn_std};
use crate::sync::Mutex;
use crate::trace::Trace;

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
    /// What is submitted here is called so.
    label: Option<Label>,
    /// What is submitted here comes from there, and not from the call itself.
    at: Option<&'static Location<'static>>,
}

static GLOBAL: OnceLock<Executor> = OnceLock::new();

struct Handle {
    pool: Arc<Pool>,
    lane: u32,
    /// The handle of which this one is a view: a view keeps its executor open.
    _outer: Option<Executor>,
}

impl Executor {
    /// What an executor can be told when it is built.
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// The process's common executor, built with the defaults when it is first asked for. It is never shut down by itself.
    ///
    /// [`Builder::build_global`] builds it otherwise.
    pub fn global() -> &'static Executor {
        GLOBAL.get_or_init(|| Executor::builder().assemble().0)
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

    /// Waits for a place in the queue. Those who wait get theirs in the order in which they came.
    ///
    /// ```
    /// use overlapped::{Executor, block_on};
    ///
    /// let executor = Executor::builder().max_workers(1).queue_limit(2).build()?;
    /// let sum = block_on(async {
    ///     let mut sum = 0;
    ///     for n in 0..100 {
    ///         let job = executor.reserve().await?.submit(move || n);
    ///         sum += job.await?;
    ///     }
    ///     Ok::<i32, Box<dyn std::error::Error>>(sum)
    /// });
    /// assert_eq!(sum.unwrap(), 4950);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Rejected::ShutDown`] once the executor is shut down.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the line; a place that it had just been given goes to the next.
    pub fn reserve(&self) -> Reserve {
        Reserve { executor: self.clone(), state: Reserving::New, wants_to_know: false }
    }

    /// As `reserve`, for one who may not come back: it gets a place only while it asks.
    pub(crate) fn ask_for_place(&self) -> Reserve {
        Reserve { executor: self.clone(), state: Reserving::New, wants_to_know: true }
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
    /// At most `max_concurrency` jobs of the view run at a time; the others wait in the view's own queue, where they are in nobody's
    /// way. A view of a view keeps to both limits. The view's queue is bounded as its executor's is.
    ///
    /// A job of the view that waits for another job keeps its place. If the awaited job, or one that this waits for, needs a place in the
    /// same view, it is lent that one, as in a direct call. So jobs of a view of limit 1 exclude each other also across waits. Nothing
    /// is lent to a job that is awaited with a deadline, through [`as_completed`](crate::as_completed), [`wait`](crate::wait()) or a
    /// [`JobSet`](crate::JobSet), or inside an [`Unblock`](crate::Unblock): it waits until a place is free, in a view of limit 1 for ever.
    ///
    /// A wait may end before the job that has the place: a [`gather`](crate::gather) that fails early, a future that drops a job, a wait
    /// that is told that it [would deadlock](JobError::WouldDeadlock). Its result is that, but the job that waited goes on only with its
    /// place. If the borrower has not begun, it goes back to the front of the view's queue; otherwise the waiting job sleeps on until the
    /// borrower ends, or until another place of the view becomes free. What the borrower needs from the waiting job, such as a lock or a
    /// message, it does not get meanwhile. A wait with a time limit lends nothing, and so ends in time.
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

    /// As [`limited`](Executor::limited), with a bound of its own for the view's queue.
    pub fn limited_queue(&self, name: &str, max_concurrency: usize, queue_limit: usize) -> Executor {
        self.view(name, max_concurrency, Some(queue_limit))
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

    /// The same executor, whose jobs are said to come from the caller, whatever submits them.
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
            return Metrics::none();
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

    pub(crate) fn lane(&self) -> u32 {
        self.handle.lane
    }

    /// Hands over a call that is let in however full the queue is, and lets it go. If the executor is shut down, the closure is
    /// dropped here.
    #[track_caller]
    pub(crate) fn submit_must_run(&self, closure: impl FnOnce() + Send + 'static) {
        self.send(closure, None, Entry::MustRun).detach();
    }

    /// Whether this process is a fork of the one that has the threads.
    pub(crate) fn is_forked(&self) -> bool {
        self.handle.pool.is_forked()
    }

    #[track_caller]
    fn send<F, R>(&self, closure: F, token: Option<CancelToken>, entry: Entry) -> Job<R>
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

/// More threads than this are a mistake: no system that this runs on has as many.
const THREADS_MAX: usize = 1 << 20;

/// So many threads may stand in for others by default, however few workers there are: enough for a tree of jobs that wait for jobs.
const STAND_INS_MIN: usize = 256;

/// What an [`Executor`] can be told when it is built.
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
            max_workers: 512,
            min_workers: 0,
            extra_workers: None,
            queue_limit: 1 << 20,
            settings: Settings {
                keep_alive: Duration::from_secs(10),
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

    /// At most this many jobs run at a time; at least 1, at most 1,048,576. One that has waited for another job goes on at once when
    /// its wait ends, beside the one that took its place.
    pub fn max_workers(mut self, threads: usize) -> Self {
        self.max_workers = threads.max(1);
        self
    }

    /// This many threads are started at once and never let go; at most `max_workers`.
    pub fn min_workers(mut self, threads: usize) -> Self {
        self.min_workers = threads;
        self
    }

    /// At most this many threads, beyond `max_workers`, stand in for workers that sleep in the middle of a job; by default 256 or four
    /// times `max_workers`, whichever is more. They are started one at a time, when such a worker sleeps and jobs wait.
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

    /// What the threads are called; a number follows.
    pub fn thread_name(mut self, name: impl Into<String>) -> Self {
        self.settings.thread_name = name.into();
        self
    }

    /// The size of a thread's stack.
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

    /// Sees every panic of a job, on its worker, before whoever waits does. The only one to see that of a detached job.
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
    /// thread's whole life and must be run on a new thread, or dropped. A thread for [deadlines](Job::timeout) is asked for in this way only
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
            executor.handle.pool.core().starts_ahead();
            executor.handle.pool.start_thread()?;
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
            if threads > THREADS_MAX {
                return Err(format!("{name} is {threads}; at most {THREADS_MAX} are possible"));
            }
        }
        if self.queue_limit == 0 {
            return Err("queue_limit is 0, so every job would be rejected; at least 1 is needed".to_owned());
        }
        Ok(())
    }

    fn assemble(self) -> (Executor, usize) {
        let min = self.min_workers.min(self.max_workers);
        let extra = self.extra_workers.unwrap_or((self.max_workers * 4).max(STAND_INS_MIN));
        let pool = Pool::new(Bounds { min, max: self.max_workers, extra }, self.queue_limit, self.settings);
        let handle = Arc::new(Handle { pool, lane: ROOT, _outer: None });
        (Executor { handle, label: None, at: None }, min)
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

/// Waits for a place in the queue; see [`Executor::reserve`].
#[must_use = "nothing is reserved until this is awaited"]
pub struct Reserve {
    executor: Executor,
    state: Reserving,
    wants_to_know: bool,
}

impl Reserve {
    pub(crate) fn only_asks(&self) -> bool {
        self.wants_to_know
    }
}

enum Reserving {
    New,
    Waiting(Arc<Applicant>, u64),
    Done,
}

impl Future for Reserve {
    type Output = Result<Permit, Rejected>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.executor.is_forked() {
            return Poll::Ready(Err(Rejected::Forked));
        }
        let handle = Arc::clone(&self.executor.handle);
        let granted = match &self.state {
            Reserving::New => {
                let applicant = Arc::new(Applicant::new(cx.waker().clone(), self.wants_to_know));
                let applied = handle.pool.core().apply(handle.lane, &applicant);
                match applied {
                    Ok(None) => Ok(()),
                    Err(why) => Err(why),
                    Ok(Some(ticket)) => {
                        self.state = Reserving::Waiting(applicant, ticket);
                        return Poll::Pending;
                    }
                }
            }
            Reserving::Waiting(applicant, _) => match applicant.ask(cx.waker()) {
                Admission::Waiting => return Poll::Pending,
                Admission::Granted => Ok(()),
                Admission::Ask => {
                    self.state = Reserving::New;
                    return self.poll(cx);
                }
                Admission::Closed => Err(Rejected::ShutDown),
            },
            Reserving::Done => unreachable!("polled after it was ready"),
        };
        self.state = Reserving::Done;
        Poll::Ready(granted.map(|()| Permit { executor: self.executor.clone(), used: false }))
    }
}

impl Drop for Reserve {
    fn drop(&mut self) {
        let Reserving::Waiting(applicant, ticket) = &self.state else { return };
        let handle = &self.executor.handle;
        if handle.pool.is_forked() {
            return;
        }
        let wakers = {
            let mut core = handle.pool.core();
            core.lane(handle.lane).admission.remove(*ticket);
            // Granted, but never fetched: the place goes to the next.
            match applicant.admission() {
                Admission::Granted => core.give_back_permit(handle.lane),
                Admission::Waiting | Admission::Ask | Admission::Closed => Vec::new(),
            }
        };
        handle.pool.notify(&[], wakers);
    }
}

impl fmt::Debug for Reserve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reserve").finish_non_exhaustive()
    }
}

/// A place in the queue, for one job. Dropping it gives the place back.
#[must_use = "a permit holds a place in the queue until it is used or dropped"]
pub struct Permit {
    executor: Executor,
    used: bool,
}

impl Permit {
    /// As [`Executor::submit`], into the reserved place: the queue cannot be full.
    #[track_caller]
    pub fn submit<F, R>(mut self, closure: F) -> Job<R>
    where
        F: FnOnce() -> R + Send + 'static,
        R: Send + 'static,
    {
        let job = self.executor.send(closure, None, Entry::Permit);
        // A permit that a shutdown has overtaken still holds its place.
        self.used = job.id() != 0;
        job
    }

    /// As [`submit`](Permit::submit), for a closure that can be asked to stop while it runs.
    #[track_caller]
    pub fn submit_cancellable<F, R>(self, closure: F) -> Job<R>
    where
        F: FnOnce(&CancelToken) -> R + Send + 'static,
        R: Send + 'static,
    {
        let token = CancelToken::new();
        let own = token.clone();
        self.submit(move || pool::with_token(&own, closure)).with_token(token)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if !self.used && !self.executor.is_forked() {
            let handle = &self.executor.handle;
            let wakers = handle.pool.core().give_back_permit(handle.lane);
            handle.pool.notify(&[], wakers);
        }
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").finish_non_exhaustive()
    }
}
