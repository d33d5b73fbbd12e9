//! Group commit: records which rows the sinks have taken, and makes them durable a group at a time, while the sinks take
//! further ones.

use std::task::Context;

use overlapped::Executor;
use overlapped_proto::commit::{Commit, Durability, When};
use overlapped_proto::job::Row;
use overlapped_proto::journal::{Listed, Mark};
use overlapped_proto::record::{Body, Record};
use overlapped_proto::resume_marks::ResumeMarks;
use overlapped_proto::waits::Waits;

use crate::clock::Clock;
use crate::durable::log::{Log, Taken, Waited};
use crate::error::Error;
use crate::lent::Lent;
use crate::net::alarm::Alarm;
use crate::sink::Cuts;
use crate::trace;

/// The checkpoints of a durable run.
pub(crate) struct Checkpoints {
    clock: Clock,
    disk: Executor,
    alarm: Alarm,
    commit: Commit,
    waits_alarm: Alarm,
    /// The results that wait for an earlier row in memory only; `None`: none are made durable any more.
    waits: Option<Waits>,
    /// The journal. The task of a running checkpoint has it.
    log: Lent<Box<Log>, Result<Written, Error>>,
    /// The sinks make the cut of the next checkpoint. The journal is kept for it.
    cutting: bool,
    /// What the sinks have taken since their last cut.
    taken: Taken,
    /// Offsets of blocks of the list that are not completely done, in order.
    marks: ResumeMarks,
    /// The length and checksum of what was read of the list.
    listed: Option<Listed>,
    /// The low-water mark: every row below it is done.
    low: Row,
    /// Rows that this process has written and made durable.
    rows: u64,
}

/// What has become durable.
enum Written {
    /// A group of results.
    Group {
        rows: u64,
        /// The low-water mark after it.
        low: Row,
    },
    /// Results that wait for an earlier row.
    Waiting(Waited),
}

impl Checkpoints {
    pub(crate) fn new(log: Log, durability: Durability, clock: Clock, disk: Executor) -> Self {
        let low = log.low();
        Self {
            clock,
            disk,
            alarm: Alarm::new(clock),
            commit: Commit::new(durability),
            waits_alarm: Alarm::new(clock),
            waits: Some(Waits::new(durability)),
            log: Lent::new(Box::new(log)),
            cutting: false,
            taken: Taken::default(),
            marks: ResumeMarks::default(),
            listed: None,
            low,
            rows: 0,
        }
    }

    /// Notes that a block of the list begins at `mark`, and how much of the list was read with it.
    pub(crate) fn read(&mut self, mark: Option<Mark>, listed: Option<Listed>) {
        if let Some(mark) = mark {
            self.marks.push(mark);
        }
        self.listed = listed;
    }

    /// Notes records that are handed to the sinks. If the sinks fail, the run ends without committing them.
    pub(crate) fn note(&mut self, batch: &[Record]) {
        let mut bytes = 0_u64;
        for record in batch {
            let rows = if record.ok { &mut self.taken.ok } else { &mut self.taken.failed };
            rows.push(record.row);
            bytes += held_bytes(record);
        }
        self.commit.add(batch.len() as u64, bytes, self.clock.now());
    }

    /// True if the sinks may take more. What a crash may cost is bounded.
    pub(crate) fn has_room(&self) -> bool {
        !self.commit.is_full()
    }

    /// True if a checkpoint is due; `last`: no more records will come. Then the sinks are to make their cut, and
    /// [`Checkpoints::commit`] is to be called with it. Otherwise registers the waker for the due time.
    pub(crate) fn wants_cut(&mut self, last: bool, cx: &mut Context<'_>) -> bool {
        if !self.is_free() || self.taken.len() == 0 {
            return false;
        }
        self.cutting = match self.commit.when() {
            _ if last => true,
            When::Now => true,
            When::At(at) => self.alarm.poll_at(at, cx).is_ready(),
            When::Never => false,
        };
        self.cutting
    }

    /// True if the journal is here, and no checkpoint is about to need it.
    fn is_free(&self) -> bool {
        self.log.is_here() && !self.cutting
    }

    /// Starts to make durable what the sinks had taken before these cuts.
    pub(crate) fn commit(&mut self, cuts: Cuts) {
        self.cutting = false;
        let mut taken = std::mem::take(&mut self.taken);
        self.commit.take();
        taken.mark = self.marks.take(self.low);
        taken.listed = self.listed;
        let rows = taken.len();
        self.log.lend(&self.disk, move |mut log| {
            let done = log.commit(cuts, taken);
            let low = log.low();
            (log, done.map(|()| Written::Group { rows, low }))
        });
    }

    /// Polls a running checkpoint: what takes the places of results that wait for an earlier row and are durable now;
    /// `None`: nothing has completed.
    ///
    /// # Errors
    ///
    /// The results could not be made durable.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Result<Option<Vec<Record>>, Error> {
        Ok(match self.log.poll(cx)?.transpose()? {
            None => None,
            Some(Written::Group { rows, low }) => {
                self.low = low;
                self.rows += rows;
                trace::checkpoint(rows);
                Some(Vec::new())
            }
            Some(Written::Waiting(Waited { stubs, full })) => {
                if full {
                    self.waits = None;
                }
                Some(stubs)
            }
        })
    }

    /// Notes results that wait for an earlier row.
    pub(crate) fn waits<'a>(&mut self, records: impl Iterator<Item = &'a Record>) {
        let Some(waits) = &mut self.waits else { return };
        let now = self.clock.now();
        records.for_each(|record| waits.add(record.row, held_bytes(record), now));
    }

    /// True if further results may wait. What a crash may cost is bounded.
    pub(crate) fn has_room_to_wait(&self) -> bool {
        self.is_free() || self.waits.as_ref().is_none_or(|waits| !waits.is_full())
    }

    /// The rows whose results wait for row `next` and are to be made durable now. Otherwise registers the waker for the due
    /// time.
    pub(crate) fn wants_waiting(&mut self, next: Row, cx: &mut Context<'_>) -> Option<Vec<Row>> {
        if !self.is_free() {
            return None;
        }
        let waits = self.waits.as_mut()?;
        let now = self.clock.now();
        let due = match waits.when(next, now) {
            When::Now => true,
            When::At(at) => self.waits_alarm.poll_at(at, cx).is_ready(),
            When::Never => false,
        };
        due.then(|| waits.take(next, now))
    }

    /// True if results that wait for an earlier row can be made durable.
    pub(crate) fn keeps_waiting(&self) -> bool {
        self.waits.is_some()
    }

    /// The rows whose results wait for row `next` in memory only when the run ends; `None` while the journal is in use.
    pub(crate) fn rest(&mut self, next: Row) -> Option<Vec<Row>> {
        if !self.is_free() {
            return None;
        }
        self.waits.as_mut().map(|waits| waits.take_all(next))
    }

    /// Starts to make results durable that wait for an earlier row.
    pub(crate) fn wait(&mut self, records: Vec<Record>) {
        self.log.lend(&self.disk, move |mut log| {
            let waited = log.wait(records);
            (log, waited.map(Written::Waiting))
        });
    }

    /// True if everything that was taken is durable.
    pub(crate) fn is_settled(&self) -> bool {
        self.log.is_here() && self.taken.len() == 0
    }

    /// Ends the run. `list_rows` is the length of the list if it was read to its end.
    ///
    /// # Errors
    ///
    /// The disk fails, or the counts of rows and records differ.
    ///
    /// # Panics
    ///
    /// A checkpoint is running: a run succeeds only after its last one.
    pub(crate) async fn end(mut self, list_rows: Option<u64>) -> Result<(), Error> {
        let (log, rows) = (self.log.take(), self.rows);
        let ended = self.disk.submit(move || log.end(rows, list_rows)).await;
        ended.map_err(|error| Error::task("a thread of the engine has stopped", &error))?
    }
}

/// The length of a body that has no file of its own.
fn held_bytes(record: &Record) -> u64 {
    match &record.body {
        Body::Inline(body) => body.len() as u64,
        Body::Spooled(body) => body.len(),
        Body::None | Body::File(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::{Poll, Waker};

    use overlapped::block_on;
    use overlapped_proto::limits::COMMIT_RESULTS;

    use super::*;
    use crate::body::spool::RunId;
    use crate::durable::{Durable, Identity, Listed as List, Opened};

    fn record(row: u64) -> Record {
        Record { ok: true, ..Record::new(Row(row), "http://a.test/") }
    }

    /// What the running task has made durable.
    fn settled(checkpoints: &mut Checkpoints) -> Vec<u64> {
        let places = block_on(poll_fn(|cx| match checkpoints.poll(cx).unwrap() {
            None => Poll::Pending,
            Some(places) => Poll::Ready(places),
        }));
        places.iter().map(|place| place.row.0).collect()
    }

    /// An ordered run whose sinks were slow to make their cut lent the journal to a write of waiting results meanwhile, and
    /// panicked when the checkpoint needed it.
    #[test]
    fn the_journal_is_kept_for_the_checkpoint_whose_cut_is_being_made() {
        let folder = std::env::temp_dir().join(format!("overlapped-checkpoints-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let durable = Durable::beside(&folder.join("out"));
        let opened =
            Opened::open(durable, RunId(7), &List::Elsewhere("the test"), Identity::default()).unwrap();
        let disk = Executor::builder().max_workers(1).build().unwrap();
        let mut checkpoints =
            Checkpoints::new(opened.begin().unwrap(), Durability::Each, Clock::start(), disk);
        let cx = &mut Context::from_waker(Waker::noop());

        checkpoints.note(&[record(0)]);
        checkpoints.waits([record(2)].iter());
        assert!(checkpoints.wants_cut(false, cx));
        assert!(!checkpoints.wants_cut(true, cx), "one cut is made at a time");
        assert_eq!(checkpoints.wants_waiting(Row(1), cx), None, "the journal is kept");
        checkpoints.commit(Vec::new());
        assert_eq!(checkpoints.wants_waiting(Row(1), cx), None, "the journal is in use");
        assert!(settled(&mut checkpoints).is_empty() && checkpoints.is_settled());

        assert_eq!(checkpoints.wants_waiting(Row(1), cx), Some(vec![Row(2)]));
        checkpoints.wait(vec![record(2)]);
        checkpoints.note(&[record(1)]);
        assert!(!checkpoints.wants_cut(true, cx), "the journal is in use");
        assert_eq!(settled(&mut checkpoints), [2]);

        assert!(checkpoints.wants_cut(false, cx));
        let many = usize::try_from(4 * COMMIT_RESULTS).unwrap();
        checkpoints.waits(std::iter::repeat_n(&record(3), many));
        assert!(!checkpoints.has_room_to_wait(), "what a crash may cost is bounded while a cut is made");
        checkpoints.commit(Vec::new());
        assert!(settled(&mut checkpoints).is_empty() && checkpoints.has_room_to_wait());
        drop(checkpoints);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
