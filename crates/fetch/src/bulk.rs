//! `Bulk`: a list of URLs in, one record a row out. The public face of the engine.

use std::fs::File;
use std::io::Read;
use std::sync::{Arc, OnceLock};

use overlapped::Executor;
use overlapped_proto::commit::Durability;
use overlapped_proto::job::Row;
use overlapped_proto::limits;
use overlapped_proto::reorder::Reorder;

use crate::body::store::Store;
use crate::body::tap::{Receiver, Tap};
use crate::clock::Clock;
use crate::config::Config;
use crate::durable::{self, Durable, Earlier, Identity, Opened, Spooled};
use crate::engine::checkpoints::Checkpoints;
use crate::engine::conductor::Conductor;
use crate::engine::driver::drive;
use crate::engine::feed::{Feed, Input, InputOptions};
use crate::engine::list_file::ListFile;
use crate::engine::requester::{Views, run_executor};
use crate::engine::shard::Shard;
use crate::engine::spill::Outside;
use crate::error::Error;
use crate::lent::Lent;
use crate::per_shard::{PerShard, ShardId};
use crate::plan::Plan;
use crate::run::{Control, Run};
use crate::shared::Shared;
use crate::sink::{Sink, Sinks};
use crate::summary::Tally;

/// A run before its start: settings, a list, and sinks for the records.
///
/// ```
/// use overlapped_fetch::{Bulk, Config, Input, sink};
/// # let server = overlapped_testkit::Server::start();
/// # let url = |path: &str| server.url(path);
///
/// let urls = vec![url("/ok"), url("/status/404")];
/// let (records, collected) = sink::collect();
/// let summary = Bulk::new(Config { ordered: true, ..Config::default() })?
///     .input(Input::Urls(Box::new(urls.into_iter())))
///     .sink(records)
///     .start()?
///     .wait()?;
///
/// assert_eq!(summary.progress.rows_done, 2);
/// let statuses: Vec<_> = collected.take().iter().map(|record| record.status).collect();
/// assert_eq!(statuses, [Some(200), Some(404)]);
/// # Ok::<(), overlapped_fetch::Error>(())
/// ```
pub struct Bulk {
    plan: Plan,
    input: Input,
    input_options: InputOptions,
    sinks: Vec<Box<dyn Sink>>,
    settings: Identity,
    durable: Option<Opened>,
    tap: Option<Tap>,
    feed: Option<Opening>,
    /// The first row after `skip`.
    first: Row,
}

/// An open list: its feed, its length, and the handle for reading spilled rows again.
type Opening = (Feed, Option<u64>, Arc<OnceLock<ListFile>>);

impl Bulk {
    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// A setting is wrong; the message names it.
    pub fn new(config: Config) -> Result<Self, Error> {
        let settings = Identity::of(&config);
        Ok(Self {
            plan: Plan::new(config)?,
            settings,
            durable: None,
            feed: None,
            first: Row(0),
            input: Input::Urls(Box::new(std::iter::empty())),
            input_options: InputOptions::default(),
            sinks: Vec::new(),
            tap: None,
        })
    }

    /// The list.
    #[must_use]
    pub fn input(self, input: Input) -> Self {
        Self { input, ..self }
    }

    /// How the list is to be read.
    #[must_use]
    pub fn input_options(self, input_options: InputOptions) -> Self {
        Self { input_options, ..self }
    }

    /// Adds a sink. Every sink receives every record; for each record they are called in the order they were added.
    #[must_use]
    pub fn sink(mut self, sink: Box<dyn Sink>) -> Self {
        self.sinks.push(sink);
        self
    }

    /// Streams the body of the list's only row to `receiver` as it arrives, if its status is no failure; its record then
    /// has no body. For lists of one row only: concurrent bodies would be interleaved.
    #[must_use]
    pub fn receiver(self, receiver: impl Receiver + 'static) -> Self {
        Self { tap: Some(Tap::new(Box::new(receiver))), ..self }
    }

    /// Makes the run durable: after a crash at any point it can be resumed. To be called after the list is set and before
    /// the sinks are opened: the result holds the lengths to which their files are to be truncated.
    ///
    /// A list that cannot be read again, such as a pipe, is copied to the run directory. If the run is stopped before it
    /// was read to its end, it must be given again from its beginning, and is compared with the copy.
    ///
    /// ```
    /// use overlapped_fetch::durable::{Begin, Durable, Output};
    /// use overlapped_fetch::sink::{Format, FormatOptions};
    /// use overlapped_fetch::{Bulk, Config, Input};
    /// # let server = overlapped_testkit::Server::start();
    /// # let urls = vec![server.url("/ok"), server.url("/status/404")];
    /// # let folder = std::env::temp_dir().join(format!("overlapped-doc-{}", std::process::id()));
    /// # std::fs::create_dir_all(&folder)?;
    /// # let results = folder.join("results.ndjson");
    ///
    /// let bulk = Bulk::new(Config::default())?.input(Input::Urls(Box::new(urls.into_iter())));
    /// let output = Output::new(Format::Ndjson, results.clone());
    /// let outputs = vec![output.clone()];
    /// let durable = Durable { begin: Begin::Resume, outputs, ..Durable::beside(&results) };
    /// let (bulk, earlier) = bulk.durable(durable)?;
    /// let sink = output.open(Some(&earlier), FormatOptions::default())?;
    /// bulk.sink(sink).start()?.wait()?;
    ///
    /// assert_eq!(std::fs::read_to_string(&results)?.lines().count(), 2);
    /// # std::fs::remove_dir_all(&folder)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// There is a state and there must be none; or it belongs to another run, is in use, or is damaged.
    ///
    /// # Blocking
    ///
    /// On the disk.
    pub fn durable(mut self, durable: Durable) -> Result<(Self, Earlier), Error> {
        if durable.durability == Durability::None {
            return Err(Error::config("a durable run needs a durability"));
        }
        let mut settings = self.settings.clone();
        let InputOptions { format, columns, skip, limit, shard } = &self.input_options;
        settings.list(*format, columns, *skip, *limit, *shard);
        if let Some(file) = self.plan.template.body_file() {
            settings.body_file(file)?;
        }
        let listed = match &self.input {
            Input::File(path) => durable::Listed::File(path.clone(), *format, columns.clone()),
            Input::Urls(_) | Input::Rows(_) | Input::Batches(_) => durable::Listed::Elsewhere("the caller"),
            Input::Stdin => durable::Listed::Elsewhere("standard input"),
            Input::Read(..) => durable::Listed::Elsewhere("a stream"),
        };
        let mut opened = Opened::open(durable, self.plan.run, &listed, settings)?;
        let earlier = opened.earlier.clone();
        self.plan.run = earlier.run;
        self.input = match self.input {
            Input::File(path) if !path.metadata().is_ok_and(|found| found.is_file()) => {
                let name = path.display().to_string();
                let pipe = File::open(&path).map_err(|error| Error::input(&name, 0, error))?;
                spooled(&mut opened, Box::new(pipe), name)?
            }
            known @ (Input::File(_) | Input::Urls(_) | Input::Rows(_) | Input::Batches(_)) => known,
            Input::Stdin => spooled(&mut opened, Box::new(std::io::stdin()), "on standard input".to_owned())?,
            Input::Read(read, name) => spooled(&mut opened, read, name)?,
        };
        self.durable = Some(opened);
        Ok((self, earlier))
    }

    /// Opens the list and reads its first rows, so that an unreadable list is reported before any output is created. If
    /// used, to be called after [`Bulk::durable`] and before the sinks are opened.
    ///
    /// # Errors
    ///
    /// The list cannot be opened or read. No run has begun.
    ///
    /// # Blocking
    ///
    /// Until the first rows are read, which may take long for a pipe.
    pub fn check_list(mut self) -> Result<Self, Error> {
        let (mut feed, bytes, list_file) = self.open_list()?;
        feed.prime()?;
        self.feed = Some((feed, bytes, list_file));
        Ok(self)
    }

    fn open_list(&mut self) -> Result<Opening, Error> {
        let passed = self.durable.as_ref().map(Opened::passed).unwrap_or_default();
        let (list_file, options) = (Arc::default(), std::mem::take(&mut self.input_options));
        self.first = Row(options.skip);
        let input = std::mem::replace(&mut self.input, Input::Urls(Box::new(std::iter::empty())));
        let (mut feed, bytes) = Feed::open(input, options, passed, Arc::clone(&list_file))?;
        if feed.is_plain() {
            feed.prime()?;
        }
        Ok((feed, bytes, list_file))
    }

    /// Starts the run on its own threads, and returns at once.
    ///
    /// # Errors
    ///
    /// Two sinks move bodies or have the same name; the list cannot be opened; no thread can be started.
    ///
    /// # Blocking
    ///
    /// Until the list is open.
    pub fn start(self) -> Result<Run, Error> {
        self.assemble().map(Assembled::start)
    }

    /// Starts the shards, and prepares the conductor.
    pub(crate) fn assemble(mut self) -> Result<Assembled, Error> {
        let sinks = Sinks::new(std::mem::take(&mut self.sinks));
        sinks.check()?;
        let moves_bodies = sinks.moves_bodies();
        let clock = Clock::start();
        let (feed, input_bytes, list_file) = match self.feed.take() {
            Some(opened) => opened,
            None => self.open_list()?,
        };
        let (plan, first) = (Arc::new(self.plan), self.first);
        let planned = Arc::clone(&plan);
        let memory = plan.memory.clone();
        let outside = Outside {
            folder: self.durable.as_ref().map_or_else(std::env::temp_dir, |opened| opened.path().to_owned()),
            run: plan.run,
            list_file,
            bytes_max: limits::SPILL_BYTES_MAX / plan.shards as u64,
        };
        let executor = run_executor(plan.shards).map_err(|error| Error::no_thread(Some(error)))?;
        let shared = Shared::new(plan.shards, plan.pace.parallel_max, plan.rate);
        let earlier = self.durable.as_ref().map(|opened| (opened.earlier.rows, opened.earlier.failed));
        let (rows, failed) = earlier.unwrap_or_default();
        let ok = rows.checked_sub(failed).expect("rows that failed are done");
        let tally = Tally::new(clock, input_bytes, rows, ok);
        let tally = Arc::new(tally.map_err(|error| Error::internal(error.to_string()))?);
        let in_doubt = self.durable.as_ref().map(Opened::in_doubt).unwrap_or_default();
        let log = match self.durable {
            None => None,
            Some(opened) => {
                let durability = opened.durability;
                Some((opened.begin()?, durability))
            }
        };
        let views = Views {
            intents: log.as_ref().map(|(log, _)| log.intents()),
            tap: self.tap,
            moves_bodies,
            ..Views::new(&executor, plan.shards, Store::new(outside.folder.clone(), plan.run))
        };
        let shards = ShardId::all(plan.shards)
            .map(|id| {
                let (plan, shared, views) = (plan.clone(), shared.clone(), views.clone());
                let outside = outside.clone();
                executor.submit(move || run_shard(id, plan, shared, views, outside, clock))
            })
            .collect();
        let order = if plan.ordered { Some(Reorder::new(first, plan.window_rows)) } else { None };
        let waiting = log.as_ref().map(|(log, _)| log.waiting()).unwrap_or_default();
        let checkpoints =
            log.map(|(log, durability)| Checkpoints::new(log, durability, clock, views.disk.clone()));
        let conductor = Conductor {
            outgoing: PerShard::new(plan.shards, Vec::new),
            plan,
            shared: shared.clone(),
            views,
            tally: tally.clone(),
            shards,
            feed: Some(Lent::new(Box::new(feed))),
            failure: None,
            // Dirty: the first flush truncates old content and writes the header of a table, even without records.
            dirty: true,
            sinks: Lent::new(sinks),
            checkpoints,
            order,
            waiting,
            in_doubt,
            fed: 0,
            read: 0,
            passed: 0,
            written: 0,
            ahead: Default::default(),
            finished: Default::default(),
        };
        let control = Control::new(shared, tally, memory);
        Ok(Assembled { conductor, control, plan: planned, executor })
    }
}

/// A run whose conductor has not started.
pub(crate) struct Assembled {
    pub(crate) conductor: Conductor,
    control: Control,
    plan: Arc<Plan>,
    executor: Executor,
}

impl Assembled {
    pub(crate) fn start(self) -> Run {
        let Self { conductor, control, plan, executor } = self;
        let conductor = executor.submit(move || run_conductor(conductor));
        Run::new(conductor, control, plan, executor)
    }
}

/// Copies a list that cannot be read twice while it is read.
fn spooled(opened: &mut Opened, read: Box<dyn Read + Send>, name: String) -> Result<Input, Error> {
    Ok(match opened.spool(read)? {
        Spooled::Whole(path) => Input::File(path),
        Spooled::Coming(read) => Input::Read(read, name),
    })
}

/// On its own runtime, not on [`overlapped::block_on`]: on a worker of the executor that counts as blocking inside a job, so that
/// another thread would replace this one at every wait.
///
/// # Blocking
///
/// Until the run is over.
fn run_conductor(conductor: Conductor) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    runtime.map_err(Error::event_queue)?.block_on(conductor.run())
}

/// # Errors
///
/// The system has no event queue for it.
///
/// # Blocking
///
/// Until the run is over.
fn run_shard(
    id: ShardId,
    plan: Arc<Plan>,
    shared: Arc<Shared>,
    views: Views,
    outside: Outside,
    clock: Clock,
) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
    let runtime = runtime.map_err(Error::event_queue)?;
    let seed = clock.unix_us(clock.now()).unsigned_abs() ^ (id.bits() << 32);
    runtime.block_on(drive(Shard::new(id, plan, shared, views, outside, clock, seed)));
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::durable::Output;
    use crate::error::ErrorClass;
    use crate::sink::{Format, FormatOptions, collect};
    use overlapped_proto::record::Record;

    const ROWS: [&str; 3] = ["no URL", "nor this", "nor that"];

    fn bulk(config: Config) -> Bulk {
        let urls = ROWS.map(str::to_owned).into_iter();
        Bulk::new(config).unwrap().input(Input::Urls(Box::new(urls)))
    }

    fn durable(output: &Path) -> Bulk {
        let output = Output::new(Format::Ndjson, output.to_owned());
        let outputs = vec![output.clone()];
        let durable = Durable { outputs, ..Durable::beside(&output.path) };
        let (bulk, earlier) = bulk(Config::default()).durable(durable).unwrap();
        bulk.sink(output.open(Some(&earlier), FormatOptions::default()).unwrap())
    }

    /// The class of the run's error, after `defect` was done to the conductor.
    fn run(bulk: Bulk, defect: impl FnOnce(&mut Conductor)) -> Option<ErrorClass> {
        let mut assembled = bulk.assemble().unwrap();
        defect(&mut assembled.conductor);
        assembled.start().wait().err().map(|error| error.class())
    }

    #[test]
    fn a_row_without_a_record_fails_the_run_in_every_mode() {
        let folder = std::env::temp_dir().join(format!("overlapped-conservation-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let ordered = Config { ordered: true, ..Config::default() };
        let lose = |conductor: &mut Conductor| conductor.read += 1;
        for (number, defect) in [None, Some(lose)].into_iter().enumerate() {
            let expected = defect.map(|_| ErrorClass::Sum);
            let check = |mode: &str, bulk: Bulk| {
                let found = run(bulk, |conductor| defect.into_iter().for_each(|defect| defect(conductor)));
                assert_eq!(found, expected, "{mode}");
            };
            check("collected", bulk(Config::default()).sink(collect().0));
            check("ordered", bulk(ordered.clone()).sink(collect().0));
            check("durable", durable(&folder.join(format!("{number}.ndjson"))));
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }

    /// More records than rows kept the run waiting for ever.
    #[test]
    fn a_record_too_many_fails_the_run() {
        let double = |conductor: &mut Conductor| {
            conductor.finished.push_back(vec![Record::new(Row(0), ROWS[0])]);
        };
        assert_eq!(run(bulk(Config::default()).sink(collect().0), double), Some(ErrorClass::Sum));
    }
}
