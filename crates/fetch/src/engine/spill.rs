//! Rows of a shard that are spilled to disk, because their hosts have more of them than fit into the window. Performs
//! the I/O that [`Spill`] decides on.
//!
//! All I/O is done in tasks on the disk view, one at a time: first blocks are written, then rows are read back. A block
//! that cannot be written stays in memory, its rows are read from there, and nothing more is evicted. A read error ends
//! the run, because the rows in that block are unknown.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use overlapped::Executor;
use overlapped_proto::input::BadRow;
use overlapped_proto::job::{HostKey, Job};
use overlapped_proto::limits;
use overlapped_proto::spill::{Block, Entry, Lost, Refill, Refilled, Spill};

use super::list_file::{ListFile, RowReader};
use crate::body::spool::RunId;
use crate::error::Error;
use crate::fs::unnamed;
use crate::lent::Lent;
use crate::per_shard::ShardId;

/// Where spilled rows are stored and read from.
#[derive(Clone, Debug)]
pub(crate) struct Outside {
    /// The directory of the spill file, which is unlinked as soon as it is created.
    pub(crate) folder: PathBuf,
    pub(crate) run: RunId,
    /// The list, once it turned out to be a plain file that can be read again.
    pub(crate) list_file: Arc<OnceLock<ListFile>>,
    /// Bytes that each shard may write.
    pub(crate) bytes_max: u64,
}

/// The spilled rows of a shard.
pub(crate) struct Spilling {
    spill: Spill,
    disk: Executor,
    bytes_max: u64,
    /// The file. The task that writes and reads blocks has it.
    scratch: Lent<Box<Scratch>, Trip>,
    /// Blocks in the running task.
    writing: usize,
    /// Rows last reported as not counting against the window.
    reported: u64,
    /// The first write error. Nothing more is evicted after it.
    failure: Option<String>,
}

/// The result of a task: the rows that were read back, and the first write error so far.
struct Trip {
    back: Result<Vec<(Back, Refilled)>, Error>,
    failure: Option<String>,
}

/// Rows of a host, read back.
pub(crate) struct Back {
    pub(crate) host: HostKey,
    pub(crate) rows: Vec<Result<Job, BadRow>>,
}

impl Spilling {
    pub(crate) fn new(outside: Outside, shard: ShardId, disk: Executor) -> Self {
        let bytes_max = outside.bytes_max;
        let scratch = Scratch { outside, shard, file: None, kept: HashMap::new(), failure: None };
        Self {
            spill: Spill::default(),
            disk,
            bytes_max,
            scratch: Lent::new(Box::new(scratch)),
            writing: 0,
            reported: 0,
            failure: None,
        }
    }

    /// True if the host has spilled rows. Its further rows must be spilled too, to keep their order.
    pub(crate) fn has(&self, host: HostKey) -> bool {
        self.spill.has(host)
    }

    /// The spilled rows of a host, without those that a task is reading back.
    pub(crate) fn rows_of(&self, host: HostKey) -> u64 {
        self.spill.rows_of(host)
    }

    /// Spilled rows, including those that a task is reading back.
    pub(crate) fn rows(&self) -> u64 {
        self.spill.rows()
    }

    /// Spills a row that has not been tried.
    pub(crate) fn push(&mut self, job: &Job) {
        self.spill.push(job);
    }

    /// Requests rows of a host.
    pub(crate) fn want(&mut self, host: HostKey) {
        self.spill.want(host);
    }

    /// True if nothing is spilled, no task is running, and that was reported.
    pub(crate) fn is_idle(&self) -> bool {
        self.spill.rows() == 0 && self.reported == 0 && self.scratch.is_here()
    }

    /// True if rows may be evicted: the disk keeps up, has room, and has not failed.
    pub(crate) fn takes(&self) -> bool {
        let waiting = self.writing + self.spill.sealed();
        self.failure.is_none()
            && waiting <= limits::SPILL_BLOCKS_WAITING_MAX
            && self.spill.bytes() < self.bytes_max
    }

    /// Rows that do not count against the window, to be reported. While the disk does not keep up, newly spilled rows
    /// count.
    pub(crate) fn report(&mut self) -> u64 {
        let rows = self.spill.rows();
        self.reported = if self.takes() { rows } else { rows.min(self.reported) };
        self.reported
    }

    /// Polls for rows that were read back, and starts the next task. `rows_of` counts a host's rows in memory; `crowded`
    /// is true if memory has no room for more. To be called again after a wake-up, after [`Spilling::want`] and after
    /// [`Spilling::push`].
    ///
    /// # Errors
    ///
    /// Rows cannot be read back.
    pub(crate) fn poll(
        &mut self,
        rows_of: impl Fn(HostKey) -> usize,
        crowded: impl FnOnce() -> bool,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Vec<Back>, Error>> {
        if self.scratch.is_here() {
            self.set_out(rows_of, crowded);
        }
        let Some(Trip { back, failure }) = self.scratch.poll(cx)? else { return Poll::Pending };
        self.failure = failure;
        self.writing = 0;
        let (backs, refilled): (_, Vec<_>) = back?.into_iter().unzip();
        refilled.iter().for_each(|refilled| self.spill.refilled(refilled));
        Poll::Ready(Ok(backs))
    }

    /// Starts a task, if there is something to write or to read.
    fn set_out(&mut self, rows_of: impl Fn(HostKey) -> usize, crowded: impl FnOnce() -> bool) {
        let room = |host| limits::WINDOW_ROWS_HOST.saturating_sub(rows_of(host));
        let hosts = if self.spill.wants() && !crowded() { limits::SPILL_HOSTS_A_TRIP } else { 0 };
        let refills = self.spill.take_wanted(hosts, room);
        let blocks = self.spill.take_sealed();
        if blocks.is_empty() && refills.is_empty() {
            return;
        }
        self.writing = blocks.len();
        self.scratch.lend(&self.disk, |mut scratch| {
            scratch.write(blocks);
            let back = scratch.read(refills);
            let failure = scratch.failure.as_ref().map(ToString::to_string);
            (scratch, Trip { back, failure })
        });
    }

    /// The first write error.
    pub(crate) fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }
}

/// The spill file. Every method blocks on the disk.
struct Scratch {
    outside: Outside,
    shard: ShardId,
    /// Created by the first write.
    file: Option<File>,
    /// Blocks that could not be written.
    kept: HashMap<u32, Box<[u8]>>,
    /// The first write error. Nothing is written after it.
    failure: Option<io::Error>,
}

impl Scratch {
    fn write(&mut self, blocks: Vec<Block>) {
        for Block { number, bytes } in blocks {
            if self.failure.is_none() {
                self.failure = self.write_block(number, &bytes).err();
            }
            if self.failure.is_some() {
                self.kept.insert(number, bytes);
            }
        }
    }

    fn write_block(&mut self, number: u32, bytes: &[u8]) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(self.outside.create(self.shard)?),
        };
        file.write_all_at(bytes, offset(number))
    }

    fn read(&mut self, refills: Vec<Refill>) -> Result<Vec<(Back, Refilled)>, Error> {
        let outside = self.outside.clone();
        let mut reader = outside.list_file.get().map(ListFile::row_reader);
        refills.into_iter().map(|refill| self.read_host(refill, reader.as_mut())).collect()
    }

    fn read_host(
        &mut self,
        refill: Refill,
        reader: Option<&mut RowReader<'_>>,
    ) -> Result<(Back, Refilled), Error> {
        let host = refill.host;
        let (entries, refilled) = refill.run(|number| self.load(number)).map_err(lost)?;
        refilled.freed.iter().for_each(|number| drop(self.kept.remove(number)));
        let places: Vec<_> = entries.iter().filter_map(Entry::place).collect();
        let again = match reader {
            Some(reader) => reader.rows(host, &places).map_err(Error::reread)?,
            None => {
                assert!(places.is_empty(), "rows are spilled by offset only if the list can be read again");
                Vec::new()
            }
        };
        let mut again = again.into_iter();
        let rows = entries.into_iter().map(|entry| match entry {
            Entry::Listed(..) => again.next().expect("one row is read for each offset"),
            Entry::Whole(job) => Ok(*job),
        });
        Ok((Back { host, rows: rows.collect() }, refilled))
    }

    fn load(&self, number: u32) -> io::Result<Vec<u8>> {
        if let Some(kept) = self.kept.get(&number) {
            return Ok(kept.to_vec());
        }
        let file = self.file.as_ref().ok_or(io::ErrorKind::NotFound)?;
        let mut bytes = vec![0; limits::SPILL_BLOCK_BYTES];
        file.read_exact_at(&mut bytes, offset(number))?;
        Ok(bytes)
    }
}

impl Outside {
    fn create(&self, shard: ShardId) -> io::Result<File> {
        unnamed(&self.folder, &format!("{}{shard}.spill", self.run.prefix()))
    }
}

fn offset(number: u32) -> u64 {
    u64::from(number) * limits::SPILL_BLOCK_BYTES as u64
}

fn lost(lost: Lost<io::Error>) -> Error {
    Error::spill(match lost {
        Lost::Block(error) => error,
        Lost::Damaged => {
            io::Error::new(io::ErrorKind::InvalidData, "the content of the spill file has changed")
        }
    })
}
