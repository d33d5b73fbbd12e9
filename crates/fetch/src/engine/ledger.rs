//! What of a run is durable: takes note of what the sinks have taken, and has it made durable a group at a time, while
//! the sinks go on.

use std::pin::Pin;
use std::task::{Context, Poll};

use overlapped::{Executor, Job as Task};
use overlapped_proto::commit::{Commit, When};
use overlapped_proto::job::Row;
use overlapped_proto::journal::{Listed, Mark};
use overlapped_proto::record::{Body, Record};
use overlapped_proto::resume_marks::ResumeMarks;

use crate::clock::Clock;
use crate::durable::log::{Log, Taken};
use crate::error::Error;
use crate::net::alarm::Alarm;
use crate::sink::Cut;

/// The durable side of a run.
pub(crate) struct Ledger {
    clock: Clock,
    disk: Executor,
    alarm: Alarm,
    commit: Commit,
    log: Keeping,
    /// What the sinks have taken since their last cut.
    taken: Taken,
    /// Where blocks of the list begin that are not wholly done, in order.
    marks: ResumeMarks,
    /// What was read of the list.
    listed: Option<Listed>,
    /// No row below it is missing.
    low: Row,
    /// Rows that were written, and made durable, by this process.
    rows: u64,
}

/// Where the journal is.
enum Keeping {
    AtRest(Box<Log>),
    Away(Task<(Box<Log>, Result<(), Error>)>, u64),
    /// Lost, with the reason already told.
    Lost,
}

impl Ledger {
    pub(crate) fn new(log: Log, commit: Commit, clock: Clock, disk: Executor) -> Self {
        let low = log.low();
        Self {
            clock,
            disk,
            alarm: Alarm::new(clock),
            commit,
            log: Keeping::AtRest(Box::new(log)),
            taken: Taken::default(),
            marks: ResumeMarks::default(),
            listed: None,
            low,
            rows: 0,
        }
    }

    /// A block of the list begins at `mark`, and with it so much is read.
    pub(crate) fn read(&mut self, mark: Option<Mark>, listed: Option<Listed>) {
        if let Some(mark) = mark {
            self.marks.push(mark);
        }
        self.listed = listed;
    }

    /// Takes note of what is handed to the sinks. They take all of it, or the run ends.
    pub(crate) fn note(&mut self, batch: &[Record]) {
        let mut bytes = 0_u64;
        for record in batch {
            let rows = if record.ok { &mut self.taken.ok } else { &mut self.taken.failed };
            rows.push(record.row);
            bytes += match &record.body {
                Body::Inline(body) => body.len() as u64,
                Body::Spooled(body) => body.len(),
                Body::None | Body::File(_) => 0,
            };
        }
        self.commit.add(batch.len() as u64, bytes, self.clock.now());
    }

    /// True if the sinks may take more: what a crash would cost has its limit.
    pub(crate) fn has_room(&self) -> bool {
        !self.commit.is_full()
    }

    /// True if the sinks should be cut now; `last`: nothing more will come. Wakes the caller when that changes.
    pub(crate) fn wants_cut(&mut self, last: bool, cx: &mut Context<'_>) -> bool {
        if !matches!(self.log, Keeping::AtRest(_)) || self.taken.len() == 0 {
            return false;
        }
        match self.commit.when() {
            _ if last => true,
            When::Now => true,
            When::At(at) => self.alarm.poll_at(at, cx).is_ready(),
            When::Never => false,
        }
    }

    /// Has what the sinks took before these cuts made durable.
    pub(crate) fn commit(&mut self, cuts: Vec<Cut>) {
        let mut taken = std::mem::take(&mut self.taken);
        self.commit.take();
        taken.mark = self.marks.take(self.low);
        taken.listed = self.listed;
        let rows = taken.len();
        if let Keeping::AtRest(mut log) = std::mem::replace(&mut self.log, Keeping::Lost) {
            let task = self.disk.submit(move || {
                let done = log.commit(cuts, taken);
                (log, done)
            });
            self.log = Keeping::Away(task, rows);
        }
    }

    /// Looks whether the journal is back; true: it is.
    ///
    /// # Errors
    ///
    /// The results could not be made durable.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Result<bool, Error> {
        let Keeping::Away(task, rows) = &mut self.log else { return Ok(false) };
        let rows = *rows;
        let Poll::Ready(back) = Pin::new(task).poll(cx) else { return Ok(false) };
        self.log = Keeping::Lost;
        let (log, done) =
            back.map_err(|error| Error::internal(format!("a thread of the engine has stopped: {error}")))?;
        done?;
        self.low = log.low();
        self.rows += rows;
        self.log = Keeping::AtRest(log);
        Ok(true)
    }

    /// True if everything that was taken is durable.
    pub(crate) fn is_settled(&self) -> bool {
        matches!(self.log, Keeping::AtRest(_)) && self.taken.len() == 0
    }

    /// Ends the run; `list_rows`: its list is done, and has so many rows.
    ///
    /// # Errors
    ///
    /// The disk fails, or rows are missing.
    pub(crate) async fn end(self, list_rows: Option<u64>) -> Result<(), Error> {
        let Keeping::AtRest(log) = self.log else { return Ok(()) };
        let rows = self.rows;
        let ended = self.disk.submit(move || log.end(rows, list_rows)).await;
        ended.map_err(|error| Error::internal(format!("a thread of the engine has stopped: {error}")))?
    }
}
