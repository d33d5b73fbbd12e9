//! Frames, and the state that they add up to.

use std::collections::BTreeMap;

use super::checkpoint::SinkCheckpoints;
use super::entry::{Group, Listed, Mark, Named, Waiting};
use crate::job::Row;
use crate::limits::DURABLE_ROWS_MAX;
use crate::row_set::RowSet;

/// One entry of a journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A checkpoint: these rows are done, and everything about them is durable.
    Done(Group),
    /// These files are about to be renamed to their final names, for rows of the next [`Frame::Done`].
    Names(Vec<Named>),
    /// Requests for these rows are about to be sent, and must not be sent twice (write-ahead).
    Intent(Vec<Row>),
    /// These rows have finished and wait for an earlier one, in order; their records are durable in a file of their own.
    Waiting(Vec<Waiting>),
    /// The whole state. It replaces all frames before it.
    Snapshot(Box<State>),
    /// The run has ended.
    Ended,
}

/// The state of a run: the sum of the frames of its journal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Every row that is done.
    pub done: RowSet,
    /// Those of them that failed.
    pub failed: RowSet,
    /// Rows whose requests may have been sent; those of them that are not done are in doubt.
    pub intended: RowSet,
    /// Rows that have finished and are not done, because they wait for an earlier one.
    pub waiting: BTreeMap<Row, Waiting>,
    /// How far each sink has come.
    pub checkpoints: SinkCheckpoints,
    /// Where a resumed run starts to read.
    pub mark: Option<Mark>,
    /// The part of the list read so far, if it is a file.
    pub listed: Option<Listed>,
    /// Files that may have their final names, of rows that are not done.
    pub named: Vec<Named>,
    /// The files named at the last checkpoint that named any.
    pub kept: Vec<Named>,
    /// The run has ended.
    pub ended: bool,
}

impl State {
    /// Applies the next frame.
    pub fn apply(&mut self, frame: Frame) {
        match frame {
            Frame::Done(group) => {
                if !self.waiting.is_empty() {
                    for row in group.ok.iter().chain(&group.failed) {
                        self.waiting.remove(row);
                    }
                }
                for row in group.failed {
                    self.done.insert(row);
                    self.failed.insert(row);
                }
                for row in group.ok {
                    self.done.insert(row);
                }
                self.checkpoints = group.checkpoints;
                self.mark = group.mark.or(self.mark);
                self.listed = group.listed.or(self.listed);
                if !self.named.is_empty() {
                    self.kept = std::mem::take(&mut self.named);
                }
            }
            Frame::Names(named) => self.named = named,
            Frame::Intent(rows) => {
                rows.into_iter().for_each(|row| self.intended.insert_range(row.0..row.0 + 1))
            }
            Frame::Waiting(rows) => {
                self.waiting.extend(rows.into_iter().map(|waiting| (waiting.row, waiting)))
            }
            Frame::Snapshot(state) => *self = *state,
            Frame::Ended => self.ended = true,
        }
    }

    /// True if the frame is inconsistent with the state, so that no correct run has written it: a row is done twice, a
    /// sink goes back, or reading would start behind a row that is not done.
    #[must_use]
    pub fn contradicts(&self, frame: &Frame) -> bool {
        match frame {
            Frame::Done(group) => {
                let twice = group.ok.iter().chain(&group.failed).any(|&row| self.done.contains(row));
                // Both are sorted.
                let both = group.ok.iter().any(|row| group.failed.binary_search(row).is_ok());
                let beyond =
                    group.ok.last().max(group.failed.last()).is_some_and(|r| r.0 >= DURABLE_ROWS_MAX);
                let less = self.listed.zip(group.listed).is_some_and(|(was, is)| is.bytes < was.bytes);
                // The mark is taken before the group is applied.
                let early = group.mark.is_some_and(|mark| mark.row > self.done.low());
                let back = group.checkpoints.go_back_behind(&self.checkpoints);
                twice || both || beyond || less || early || back
            }
            Frame::Waiting(rows) => rows.iter().any(|Waiting { row, .. }| {
                self.done.contains(*row) || self.waiting.contains_key(row) || row.0 >= DURABLE_ROWS_MAX
            }),
            Frame::Snapshot(state) => {
                let early = state.mark.is_some_and(|mark| mark.row > state.done.low());
                let both = state.waiting.keys().any(|&row| state.done.contains(row));
                early || both || !state.failed.without(&state.done).is_empty()
            }
            Frame::Names(_) | Frame::Intent(_) | Frame::Ended => false,
        }
    }

    /// The rows whose requests may or may not have been sent.
    #[must_use]
    pub fn in_doubt(&self) -> RowSet {
        let in_doubt = self.intended.without(&self.done);
        if self.waiting.is_empty() || in_doubt.is_empty() {
            return in_doubt;
        }
        let mut waiting = RowSet::default();
        self.waiting.keys().for_each(|row| waiting.insert_range(row.0..row.0 + 1));
        in_doubt.without(&waiting)
    }
}
