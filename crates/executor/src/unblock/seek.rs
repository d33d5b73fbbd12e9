//! Seeking, relative to the reader's position: read-ahead has moved the object beyond it. Accepted bytes are written before the object is
//! moved, and a seek is never answered with the result of another.

use std::io::{self, Seek, SeekFrom};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use super::{Done, Operation, Unblock, Unread};

/// The seek that was asked for last. Any other operation [abandons](Unblock::abandon_seek) it.
pub(super) enum Seeking {
    Idle,
    UnderWay(SeekFrom),
    Answered(SeekFrom, io::Result<u64>),
}

impl<T: Seek + Send + 'static> Unblock<T> {
    pub(super) fn poll_sought(&mut self, cx: &mut Context<'_>, to: SeekFrom) -> Poll<io::Result<u64>> {
        loop {
            match std::mem::replace(&mut self.seeking, Seeking::Idle) {
                Seeking::Answered(of, result) if of == to => return Poll::Ready(result),
                Seeking::UnderWay(of) if of == to => {
                    self.seeking = Seeking::UnderWay(of);
                    if let Err(error) = ready!(self.poll_rest(cx)) {
                        self.abandon_seek();
                        return Poll::Ready(Err(error));
                    }
                }
                Seeking::Idle | Seeking::UnderWay(_) | Seeking::Answered(..) => {
                    ready!(self.poll_rest(cx))?;
                    self.rewind = Some(rewind::<T>);
                    let unread = self.reading.unread_bytes();
                    self.seeking = Seeking::UnderWay(to);
                    self.start(Operation::Seek, move |object| seek(object, to, unread));
                }
            }
        }
    }
}

impl<T: Send + 'static> Unblock<T> {
    /// Forgets the seek. One under way still moves the object, but its result is dropped; one that has not started never does.
    pub(super) fn abandon_seek(&mut self) {
        self.seeking = Seeking::Idle;
        #[cfg(feature = "tokio")]
        {
            self.wanted = None;
        }
    }

    /// A seek is over.
    pub(super) fn sought(&mut self, result: io::Result<u64>, unread: Unread) {
        match unread {
            Unread::Keep => {}
            Unread::Forget => self.reading.forget(),
        }
        self.seeking = match std::mem::replace(&mut self.seeking, Seeking::Idle) {
            Seeking::UnderWay(to) => Seeking::Answered(to, result),
            Seeking::Idle | Seeking::Answered(..) => Seeking::Idle,
        };
    }
}

/// The job. A seek that fails leaves the reader where it is.
fn seek(object: &mut impl Seek, to: SeekFrom, unread: u64) -> Done {
    if to == SeekFrom::Current(0) {
        // Only to know the position: what was read ahead stays.
        let behind = |at: u64| at.checked_sub(unread).ok_or(io::ErrorKind::InvalidInput.into());
        return Done::Sought(object.stream_position().and_then(behind), Unread::Keep);
    }
    let result = match to {
        SeekFrom::Start(_) | SeekFrom::End(_) => object.seek(to),
        SeekFrom::Current(by) => match i64::try_from(unread).ok().and_then(|back| by.checked_sub(back)) {
            Some(by) => object.seek(SeekFrom::Current(by)),
            None => {
                return match rewind(object, unread) {
                    Ok(()) => Done::Sought(object.seek(to), Unread::Forget),
                    Err(error) => Done::Sought(Err(error), Unread::Keep),
                };
            }
        },
    };
    let unread = if result.is_ok() { Unread::Forget } else { Unread::Keep };
    Done::Sought(result, unread)
}

pub(super) fn rewind<T: Seek>(object: &mut T, by: u64) -> io::Result<()> {
    let by = i64::try_from(by).map_err(|_| io::ErrorKind::InvalidInput)?;
    object.seek(SeekFrom::Current(-by)).map(drop)
}

/// This trait does not tell a new seek from one that is asked for again: after a future of `AsyncSeekExt::seek` was dropped half-way, the
/// next operation, if it is a seek to the same `SeekFrom`, gets its answer. [`Unblock::seek`] has no such limit.
impl<T: Seek + Send + 'static> futures_io::AsyncSeek for Unblock<T> {
    fn poll_seek(self: Pin<&mut Self>, cx: &mut Context<'_>, to: SeekFrom) -> Poll<io::Result<u64>> {
        self.get_mut().poll_sought(cx, to)
    }
}

#[cfg(feature = "tokio")]
impl<T: Seek + Send + 'static> tokio::io::AsyncSeek for Unblock<T> {
    fn start_seek(self: Pin<&mut Self>, to: SeekFrom) -> io::Result<()> {
        let this = self.get_mut();
        // A new one, even if one to the same place was begun before.
        this.abandon_seek();
        this.wanted = Some(to);
        Ok(())
    }

    fn poll_complete(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<u64>> {
        let this = self.get_mut();
        let Some(to) = this.wanted else {
            // tokio asks this before every seek; there is nothing to complete.
            return Poll::Ready(Ok(0));
        };
        let result = ready!(this.poll_sought(cx, to));
        this.wanted = None;
        Poll::Ready(result)
    }
}
