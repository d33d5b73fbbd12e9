//! The layout of the spill file: FIFO queues of rows on disk, one a host, for hosts that have more rows than they need in
//! memory.
//!
//! The file consists of fixed-size blocks. The queue of a host is a linked list of blocks, each with the number of the
//! next. Memory holds only the position of the head and the last block, until it is full; a block that was read is
//! reused. So a host costs constant memory, whatever the number of its rows.
//!
//! This module allocates blocks and encodes rows; the engine reads and writes the file. Rows leave the queue when the
//! engine reports them as read, by [`Spill::refilled`].

mod entry;

pub use entry::Entry;

use std::collections::{BTreeMap, VecDeque};

use crate::job::{HostKey, Job};
use crate::limits::{SPILL_BLOCK_BYTES, SPILL_ROW_BYTES_MAX};
use entry::Before;

/// The number of the next block, at the front of each block.
const LINK_BYTES: usize = 4;
const PAYLOAD_BYTES: usize = SPILL_BLOCK_BYTES - LINK_BYTES;

/// The spilled rows of all hosts.
#[derive(Debug, Default)]
pub struct Spill {
    chains: BTreeMap<HostKey, Chain>,
    blocks: Blocks,
    /// Full blocks that were not yet taken to be written.
    sealed: Vec<Block>,
    /// FIFO of the hosts that need rows soon.
    wanted: VecDeque<HostKey>,
    rows: u64,
}

#[derive(Debug)]
struct Chain {
    head: Head,
    /// The number and the content of the last block.
    tail: u32,
    tail_bytes: Vec<u8>,
    before: Before,
    rows: u64,
    /// The host is in `Spill::wanted`, or its [`Refill`] is being read.
    wanted: bool,
}

/// The position of the next row to read.
#[derive(Clone, Copy, Debug)]
struct Head {
    block: u32,
    at: usize,
    before: Before,
}

/// A block to be written, at offset `number * SPILL_BLOCK_BYTES`.
#[derive(Debug)]
pub struct Block {
    /// Its number in the file.
    pub number: u32,
    /// Its content, of [`SPILL_BLOCK_BYTES`].
    pub bytes: Box<[u8]>,
}

/// Rows of one host to be read.
#[derive(Debug)]
pub struct Refill {
    /// The host.
    pub host: HostKey,
    head: Head,
    tail: u32,
    tail_bytes: Vec<u8>,
    rows: usize,
}

/// The result of a [`Refill`], for [`Spill::refilled`].
#[derive(Debug)]
pub struct Refilled {
    /// The host.
    pub host: HostKey,
    /// Blocks that are free now.
    pub freed: Vec<u32>,
    rows: u64,
    head: Head,
}

/// Why rows could not be read.
#[derive(Debug)]
pub enum Lost<E> {
    /// A block could not be read.
    Block(E),
    /// The content is not what was written.
    Damaged,
}

impl Spill {
    /// The number of spilled rows.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// True if the host has spilled rows; then its further rows belong behind them.
    #[must_use]
    pub fn has(&self, host: HostKey) -> bool {
        self.chains.contains_key(&host)
    }

    /// The spilled rows of a host.
    #[must_use]
    pub fn rows_of(&self, host: HostKey) -> u64 {
        self.chains.get(&host).map_or(0, |chain| chain.rows)
    }

    /// Bytes of the file that are in use.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let used = u64::from(self.blocks.used) - self.blocks.free.len() as u64;
        used * SPILL_BLOCK_BYTES as u64
    }

    /// Appends a row that was not tried yet to the queue of its host.
    pub fn push(&mut self, job: &Job) {
        let Self { chains, blocks, sealed, rows, wanted: _ } = self;
        let chain = chains.entry(job.host).or_insert_with(|| Chain::new(blocks.take()));
        chain.before.put(job, &mut chain.tail_bytes);
        chain.rows += 1;
        *rows += 1;
        while chain.tail_bytes.len() >= PAYLOAD_BYTES {
            let rest = chain.tail_bytes.split_off(PAYLOAD_BYTES);
            let next = blocks.take();
            let mut bytes = next.to_le_bytes().to_vec();
            bytes.append(&mut std::mem::replace(&mut chain.tail_bytes, rest));
            let number = std::mem::replace(&mut chain.tail, next);
            sealed.push(Block { number, bytes: bytes.into() });
        }
    }

    /// Takes the full blocks. They must be written before the next [`Refill`] runs.
    pub fn take_sealed(&mut self) -> Vec<Block> {
        std::mem::take(&mut self.sealed)
    }

    /// The number of full blocks that were not taken.
    #[must_use]
    pub fn sealed(&self) -> usize {
        self.sealed.len()
    }

    /// Requests rows of a host. If it has spilled rows, [`Spill::take_wanted`] returns them in its turn.
    pub fn want(&mut self, host: HostKey) {
        if let Some(chain) = self.chains.get_mut(&host).filter(|chain| !chain.wanted) {
            chain.wanted = true;
            self.wanted.push_back(host);
        }
    }

    /// True if a host waits for its rows.
    #[must_use]
    pub fn wants(&self) -> bool {
        !self.wanted.is_empty()
    }

    /// Takes up to `hosts` hosts that wait for rows; of each, up to `room(host)` rows are to be read.
    pub fn take_wanted(&mut self, hosts: usize, room: impl Fn(HostKey) -> usize) -> Vec<Refill> {
        let mut refills = Vec::new();
        while refills.len() < hosts
            && let Some(host) = self.wanted.pop_front()
        {
            refills.extend(self.refill(host, room(host)));
        }
        refills
    }

    fn refill(&mut self, host: HostKey, rows: usize) -> Option<Refill> {
        let chain = self.chains.get_mut(&host)?;
        chain.wanted = rows > 0;
        if rows == 0 {
            return None;
        }
        let rows = rows.min(usize::try_from(chain.rows).unwrap_or(usize::MAX));
        let (head, tail, tail_bytes) = (chain.head, chain.tail, chain.tail_bytes.clone());
        Some(Refill { host, head, tail, tail_bytes, rows })
    }

    /// Removes the rows that a [`Refill`] has read.
    ///
    /// # Panics
    ///
    /// If no refill of the host was taken.
    pub fn refilled(&mut self, refilled: &Refilled) {
        let chain =
            self.chains.get_mut(&refilled.host).expect("a host has spilled rows until its refill is done");
        assert!(chain.wanted, "a refill is reported once");
        (chain.wanted, chain.head) = (false, refilled.head);
        chain.rows = chain.rows.checked_sub(refilled.rows).expect("a refill returns rows of its chain");
        self.rows -= refilled.rows;
        self.blocks.free.extend(&refilled.freed);
        if chain.rows == 0 {
            self.blocks.free.push(chain.tail);
            self.chains.remove(&refilled.host);
        }
    }
}

impl Chain {
    fn new(block: u32) -> Self {
        let head = Head { block, at: 0, before: Before::START };
        Self { head, tail: block, tail_bytes: Vec::new(), before: Before::START, rows: 0, wanted: false }
    }
}

impl Refill {
    /// Reads the rows, in the order they were pushed, from blocks that `load` reads.
    ///
    /// # Errors
    ///
    /// A block cannot be read, or is not what was written. The rows cannot be recovered then.
    pub fn run<E>(
        self,
        mut load: impl FnMut(u32) -> Result<Vec<u8>, E>,
    ) -> Result<(Vec<Entry>, Refilled), Lost<E>> {
        let (mut entries, mut before) = (Vec::with_capacity(self.rows), self.head.before);
        // The payload from the head on. A row may span blocks.
        let (mut bytes, mut taken, mut skip) = (Vec::new(), 0, self.head.at);
        let (mut loaded, mut next) = (Vec::new(), self.head.block);
        loop {
            let mut rest = bytes.get(taken..).expect("the bytes taken are part of those read");
            while entries.len() < self.rows
                && let Some(entry) = before.take(&mut rest)
            {
                entries.push(entry);
            }
            taken = bytes.len() - rest.len();
            if entries.len() == self.rows {
                break;
            }
            let at_end = loaded.last().is_some_and(|(last, _)| *last == self.tail);
            if at_end || bytes.len() - taken > SPILL_ROW_BYTES_MAX {
                return Err(Lost::Damaged);
            }
            let (block, mut payload) = (next, self.tail_bytes.clone());
            if block != self.tail {
                payload = load(block).map_err(Lost::Block)?;
                let (link, _) = payload.split_first_chunk().ok_or(Lost::Damaged)?;
                next = u32::from_le_bytes(*link);
                payload.drain(..LINK_BYTES);
            }
            bytes.extend(payload.into_iter().skip(std::mem::take(&mut skip)));
            loaded.push((block, bytes.len()));
        }
        let (head, freed) = self.behind(&loaded, taken, Head { block: next, at: 0, before });
        let refilled = Refilled { host: self.host, freed, rows: entries.len() as u64, head };
        Ok((entries, refilled))
    }

    /// The new head when `taken` bytes of the blocks were decoded, and the blocks that are free now. The last block of
    /// the chain stays, because rows are appended to it.
    fn behind(&self, loaded: &[(u32, usize)], taken: usize, mut head: Head) -> (Head, Vec<u32>) {
        let (mut freed, mut start, mut skip) = (Vec::new(), 0, self.head.at);
        for &(block, end) in loaded {
            if end > taken || block == self.tail {
                (head.block, head.at) = (block, skip + taken - start);
                break;
            }
            freed.push(block);
            (start, skip) = (end, 0);
        }
        (head, freed)
    }
}

/// The numbers of blocks.
#[derive(Debug, Default)]
struct Blocks {
    /// Free blocks. At most 16 MiB of memory, for a file of `SPILL_BYTES_MAX`.
    free: Vec<u32>,
    /// The length of the file in blocks.
    used: u32,
}

impl Blocks {
    fn take(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            self.used += 1;
            self.used - 1
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, VecDeque};
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;
    use crate::job::{Ask, Row, Span};

    #[derive(Clone, Copy, Debug)]
    enum Operation {
        /// A row of this host: its whole content of this length, or its position.
        Push(u8, Option<u16>),
        Write,
        Begin(u8, u8),
        End,
    }

    fn operation() -> impl Strategy<Value = Operation> {
        let bytes = prop_oneof![1 => (0..9_000_u16).prop_map(Some), 2 => Just(None)];
        prop_oneof![
            20 => (0..3_u8, bytes).prop_map(|(host, bytes)| Operation::Push(host, bytes)),
            2 => Just(Operation::Write),
            4 => (0..3_u8, 1..60_u8).prop_map(|(host, rows)| Operation::Begin(host, rows)),
            4 => Just(Operation::End),
        ]
    }

    fn job(row: u64, host: u8, bytes: Option<u16>) -> Job {
        let job = Job::new(Row(row), format!("http://{host}/").parse().unwrap());
        let body = |bytes| vec![row as u8; usize::from(bytes)].into();
        match bytes {
            None => Job { span: Span::new(row * 30, 29), ..job },
            bytes => Job { ask: Some(Box::new(Ask { body: bytes.map(body), ..Ask::default() })), ..job },
        }
    }

    /// Plays the operations against a queue for each host: what goes in comes out, in order, and blocks are used again.
    fn play(operations: &[Operation]) {
        let (mut spill, mut disk) = (Spill::default(), HashMap::new());
        let (mut model, mut away) = (HashMap::<HostKey, VecDeque<Job>>::new(), VecDeque::new());
        let end = |spill: &mut Spill, model: &mut HashMap<HostKey, VecDeque<Job>>, (entries, refilled)| {
            let (entries, refilled): (Vec<Entry>, Refilled) = (entries, refilled);
            let queue = model.get_mut(&refilled.host).unwrap();
            for entry in &entries {
                let job = queue.pop_front().unwrap();
                match entry {
                    Entry::Listed(row, span) => assert_eq!((*row, Some(*span)), (job.row, job.span)),
                    Entry::Whole(back) => assert_eq!(format!("{back:?}"), format!("{job:?}")),
                }
            }
            spill.refilled(&refilled);
        };
        let write = |spill: &mut Spill, disk: &mut HashMap<u32, Vec<u8>>| {
            for block in spill.take_sealed() {
                assert_eq!(block.bytes.len(), SPILL_BLOCK_BYTES);
                disk.insert(block.number, block.bytes.into());
            }
        };
        let begin = |spill: &mut Spill, disk: &mut HashMap<u32, Vec<u8>>, host, rows| {
            write(spill, disk);
            spill.want(host);
            let refill = spill.take_wanted(1, |_| rows).pop()?;
            Some(refill.run(|block| Ok::<_, Infallible>(disk[&block].clone())).unwrap())
        };
        for (row, operation) in (0..).zip(operations) {
            match *operation {
                Operation::Push(host, bytes) => {
                    let job = job(row, host, bytes);
                    spill.push(&job);
                    model.entry(job.host).or_default().push_back(job);
                }
                Operation::Write => write(&mut spill, &mut disk),
                Operation::Begin(host, rows) => {
                    let host = job(0, host, None).host;
                    away.extend(begin(&mut spill, &mut disk, host, usize::from(rows)));
                }
                Operation::End => away.pop_front().into_iter().for_each(|r| end(&mut spill, &mut model, r)),
            }
            assert_eq!(spill.rows(), model.values().map(|queue| queue.len() as u64).sum::<u64>());
            assert!(model.iter().all(|(host, queue)| spill.has(*host) != queue.is_empty()));
        }
        away.into_iter().for_each(|refilled| end(&mut spill, &mut model, refilled));
        for host in 0..3 {
            let host = job(0, host, None).host;
            while let Some(refilled) = begin(&mut spill, &mut disk, host, 7) {
                end(&mut spill, &mut model, refilled);
            }
        }
        assert_eq!((spill.rows(), spill.bytes()), (0, 0), "nothing is left, and every block is free");
        assert!(model.values().all(VecDeque::is_empty));
    }

    #[test]
    fn what_goes_in_comes_out_in_order() {
        let default = ProptestConfig::default();
        let config =
            ProptestConfig { failure_persistence: None, cases: 2_000 * default.cases / 256, ..default };
        proptest!(config, |(operations in proptest::collection::vec(operation(), 0..300))| play(&operations));
    }

    #[test]
    fn a_list_that_is_sorted_takes_two_bytes_a_row() {
        let mut spill = Spill::default();
        (0..1_000_000).for_each(|row| spill.push(&job(row, 0, None)));
        assert!(spill.bytes() < 1_100_000, "{}", spill.bytes());
    }

    #[test]
    fn what_is_damaged_is_not_taken_for_rows() {
        let mut spill = Spill::default();
        (0..100).for_each(|row| spill.push(&job(row, 0, Some(900))));
        let host = job(0, 0, None).host;
        let refill = |spill: &mut Spill| {
            spill.want(host);
            spill.take_wanted(9, |_| 50).pop().unwrap()
        };
        let wrong = refill(&mut spill).run(|_| Ok::<_, Infallible>(vec![0xff; 4096]));
        assert!(matches!(wrong, Err(Lost::Damaged)));
        let mut spill = Spill::default();
        (0..100).for_each(|row| spill.push(&job(row, 0, Some(900))));
        assert!(matches!(refill(&mut spill).run(Err), Err(Lost::Block(0))));
    }
}
