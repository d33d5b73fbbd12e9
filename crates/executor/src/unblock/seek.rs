//! Seeking: from where the reader is, not from where reading ahead has brought the object.
//!
//! Must never move an object whose accepted bytes are not yet written.

use std::io::{self, Seek, SeekFrom};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use super::{Done, Unblock};

impl<T: Seek + Send + 'static> Unblock<T> {
    fn poll_sought(&mut self, cx: &mut Context<'_>, to: SeekFrom) -> Poll<io::Result<u64>> {
        loop {
            ready!(self.poll_written(cx))?;
            let sought = self.sought.take();
            if let (Some(result), true) = (sought, self.seeking.take() == Some(to)) {
                return Poll::Ready(result);
            }
            let unread = self.unread().iter().map(Vec::len).sum::<usize>() as i64;
            self.seeking = Some(to);
            self.start(move |object, _| {
                // First back to where the reader thinks it is: so a seek that fails leaves the object there.
                let back = if unread == 0 { Ok(0) } else { object.seek(SeekFrom::Current(-unread)) };
                Done::Sought(back.and_then(|_| object.seek(to)))
            });
        }
    }
}

impl<T: Seek + Send + 'static> futures_io::AsyncSeek for Unblock<T> {
    fn poll_seek(self: Pin<&mut Self>, cx: &mut Context<'_>, to: SeekFrom) -> Poll<io::Result<u64>> {
        self.get_mut().poll_sought(cx, to)
    }
}

#[cfg(feature = "tokio")]
impl<T: Seek + Send + 'static> tokio::io::AsyncSeek for Unblock<T> {
    fn start_seek(self: Pin<&mut Self>, to: SeekFrom) -> io::Result<()> {
        let this = self.get_mut();
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
