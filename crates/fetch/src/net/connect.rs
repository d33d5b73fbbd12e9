//! Opens a connection to one of several addresses by Happy Eyeballs (RFC 8305). It takes only addresses that the address
//! policy has judged.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::task::Poll;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use overlapped_proto::address::Dialable;
use overlapped_proto::error::ErrorKind;
use overlapped_proto::limits;
use overlapped_proto::outcome::Failure;
use tokio::net::{TcpSocket, TcpStream, UnixStream};

use crate::fs::{LastFiles, is_out_of_files, out_of_files};

/// Dials `addresses` with staggered starts; the first connection wins. It leaves the `last` file descriptors to others.
pub(crate) async fn dial(
    addresses: &[Dialable],
    port: u16,
    local: Option<&Local>,
    last: &LastFiles,
) -> Result<TcpStream, Failure> {
    let fits = |address: &Dialable| match local {
        Some(Local::Address(local)) => local.is_ipv4() == address.address().is_ipv4(),
        Some(Local::Device(_)) | None => true,
    };
    let fitting: Vec<Dialable> = if local.is_some() {
        addresses.iter().filter(|address| fits(address)).copied().collect()
    } else {
        Vec::new()
    };
    let addresses = if local.is_some() { &fitting } else { addresses };
    let tcp = match addresses {
        [] => return Err(Failure::new(ErrorKind::DnsNotFound, "no address of the selected family")),
        [only] => open(*only, port, local, last).await?,
        several => race(interleave(several), port, local, last).await?,
    };
    // A request is written in one piece, so Nagle's algorithm would only delay it.
    let _ = tcp.set_nodelay(true);
    Ok(tcp)
}

/// Connects to a Unix socket.
pub(crate) async fn unix(path: &Path, last: &LastFiles) -> Result<UnixStream, Failure> {
    let failed = |error: &io::Error| {
        let kind = if is_out_of_files(error) {
            ErrorKind::Resource
        } else if matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) {
            ErrorKind::ConnectRefused
        } else {
            ErrorKind::ConnectFailed
        };
        Failure::new(kind, format!("{}: {error}", path.display()))
    };
    let socket = UnixStream::connect(path).await.map_err(|error| failed(&error))?;
    if last.spare_connection(&socket) { Ok(socket) } else { Err(failed(&out_of_files())) }
}

async fn open(
    address: Dialable,
    port: u16,
    local: Option<&Local>,
    last: &LastFiles,
) -> Result<TcpStream, Failure> {
    let address = SocketAddr::new(address.address(), port);
    let socket = socket(address, local, last).map_err(|error| failure(address, &error))?;
    socket.connect(address).await.map_err(|error| failure(address, &error))
}

fn socket(address: SocketAddr, local: Option<&Local>, last: &LastFiles) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    match local {
        Some(Local::Address(local)) => socket.bind(SocketAddr::new(*local, 0))?,
        Some(Local::Device(device)) => bind_device(&socket, device)?,
        None => {}
    }
    if last.spare_connection(&socket) { Ok(socket) } else { Err(out_of_files()) }
}

/// From where connections are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Local {
    Address(IpAddr),
    /// The name of a network interface.
    Device(Box<str>),
}

#[cfg(target_os = "linux")]
fn bind_device(socket: &TcpSocket, device: &str) -> io::Result<()> {
    socket.bind_device(Some(device.as_bytes()))
}

#[cfg(not(target_os = "linux"))]
fn bind_device(_: &TcpSocket, _: &str) -> io::Result<()> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "this system takes an address for --interface, no name"))
}

async fn race(
    mut waiting: VecDeque<Dialable>,
    port: u16,
    local: Option<&Local>,
    last: &LastFiles,
) -> Result<TcpStream, Failure> {
    let mut dialling = FuturesUnordered::new();
    let mut worst = None;
    loop {
        match waiting.pop_front() {
            Some(address) => dialling.push(open(address, port, local, last)),
            None if dialling.is_empty() => {
                let unknown = || Failure::new(ErrorKind::ConnectFailed, "no address answered");
                return Err(worst.unwrap_or_else(unknown));
            }
            None => {}
        }
        let head_start = if waiting.is_empty() { None } else { Some(limits::HAPPY_EYEBALLS_DELAY) };
        let mut pause = head_start.map(|delay| Box::pin(tokio::time::sleep(delay.into())));
        let answer = poll_fn(|cx| match dialling.poll_next_unpin(cx) {
            Poll::Ready(answer) => Poll::Ready(answer),
            Poll::Pending => match &mut pause {
                Some(pause) => pause.as_mut().poll(cx).map(|()| None),
                None => Poll::Pending,
            },
        })
        .await;
        match answer {
            Some(Ok(tcp)) => return Ok(tcp),
            Some(Err(failure)) => worst = Some(weightier(worst, failure)),
            None => {}
        }
    }
}

/// Which of two failures is reported: the later one, but a lack of local resources takes precedence, since it says
/// nothing about the host.
fn weightier(before: Option<Failure>, last: Failure) -> Failure {
    before.filter(|before| before.kind == ErrorKind::Resource).unwrap_or(last)
}

/// Alternates the address families, beginning with the one the resolver prefers.
fn interleave(addresses: &[Dialable]) -> VecDeque<Dialable> {
    let is_v6 = |address: &Dialable| address.address().is_ipv6();
    let preferred = addresses.first().is_some_and(is_v6);
    let (first, second): (Vec<Dialable>, Vec<Dialable>) =
        addresses.iter().partition(|address| is_v6(address) == preferred);
    let mut ordered = VecDeque::new();
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    loop {
        let pair = (first.next(), second.next());
        if pair == (None, None) {
            break;
        }
        ordered.extend(pair.0);
        ordered.extend(pair.1);
    }
    ordered.truncate(limits::ADDRESSES_MAX);
    ordered
}

fn failure(address: SocketAddr, error: &io::Error) -> Failure {
    const KINDS: [(io::ErrorKind, ErrorKind); 7] = [
        (io::ErrorKind::ConnectionRefused, ErrorKind::ConnectRefused),
        // A reset that answers a SYN is `ConnectionRefused`: this one came after the connection was established.
        (io::ErrorKind::ConnectionReset, ErrorKind::ConnectReset),
        (io::ErrorKind::ConnectionAborted, ErrorKind::ConnectReset),
        (io::ErrorKind::HostUnreachable, ErrorKind::ConnectUnreachable),
        (io::ErrorKind::NetworkUnreachable, ErrorKind::ConnectUnreachable),
        (io::ErrorKind::NetworkDown, ErrorKind::ConnectUnreachable),
        (io::ErrorKind::TimedOut, ErrorKind::ConnectTimeout),
    ];
    let known = KINDS.iter().find(|(io, _)| *io == error.kind()).map(|(_, kind)| *kind);
    let kind = match known {
        Some(kind) => kind,
        None if is_out_of_files(error) => ErrorKind::Resource,
        None if error.kind() == io::ErrorKind::AddrNotAvailable => without_source(&source_for(address)),
        None => ErrorKind::ConnectFailed,
    };
    Failure::new(kind, format!("{address}: {error}"))
}

/// The meaning of `EADDRNOTAVAIL`: no local port is free, or this machine has no IPv6 source address for the
/// destination. `source` is the result of [`source_for`].
fn without_source(source: &io::Result<()>) -> ErrorKind {
    use io::ErrorKind::{AddrNotAvailable, NetworkUnreachable};
    match source {
        Err(error) if matches!(error.kind(), AddrNotAvailable | NetworkUnreachable) => {
            ErrorKind::ConnectUnreachable
        }
        Ok(()) | Err(_) => ErrorKind::Resource,
    }
}

/// Looks for a source address by connecting a UDP socket, which has its own port range and sends nothing.
fn source_for(address: SocketAddr) -> io::Result<()> {
    let any = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    UdpSocket::bind(SocketAddr::new(any, 0))?.connect(address)
}

#[cfg(test)]
mod tests {
    use overlapped_proto::address::Policy;

    use super::*;

    #[test]
    fn families_take_turns() {
        let address = |text: &str| Policy::default().judge(text.parse().unwrap()).unwrap();
        let mixed = ["::1", "::2", "10.0.0.1", "10.0.0.2", "10.0.0.3"].map(address);
        let expected = ["::1", "10.0.0.1", "::2", "10.0.0.2", "10.0.0.3"].map(address);
        assert_eq!(interleave(&mixed), expected);
    }

    #[test]
    fn a_lack_of_ports_is_known_in_both_families() {
        let lack =
            |address: &str| failure(address.parse().unwrap(), &io::ErrorKind::AddrNotAvailable.into()).kind;
        assert_eq!(lack("127.0.0.1:80"), ErrorKind::Resource);
        let has_v6 = std::net::TcpListener::bind("[::1]:0").is_ok();
        assert_eq!(
            lack("[::1]:80"),
            [ErrorKind::ConnectUnreachable, ErrorKind::Resource][usize::from(has_v6)]
        );
        let check = |error: io::ErrorKind, expected| assert_eq!(without_source(&Err(error.into())), expected);
        check(io::ErrorKind::AddrNotAvailable, ErrorKind::ConnectUnreachable);
        check(io::ErrorKind::NetworkUnreachable, ErrorKind::ConnectUnreachable);
        check(io::ErrorKind::AddrInUse, ErrorKind::Resource);
    }

    #[test]
    fn a_lack_of_ports_is_not_hidden_by_the_next_address() {
        let check = |kinds: [ErrorKind; 2], expected| {
            let [before, last] = kinds.map(|kind| Failure::new(kind, ""));
            assert_eq!(weightier(Some(before), last).kind, expected);
        };
        check([ErrorKind::Resource, ErrorKind::ConnectUnreachable], ErrorKind::Resource);
        check([ErrorKind::ConnectUnreachable, ErrorKind::Resource], ErrorKind::Resource);
        check([ErrorKind::ConnectRefused, ErrorKind::ConnectUnreachable], ErrorKind::ConnectUnreachable);
    }
}
