//! Asks a proxy to connect to a server. The conversations are in `proto`.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::Poll;

use overlapped_proto::error::ErrorKind;
use overlapped_proto::http1::{HeadReader, Strictness};
use overlapped_proto::job::Method;
use overlapped_proto::limits;
use overlapped_proto::outcome::Failure;
use overlapped_proto::proxy::{Proxy, Socks5, Target, judge, request};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

/// Asks an HTTP proxy for a tunnel.
///
/// # Errors
///
/// `proxy.*`: there is none.
pub(crate) async fn connect(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    proxy: &Proxy,
    host: &str,
    port: u16,
) -> Result<(), Failure> {
    let broken = |error: io::Error| failed(proxy, &format!("broke the connection: {error}"));
    stream.write_all(&request(proxy, host, port)).await.map_err(broken)?;
    stream.flush().await.map_err(broken)?;
    // An answer to HEAD has no body either.
    let mut reader = HeadReader::new(&Method::Head, Strictness::Lenient);
    let mut begun = Vec::new();
    // One byte at a time: what follows the head belongs to the server.
    loop {
        begun.push(stream.read_u8().await.map_err(broken)?);
        if begun.len() > limits::PROXY_HEAD_BYTES_MAX {
            return Err(failed(proxy, "sends a head that is too large"));
        }
        if !begun.ends_with(b"\n") {
            continue;
        }
        let mut rest = &*begun;
        let not_http = |failure: Failure| failed(proxy, &format!("does not speak HTTP: {}", failure.message));
        if let Some((head, _)) = reader.read(&mut rest).map_err(not_http)? {
            return judge(proxy, head.status, &head.headers);
        }
        let used = begun.len() - rest.len();
        begun.drain(..used);
    }
}

/// Asks a SOCKS proxy for a connection.
///
/// # Errors
///
/// `proxy.*`: there is none.
pub(crate) async fn socks(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    proxy: &Proxy,
    target: Target<'_>,
    port: u16,
) -> Result<(), Failure> {
    let broken = |error: io::Error| failed(proxy, &format!("broke the connection: {error}"));
    let (mut socks, mut message) = Socks5::begin(proxy, target, port)?;
    while socks.wants() > 0 {
        stream.write_all(&message).await.map_err(broken)?;
        stream.flush().await.map_err(broken)?;
        let mut answer = vec![0; socks.wants()];
        stream.read_exact(&mut answer).await.map_err(broken)?;
        message = socks.take(&answer)?;
    }
    Ok(())
}

/// Checks that nothing comes from the other end before anything was sent there. A server of TLS or HTTP/1.1 waits for the client,
/// so such bytes are of the proxy, and would be taken for the server's.
///
/// # Errors
///
/// `proxy.failed`: there are some.
pub(crate) async fn check_quiet(stream: &mut (impl AsyncRead + Unpin), proxy: &Proxy) -> Result<(), Failure> {
    let mut byte = [0];
    let mut block = ReadBuf::new(&mut byte);
    let read = poll_fn(|cx| Poll::Ready(Pin::new(&mut *stream).poll_read(cx, &mut block))).await;
    match read {
        Poll::Ready(Ok(())) if !block.filled().is_empty() => Err(failed(
            proxy,
            "sends bytes before the request: the proxy adds them, or there is a server at this port that speaks neither TLS nor HTTP",
        )),
        // The end of the connection is told by whoever uses it.
        Poll::Ready(Ok(())) | Poll::Pending => Ok(()),
        Poll::Ready(Err(error)) => Err(failed(proxy, &format!("broke the connection: {error}"))),
    }
}

fn failed(proxy: &Proxy, what: &str) -> Failure {
    Failure::new(ErrorKind::ProxyFailed, format!("the proxy {proxy} {what}"))
}
