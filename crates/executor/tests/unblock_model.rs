//! `Unblock` against the blocking object itself: random operations, with futures dropped at their await, a queue that is full at times,
//! and an object that fails or panics.

// Helpers of tests, too, may do what tests may.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::future::{Future, poll_fn};
use std::io::{self, Cursor, Read, Seek, SeekFrom, Write};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use futures_io::{AsyncRead, AsyncSeek, AsyncWrite};
use overlapped::{Shutdown, Unblock, block_on};
use proptest::prelude::*;

use jam::Jam;

mod jam;

#[derive(Clone, Debug)]
enum Operation {
    Read(usize),
    Write(Vec<u8>),
    Flush,
    Close,
    Seek(SeekFrom),
    Call,
    /// From now on the queue is full; or no longer.
    Jam,
    Clear,
    /// The object panics when it is used next.
    Break,
}

/// Whether the future is awaited, or polled once and dropped.
type Patience = bool;

fn operations() -> impl Strategy<Value = Vec<(Operation, Patience)>> {
    let operation = prop_oneof![
        8 => (1..300_usize).prop_map(Operation::Read),
        8 => prop::collection::vec(any::<u8>(), 1..200).prop_map(Operation::Write),
        4 => Just(Operation::Flush),
        1 => Just(Operation::Close),
        3 => (0..600_u64).prop_map(|at| Operation::Seek(SeekFrom::Start(at))),
        3 => (-300..300_i64).prop_map(|by| Operation::Seek(SeekFrom::Current(by))),
        3 => (-300..10_i64).prop_map(|by| Operation::Seek(SeekFrom::End(by))),
        3 => Just(Operation::Call),
        2 => Just(Operation::Jam),
        3 => Just(Operation::Clear),
    ];
    let last = prop_oneof![5 => Just(None), 1 => Just(Some((Operation::Break, true)))];
    let mixed = prop::collection::vec((operation, prop::bool::weighted(0.7)), 0..60);
    (mixed, last, any::<prop::sample::Index>()).prop_map(|(mut operations, last, at)| {
        if let Some(last) = last {
            operations.insert(at.index(operations.len() + 1), last);
        }
        operations
    })
}

/// What is known of the object from outside.
#[derive(Default)]
struct Seen {
    cursor: Cursor<Vec<u8>>,
    calls: usize,
    writes: usize,
    breaks: bool,
    dropped: usize,
}

/// Takes 50 bytes at a time, and refuses every `flaky`-th write.
struct Object(Arc<Mutex<Seen>>, usize);

impl Object {
    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        let seen = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        assert!(!seen.breaks, "it was to break");
        seen
    }
}

impl Read for Object {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.seen().cursor.read(into)
    }
}

impl Write for Object {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut seen = self.seen();
        seen.writes += 1;
        if self.1 > 0 && seen.writes.is_multiple_of(self.1) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        seen.cursor.write(&bytes[..bytes.len().min(50)])
    }
    fn flush(&mut self) -> io::Result<()> {
        drop(self.seen());
        Ok(())
    }
}

impl Seek for Object {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.seen().cursor.seek(to)
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).dropped += 1;
    }
}

/// Awaits it, or polls it once. While the queue is full, what is pending would be so for ever.
fn run<F: Future>(future: F, patient: bool) -> Poll<F::Output> {
    if patient {
        return Poll::Ready(block_on(future));
    }
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

fn check(
    operations: Vec<(Operation, Patience)>,
    buffer: usize,
    ahead: Option<usize>,
    flaky: usize,
    to_the_end: bool,
) -> Result<(), TestCaseError> {
    let start: Vec<u8> = (0..500).map(|i| (i % 251) as u8).collect();
    let mut jam = Jam::new();
    let executor = jam.executor.clone();
    let seen = Arc::new(Mutex::new(Seen { cursor: Cursor::new(start.clone()), ..Seen::default() }));
    let look = || seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut object = Unblock::on(&executor, Object(Arc::clone(&seen), flaky)).buffer(buffer);
    if let Some(ahead) = ahead {
        object = object.read_ahead(ahead);
    }
    let (mut model, mut calls) = (Cursor::new(start), 0);
    // So that it is known to have one position.
    block_on(poll_fn(|cx| AsyncSeek::poll_seek(Pin::new(&mut object), cx, SeekFrom::Start(0)))).unwrap();
    // It is closed, or will be.
    let mut closing = false;
    let mut broken = false;
    for (operation, patient) in operations {
        // A job that was queued before the jam would be waited for for ever.
        let patient = patient && jam.open.is_none();
        match operation {
            // Whether they find the object depends on when it is closed.
            Operation::Read(_) | Operation::Seek(_) | Operation::Call | Operation::Break if closing => {}
            Operation::Read(n) => {
                let mut got = vec![0; n];
                let read = poll_fn(|cx| AsyncRead::poll_read(Pin::new(&mut object), cx, &mut got));
                if let Poll::Ready(Ok(n)) = run(read, patient) {
                    let mut expected = vec![0; n];
                    model.read_exact(&mut expected).unwrap();
                    prop_assert_eq!(&got[..n], &expected);
                    prop_assert!(n > 0 || model.position() as usize >= model.get_ref().len());
                }
            }
            Operation::Write(bytes) => {
                let write = poll_fn(|cx| AsyncWrite::poll_write(Pin::new(&mut object), cx, &bytes));
                if let Poll::Ready(Ok(n)) = run(write, patient) {
                    model.write_all(&bytes[..n]).unwrap();
                }
            }
            Operation::Flush => {
                let flush = poll_fn(|cx| AsyncWrite::poll_flush(Pin::new(&mut object), cx));
                if let Poll::Ready(Ok(())) = run(flush, patient) {
                    prop_assert!(!broken);
                    let seen = look();
                    prop_assert_eq!(seen.cursor.get_ref(), model.get_ref());
                }
            }
            Operation::Close => {
                let close = poll_fn(|cx| AsyncWrite::poll_close(Pin::new(&mut object), cx));
                let closed = run(close, patient);
                closing |= matches!(closed, Poll::Ready(Ok(())) | Poll::Pending);
                if let Poll::Ready(Ok(())) = closed {
                    prop_assert!(!broken);
                    let seen = look();
                    prop_assert_eq!((seen.cursor.get_ref(), seen.dropped), (model.get_ref(), 1));
                }
            }
            Operation::Seek(to) => {
                let seek = poll_fn(|cx| AsyncSeek::poll_seek(Pin::new(&mut object), cx, to));
                let before = model.position();
                let expected = model.seek(to).ok();
                match run(seek, patient) {
                    Poll::Ready(Ok(at)) => prop_assert_eq!(Some(at), expected),
                    Poll::Ready(Err(_)) => model.set_position(before),
                    // It takes effect if it was begun. Either is right, but nothing else.
                    Poll::Pending if !broken => {
                        jam.clear();
                        let at = (0..1000).find_map(|_| {
                            let here = SeekFrom::Current(0);
                            let position =
                                poll_fn(|cx| AsyncSeek::poll_seek(Pin::new(&mut object), cx, here));
                            block_on(position).ok()
                        });
                        prop_assert!(
                            at == Some(before) || at == expected,
                            "{:?}: {:?} -> {:?}",
                            to,
                            before,
                            at
                        );
                        model.set_position(at.unwrap());
                    }
                    Poll::Pending => {}
                }
            }
            Operation::Call => {
                let call = object.with(|object| object.seen().calls += 1);
                match run(call, patient) {
                    Poll::Ready(Ok(())) | Poll::Pending => calls += 1,
                    Poll::Ready(Err(_)) => {}
                }
            }
            Operation::Jam if jam.open.is_none() => jam.jam(),
            Operation::Jam => {}
            Operation::Clear => jam.clear(),
            Operation::Break => {
                jam.clear();
                look().breaks = true;
                let flush = poll_fn(|cx| AsyncWrite::poll_flush(Pin::new(&mut object), cx));
                if block_on(flush).is_err() {
                    broken = true;
                } else {
                    look().breaks = false;
                }
            }
        }
    }
    let to_the_end = to_the_end && !closing;
    if to_the_end && !broken {
        jam.clear();
        let mut ended = block_on(object.into_inner());
        for _ in 0..1000 {
            ended = match ended {
                Ok(_) => break,
                Err(error) => block_on(error.into_inner().into_inner()),
            };
        }
        let (inner, unread) = ended.unwrap();
        prop_assert_eq!(look().cursor.position() - unread.len() as u64, model.position());
        drop(inner);
    } else {
        drop(object);
        jam.clear();
    }
    prop_assert!(executor.shutdown_blocking(Shutdown::Drain, None).is_complete());
    let seen = look();
    prop_assert_eq!(seen.dropped, 1);
    if !broken && (flaky == 0 || to_the_end) {
        prop_assert_eq!(seen.cursor.get_ref(), model.get_ref());
    }
    // A call before which the object refused a write is not made.
    prop_assert!(broken || seen.calls == calls || flaky > 0 && seen.calls < calls);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500 * ProptestConfig::default().cases / 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn it_behaves_as_the_object_does_whatever_goes_wrong(
        operations in operations(),
        buffer in 1..200_usize,
        ahead in prop::option::of(0..4_usize),
        flaky in prop_oneof![Just(0_usize), 2..6_usize],
        to_the_end in any::<bool>(),
    ) {
        check(operations, buffer, ahead, flaky, to_the_end)?;
    }
}
