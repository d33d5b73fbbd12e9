//! A proxy that records what it is asked for: HTTP, HTTP over TLS, and SOCKS 5, all on one port.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

#[cfg(feature = "tls")]
use crate::tls::{Certificate, Tls};

/// The longest head that it takes.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// What a proxy was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Errand {
    /// `http`, `connect` or `socks`.
    pub way: &'static str,
    /// The host and port to connect to, as they came.
    pub target: String,
    /// All that the client has sent to the proxy itself, with its credentials: a head, or the messages of SOCKS.
    pub head: Vec<u8>,
}

impl Errand {
    /// True if the proxy has seen these bytes.
    #[must_use]
    pub fn has(&self, text: &str) -> bool {
        self.head.windows(text.len().max(1)).any(|part| part == text.as_bytes())
    }
}

/// How a proxy behaves.
#[derive(Clone, Debug, Default)]
pub struct ProxyRules {
    /// The user name and the password that it wants.
    pub user: Option<(String, String)>,
    /// Where it connects to, whatever it is asked for; `None`: there.
    pub to: Option<SocketAddr>,
    /// What it answers to every CONNECT, or as its reply of SOCKS, instead of connecting; then it closes.
    pub answer: Option<Vec<u8>>,
    /// It is spoken to over TLS.
    #[cfg(feature = "tls")]
    pub tls: bool,
}

/// A proxy on 127.0.0.1.
///
/// ```
/// use std::io::{Read, Write};
/// use overlapped_testkit::{ProxyRules, ProxyServer, Server};
///
/// let (server, proxy) = (Server::start(), ProxyServer::start(ProxyRules::default()));
/// let mut client = std::net::TcpStream::connect(proxy.addr())?;
/// write!(client, "GET {} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", server.url("/ok"))?;
/// let mut answer = String::new();
/// client.read_to_string(&mut answer)?;
/// assert!(answer.ends_with("ok\n"));
/// assert_eq!(proxy.errands()[0].target, server.addr().to_string());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct ProxyServer {
    addr: SocketAddr,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    rules: ProxyRules,
    errands: Mutex<Vec<Errand>>,
    #[cfg(feature = "tls")]
    tls: Option<Tls>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl ProxyServer {
    /// Starts a proxy.
    ///
    /// # Panics
    ///
    /// When it cannot listen.
    pub fn start(rules: ProxyRules) -> ProxyServer {
        let localhost = Ipv4Addr::LOCALHOST;
        let listener = std::net::TcpListener::bind((localhost, 0)).expect("the proxy can listen");
        listener.set_nonblocking(true).expect("a socket can be non-blocking");
        let addr = listener.local_addr().expect("a listener has an address");
        #[cfg(feature = "tls")]
        let tls =
            rules.tls.then(|| Tls::new(Certificate::Valid, &[], &[localhost.into()], &["http/1.1"], false));
        let shared = Arc::new(Shared {
            rules,
            errands: Mutex::default(),
            #[cfg(feature = "tls")]
            tls,
        });
        let (stop, stopped) = oneshot::channel();
        let at_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("testkit-proxy".to_owned()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime can be made").block_on(async {
                let listener = TcpListener::from_std(listener).expect("a listener can be registered");
                tokio::spawn(accept(listener, at_thread));
                let _ = stopped.await;
            });
        });
        ProxyServer { addr, shared, stop: Some(stop), thread: Some(thread.expect("a thread can be started")) }
    }

    /// Its address.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its URL by a scheme such as `socks5h`.
    pub fn url(&self, scheme: &str) -> String {
        format!("{scheme}://{}", self.addr)
    }

    /// The certificate authority of a proxy with TLS, as PEM.
    #[cfg(feature = "tls")]
    pub fn ca_pem(&self) -> Option<&str> {
        self.shared.tls.as_ref().map(Tls::ca_pem)
    }

    /// What it was asked for, in this order.
    pub fn errands(&self) -> Vec<Errand> {
        self.shared.errands.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for ProxyServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let _ = stream.set_nodelay(true);
            #[cfg(feature = "tls")]
            if let Some(tls) = &shared.tls {
                if let Ok(stream) = tls.accept(stream).await {
                    let _ = serve(stream, &shared).await;
                }
                return;
            }
            let _ = serve(stream, &shared).await;
        });
    }
}

async fn serve(mut client: impl AsyncRead + AsyncWrite + Unpin, shared: &Shared) -> io::Result<()> {
    let first = client.read_u8().await?;
    if first == 5 {
        return socks(client, shared).await;
    }
    let mut head = vec![first];
    loop {
        while !head.ends_with(b"\r\n\r\n") {
            head.push(client.read_u8().await?);
            if head.len() > HEAD_BYTES_MAX {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
        if !http(&mut client, shared, &head).await? {
            return Ok(());
        }
        head.clear();
    }
}

/// Serves one request. True if another one may follow.
async fn http(
    client: &mut (impl AsyncRead + AsyncWrite + Unpin),
    shared: &Shared,
    head: &[u8],
) -> io::Result<bool> {
    let text = String::from_utf8_lossy(head).into_owned();
    let invalid = || io::Error::from(io::ErrorKind::InvalidData);
    let (line, fields) = text.split_once("\r\n").ok_or_else(invalid)?;
    let mut words = line.split(' ');
    let (method, url) = (words.next().ok_or_else(invalid)?, words.next().ok_or_else(invalid)?);
    let is_tunnel = method == "CONNECT";
    let (target, path) = match url.strip_prefix("http://") {
        _ if is_tunnel => (url, ""),
        Some(rest) => rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len())),
        None => return Err(invalid()),
    };
    let way = if is_tunnel { "connect" } else { "http" };
    shared.note(Errand { way, target: target.to_owned(), head: head.to_vec() });
    let value = |name: &str| {
        fields.lines().find_map(|field| {
            let (known, value) = field.split_once(':')?;
            known.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    };
    if let Some((user, password)) = &shared.rules.user
        && value("proxy-authorization") != Some(format!("Basic {}", base64(&format!("{user}:{password}"))))
    {
        let refusal =
            "HTTP/1.1 407 Who?\r\nProxy-Authenticate: Basic realm=x\r\nContent-Length: 5\r\n\r\nwho?\n";
        client.write_all(refusal.as_bytes()).await?;
        return Ok(true);
    }
    if let Some(answer) = shared.rules.answer.as_ref().filter(|_| is_tunnel) {
        client.write_all(answer).await?;
        client.shutdown().await?;
        return Ok(false);
    }
    let mut server = match shared.connect(target, 80).await {
        Ok(server) => server,
        Err(_) => {
            client.write_all(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n").await?;
            return Ok(true);
        }
    };
    if is_tunnel {
        client.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").await?;
        copy_bidirectional(client, &mut server).await?;
        return Ok(false);
    }
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let kept = fields.lines().filter(|field| !field.to_ascii_lowercase().starts_with("proxy-"));
    let kept: Vec<_> = kept.filter(|field| !field.is_empty()).collect();
    let forwarded = format!("{method} {path} HTTP/1.1\r\n{}\r\nConnection: close\r\n\r\n", kept.join("\r\n"));
    server.write_all(forwarded.as_bytes()).await?;
    let mut body = vec![0; value("content-length").and_then(|length| length.parse().ok()).unwrap_or(0)];
    client.read_exact(&mut body).await?;
    server.write_all(&body).await?;
    tokio::io::copy(&mut server, client).await?;
    client.flush().await?;
    Ok(value("connection").is_none_or(|value| !value.eq_ignore_ascii_case("close")))
}

async fn socks(mut client: impl AsyncRead + AsyncWrite + Unpin, shared: &Shared) -> io::Result<()> {
    let mut said = vec![5];
    let methods = take(&mut client, &mut said, 1).await?;
    let offered = take(&mut client, &mut said, usize::from(methods.first().copied().unwrap_or(0))).await?;
    let wanted = if shared.rules.user.is_some() { 2 } else { 0 };
    if !offered.contains(&wanted) {
        shared.note(Errand { way: "socks", target: String::new(), head: said });
        return client.write_all(&[5, 0xff]).await;
    }
    client.write_all(&[5, wanted]).await?;
    if let Some((user, password)) = &shared.rules.user {
        take(&mut client, &mut said, 1).await?;
        let mut given = Vec::new();
        for _ in 0..2 {
            let length = take(&mut client, &mut said, 1).await?;
            given
                .push(take(&mut client, &mut said, usize::from(length.first().copied().unwrap_or(0))).await?);
        }
        let is_known = given == [user.as_bytes(), password.as_bytes()];
        client.write_all(&[1, u8::from(!is_known)]).await?;
        if !is_known {
            shared.note(Errand { way: "socks", target: String::new(), head: said });
            return Ok(());
        }
    }
    let request = take(&mut client, &mut said, 4).await?;
    let host = match request.get(3) {
        Some(1) => {
            let octets: [u8; 4] = take(&mut client, &mut said, 4).await?.try_into().unwrap_or_default();
            IpAddr::from(octets).to_string()
        }
        Some(4) => {
            let octets: [u8; 16] = take(&mut client, &mut said, 16).await?.try_into().unwrap_or_default();
            format!("[{}]", IpAddr::from(octets))
        }
        _ => {
            let length = take(&mut client, &mut said, 1).await?;
            let name =
                take(&mut client, &mut said, usize::from(length.first().copied().unwrap_or(0))).await?;
            String::from_utf8_lossy(&name).into_owned()
        }
    };
    let port: [u8; 2] = take(&mut client, &mut said, 2).await?.try_into().unwrap_or_default();
    let target = format!("{host}:{}", u16::from_be_bytes(port));
    shared.note(Errand { way: "socks", target: target.clone(), head: said });
    if let Some(answer) = &shared.rules.answer {
        client.write_all(answer).await?;
        return client.shutdown().await;
    }
    match shared.connect(&target, 1080).await {
        Ok(mut server) => {
            client.write_all(&[5, 0, 0, 1, 127, 0, 0, 1, 0, 0]).await?;
            copy_bidirectional(&mut client, &mut server).await.map(drop)
        }
        Err(_) => client.write_all(&[5, 5, 0, 1, 0, 0, 0, 0, 0, 0]).await,
    }
}

async fn take(
    client: &mut (impl AsyncRead + Unpin),
    said: &mut Vec<u8>,
    count: usize,
) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; count];
    client.read_exact(&mut bytes).await?;
    said.extend_from_slice(&bytes);
    Ok(bytes)
}

impl Shared {
    fn note(&self, errand: Errand) {
        self.errands.lock().unwrap_or_else(PoisonError::into_inner).push(errand);
    }

    async fn connect(&self, target: &str, port: u16) -> io::Result<TcpStream> {
        match self.rules.to {
            Some(to) => TcpStream::connect(to).await,
            None if target.ends_with(']') || !target.contains(':') => {
                TcpStream::connect(format!("{target}:{port}")).await
            }
            None => TcpStream::connect(target).await,
        }
    }
}

/// With padding (RFC 4648, section 4).
fn base64(text: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut encoded = String::new();
    for three in text.as_bytes().chunks(3) {
        let bits =
            three.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        for place in 0..4 {
            let digit = DIGITS.get((bits >> (18 - 6 * place) & 63) as usize).copied().unwrap_or(b'=');
            encoded.push(if place > three.len() { '=' } else { char::from(digit) });
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::base64;

    #[test]
    fn credentials_are_encoded() {
        let texts = ["", "f", "fo", "foo", "foob", "fooba", "foobar"];
        let encoded = ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"];
        assert_eq!(texts.map(base64), encoded);
    }
}
