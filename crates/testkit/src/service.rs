//! The server's thread: listens, accepts, and serves each connection in a task of its own.
//!
//! All tasks and sockets belong to its runtime, and are dropped with it.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::oneshot;

use crate::record::Recorder;
use crate::request::Request;
use crate::routes::{self, World};
use crate::script::Script;
#[cfg(feature = "tls")]
use crate::tls::{self, Tls};
use crate::wire::{After, End, Transport, Wire};

/// A route of a test.
pub(crate) type Handler = Box<dyn Fn(&Request) -> Script + Send + Sync>;

/// The state shared by all connections.
pub(crate) struct Shared {
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) world: World,
    pub(crate) routes: HashMap<String, Script>,
    pub(crate) handlers: Vec<(String, Handler)>,
    /// The scripts of whole connections; empty: the routes are used.
    pub(crate) raw: Vec<Script>,
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<Tls>,
}

impl Shared {
    fn answer(&self, request: &Request) -> Script {
        let path = request.path();
        if let Some(script) = self.routes.get(path) {
            return script.clone();
        }
        match self.handlers.iter().find(|(prefix, _)| path.starts_with(prefix)) {
            Some((_, handler)) => handler(request),
            None => routes::answer(request, &self.world),
        }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Shared").finish_non_exhaustive()
    }
}

/// Runs the server's thread. The runtime is created and dropped here, because the caller may be inside another runtime, where
/// neither is allowed.
pub(crate) fn run(
    addresses: &[IpAddr],
    port: u16,
    shared: &Arc<Shared>,
    started: &mpsc::Sender<io::Result<Vec<SocketAddr>>>,
    stopped: oneshot::Receiver<()>,
) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            // The receiver is dropped only if its thread panicked.
            let _ = started.send(Err(error));
            return;
        }
    };
    runtime.block_on(async {
        match listen(addresses, port) {
            Ok((listeners, addresses)) => {
                for listener in listeners {
                    tokio::spawn(accept(listener, Arc::clone(shared)));
                }
                let _ = started.send(Ok(addresses));
                // An error means that the sender was dropped, which also means stop.
                let _ = stopped.await;
            }
            Err(error) => {
                let _ = started.send(Err(error));
            }
        }
    });
}

/// Listens on all addresses with the same port. Without a given port, ports that are free on the first address are tried until
/// one is free on all.
fn listen(addresses: &[IpAddr], port: u16) -> io::Result<(Vec<TcpListener>, Vec<SocketAddr>)> {
    let mut tries = if port == 0 { 100 } else { 1 };
    loop {
        tries -= 1;
        let (mut listeners, mut bound) = (Vec::new(), Vec::new());
        let mut port = port;
        let listened: io::Result<()> = addresses.iter().try_for_each(|address| {
            let listener = listen_on(SocketAddr::new(*address, port))?;
            let address = listener.local_addr()?;
            port = address.port();
            listeners.push(listener);
            bound.push(address);
            Ok(())
        });
        match listened {
            Ok(()) => return Ok((listeners, bound)),
            Err(error) if tries == 0 || error.kind() != io::ErrorKind::AddrInUse => return Err(error),
            Err(_) => {}
        }
    }
}

fn listen_on(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    // The kernel lowers this to its own limit. Thousands of clients may connect at once.
    socket.listen(65_535)
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                tokio::spawn(connection(stream, peer, Arc::clone(&shared)));
            }
            // Out of file descriptors, or the client has disconnected: the next accept may succeed.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn connection(stream: TcpStream, peer: SocketAddr, shared: Arc<Shared>) {
    let Ok(local) = stream.local_addr() else { return };
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let recorder = Arc::clone(&shared.recorder);
    let connection = recorder.open(local, peer);
    #[cfg(feature = "tls")]
    if let Some(server) = &shared.tls {
        match server.accept(stream).await {
            Ok(stream) => {
                if tls::is_resumed(&stream) {
                    recorder.saw_resumed_handshake();
                }
                serve(Wire::new(stream, connection, recorder), &shared).await;
            }
            Err(_) => recorder.saw_failed_handshake(),
        }
        return;
    }
    serve(Wire::new(stream, connection, recorder), &shared).await;
}

async fn serve<S: Transport>(mut wire: Wire<S>, shared: &Shared) {
    if let Some(last) = shared.raw.last() {
        let index = usize::try_from(wire.connection_number()).unwrap_or(usize::MAX);
        let script = shared.raw.get(index).unwrap_or(last);
        match wire.play(script, None).await {
            Ok(After::Open) => wire.close().await,
            Ok(After::Closed) | Err(_) => {}
        }
        return;
    }
    loop {
        match wire.request().await {
            Ok((request, ticket)) => {
                let script = shared.answer(&request);
                match wire.play(&script, ticket).await {
                    Ok(After::Open) => {}
                    Ok(After::Closed) | Err(_) => return,
                }
            }
            Err(End::Malformed(why)) => return wire.refuse(why).await,
            Err(End::Gone) => return,
        }
    }
}
