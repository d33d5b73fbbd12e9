//! `Unblock`: reading, writing, seeking, streaming; what is lost when (nothing); under tokio, smol and a plain `block_on`.

// Helpers of tests, too, may do what tests may.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::future::poll_fn;
use std::io::{self, Cursor, Read, Seek, SeekFrom, Write};
use std::pin::Pin;
use std::sync::{Arc, Mutex, mpsc};

use futures_core::Stream;
use futures_io::{AsyncRead, AsyncSeek, AsyncWrite};
use overlapped::{Executor, Shutdown, Unblock, block_on};
use proptest::prelude::*;

async fn read<T: Read + Send + 'static>(from: &mut Unblock<T>, bytes: usize) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; bytes];
    let n = poll_fn(|cx| AsyncRead::poll_read(Pin::new(&mut *from), cx, &mut buffer)).await?;
    buffer.truncate(n);
    Ok(buffer)
}

async fn read_all<T: Read + Send + 'static>(from: &mut Unblock<T>, step: usize) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    loop {
        let some = read(from, step).await?;
        if some.is_empty() {
            return Ok(all);
        }
        all.extend(some);
    }
}

async fn write<T: Write + Send + 'static>(into: &mut Unblock<T>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let n = poll_fn(|cx| AsyncWrite::poll_write(Pin::new(&mut *into), cx, bytes)).await?;
        bytes = &bytes[n..];
    }
    Ok(())
}

async fn flush<T: Write + Send + 'static>(into: &mut Unblock<T>) -> io::Result<()> {
    poll_fn(|cx| AsyncWrite::poll_flush(Pin::new(&mut *into), cx)).await
}

async fn seek<T: Seek + Send + 'static>(of: &mut Unblock<T>, to: SeekFrom) -> io::Result<u64> {
    poll_fn(|cx| AsyncSeek::poll_seek(Pin::new(&mut *of), cx, to)).await
}

fn numbers(n: usize) -> Vec<u8> {
    (0..n).map(|i| (i % 251) as u8).collect()
}

/// Reads, seeks, writes: the same under every runtime.
async fn a_bit_of_everything() {
    let mut object = Unblock::new(Cursor::new(numbers(100_000))).buffer(1000);
    assert_eq!(read_all(&mut object, 333).await.unwrap(), numbers(100_000));
    assert_eq!(seek(&mut object, SeekFrom::Start(50_000)).await.unwrap(), 50_000);
    write(&mut object, b"written").await.unwrap();
    flush(&mut object).await.unwrap();
    assert_eq!(seek(&mut object, SeekFrom::Current(-7)).await.unwrap(), 50_000);
    assert_eq!(read(&mut object, 7).await.unwrap(), b"written");
    let (cursor, unread) = object.into_inner().await.unwrap();
    assert_eq!(cursor.position() as usize, 50_007 + unread.len());
}

#[test]
fn under_a_plain_block_on() {
    block_on(a_bit_of_everything());
}

#[test]
fn under_tokio() {
    let current = tokio::runtime::Builder::new_current_thread().build().unwrap();
    current.block_on(a_bit_of_everything());
    let threads = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    threads.block_on(threads.spawn(a_bit_of_everything())).unwrap();
}

#[test]
fn under_smol() {
    let executor = smol::Executor::new();
    smol::block_on(executor.run(executor.spawn(a_bit_of_everything())));
}

#[cfg(feature = "tokio")]
#[test]
fn with_tokios_traits() {
    use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncSeekExt};
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut object = Unblock::new(Cursor::new(b"one\ntwo\n".to_vec())).buffer(3);
        let mut line = String::new();
        object.read_line(&mut line).await.unwrap();
        assert_eq!(line, "one\n");
        assert_eq!(object.stream_position().await.unwrap(), 4);
        object.write_all(b"TWO").await.unwrap();
        object.flush().await.unwrap();
        object.rewind().await.unwrap();
        let mut all = String::new();
        object.read_to_string(&mut all).await.unwrap();
        assert_eq!(all, "one\nTWO\n");
    });
}

#[test]
fn reading_ahead_gives_the_same_bytes() {
    for ahead in [0, 1, 2, 7] {
        let mut object = Unblock::new(Cursor::new(numbers(100_000))).buffer(1009).read_ahead(ahead);
        assert_eq!(block_on(read_all(&mut object, 4000)).unwrap(), numbers(100_000));
        assert!(block_on(read(&mut object, 1)).unwrap().is_empty());
    }
}

/// Gives `answer` a while to come, so that a hang is a failure.
fn in_time<T: Send + 'static>(answer: impl FnOnce() -> T + Send + 'static) -> T {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || tell.send(answer()));
    told.recv_timeout(std::time::Duration::from_secs(20)).expect("an answer")
}

#[test]
fn a_pipe_was_read_a_second_time_before_that_was_asked_for() {
    let executor = Executor::builder().max_workers(1).build().unwrap();
    let (pipe, mut input) = io::pipe().unwrap();
    // As a file, too: only a regular one is read on to its end.
    for file in [false, true] {
        input.write_all(b"some").unwrap();
        let pipe = pipe.try_clone().unwrap();
        let executor = executor.clone();
        // The second read would hold the object, and the only thread, until something is written.
        let used = in_time(move || {
            if file {
                let mut file = Unblock::on(&executor, std::fs::File::from(std::os::fd::OwnedFd::from(pipe)));
                block_on(async { (read(&mut file, 10).await.unwrap(), file.with(|_| 7).await.unwrap()) })
            } else {
                let mut pipe = Unblock::on(&executor, pipe);
                block_on(async { (read(&mut pipe, 10).await.unwrap(), pipe.with(|_| 7).await.unwrap()) })
            }
        });
        assert_eq!(used, (b"some".to_vec(), 7));
    }
}

#[test]
fn a_cancelled_read_loses_nothing() {
    let (send, receive) = mpsc::channel::<Vec<u8>>();
    struct Slow(mpsc::Receiver<Vec<u8>>);
    impl Read for Slow {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let bytes = self.0.recv().unwrap_or_default();
            into[..bytes.len()].copy_from_slice(&bytes);
            Ok(bytes.len())
        }
    }
    let mut object = Unblock::new(Slow(receive));
    let mut buffer = [0; 4];
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(AsyncRead::poll_read(Pin::new(&mut object), &mut cx, &mut buffer).is_pending());
    send.send(b"late".to_vec()).unwrap();
    assert_eq!(block_on(read(&mut object, 4)).unwrap(), b"late");
}

#[test]
fn an_error_comes_after_the_bytes_before_it() {
    struct Twice(u32);
    impl Read for Twice {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            self.0 += 1;
            match self.0 {
                1 => Err(io::ErrorKind::Interrupted.into()),
                2 => {
                    into[0] = 9;
                    Ok(1)
                }
                3 => Err(io::ErrorKind::ConnectionReset.into()),
                _ => Ok(0),
            }
        }
    }
    let mut object = Unblock::new(Twice(0)).read_ahead(3);
    assert_eq!(block_on(read(&mut object, 10)).unwrap(), [9]);
    assert_eq!(block_on(read(&mut object, 10)).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    assert!(block_on(read(&mut object, 10)).unwrap().is_empty());
}

/// A writer that others can look at.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<(Vec<u8>, usize)>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().0.extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        self.0.lock().unwrap().1 += 1;
        Ok(())
    }
}

#[test]
fn what_was_accepted_is_written_on_flush() {
    let shared = Shared::default();
    let mut object = Unblock::new(shared.clone()).buffer(100);
    block_on(async {
        write(&mut object, &numbers(12_345)).await.unwrap();
        flush(&mut object).await.unwrap();
        flush(&mut object).await.unwrap();
    });
    let written = shared.0.lock().unwrap();
    assert_eq!((written.0.clone(), written.1), (numbers(12_345), 1));
}

#[test]
fn what_was_accepted_is_written_after_a_drop() {
    let executor = Executor::builder().max_workers(1).build().unwrap();
    let shared = Shared::default();
    let mut object = Unblock::on(&executor, shared.clone()).buffer(100);
    block_on(write(&mut object, &numbers(1_050))).unwrap();
    drop(object);
    executor.shutdown_blocking(Shutdown::Drain, None);
    assert_eq!(shared.0.lock().unwrap().0, numbers(1_050));
}

#[test]
fn what_was_accepted_is_written_even_if_the_executor_is_gone() {
    let executor = Executor::builder().max_workers(1).build().unwrap();
    let shared = Shared::default();
    let mut object = Unblock::on(&executor, shared.clone());
    block_on(write(&mut object, b"late")).unwrap();
    executor.shutdown_blocking(Shutdown::CancelAll, None);
    assert!(block_on(flush(&mut object)).is_err());
    drop(object);
    assert_eq!(shared.0.lock().unwrap().0, b"late");
}

#[test]
fn a_failed_write_is_told_with_the_next_operation() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut object = Unblock::new(Full).buffer(10);
    let error = block_on(async {
        write(&mut object, &[0; 10]).await?;
        flush(&mut object).await
    });
    assert_eq!(error.unwrap_err().kind(), io::ErrorKind::StorageFull);
}

#[test]
fn an_object_that_panics_is_not_used_again() {
    struct Panics;
    impl Read for Panics {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            panic!("in read")
        }
    }
    let mut object = Unblock::new(Panics);
    assert!(block_on(read(&mut object, 1)).unwrap_err().to_string().contains("in read"));
    assert!(block_on(read(&mut object, 1)).is_err());
    assert!(block_on(object.with(|_| ())).is_err());
    assert!(block_on(object.into_inner()).is_err());
}

#[test]
fn the_object_itself_can_be_used() {
    let mut object = Unblock::new(Cursor::new(Vec::new()));
    block_on(async {
        write(&mut object, b"abc").await.unwrap();
        assert_eq!(object.with(|cursor| cursor.get_ref().len()).await.unwrap(), 3);
    });
}

#[test]
fn an_iterator_is_a_stream() {
    let mut stream = Unblock::new(0..10_000).buffer(16_000);
    for n in 0..10_000 {
        assert_eq!(block_on(poll_fn(|cx| Pin::new(&mut stream).poll_next(cx))), Some(n));
    }
    assert_eq!(block_on(poll_fn(|cx| Pin::new(&mut stream).poll_next(cx))), None);
    assert_eq!(block_on(poll_fn(|cx| Pin::new(&mut stream).poll_next(cx))), None);
}

#[test]
fn items_of_a_slow_iterator_come_one_by_one() {
    let (send, receive) = mpsc::channel();
    let mut stream = Unblock::new(receive.into_iter());
    for n in 0..10 {
        send.send(n).unwrap();
        assert_eq!(block_on(poll_fn(|cx| Pin::new(&mut stream).poll_next(cx))), Some(n));
    }
    drop(send);
    assert_eq!(block_on(poll_fn(|cx| Pin::new(&mut stream).poll_next(cx))), None);
}

#[test]
fn an_iterator_that_panics_ends_the_stream() {
    let mut stream = Unblock::new((0..3).map(|n| if n == 2 { panic!("in next") } else { n }));
    let mut next = || block_on(poll_fn(|cx| Pin::new(&mut stream).poll_next(cx)));
    assert_eq!([next(), next(), next(), next()], [Some(0), Some(1), None, None]);
}

#[derive(Clone, Debug)]
enum Operation {
    Read(usize),
    Write(Vec<u8>),
    Flush,
    Seek(SeekFrom),
    /// Polls a read once and forgets it.
    Abandon(usize),
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let operation = prop_oneof![
        (1..300_usize).prop_map(Operation::Read),
        prop::collection::vec(any::<u8>(), 1..200).prop_map(Operation::Write),
        Just(Operation::Flush),
        (0..600_u64).prop_map(|at| Operation::Seek(SeekFrom::Start(at))),
        (-300..300_i64).prop_map(|by| Operation::Seek(SeekFrom::Current(by))),
        (-300..10_i64).prop_map(|by| Operation::Seek(SeekFrom::End(by))),
        (1..50_usize).prop_map(Operation::Abandon),
    ];
    prop::collection::vec(operation, 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200 * ProptestConfig::default().cases / 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// Against the blocking object itself. Between reading and writing there is a seek, as the documentation asks.
    #[test]
    fn it_behaves_as_the_object_does(operations in operations(), buffer in 1..200_usize, ahead in 0..4_usize) {
        let mut model = Cursor::new(numbers(500));
        let mut object = Unblock::new(Cursor::new(numbers(500))).buffer(buffer).read_ahead(ahead);
        block_on(async {
            for operation in operations {
                match operation {
                    Operation::Read(n) => {
                        flush(&mut object).await.unwrap();
                        let got = read(&mut object, n).await.unwrap();
                        let mut expected = vec![0; got.len()];
                        model.read_exact(&mut expected).unwrap();
                        prop_assert_eq!(&got, &expected);
                        if got.is_empty() {
                            prop_assert!(model.position() as usize >= model.get_ref().len());
                        }
                    }
                    Operation::Write(bytes) => {
                        let at = seek(&mut object, SeekFrom::Current(0)).await.unwrap();
                        prop_assert_eq!(at, model.position());
                        write(&mut object, &bytes).await.unwrap();
                        model.write_all(&bytes).unwrap();
                    }
                    Operation::Flush => flush(&mut object).await.unwrap(),
                    Operation::Seek(to) => {
                        let (got, expected) = (seek(&mut object, to).await, model.seek(to));
                        prop_assert_eq!(got.ok(), expected.ok());
                    }
                    Operation::Abandon(n) => {
                        flush(&mut object).await.unwrap();
                        let mut buffer = vec![0; n];
                        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
                        let poll = AsyncRead::poll_read(Pin::new(&mut object), &mut cx, &mut buffer);
                        if let std::task::Poll::Ready(Ok(n)) = poll {
                            model.read_exact(&mut vec![0; n]).unwrap();
                        }
                    }
                }
            }
            let (cursor, unread) = object.into_inner().await.unwrap();
            prop_assert_eq!(cursor.get_ref(), model.get_ref());
            prop_assert_eq!(cursor.position() - unread.len() as u64, model.position());
            Ok(())
        })?;
    }
}
