//! `Unblock` when something goes wrong: a full queue, a dropped future, a panic, a failing object. Each test is named after what once
//! went wrong.

// Helpers of tests, too, may do what tests may.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::future::{Future, poll_fn};
use std::io::{self, Cursor, Read, Seek, SeekFrom, Write};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Waker};
use std::thread::ThreadId;
use std::time::Duration;

use futures_core::Stream;
use futures_io::{AsyncRead, AsyncSeek, AsyncWrite};
use overlapped::{Executor, JobError, Shutdown, Unblock, block_on};

use jam::Jam;

mod jam;

/// Lets all jobs run, and the executor end.
fn end(mut jam: Jam) {
    jam.clear();
    assert!(jam.executor.shutdown_blocking(Shutdown::Drain, None).is_complete());
}

/// An object that has accepted `abc`, on an executor that takes no further job.
fn accepted_and_jammed() -> (Jam, Unblock<Object>, Arc<Mutex<Log>>) {
    let mut jam = Jam::new();
    let (object, log) = Object::new(|_| Ok(()));
    let mut object = Unblock::on(&jam.executor, object);
    block_on(write(&mut object, b"abc")).unwrap();
    jam.jam();
    (jam, object, log)
}

/// Whether the object was dropped, and not by this thread.
fn was_dropped_elsewhere(log: &Mutex<Log>) -> bool {
    log.lock().unwrap().dropped_on.is_some_and(|thread| thread != std::thread::current().id())
}

fn once<F: Future>(future: F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

async fn read<T: Read + Send + 'static>(from: &mut Unblock<T>, bytes: usize) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; bytes];
    let n = poll_fn(|cx| AsyncRead::poll_read(Pin::new(&mut *from), cx, &mut buffer)).await?;
    buffer.truncate(n);
    Ok(buffer)
}

async fn write<T: Write + Send + 'static>(into: &mut Unblock<T>, bytes: &[u8]) -> io::Result<usize> {
    poll_fn(|cx| AsyncWrite::poll_write(Pin::new(&mut *into), cx, bytes)).await
}

async fn flush<T: Write + Send + 'static>(into: &mut Unblock<T>) -> io::Result<()> {
    poll_fn(|cx| AsyncWrite::poll_flush(Pin::new(&mut *into), cx)).await
}

async fn close<T: Write + Send + 'static>(into: &mut Unblock<T>) -> io::Result<()> {
    poll_fn(|cx| AsyncWrite::poll_close(Pin::new(&mut *into), cx)).await
}

async fn seek<T: Seek + Send + 'static>(of: &mut Unblock<T>, to: SeekFrom) -> io::Result<u64> {
    poll_fn(|cx| AsyncSeek::poll_seek(Pin::new(&mut *of), cx, to)).await
}

async fn next<T>(stream: &mut Unblock<T>) -> Option<T::Item>
where
    T: Iterator + Send + 'static,
    T::Item: Send + 'static,
{
    poll_fn(|cx| Pin::new(&mut *stream).poll_next(cx)).await
}

/// What happened to an object.
#[derive(Default)]
struct Log {
    written: Vec<u8>,
    writes: usize,
    flushes: usize,
    reads: usize,
    dropped_on: Option<ThreadId>,
}

/// Tells a log what happens to it, and does as it is told in `write`.
struct Object {
    log: Arc<Mutex<Log>>,
    write: fn(usize) -> io::Result<()>,
}

impl Object {
    fn new(write: fn(usize) -> io::Result<()>) -> (Self, Arc<Mutex<Log>>) {
        let log = Arc::<Mutex<Log>>::default();
        (Object { log: Arc::clone(&log), write }, log)
    }
}

impl Write for Object {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let write = {
            let mut log = self.log.lock().unwrap();
            log.writes += 1;
            log.writes
        };
        (self.write)(write)?;
        self.log.lock().unwrap().written.extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        self.log.lock().unwrap().flushes += 1;
        Ok(())
    }
}

impl Read for Object {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.log.lock().unwrap().reads += 1;
        bytes.fill(7);
        Ok(bytes.len())
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        self.log.lock().unwrap().dropped_on = Some(std::thread::current().id());
    }
}

fn is_refused(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<JobError>());
    matches!(inner, Some(JobError::Rejected(overlapped::Rejected::QueueFull)))
}

#[test]
fn an_abandoned_seek_does_not_answer_a_later_one() {
    let mut object = Unblock::new(Cursor::new((0..100).collect::<Vec<u8>>()));
    let to = SeekFrom::Start(50);
    // Pending, unless the executor was faster.
    let _ = once(seek(&mut object, to));
    assert_eq!(block_on(read(&mut object, 3)).unwrap(), [50, 51, 52]);
    assert_eq!(block_on(seek(&mut object, to)).unwrap(), 50);
    assert_eq!(block_on(read(&mut object, 1)).unwrap(), [50]);
}

#[test]
fn a_seek_refused_by_a_full_queue_keeps_what_is_unread() {
    let mut jam = Jam::new();
    let mut object = Unblock::on(&jam.executor, Cursor::new((0..100).collect::<Vec<u8>>()));
    assert_eq!(block_on(read(&mut object, 2)).unwrap(), [0, 1]);
    jam.jam();
    assert!(is_refused(&block_on(seek(&mut object, SeekFrom::Start(9))).unwrap_err()));
    assert_eq!(block_on(read(&mut object, 2)).unwrap(), [2, 3]);
    jam.clear();
    assert_eq!(block_on(seek(&mut object, SeekFrom::Current(2))).unwrap(), 6);
    assert_eq!(block_on(read(&mut object, 1)).unwrap(), [6]);
}

#[test]
fn a_failed_seek_keeps_what_is_unread() {
    let mut object = Unblock::new(Cursor::new((0..100).collect::<Vec<u8>>()));
    assert_eq!(block_on(read(&mut object, 2)).unwrap(), [0, 1]);
    assert!(block_on(seek(&mut object, SeekFrom::Current(-3))).is_err());
    assert_eq!(block_on(read(&mut object, 2)).unwrap(), [2, 3]);
}

#[test]
fn a_flush_refused_by_a_full_queue_flushes_when_it_is_tried_again() {
    let mut jam = Jam::new();
    let (object, log) = Object::new(|_| Ok(()));
    let mut object = Unblock::on(&jam.executor, object);
    assert_eq!(block_on(write(&mut object, b"abc")).unwrap(), 3);
    jam.jam();
    for _ in 0..3 {
        assert!(is_refused(&block_on(flush(&mut object)).unwrap_err()));
    }
    jam.clear();
    block_on(flush(&mut object)).unwrap();
    let log = log.lock().unwrap();
    assert_eq!((log.written.as_slice(), log.writes, log.flushes), (b"abc".as_slice(), 1, 1));
}

#[test]
fn flush_and_close_reach_the_object_after_a_call() {
    let (object, log) = Object::new(|_| Ok(()));
    let mut object = Unblock::new(object);
    block_on(flush(&mut object)).unwrap();
    block_on(object.with(|object| object.write_all(b"inside"))).unwrap().unwrap();
    block_on(flush(&mut object)).unwrap();
    assert_eq!(log.lock().unwrap().flushes, 2);
    block_on(object.with(|object| object.write_all(b"inside"))).unwrap().unwrap();
    block_on(close(&mut object)).unwrap();
    assert_eq!(log.lock().unwrap().flushes, 3);
}

#[test]
fn a_flush_reaches_the_object_after_a_call_whose_future_was_dropped() {
    let (object, log) = Object::new(|_| Ok(()));
    let mut object = Unblock::new(object);
    block_on(flush(&mut object)).unwrap();
    let _ = once(object.with(|object| object.write_all(b"inside")));
    block_on(flush(&mut object)).unwrap();
    let log = log.lock().unwrap();
    assert_eq!((log.written.as_slice(), log.flushes), (b"inside".as_slice(), 2));
}

#[test]
fn close_closes_the_object_on_the_executor() {
    let (object, log) = Object::new(|_| Ok(()));
    let mut object = Unblock::new(object);
    block_on(write(&mut object, b"abc")).unwrap();
    block_on(close(&mut object)).unwrap();
    {
        let log = log.lock().unwrap();
        assert_eq!((log.written.as_slice(), log.flushes), (b"abc".as_slice(), 1));
        assert!(log.dropped_on.is_some_and(|thread| thread != std::thread::current().id()));
    }
    block_on(close(&mut object)).unwrap();
    assert_eq!(block_on(write(&mut object, b"more")).unwrap_err().kind(), io::ErrorKind::NotConnected);
    assert!(block_on(read(&mut object, 1)).is_err());
    assert!(block_on(flush(&mut object)).is_err());
}

#[test]
fn a_stream_waits_while_the_queue_is_full() {
    let mut jam = Jam::new();
    let mut stream = Unblock::on(&jam.executor, 0..3).buffer(1000);
    assert_eq!(block_on(next(&mut stream)), Some(0));
    jam.jam();
    while let Poll::Ready(item) = once(next(&mut stream)) {
        assert!(item.is_some(), "a full queue has ended the stream");
    }
    jam.clear();
    while block_on(next(&mut stream)).is_some() {}
    assert!(stream.take_error().is_none());
}

#[test]
fn a_stream_that_a_shutdown_ends_says_so() {
    let executor = Executor::builder().max_workers(1).build().unwrap();
    let mut stream = Unblock::on(&executor, 0..3);
    executor.shutdown_blocking(Shutdown::Drain, None);
    assert_eq!(block_on(next(&mut stream)), None);
    assert!(stream.take_error().unwrap().to_string().contains("shut down"));
}

#[test]
fn a_dropped_stream_pulls_no_more_items() {
    let executor = Executor::builder().max_workers(1).build().unwrap();
    let (allow, allowed) = mpsc::channel::<()>();
    let pulled = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&pulled);
    let mut stream = Unblock::on(
        &executor,
        std::iter::from_fn(move || {
            count.fetch_add(1, Ordering::SeqCst);
            allowed.recv().ok()
        }),
    );
    allow.send(()).unwrap();
    assert_eq!(block_on(next(&mut stream)), Some(()));
    drop(stream);
    for _ in 0..1000 {
        let _ = allow.send(());
    }
    executor.shutdown_blocking(Shutdown::Drain, None);
    // The one that was given, and the one that was being pulled.
    assert!(pulled.load(Ordering::SeqCst) <= 2);
}

#[test]
fn items_in_stock_are_not_lost_with_the_stream() {
    let mut stream = Unblock::new(0..1000).buffer(100_000);
    assert_eq!(block_on(next(&mut stream)), Some(0));
    let mut all = vec![0];
    all.extend(block_on(stream.take_unread_items()));
    all.extend(block_on(stream.into_inner()).unwrap().0);
    assert_eq!(all, (0..1000).collect::<Vec<_>>());
}

#[test]
fn a_drop_after_a_write_that_panicked_writes_nothing_again() {
    let executor = Executor::builder().max_workers(1).build().unwrap();
    let (object, log) = Object::new(|_| panic!("in write"));
    let mut object = Unblock::on(&executor, object);
    block_on(write(&mut object, b"abc")).unwrap();
    assert!(block_on(flush(&mut object)).unwrap_err().to_string().contains("in write"));
    drop(object);
    executor.shutdown_blocking(Shutdown::Drain, None);
    assert_eq!(log.lock().unwrap().writes, 1);
}

#[test]
fn a_write_after_a_panic_is_an_error() {
    let (object, log) = Object::new(|_| panic!("in write"));
    let mut object = Unblock::new(object);
    block_on(write(&mut object, b"abc")).unwrap();
    assert!(block_on(flush(&mut object)).is_err());
    assert!(block_on(write(&mut object, b"abc")).is_err());
    assert!(block_on(flush(&mut object)).is_err());
    assert!(block_on(close(&mut object)).is_err());
    assert!(was_dropped_elsewhere(&log));
}

#[test]
fn a_drop_with_a_full_queue_does_not_wait_and_writes_all_the_same() {
    let (jam, object, log) = accepted_and_jammed();
    // Would hang here if it waited for the thread, which this thread holds up.
    drop(object);
    assert_eq!(log.lock().unwrap().writes, 0);
    end(jam);
    assert!(was_dropped_elsewhere(&log));
    let log = log.lock().unwrap();
    assert_eq!((log.written.as_slice(), log.writes), (b"abc".as_slice(), 1));
}

#[test]
fn a_drop_while_a_write_is_queued_writes_once() {
    let (mut jam, mut object, log) = accepted_and_jammed();
    let queued = jam.jobs.pop().unwrap();
    queued.cancel();
    assert!(once(flush(&mut object)).is_pending());
    block_on(write(&mut object, b"def")).unwrap();
    drop(object);
    end(jam);
    assert!(was_dropped_elsewhere(&log));
    assert_eq!(log.lock().unwrap().written, b"abcdef");
}

#[test]
fn an_object_that_was_only_read_is_dropped_on_the_executor() {
    let executor = Executor::builder().max_workers(1).build().unwrap();
    let (object, log) = Object::new(|_| Ok(()));
    let mut object = Unblock::on(&executor, object);
    block_on(read(&mut object, 1)).unwrap();
    drop(object);
    executor.shutdown_blocking(Shutdown::Drain, None);
    assert!(was_dropped_elsewhere(&log));
}

#[test]
fn a_shutdown_that_cancels_what_is_queued_cancels_no_last_write() {
    let (mut jam, object, log) = accepted_and_jammed();
    drop(object);
    let end = jam.executor.shutdown(Shutdown::CancelQueued);
    jam.open = None;
    assert!(block_on(end).is_complete());
    assert_eq!(log.lock().unwrap().written, b"abc");
}

#[test]
fn an_object_is_not_lost_with_an_error_of_into_inner() {
    let (object, log) =
        Object::new(|write| if write == 1 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) });
    let mut object = Unblock::new(object);
    block_on(write(&mut object, b"abc")).unwrap();
    let error = block_on(object.into_inner()).map(|_| ()).unwrap_err();
    assert_eq!(error.error().kind(), io::ErrorKind::StorageFull);
    assert!(log.lock().unwrap().dropped_on.is_none());
    let (_object, unread) = block_on(error.into_inner().into_inner()).unwrap();
    assert!(unread.is_empty());
    assert_eq!(log.lock().unwrap().written, b"abc");
}

#[test]
fn taken_apart_it_has_what_was_not_written() {
    let (object, log) = Object::new(|_| Err(io::ErrorKind::StorageFull.into()));
    let mut object = Unblock::new(object);
    block_on(write(&mut object, b"abc")).unwrap();
    assert!(block_on(flush(&mut object)).is_err());
    let parts = block_on(object.into_parts());
    assert_eq!((parts.unwritten.as_slice(), parts.object.is_some()), (b"abc".as_slice(), true));
    assert_eq!(log.lock().unwrap().writes, 1);
}

#[test]
fn bytes_of_a_failed_write_are_written_later() {
    let (object, log) =
        Object::new(|write| if write < 3 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) });
    let mut object = Unblock::new(object);
    block_on(write(&mut object, b"abc")).unwrap();
    assert!(block_on(flush(&mut object)).is_err());
    block_on(write(&mut object, b"def")).unwrap();
    assert!(block_on(flush(&mut object)).is_err());
    block_on(flush(&mut object)).unwrap();
    assert_eq!(log.lock().unwrap().written, b"abcdef");
}

#[test]
fn a_call_whose_future_was_dropped_early_runs() {
    let executor = Executor::builder().max_workers(1).build().unwrap();
    let (go, gate) = mpsc::channel::<()>();
    let (object, log) = Object::new(|_| Ok(()));
    let mut object = Unblock::on(&executor, object);
    // The object is busy, so that the second call cannot start yet.
    assert!(once(object.with(move |_| gate.recv())).is_pending());
    assert!(once(object.with(|object| object.write(b"called"))).is_pending());
    go.send(()).unwrap();
    drop(object);
    executor.shutdown_blocking(Shutdown::Drain, None);
    assert_eq!(log.lock().unwrap().written, b"called");
}

#[test]
fn a_read_waits_for_a_call_that_was_abandoned() {
    let mut object = Unblock::new(Cursor::new((0..100).collect::<Vec<u8>>()));
    let (go, gate) = mpsc::channel::<()>();
    let call = move |cursor: &mut Cursor<Vec<u8>>| {
        gate.recv().unwrap();
        cursor.set_position(50);
    };
    assert!(once(object.with(call)).is_pending());
    go.send(()).unwrap();
    assert_eq!(block_on(read(&mut object, 1)).unwrap(), [50]);
}

#[test]
fn small_reads_and_writes_are_served_from_the_buffer() {
    let executor = Executor::builder().max_workers(1).build().unwrap();
    let (object, log) = Object::new(|_| Ok(()));
    let mut object = Unblock::on(&executor, object);
    block_on(async {
        for _ in 0..100_000 {
            assert_eq!(read(&mut object, 16).await.unwrap(), [7; 16]);
        }
        for _ in 0..100_000 {
            assert_eq!(write(&mut object, &[7; 16]).await.unwrap(), 16);
        }
        flush(&mut object).await.unwrap();
    });
    let log = log.lock().unwrap();
    assert!(log.reads < 20 && log.writes < 20, "{} reads, {} writes", log.reads, log.writes);
    assert!(executor.metrics().submitted < 40);
}

#[test]
fn little_reads_of_an_object_that_is_read_ahead_come_out_together() {
    struct Little(usize);
    impl Read for Little {
        fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
            let n = self.0.min(16).min(bytes.len());
            bytes[..n].fill(7);
            self.0 -= n;
            Ok(n)
        }
    }
    let executor = Executor::builder().max_workers(1).build().unwrap();
    let mut object = Unblock::on(&executor, Little(1 << 20)).read_ahead(2);
    let mut sum = 0;
    while let Some(n) = Some(block_on(read(&mut object, 16)).unwrap().len()).filter(|n| *n > 0) {
        sum += n;
    }
    assert_eq!(sum, 1 << 20);
    // Of 65,536 reads of 16 bytes.
    assert!(executor.metrics().submitted < 1000, "{}", executor.metrics().submitted);
}

#[test]
fn a_file_is_written_where_its_reader_is() {
    let path = std::env::temp_dir().join(format!("overlapped-unblock-{}", std::process::id()));
    std::fs::write(&path, b"0123456789").unwrap();
    let file = std::fs::File::options().read(true).write(true).open(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let mut object = Unblock::new(file);
    block_on(async {
        assert_eq!(read(&mut object, 3).await.unwrap(), b"012");
        write(&mut object, b"ab").await.unwrap();
        assert_eq!(read(&mut object, 2).await.unwrap(), b"56");
        assert_eq!(seek(&mut object, SeekFrom::Start(0)).await.unwrap(), 0);
        assert_eq!(read(&mut object, 20).await.unwrap(), b"012ab56789");
    });
}

#[test]
fn an_object_that_answers_is_read_only_when_asked() {
    // A peer that sends nothing more until it is written to: to read ahead would hang.
    struct Peer(mpsc::Receiver<Vec<u8>>, mpsc::Sender<Vec<u8>>);
    impl Read for Peer {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let bytes = self.0.recv().unwrap_or_default();
            into[..bytes.len()].copy_from_slice(&bytes);
            Ok(bytes.len())
        }
    }
    impl Write for Peer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.1.send(bytes.to_vec()).unwrap();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let (answer, answers) = mpsc::channel();
    let mut object = Unblock::new(Peer(answers, answer)).buffer(64);
    block_on(async {
        for round in 0..100 {
            write(&mut object, &[round; 64]).await.unwrap();
            flush(&mut object).await.unwrap();
            assert_eq!(read(&mut object, 64).await.unwrap(), [round; 64]);
        }
    });
}

#[test]
fn a_cancelled_read_is_not_tried_again_for_ever() {
    let executor = Executor::builder().max_workers(1).build().unwrap();
    let mut object = Unblock::on(&executor, io::empty());
    executor.shutdown_blocking(Shutdown::CancelAll, None);
    let error = block_on(read(&mut object, 1)).unwrap_err();
    assert_ne!(error.kind(), io::ErrorKind::Interrupted);
    assert_ne!(io::Error::from(JobError::Cancelled).kind(), io::ErrorKind::Interrupted);
}

/// An executor of one thread, which is busy until the sender is dropped.
fn busy() -> (Executor, mpsc::Sender<()>) {
    let executor = Executor::builder().max_workers(1).build().unwrap();
    let (open, gate) = mpsc::channel::<()>();
    executor.submit(move || gate.recv()).detach();
    (executor, open)
}

#[test]
fn bytes_behind_a_dropped_close_are_not_accepted() {
    // They were, and lost.
    let (executor, open) = busy();
    let (object, log) = Object::new(|_| Ok(()));
    let mut object = Unblock::on(&executor, object);
    assert_eq!(block_on(write(&mut object, b"abc")).unwrap(), 3);
    assert!(once(close(&mut object)).is_pending());
    assert!(once(write(&mut object, b"more")).is_pending());
    drop(open);
    assert_eq!(block_on(write(&mut object, b"more")).unwrap_err().kind(), io::ErrorKind::NotConnected);
    assert_eq!(log.lock().unwrap().written, b"abc");
    assert!(log.lock().unwrap().dropped_on.is_some());
}

#[test]
fn what_follows_a_dropped_close_says_that_the_object_is_closed() {
    // It said that the object had panicked.
    type Operation = fn(&mut Unblock<Cursor<Vec<u8>>>) -> Option<io::Error>;
    let operations: [Operation; 4] = [
        |object| block_on(object.read(&mut [0])).err(),
        |object| block_on(object.flush()).err(),
        |object| block_on(object.seek(SeekFrom::Start(1))).err(),
        |object| block_on(object.write(b"more")).err(),
    ];
    for operation in operations {
        let (executor, open) = busy();
        let mut object = Unblock::on(&executor, Cursor::new(b"bytes".to_vec()));
        assert!(once(object.close()).is_pending());
        drop(open);
        assert_eq!(operation(&mut object).unwrap().kind(), io::ErrorKind::NotConnected);
        block_on(object.close()).unwrap();
    }
}

#[test]
fn a_dropped_seek_does_not_answer_a_later_one_to_the_same_place() {
    let (executor, open) = busy();
    let mut object = Unblock::on(&executor, Cursor::new((0..100).collect::<Vec<u8>>()));
    assert!(once(object.seek(SeekFrom::Current(5))).is_pending());
    drop(open);
    // It takes effect, and the next is another.
    assert_eq!(block_on(object.seek(SeekFrom::Current(5))).unwrap(), 10);
    // Also if the dropped one came through the trait.
    let (busy, open) = busy();
    let mut object = Unblock::on(&busy, Cursor::new((0..100).collect::<Vec<u8>>()));
    assert!(once(seek(&mut object, SeekFrom::Current(5))).is_pending());
    drop(open);
    assert_eq!(block_on(object.seek(SeekFrom::Current(5))).unwrap(), 10);
}

#[test]
fn a_dropped_seek_to_the_end_does_not_answer_for_an_object_that_has_grown() {
    let (executor, open) = busy();
    let mut object = Unblock::on(&executor, Cursor::new(b"1234".to_vec()));
    assert!(once(object.seek(SeekFrom::End(0))).is_pending());
    drop(open);
    block_on(object.with(|object| object.get_mut().extend_from_slice(b"5678"))).unwrap();
    assert!(once(object.seek(SeekFrom::End(0))).is_pending() || once(object.read(&mut [0])).is_ready());
    assert_eq!(block_on(object.seek(SeekFrom::End(0))).unwrap(), 8);
}

#[cfg(feature = "tokio")]
#[test]
fn a_dropped_seek_of_tokios_traits_moves_the_object_once() {
    use tokio::io::AsyncSeekExt;
    let (executor, open) = busy();
    let mut object = Unblock::on(&executor, Cursor::new((0..100).collect::<Vec<u8>>()));
    assert!(once(AsyncSeekExt::seek(&mut object, SeekFrom::Current(5))).is_pending());
    drop(open);
    assert_eq!(block_on(object.read(&mut [0])).unwrap(), 1);
    assert_eq!(block_on(AsyncSeekExt::seek(&mut object, SeekFrom::Current(0))).unwrap(), 6);
}

#[test]
fn a_read_in_a_job_with_no_thread_left_says_so() {
    // A flush did; a read and a stream, whose waker is with the stock as well, hung.
    let executor = Executor::builder().max_workers(1).stand_in_workers(0).build().unwrap();
    let inner = executor.clone();
    let mut job = executor.submit(move || {
        let mut object = Unblock::on(&inner, Cursor::new(b"bytes".to_vec()));
        let read = block_on(object.read(&mut [0; 4])).unwrap_err().kind();
        // What was left by a read that was dropped is known, too.
        let sought = block_on(async {
            let _ = once(object.read(&mut [0; 4]));
            object.seek(SeekFrom::Start(0)).await.unwrap_err().kind()
        });
        let mut items = Unblock::on(&inner, 0..3);
        let none = block_on(next(&mut items)).is_none();
        let streamed = items.take_error().unwrap().kind();
        (read, sought, none, streamed)
    });
    let told = io::ErrorKind::Deadlock;
    let ended = job.wait_timeout(HANGS).expect("a wait hangs").unwrap();
    assert_eq!(ended, (told, told, true, told));
}

/// What has not ended by then never ends.
const HANGS: Duration = Duration::from_secs(30);
