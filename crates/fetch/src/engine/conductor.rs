//! The conductor of a run: feeds the shards within the window, collects their results, restores the order of the list
//! in ordered mode, and hands records to the sinks. All blocking work is submitted to the executor.

use std::collections::{BTreeMap, VecDeque};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use overlapped::Job as Task;
use overlapped_proto::error::ErrorKind;
use overlapped_proto::input::RowRead;
use overlapped_proto::job::{Job, Row};
use overlapped_proto::limits;
use overlapped_proto::outcome::Failure;
use overlapped_proto::record::Record;
use overlapped_proto::reorder::Reorder;
use overlapped_proto::row_set::RowSet;

use super::checkpoints::Checkpoints;
use super::conservation::{check_run, check_written};
use super::feed::{Block, Feed};
use super::requester::{Views, untried};
use super::shard::bad_record;
use crate::body::tap::Tap;
use crate::error::Error;
use crate::lent::Lent;
use crate::per_shard::{PerShard, ShardId};
use crate::plan::Plan;
use crate::shared::{Shared, Stage, Stop};
use crate::sink::{Cuts, Sinks};
use crate::summary::Tally;

/// The state of the conductor.
pub(crate) struct Conductor {
    pub(crate) plan: Arc<Plan>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) views: Views,
    pub(crate) tally: Arc<Tally>,
    pub(crate) shards: Vec<Task<Result<(), Error>>>,
    /// `None`: it was read to its end.
    pub(crate) feed: Option<Lent<Box<Feed>, Block>>,
    /// The first error of the list or of a sink. Requests in flight are finished before the run fails with it.
    pub(crate) failure: Option<Error>,
    pub(crate) sinks: Lent<Sinks, Result<Written, Error>>,
    /// True if the sinks hold buffered output that is not flushed.
    pub(crate) dirty: bool,
    /// The group commit of a durable run.
    pub(crate) checkpoints: Option<Checkpoints>,
    pub(crate) order: Option<Reorder<Record>>,
    /// Rows that an earlier process has finished and that wait on disk for an earlier row, until they are read from the list.
    pub(crate) waiting: BTreeMap<Row, Record>,
    /// Rows whose requests an earlier process may have sent without recording the results.
    pub(crate) in_doubt: RowSet,
    /// Rows handed to the shards, and bad rows, which need no shard.
    pub(crate) fed: u64,
    /// Rows read from the list, without those that an earlier run has completed, which are counted in `passed`.
    pub(crate) read: u64,
    pub(crate) passed: u64,
    /// Records written by the sinks.
    pub(crate) written: u64,
    /// Rows read ahead while the window is full.
    pub(crate) ahead: VecDeque<RowRead>,
    /// Finished batches, queued for the sinks.
    pub(crate) finished: VecDeque<Vec<Record>>,
    /// The batch that is being filled for each shard.
    pub(crate) outgoing: PerShard<Vec<Job>>,
}

/// What a task has done with the sinks.
pub(crate) enum Written {
    /// Written a batch of `count` records, which is returned empty.
    Batch { emptied: Vec<Record>, count: u64 },
    /// Flushed.
    Flushed,
    /// Flushed, as the first step of a checkpoint.
    Cut(Cuts),
}

impl Conductor {
    /// Runs until every row is written or the run is stopped.
    ///
    /// # Errors
    ///
    /// The list cannot be read to its end, or the results cannot be written. The shards have ended by then.
    pub(crate) async fn run(mut self) -> Result<(), Error> {
        let result = poll_fn(|cx| self.poll(cx)).await;
        let result = result.and_then(|()| self.failure.take().map_or(Ok(()), Err));
        self.shared.advance(if result.is_ok() { Stage::Draining } else { Stage::Aborting });
        for shard in std::mem::take(&mut self.shards) {
            shard.await.map_err(|error| Error::task("a shard has failed", &error))??;
        }
        self.discard().await;
        result?;
        let complete = self.shared.stopped_by().is_none();
        if complete {
            check_run(self.read, self.written)?;
        }
        if complete || self.checkpoints.is_none() {
            self.seal().await?;
        }
        if let Some(checkpoints) = self.checkpoints.take() {
            checkpoints.end(complete.then_some(self.read + self.passed)).await?;
        }
        Ok(())
    }

    /// Completes the outputs, after everything was written and is durable.
    async fn seal(&mut self) -> Result<(), Error> {
        assert!(!self.dirty, "a run succeeds only after its last flush");
        let sinks = self.sinks.take();
        let sealed = self.views.disk.submit(move || sinks.seal()).await;
        sealed.map_err(|error| Error::task("a thread of the engine has stopped", &error))?
    }

    /// Removes the body files of results that a failed sink will not write.
    async fn discard(&mut self) {
        let mut lost: Vec<Record> = self.finished.drain(..).flatten().collect();
        lost.extend(std::iter::from_fn(|| self.shared.channels.results.pop()).flatten());
        self.close_gaps();
        lost.extend(self.finished.drain(..).flatten());
        if !lost.is_empty() {
            let discarded = self.views.disk.submit(move || crate::sink::discard(lost)).await;
            drop(discarded);
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.shared.channels.results.register(cx.waker());
        let shards_ended = self.shards_ended(cx)?;
        self.look_for_failure();
        loop {
            let mut moved = self.write(shards_ended, cx)?;
            moved |= self.collect();
            moved |= self.wait(cx);
            moved |= self.read(cx)?;
            moved |= self.dispatch();
            moved |= shards_ended && self.leave_waiting();
            if self.is_done(shards_ended) {
                return Poll::Ready(Ok(()));
            }
            if !moved && !self.ask_for_room() {
                let reads = self.feed.as_ref().is_some_and(|feed| !feed.is_here());
                self.shared.channels.set_starved(reads && self.ahead.is_empty());
                return Poll::Pending;
            }
        }
    }

    /// After the failure of a shard: drains the run.
    fn look_for_failure(&mut self) {
        if let Some(error) = self.shared.take_failure() {
            self.failure.get_or_insert(error);
            self.shared.advance(Stage::Draining);
        }
    }

    /// Publishes whether rows wait for room in the window; true if room appeared meanwhile.
    fn ask_for_room(&mut self) -> bool {
        let more = !self.ahead.is_empty() || self.feed.is_some();
        let full = more && self.room() == 0;
        self.shared.channels.set_full(full);
        full && self.room() > 0
    }

    fn is_done(&self, shards_ended: bool) -> bool {
        let written = self.sinks.is_here() && !self.dirty && self.finished.is_empty();
        let settled = self.checkpoints.as_ref().is_none_or(Checkpoints::is_settled);
        written && settled && self.nothing_to_come(shards_ended)
    }

    /// True if every record that the run will produce has been received.
    fn nothing_to_come(&self, shards_ended: bool) -> bool {
        match self.shared.stage() {
            Stage::Running => self.feed.is_none() && self.ahead.is_empty() && self.fed == self.written,
            Stage::Draining | Stage::Aborting => shards_ended && self.shared.channels.results.len() == 0,
        }
    }

    /// What becomes of results that wait for earlier rows, when these will not arrive: they stay in the state of the run,
    /// so that a run that resumes writes them in their places. Without a state, or if it has no room for them, they are
    /// handed on. True if something has moved.
    fn leave_waiting(&mut self) -> bool {
        if self.shared.channels.results.len() > 0 {
            return false;
        }
        let checkpoints = self.checkpoints.as_mut().filter(|checkpoints| checkpoints.keeps_waiting());
        let (Some(order), Some(checkpoints)) = (&self.order, checkpoints) else { return self.close_gaps() };
        let Some(rows) = checkpoints.rest(order.next()) else { return false };
        let records: Vec<_> = rows.into_iter().filter_map(|row| order.get(row)).cloned().collect();
        if records.is_empty() {
            self.order = None;
        } else {
            checkpoints.wait(records);
        }
        true
    }

    /// Hands on results that wait for earlier rows which will not arrive; true if there were any.
    fn close_gaps(&mut self) -> bool {
        let Some(mut order) = self.order.take() else { return false };
        let mut batch = Vec::new();
        for _ in 0..self.plan.window_rows {
            order.skip(order.next());
            batch.extend(std::iter::from_fn(|| order.pop()));
        }
        let moved = !batch.is_empty();
        if moved {
            self.finished.push_back(batch);
        }
        moved
    }

    /// Polls the shards. A shard ends only together with the run; an earlier end is a defect.
    fn shards_ended(&mut self, cx: &mut Context<'_>) -> Result<bool, Error> {
        let mut running = Vec::with_capacity(self.shards.len());
        for mut shard in std::mem::take(&mut self.shards) {
            match Pin::new(&mut shard).poll(cx) {
                Poll::Pending => running.push(shard),
                Poll::Ready(Ok(ended)) => ended?,
                Poll::Ready(Err(error)) => {
                    return Err(Error::task("a shard has failed", &error));
                }
            }
        }
        self.shards = running;
        Ok(self.shards.is_empty())
    }

    // --- rows in ---------------------------------------------------------------------------------------------

    /// Reads the next block once all rows of the last one are dispatched.
    fn read(&mut self, cx: &mut Context<'_>) -> Result<bool, Error> {
        let wanted = self.ahead.is_empty() && self.room() > 0 && self.shared.stage() == Stage::Running;
        let Some(feed) = &mut self.feed else { return Ok(false) };
        if feed.is_here() && wanted {
            let spare = Vec::from(std::mem::take(&mut self.ahead));
            feed.lend(&self.views.disk, move |mut feed| {
                let block = feed.read(spare);
                (feed, block)
            });
            return Ok(true);
        }
        let Some(block) = feed.poll(cx)? else { return Ok(false) };
        self.failure = self.failure.take().or(block.failure);
        // The others were counted by the process that fetched them.
        let own = match self.waiting.is_empty() {
            true => block.rows.len(),
            false => block.rows.iter().filter(|row| !self.waiting.contains_key(&row.row())).count(),
        };
        self.tally.read(block.bytes_read, own, block.unread);
        self.read += block.rows.len() as u64;
        self.passed += block.passed;
        self.ahead = block.rows.into();
        if let Some(checkpoints) = &mut self.checkpoints {
            checkpoints.read(block.mark, block.listed);
        }
        if block.ended {
            self.feed = None;
        }
        Ok(true)
    }

    /// Rows that may still be dispatched. The window bounds the rows in memory; in ordered mode it also bounds the rows
    /// that wait for an earlier one. Rows that return from disk may exceed it. None may while long rows in memory have
    /// their share of the budget.
    fn room(&self) -> usize {
        if self.plan.memory.has_many_rows() {
            return 0;
        }
        let channels = &self.shared.channels;
        channels.window().min(self.plan.window_rows).saturating_sub(channels.in_memory())
    }

    /// True if the request of a row is sent: it is not bad, nor one that must not be sent twice and may have been sent.
    fn is_sent(&self, row: &RowRead) -> bool {
        row.job.as_ref().is_ok_and(|job| {
            !self.in_doubt.contains(job.row) || self.plan.template.method(job).is_idempotent()
        })
    }

    /// Sends rows to the shards of their hosts, and the records of the others directly to the sinks: at most one batch of
    /// them, by count and by bytes, and none while the queue to the sinks is full.
    fn dispatch(&mut self) -> bool {
        if self.shared.stage() != Stage::Running {
            self.ahead.clear();
            return false;
        }
        let (mut bad, mut bad_bytes, mut waiting) = (Vec::new(), 0, Vec::new());
        let room = self.room().min(self.ahead.len());
        let mut count = 0;
        while count < room && bad.len() < limits::BATCH_RECORDS && bad_bytes < limits::BATCH_BYTES {
            // Such a row is finished at once, so reading could outrun the sinks.
            let full = self.finished.len() >= limits::BATCHES_WAITING_MAX;
            if full && self.ahead.front().is_some_and(|row| !self.is_sent(row)) {
                break;
            }
            // The rows of one block may be much longer than all of the budget.
            if count > 0 && self.plan.memory.has_many_rows() {
                break;
            }
            let row = self.ahead.pop_front().expect("the count is below the number of rows");
            count += 1;
            if let Some(order) = &mut self.order {
                order.skip_to(row.row());
            }
            if let Some(stub) = self.waiting.remove(&row.row()) {
                waiting.push(stub);
                continue;
            }
            let is_sent = self.is_sent(&row);
            match row.job {
                Ok(mut job) if !is_sent => {
                    let bytes = job.bytes();
                    bad_bytes += bytes;
                    job.hold = self.plan.memory.row(bytes);
                    bad.push(unconfirmed(job, &self.plan));
                }
                Ok(mut job) => {
                    job.hold = self.plan.memory.row(job.bytes());
                    let shard = ShardId::of(job.host, self.outgoing.len());
                    let outgoing = self.outgoing.get_mut(shard);
                    outgoing.push(job);
                    if outgoing.len() >= limits::BATCH_RECORDS {
                        self.shared.channels.inbox(shard).send(outgoing);
                    }
                }
                Err(row) => {
                    bad_bytes += row.bytes();
                    bad.push(bad_record(row, &self.plan.memory));
                }
            }
        }
        self.fed += count as u64;
        self.shared.channels.set_out(self.fed - self.written);
        for (shard, outgoing) in self.outgoing.entries_mut() {
            if !outgoing.is_empty() {
                self.shared.channels.inbox(shard).send(outgoing);
            }
        }
        self.hand_on(waiting);
        self.finish(bad);
        count > 0
    }

    // --- records out -----------------------------------------------------------------------------------------

    /// Takes results from the shards while the queue to the sinks has room.
    fn collect(&mut self) -> bool {
        let mut moved = false;
        let has_room = |this: &Self| this.checkpoints.as_ref().is_none_or(Checkpoints::has_room_to_wait);
        while self.finished.len() < limits::BATCHES_WAITING_MAX && has_room(self) {
            let Some(batch) = self.shared.channels.results.pop() else { break };
            self.finish(batch);
            moved = true;
        }
        if moved {
            self.shared.channels.caught_up();
        }
        moved
    }

    fn finish(&mut self, mut batch: Vec<Record>) {
        self.refuse(&mut batch);
        self.tally.add(&batch);
        if self.plan.max_errors.is_some_and(|max| self.tally.reached(max)) {
            self.shared.stop(Stage::Draining, Stop::MaxErrors);
        }
        if let (Some(order), Some(checkpoints)) = (&self.order, &mut self.checkpoints) {
            // The next row in order does not wait, and most rows come in order.
            let waits = |record: &&Record| record.row > order.next();
            checkpoints.waits(batch.iter().filter(waits));
        }
        self.hand_on(batch);
    }

    /// Hands results to the sinks, in ordered mode in the order of the list.
    fn hand_on(&mut self, mut batch: Vec<Record>) {
        if let Some(order) = &mut self.order {
            for record in batch.drain(..) {
                let pushed = order.push(record.row, record);
                assert!(pushed.is_ok(), "a finished row has one free place in the window");
            }
            batch.extend(std::iter::from_fn(|| order.pop()));
        }
        if !batch.is_empty() {
            self.finished.push_back(batch);
        }
    }

    /// Starts to make results durable that wait for an earlier row.
    fn wait(&mut self, cx: &mut Context<'_>) -> bool {
        let (Some(order), Some(checkpoints)) = (&self.order, &mut self.checkpoints) else { return false };
        // The sinks are the bottleneck, and the next row may only not have been collected yet: more work for the disk would make
        // that worse.
        if self.finished.len() >= limits::BATCHES_WAITING_MAX {
            return false;
        }
        let Some(rows) = checkpoints.wants_waiting(order.next(), cx) else { return false };
        let records: Vec<_> = rows.into_iter().filter_map(|row| order.get(row)).cloned().collect();
        if !records.is_empty() {
            checkpoints.wait(records);
        }
        true
    }

    /// Results that wait for an earlier row are durable: their memory is freed.
    fn waited(&mut self, stubs: Vec<Record>) {
        let Some(order) = &mut self.order else { return };
        for stub in stubs {
            // It has come out meanwhile, unless it has a place.
            if let Some(record) = order.get_mut(stub.row) {
                *record = stub;
            }
        }
    }

    /// Takes out rows whose result could not be written to disk. They are not done, and the run is stopped, since the
    /// next write would fail too.
    fn refuse(&mut self, batch: &mut Vec<Record>) {
        let message = |record: &Record| match &record.failure {
            Some(failure) if failure.kind == ErrorKind::SinkIo => Some(failure.message.to_string()),
            _ => None,
        };
        if let Some(why) = batch.iter().find_map(message) {
            let source = self.views.tap.as_ref().and_then(Tap::take_error);
            self.failure = Some(Error::output(source.unwrap_or_else(|| io::Error::other(why))));
            self.shared.stop(Stage::Draining, Stop::Asked);
            batch.retain(|record| message(record).is_none());
        }
    }

    /// Polls the running task of the sinks, or starts the next one.
    fn write(&mut self, shards_ended: bool, cx: &mut Context<'_>) -> Result<bool, Error> {
        let settled = self.checkpoints.as_mut().map_or(Ok(None), |checkpoints| checkpoints.poll(cx))?;
        let is_settled = settled.is_some();
        settled.into_iter().for_each(|stubs| self.waited(stubs));
        let moved = match self.sinks.poll(cx)?.transpose()? {
            Some(written) => {
                self.wrote(written)?;
                true
            }
            None => self.sinks.is_here() && self.write_next(shards_ended, cx),
        };
        Ok(is_settled | moved)
    }

    fn wrote(&mut self, written: Written) -> Result<(), Error> {
        match written {
            Written::Batch { emptied, count } => {
                self.dirty = true;
                self.shared.channels.results.reuse(emptied);
                self.written += count;
                check_written(self.fed, self.written)?;
                self.shared.channels.set_out(self.fed - self.written);
                self.shared.channels.caught_up();
            }
            Written::Flushed => self.dirty = false,
            Written::Cut(cuts) => {
                self.dirty = false;
                if let Some(checkpoints) = &mut self.checkpoints {
                    checkpoints.commit(cuts);
                }
            }
        }
        Ok(())
    }

    /// Starts the next task of the idle sinks: a checkpoint, a batch or a flush; false if there is none.
    fn write_next(&mut self, shards_ended: bool, cx: &mut Context<'_>) -> bool {
        let disk = &self.views.disk;
        let last = self.finished.is_empty() && self.nothing_to_come(shards_ended);
        if self.checkpoints.as_mut().is_some_and(|checkpoints| checkpoints.wants_cut(last, cx)) {
            self.sinks.lend(disk, |sinks| {
                let (sinks, cuts) = sinks.cut();
                (sinks, cuts.map(Written::Cut))
            });
            return true;
        }
        let has_room = self.checkpoints.as_ref().is_none_or(Checkpoints::has_room);
        if has_room && let Some(batch) = self.finished.pop_front() {
            if let Some(checkpoints) = &mut self.checkpoints {
                checkpoints.note(&batch);
            }
            let count = batch.len() as u64;
            self.sinks.lend(disk, move |sinks| {
                let (sinks, emptied) = sinks.accepted(batch);
                (sinks, emptied.map(|emptied| Written::Batch { emptied, count }))
            });
            return true;
        }
        if self.dirty {
            self.sinks.lend(disk, |sinks| {
                let (sinks, flushed) = sinks.committed();
                (sinks, flushed.map(|()| Written::Flushed))
            });
        }
        self.dirty
    }
}

/// The record of a row whose request is not sent, because an earlier process may have sent it.
fn unconfirmed(job: Job, plan: &Plan) -> Record {
    let message = "an earlier run may have sent this request and has not recorded the result; \
                   it is not sent again, because its method is not idempotent";
    untried(job, &plan.template, Failure::new(ErrorKind::RunUnconfirmed, message))
}
