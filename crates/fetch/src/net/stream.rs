//! What a connection reads from and writes to: a socket, or TLS over one.

use std::io::{self, Read as _};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::{Context, Poll};

use overlapped_proto::keepalive::Extra;
use overlapped_proto::limits;
use rustix::net::{RecvFlags, recv};
use rustls::ClientConnection;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;

/// A byte stream in both directions that can be checked while it is idle.
pub(crate) trait Socket: AsyncRead + AsyncWrite + Unpin {
    /// The first of the bytes that were received, without waiting and without consuming them; `WouldBlock` if there are
    /// none. This is a system call, because the runtime's readiness is only as new as its last wait.
    fn peek_now(&mut self, block: &mut [u8]) -> io::Result<usize>;

    /// Reads without waiting, past the runtime's readiness; `WouldBlock` if there is nothing.
    fn read_now(&mut self, block: &mut [u8]) -> io::Result<usize>;

    /// True if the runtime, when it last waited, was notified of something to read that was not read since. This is no system
    /// call.
    fn is_told_ready(&self) -> bool;

    /// Registers the socket with the current runtime instead of the one that it was opened in.
    fn rehome(&mut self) -> io::Result<()>;
}

/// A socket in memory, for tests and fuzz targets: nothing can be received from it without waiting.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) trait InMemory: AsyncRead + AsyncWrite + Unpin {}

#[cfg(any(test, feature = "fuzzing"))]
impl<S: InMemory> Socket for S {
    fn peek_now(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn read_now(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn is_told_ready(&self) -> bool {
        false
    }

    fn rehome(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What was received on an idle connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// Nothing: it can be used.
    Quiet,
    /// The connection was closed.
    Ended,
    /// The server has said that it closes it.
    Parting,
    /// Data that no request has asked for.
    Spoke,
}

impl Look {
    /// What data means. `skip` takes that many bytes of it from the connection.
    fn at(data: &[u8], skip: impl FnOnce(usize) -> io::Result<()>) -> Self {
        match Extra::of(data) {
            Some(Extra::EmptyLines) if skip(data.len()).is_ok() => Self::Quiet,
            Some(Extra::EmptyLines) => Self::Ended,
            Some(Extra::Timeout) => Self::Parting,
            None => Self::Spoke,
        }
    }
}

/// The sockets of the system, which differ only in their type.
macro_rules! sockets {
    ($($socket:ident)+) => {
        $(impl Socket for $socket {
            fn peek_now(&mut self, block: &mut [u8]) -> io::Result<usize> {
                receive(&*self, block, RecvFlags::PEEK)
            }

            fn read_now(&mut self, block: &mut [u8]) -> io::Result<usize> {
                receive(&*self, block, RecvFlags::empty())
            }

            fn is_told_ready(&self) -> bool {
                self.try_io(Interest::READABLE, || Ok(())).is_ok()
            }

            fn rehome(&mut self) -> io::Result<()> {
                let same = self.as_fd().try_clone_to_owned()?;
                *self = Self::from_std(same.into())?;
                Ok(())
            }
        })+
    };
}

sockets! { TcpStream UnixStream }

fn receive(socket: impl AsFd, block: &mut [u8], flags: RecvFlags) -> io::Result<usize> {
    Ok(recv(socket, block, flags | RecvFlags::DONTWAIT)?.1)
}

/// A socket, with or without TLS.
pub(crate) enum Stream<S> {
    Plain(S),
    Tls(Box<TlsStream<S>>),
}

impl<S: Socket> Stream<S> {
    /// True if the peer cannot be cut off unnoticed: TLS has a message for the end.
    pub(crate) fn proves_the_end(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(_) => true,
        }
    }

    /// True if the runtime was notified of something to read; see [`Socket::is_told_ready`].
    pub(crate) fn is_told_ready(&self) -> bool {
        match self {
            Self::Plain(socket) => socket.is_told_ready(),
            Self::Tls(tls) => tls.get_ref().0.is_told_ready(),
        }
    }

    /// Registers the socket with the current runtime; see [`Socket::rehome`].
    pub(crate) fn rehome(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.rehome(),
            Self::Tls(tls) => tls.get_mut().0.rehome(),
        }
    }

    /// Checks an idle connection without waiting.
    pub(crate) fn look(&mut self) -> Look {
        match self {
            Self::Plain(socket) => look_plain(socket),
            Self::Tls(tls) => {
                let (socket, session) = tls.get_mut();
                look_tls(socket, session)
            }
        }
    }
}

fn look_plain(socket: &mut impl Socket) -> Look {
    let mut block = [0; limits::IDLE_BYTES_LOOKED_AT];
    match socket.peek_now(&mut block) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Look::Quiet,
        Ok(0) | Err(_) => Look::Ended,
        Ok(data) => {
            let data = block.get(..data).expect("a read fits into its buffer");
            Look::at(data, |bytes| Unwaited(socket).read_exact(&mut vec![0; bytes]))
        }
    }
}

/// Consumes records without data, such as session tickets.
fn look_tls(socket: &mut impl Socket, session: &mut ClientConnection) -> Look {
    for _ in 0..limits::IDLE_TLS_READS_MAX {
        match session.process_new_packets() {
            Ok(state) if state.plaintext_bytes_to_read() > 0 => match look_plaintext(session) {
                Look::Quiet => {}
                known @ (Look::Ended | Look::Parting | Look::Spoke) => return known,
            },
            Ok(state) if state.peer_has_closed() => return Look::Ended,
            Ok(_) => {}
            Err(_) => return Look::Ended,
        }
        match session.read_tls(&mut Unwaited(socket)) {
            Ok(1..) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Look::Quiet,
            Ok(0) | Err(_) => return Look::Ended,
        }
    }
    Look::Ended
}

fn look_plaintext(session: &mut ClientConnection) -> Look {
    let mut block = [0; limits::IDLE_BYTES_LOOKED_AT];
    match session.reader().read(&mut block) {
        Ok(data) => Look::at(block.get(..data).expect("a read fits into its buffer"), |_| Ok(())),
        Err(_) => Look::Ended,
    }
}

/// Reads from the socket directly, past the runtime's readiness cache.
pub(super) struct Unwaited<'a, S>(pub(super) &'a mut S);

impl<S: Socket> io::Read for Unwaited<'_, S> {
    fn read(&mut self, block: &mut [u8]) -> io::Result<usize> {
        self.0.read_now(block)
    }
}

impl<S: Socket> AsyncRead for Stream<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_read(cx, buf),
            Self::Tls(tls) => Pin::new(tls).poll_read(cx, buf),
        }
    }
}

impl<S: Socket> AsyncWrite for Stream<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write(cx, buf),
            Self::Tls(tls) => Pin::new(tls).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write_vectored(cx, bufs),
            Self::Tls(tls) => Pin::new(tls).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(socket) => socket.is_write_vectored(),
            Self::Tls(tls) => tls.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_flush(cx),
            Self::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream as StdUnixStream;

    use super::*;

    /// The runtime has not waited for the sockets meanwhile, so its readiness is stale.
    fn check(socket: impl Socket, mut server: impl Write, said: &[u8], expected: Look) {
        let mut stream = Stream::Plain(socket);
        assert_eq!(stream.look(), Look::Quiet);
        server.write_all(said).unwrap();
        if said.is_empty() {
            drop(server);
        }
        while stream.look() == Look::Quiet {
            std::thread::yield_now();
        }
        assert_eq!((stream.look(), stream.look()), (expected, expected));
    }

    #[tokio::test]
    async fn what_came_before_a_request_is_seen() {
        for (said, expected) in
            [(&b"x"[..], Look::Spoke), (b"HTTP/1.1 408 Late\r\n", Look::Parting), (b"", Look::Ended)]
        {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            check(tcp, listener.accept().unwrap().0, said, expected);

            let (near, far) = StdUnixStream::pair().unwrap();
            near.set_nonblocking(true).unwrap();
            check(UnixStream::from_std(near).unwrap(), far, said, expected);
        }
    }
}
