//! The queues between the conductor and the shards, and the back-pressure on both ways.
//!
//! Results: a shard starts nothing new while the conductor is [behind](Channels::is_behind). Rows: the conductor hands
//! out rows only within the window, which shards [widen](Channels::widen) or relieve by moving rows to disk.
//!
//! Every hand-over follows one rule, which the models check: a thread that is about to sleep sets its flag and then
//! looks again; the thread that makes progress does so first and then looks at the flag. With sequential consistency
//! one of the two sees the other, so no wake-up is lost.

use overlapped_proto::job::Job;
use overlapped_proto::limits;
use overlapped_proto::record::Record;

use crate::mailbox::Mailbox;
use crate::per_shard::{PerShard, ShardId};
use crate::sync::{AtomicBool, AtomicU64, AtomicUsize, Ordering, store_then_load};

/// The queues of a run. `J` and `R` are small in models.
#[derive(Debug)]
pub(crate) struct Channels<J = Job, R = Record> {
    /// Rows for each shard.
    inboxes: PerShard<Mailbox<J>>,
    /// Finished rows for the conductor.
    pub(crate) results: Mailbox<R>,
    /// For each shard: a host could start, or rows have come in that it has not looked at.
    ready: PerShard<AtomicBool>,
    /// For each shard: rows spilled to disk, which do not count against the window.
    spilled: PerShard<AtomicU64>,
    /// A shard waits for the conductor, which is behind or has too many rows out.
    stalled: AtomicBool,
    /// Rows that were handed out and are not written yet.
    out: AtomicU64,
    /// Rows that may be in memory.
    window: AtomicUsize,
    /// The window is full, and there are more rows.
    full: AtomicBool,
    /// All rows that were read are handed out, and the next ones are waited for.
    starved: AtomicBool,
}

impl<J, R> Channels<J, R> {
    pub(crate) fn new(shards: usize) -> Self {
        Self {
            inboxes: PerShard::new(shards, Mailbox::new),
            results: Mailbox::new(),
            ready: PerShard::new(shards, || AtomicBool::new(false)),
            spilled: PerShard::new(shards, || AtomicU64::new(0)),
            stalled: AtomicBool::new(false),
            out: AtomicU64::new(0),
            window: AtomicUsize::new(limits::WINDOW_ROWS_FIRST),
            full: AtomicBool::new(false),
            starved: AtomicBool::new(false),
        }
    }

    pub(crate) fn shards(&self) -> usize {
        self.inboxes.len()
    }

    /// The queue of rows for a shard.
    pub(crate) fn inbox(&self, shard: ShardId) -> &Mailbox<J> {
        self.inboxes.get(shard)
    }

    pub(crate) fn wake_shards(&self) {
        self.inboxes.iter().for_each(Mailbox::wake);
    }

    // --- results ---------------------------------------------------------------------------------------------

    /// True if `batches` of results wait for the conductor, so that no request should start. The shards are woken when
    /// it has [caught up](Channels::caught_up).
    pub(crate) fn is_behind(&self, batches: usize) -> bool {
        self.stalls_while(|| self.results.len() >= batches)
    }

    /// The conductor has taken results or written rows: wakes the shards if one waits for that.
    pub(crate) fn caught_up(&self) {
        store_then_load();
        if self.stalled.swap(false, Ordering::SeqCst) {
            self.wake_shards();
        }
    }

    /// True while `busy`. The shards are woken when the conductor has taken results or written rows.
    pub(crate) fn stalls_while(&self, busy: impl Fn() -> bool) -> bool {
        busy() && {
            self.stalled.store(true, Ordering::SeqCst);
            store_then_load();
            busy()
        }
    }

    // --- rows ------------------------------------------------------------------------------------------------

    /// Sets whether the window is full while there are more rows. After setting it the caller reads
    /// [`Channels::in_memory`] and [`Channels::window`] again.
    pub(crate) fn set_full(&self, full: bool) {
        if self.full.load(Ordering::SeqCst) != full {
            self.full.store(full, Ordering::SeqCst);
            if full {
                self.wake_shards();
            }
        }
        store_then_load();
    }

    /// True if the window is full of rows none of which could start, so that rows of other hosts are needed.
    pub(crate) fn wants_room(&self) -> bool {
        let coming = || self.inboxes.iter().any(|inbox| inbox.len() > 0);
        let ready = || self.ready.iter().any(|ready| ready.load(Ordering::SeqCst));
        self.full.load(Ordering::SeqCst) && !coming() && !ready()
    }

    /// Sets whether all rows that were read are handed out, and the next ones are waited for. A shard that reads an old value only
    /// fills a batch of results for longer, so nothing is woken.
    pub(crate) fn set_starved(&self, starved: bool) {
        self.starved.store(starved, Ordering::Relaxed);
    }

    /// Whether the list may need results to go on: its next row may depend on one.
    pub(crate) fn is_starved(&self) -> bool {
        self.starved.load(Ordering::Relaxed)
    }

    pub(crate) fn set_ready(&self, shard: ShardId, ready: bool) {
        self.ready.get(shard).store(ready, Ordering::SeqCst);
    }

    /// Rows that may be in memory: as few as keep all hosts busy, up to the run's window.
    pub(crate) fn window(&self) -> usize {
        self.window.load(Ordering::SeqCst)
    }

    /// Doubles the window, up to `max` rows. False: it is as wide already.
    pub(crate) fn widen(&self, max: usize) -> bool {
        let wider = |rows: usize| (rows < max).then(|| rows.saturating_mul(2).min(max));
        let widened = self.window.fetch_update(Ordering::SeqCst, Ordering::SeqCst, wider).is_ok();
        if widened {
            store_then_load();
            self.full.store(false, Ordering::SeqCst);
            self.results.wake();
        }
        widened
    }

    /// Sets how many rows were handed out and are not written yet.
    pub(crate) fn set_out(&self, rows: u64) {
        self.out.store(rows, Ordering::SeqCst);
    }

    /// Rows that were handed out, are not written yet, and are not on disk.
    pub(crate) fn in_memory(&self) -> usize {
        // A row read back from disk may be written before its shard has published the lower count.
        let rows = self.out.load(Ordering::SeqCst).saturating_sub(self.spilled());
        usize::try_from(rows).unwrap_or(usize::MAX)
    }

    /// True if no row should come back from disk, because `rows_max` are in memory already. The shards are woken when
    /// rows were written.
    pub(crate) fn is_crowded(&self, rows_max: usize) -> bool {
        self.stalls_while(|| self.in_memory() >= rows_max)
    }

    /// Rows that wait on disk, over all shards.
    pub(crate) fn spilled(&self) -> u64 {
        self.spilled.iter().map(|rows| rows.load(Ordering::SeqCst)).sum()
    }

    /// Sets how many rows of a shard wait on disk. More than before are room in the window: the conductor is woken if
    /// it waits for some.
    pub(crate) fn set_spilled(&self, shard: ShardId, rows: u64) {
        if self.spilled.get(shard).swap(rows, Ordering::SeqCst) < rows {
            store_then_load();
            if self.full.load(Ordering::SeqCst) {
                self.results.wake();
            }
        }
    }
}

/// Every interleaving of two threads (loom). A lost wake-up shows as a deadlock of the model.
#[cfg(all(test, model))]
mod models {
    use std::future::poll_fn;
    use std::sync::Arc;
    use std::task::Poll;

    use loom::future::block_on;
    use loom::thread;

    use super::Channels;
    use crate::budget::Budget;
    use crate::per_shard::ShardId;

    type Small = Channels<u8, u8>;

    #[test]
    fn a_push_is_seen_or_wakes_the_reader() {
        loom::model(|| {
            let channels = Arc::new(Small::new(1));
            let writer = Arc::clone(&channels);
            let writer = thread::spawn(move || writer.results.push(vec![7]));
            let batch = block_on(poll_fn(|cx| {
                channels.results.register(cx.waker());
                channels.results.pop().map_or(Poll::Pending, Poll::Ready)
            }));
            assert_eq!(batch, [7]);
            writer.join().unwrap();
        });
    }

    /// A shard that stops because the conductor is behind goes on once it has caught up.
    #[test]
    fn a_shard_that_stalls_is_woken() {
        loom::model(|| {
            let channels = Arc::new(Small::new(1));
            channels.results.push(vec![7]);
            let conductor = Arc::clone(&channels);
            let conductor = thread::spawn(move || {
                conductor.results.pop().unwrap();
                conductor.caught_up();
            });
            block_on(poll_fn(|cx| {
                channels.inbox(ShardId::numbered(0)).register(cx.waker());
                if channels.is_behind(1) { Poll::Pending } else { Poll::Ready(()) }
            }));
            conductor.join().unwrap();
        });
    }

    /// The conductor hands out rows again once a shard has moved some to disk.
    #[test]
    fn room_made_on_disk_is_seen() {
        check_room(|channels| channels.set_spilled(ShardId::numbered(0), 1), 1);
    }

    #[test]
    fn a_wider_window_is_seen() {
        check_room(|channels| assert!(channels.widen(usize::MAX)), 0);
    }

    fn check_room(make_room: fn(&Small), spilled: u64) {
        loom::model(move || {
            let channels = Arc::new(Small::new(1));
            let out = channels.window();
            channels.set_out(u64::try_from(out).unwrap());
            let shard = Arc::clone(&channels);
            let shard = thread::spawn(move || make_room(&shard));
            block_on(poll_fn(|cx| {
                channels.results.register(cx.waker());
                let has_room = || channels.in_memory() < channels.window();
                channels.set_full(!has_room());
                if has_room() { Poll::Ready(()) } else { Poll::Pending }
            }));
            shard.join().unwrap();
            assert_eq!(channels.spilled(), spilled);
        });
    }

    /// Of two shards and one request each gets it in turn.
    #[test]
    fn a_request_given_back_reaches_the_shard_that_waits() {
        loom::model(|| {
            let shared = Arc::new((Small::new(2), Budget::new(1, 2)));
            let (first, second) = (ShardId::numbered(0), ShardId::numbered(1));
            assert!(shared.1.take(first, 0));
            let other = Arc::clone(&shared);
            let give = |shared: &(Small, Budget), shard| shared.1.give(shard, |to| shared.0.inbox(to).wake());
            let other = thread::spawn(move || {
                block_on(poll_fn(|cx| {
                    other.0.inbox(second).register(cx.waker());
                    if other.1.take(second, 0) { Poll::Ready(()) } else { Poll::Pending }
                }));
                give(&other, second);
            });
            give(&shared, first);
            other.join().unwrap();
            assert_eq!(shared.1.used(), 0);
        });
    }
}
