//! The sockets that requests go over: of the system, or a stream of TLS to a proxy, in which another one may be.

use std::io::{self, Read as _};
use std::pin::Pin;
use std::task::{Context, Poll};

use overlapped_proto::limits;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;

use super::stream::{Socket, Unwaited};

/// A byte stream to a server or a proxy.
pub(crate) enum Link {
    Tcp(TcpStream),
    Unix(UnixStream),
    /// Through a proxy that is spoken to over TLS.
    Tls(Box<TlsStream<Self>>),
}

/// Each call goes to the socket.
macro_rules! each {
    ($link:expr, $socket:ident => $call:expr) => {
        match $link {
            Self::Tcp($socket) => $call,
            Self::Unix($socket) => $call,
            Self::Tls($socket) => $call,
        }
    };
}

impl AsyncRead for Link {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), socket => Pin::new(socket).poll_read(cx, buf))
    }
}

impl AsyncWrite for Link {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        each!(self.get_mut(), socket => Pin::new(socket).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self.get_mut(), socket => Pin::new(socket).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        each!(self, socket => socket.is_write_vectored())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), socket => Pin::new(socket).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), socket => Pin::new(socket).poll_shutdown(cx))
    }
}

impl Socket for Link {
    /// What TLS has decrypted cannot be looked at without consuming it, so such a connection counts as ended. It carries
    /// TLS or HTTP/2, which look in other ways.
    fn peek_now(&mut self, block: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.peek_now(block),
            Self::Unix(socket) => socket.peek_now(block),
            Self::Tls(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    fn read_now(&mut self, block: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.read_now(block),
            Self::Unix(socket) => socket.read_now(block),
            Self::Tls(tls) => read_tls_now(tls, block),
        }
    }

    fn is_told_ready(&self) -> bool {
        match self {
            Self::Tcp(socket) => socket.is_told_ready(),
            Self::Unix(socket) => socket.is_told_ready(),
            Self::Tls(tls) => tls.get_ref().0.is_told_ready(),
        }
    }

    fn rehome(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => socket.rehome(),
            Self::Unix(socket) => socket.rehome(),
            Self::Tls(tls) => tls.get_mut().0.rehome(),
        }
    }
}

/// Reads what TLS has decrypted, or can decrypt without waiting.
fn read_tls_now(tls: &mut TlsStream<Link>, block: &mut [u8]) -> io::Result<usize> {
    let (socket, session) = tls.get_mut();
    for _ in 0..limits::IDLE_TLS_READS_MAX {
        session.process_new_packets().map_err(io::Error::other)?;
        match session.reader().read(block) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            done => return done,
        }
        session.read_tls(&mut Unwaited(socket))?;
    }
    Err(io::Error::other("a stream of TLS without data"))
}
