//! Inherent methods for reading, writing and seeking: for use without extension traits, or with those of two crates at once, whose methods
//! have the same names. They call the trait implementations.

use std::future::poll_fn;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::pin::Pin;

use futures_io::{AsyncRead, AsyncWrite};

use super::Unblock;

impl<T: Read + Send + 'static> Unblock<T> {
    /// Reads some bytes; 0 at the end.
    ///
    /// # Errors
    ///
    /// See [`Unblock`].
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub async fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        poll_fn(|cx| AsyncRead::poll_read(Pin::new(&mut *self), cx, into)).await
    }

    /// Fills the slice.
    ///
    /// # Errors
    ///
    /// See [`Unblock`]; and [`UnexpectedEof`](io::ErrorKind::UnexpectedEof) if the object ends before.
    ///
    /// # Cancel safety
    ///
    /// What was read into the slice is not read again.
    pub async fn read_exact(&mut self, mut into: &mut [u8]) -> io::Result<()> {
        while !into.is_empty() {
            let n = self.read(into).await?;
            if n == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            into = into.get_mut(n..).unwrap_or_default();
        }
        Ok(())
    }

    /// Reads to the end; returns how many bytes were appended.
    ///
    /// # Errors
    ///
    /// See [`Unblock`]. What was read before stays in the vector.
    ///
    /// # Cancel safety
    ///
    /// What was read is in the vector.
    pub async fn read_to_end(&mut self, into: &mut Vec<u8>) -> io::Result<usize> {
        let before = into.len();
        loop {
            let n = {
                let bytes = poll_fn(|cx| match self.poll_bytes(cx, 0) {
                    std::task::Poll::Ready(bytes) => std::task::Poll::Ready(bytes.map(|bytes| {
                        into.extend_from_slice(bytes);
                        bytes.len()
                    })),
                    std::task::Poll::Pending => std::task::Poll::Pending,
                });
                bytes.await?
            };
            if n == 0 {
                return Ok(into.len() - before);
            }
            self.consume(n);
        }
    }
}

impl<T: Write + Send + 'static> Unblock<T> {
    /// Accepts some bytes for writing; returns how many.
    ///
    /// # Errors
    ///
    /// See [`Unblock`].
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped before it is ready, no byte was accepted.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        poll_fn(|cx| AsyncWrite::poll_write(Pin::new(&mut *self), cx, bytes)).await
    }

    /// Accepts all of the bytes for writing.
    ///
    /// # Errors
    ///
    /// See [`Unblock`].
    ///
    /// # Cancel safety
    ///
    /// Some of the bytes may have been accepted.
    pub async fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let n = self.write(bytes).await?;
            bytes = bytes.get(n..).unwrap_or_default();
        }
        Ok(())
    }

    /// Hands all that was accepted to the object, and flushes it.
    ///
    /// # Errors
    ///
    /// See [`Unblock`].
    pub async fn flush(&mut self) -> io::Result<()> {
        poll_fn(|cx| AsyncWrite::poll_flush(Pin::new(&mut *self), cx)).await
    }

    /// Flushes, and drops the object on the executor.
    ///
    /// # Errors
    ///
    /// See [`Unblock`]. After an error the object is still there.
    pub async fn close(&mut self) -> io::Result<()> {
        poll_fn(|cx| AsyncWrite::poll_close(Pin::new(&mut *self), cx)).await
    }
}

impl<T: Seek + Send + 'static> Unblock<T> {
    /// Seeks; returns the new position.
    ///
    /// # Errors
    ///
    /// See [`Unblock`].
    ///
    /// # Cancel safety
    ///
    /// Once begun, it takes effect. A later seek, also one to the same place, is another.
    pub async fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        struct Abandon<'a, T: Send + 'static>(&'a mut Unblock<T>);
        impl<T: Send + 'static> Drop for Abandon<'_, T> {
            fn drop(&mut self) {
                self.0.abandon_seek();
            }
        }
        self.abandon_seek();
        let seek = Abandon(self);
        poll_fn(|cx| seek.0.poll_sought(cx, to)).await
    }
}
