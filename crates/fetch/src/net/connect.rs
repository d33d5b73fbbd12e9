//! Opens a connection to one of several addresses by Happy Eyeballs (RFC 8305). It takes only addresses that the address
//! policy has judged.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::unix::fs::FileTypeExt as _;
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
    let fitting: Vec<Dialable>;
    let addresses = match local {
        Some(Local::Address(local)) if !addresses.is_empty() => {
            let fits = |address: &&Dialable| local.is_ipv4() == address.address().is_ipv4();
            fitting = addresses.iter().filter(fits).copied().collect();
            if fitting.is_empty() {
                let (wanted, has) = if local.is_ipv4() { ("IPv4", "IPv6") } else { ("IPv6", "IPv4") };
                let what =
                    format!("--interface {local} is of {wanted}, and the host has addresses of {has} only");
                return Err(Failure::new(ErrorKind::DnsNotFound, what));
            }
            fitting.as_slice()
        }
        Some(Local::Address(_) | Local::Device(_)) | None => addresses,
    };
    let tcp = match addresses {
        [] => return Err(Failure::new(ErrorKind::DnsNotFound, "no address of the selected family")),
        [only] => open(*only, port, local, last).await?,
        several => race(interleave(several), port, local, last).await?,
    };
    // A request is written in one piece, so Nagle's algorithm would only delay it.
    let _ = tcp.set_nodelay(true);
    Ok(tcp)
}

/// Connects to a Unix socket; `None`: its backlog is full, so that it has to be asked again. The system does not queue such
/// a connect, as it does with TCP, and it says nothing about the server.
pub(crate) async fn unix(path: &Path, last: &LastFiles) -> Result<Option<UnixStream>, Failure> {
    let failed = |error: &io::Error| {
        let kind = if is_out_of_files(error) {
            ErrorKind::Resource
        } else if matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) {
            ErrorKind::ConnectRefused
        } else {
            ErrorKind::ConnectFailed
        };
        let refused = error.kind() == io::ErrorKind::ConnectionRefused;
        let what = match no_socket(path).filter(|_| refused) {
            Some(what) => what.to_owned(),
            None => error.to_string(),
        };
        Failure::new(kind, format!("--unix-socket {}: {what}", path.display()))
    };
    match UnixStream::connect(path).await {
        Ok(socket) if last.spare_connection(&socket) => Ok(Some(socket)),
        Ok(_) => Err(failed(&out_of_files())),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(failed(&error)),
    }
}

/// What is at `path` instead of a socket.
fn no_socket(path: &Path) -> Option<&'static str> {
    let kind = std::fs::metadata(path).ok()?.file_type();
    if kind.is_socket() {
        None
    } else if kind.is_dir() {
        Some("it is a directory, and no socket")
    } else if kind.is_fifo() {
        Some("it is a pipe, and no socket")
    } else {
        Some("it is a file, and no socket")
    }
}

/// More than the path of a Unix socket has on any system.
const PATH_BYTES_TRIED: usize = 512;

/// Why nothing can ever connect to a Unix socket at `path`. One that is not there yet may come.
pub(crate) fn check_unix(path: &Path) -> Result<(), String> {
    let shown = path.display();
    if let Err(error) = std::os::unix::net::SocketAddr::from_pathname(path) {
        let bytes = path.as_os_str().len();
        let fits = |bytes: &usize| std::os::unix::net::SocketAddr::from_pathname("s".repeat(*bytes)).is_ok();
        return Err(match (0..=bytes.min(PATH_BYTES_TRIED)).rev().find(fits) {
            Some(most) if most < bytes => format!(
                "{shown}: the path of a socket has {most} bytes at most on this system, and this one has {bytes}; \
                 a shorter one, such as a relative one, may lead there"
            ),
            Some(_) | None => format!("{shown}: {error}"),
        });
    }
    no_socket(path).map_or(Ok(()), |what| Err(format!("{shown}: {what}")))
}

async fn open(
    address: Dialable,
    port: u16,
    local: Option<&Local>,
    last: &LastFiles,
) -> Result<TcpStream, Failure> {
    let address = SocketAddr::new(address.address(), port);
    let failed = |error: &io::Error| failure(address, local, error);
    let socket = socket(address, local, last).map_err(|error| failed(&error))?;
    socket.connect(address).await.map_err(|error| failed(&error))
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

impl Local {
    /// Reads an address, which may be in brackets, or the name of an interface, of this machine.
    ///
    /// # Errors
    ///
    /// It is none. The message is about its value.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
        let without_interface =
            "a link-local address does not say which interface it is of: give the name of the interface";
        let (address, zone) =
            bare.split_once('%').map_or((bare, None), |(address, zone)| (address, Some(zone)));
        if let Ok(address) = address.parse::<IpAddr>() {
            if zone.is_some() || is_link_local(address) {
                return Err(without_interface.to_owned());
            }
            // A socket of UDP has its own ports, and sends nothing here.
            return match UdpSocket::bind(SocketAddr::new(address, 0)) {
                Ok(_) => Ok(Self::Address(address)),
                Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {
                    Err("this machine has no such address".to_owned())
                }
                Err(error) => Err(error.to_string()),
            };
        }
        let known = Path::new("/sys/class/net");
        let is_name = !text.is_empty() && !text.contains('/') && !matches!(text, "." | "..");
        if !is_name || known.exists() && !known.join(text).exists() {
            return Err("it is no address and no interface of this system".to_owned());
        }
        Ok(Self::Device(text.into()))
    }
}

impl fmt::Display for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "{address}"),
            Self::Device(name) => f.write_str(name),
        }
    }
}

/// True for an address of IPv6 that has a meaning on one interface only.
fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
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

fn failure(address: SocketAddr, local: Option<&Local>, error: &io::Error) -> Failure {
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
        None if error.kind() == io::ErrorKind::AddrNotAvailable => {
            without_source(&source_for(address, local))
        }
        // A port of the local address: there is none left.
        None if error.kind() == io::ErrorKind::AddrInUse => ErrorKind::Resource,
        None if error.kind() == io::ErrorKind::InvalidInput && is_link_local(address.ip()) => {
            let what = "a link-local address is reached through one network interface: --interface NAME";
            return Failure::new(ErrorKind::ConnectUnreachable, format!("{address}: {what}"));
        }
        None => ErrorKind::ConnectFailed,
    };
    let from = local.map_or(String::new(), |local| format!(" (--interface {local})"));
    Failure::new(kind, format!("{address}: {error}{from}"))
}

/// The meaning of `EADDRNOTAVAIL`: no local port is free, or this machine has no source address for the destination, such as
/// one of IPv6, or not the address any more that connections are to be made from. `source` is the result of [`source_for`].
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
fn source_for(address: SocketAddr, local: Option<&Local>) -> io::Result<()> {
    let any = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let from = match local {
        Some(Local::Address(local)) => *local,
        Some(Local::Device(_)) | None => any,
    };
    UdpSocket::bind(SocketAddr::new(from, 0))?.connect(address)
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
        let lack = |address: &str| {
            failure(address.parse().unwrap(), None, &io::ErrorKind::AddrNotAvailable.into()).kind
        };
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

    /// It was taken for a lack of ports, and waited for.
    #[test]
    fn a_local_address_that_was_lost_is_no_lack_of_ports() {
        let check = |error: io::ErrorKind, local: &str, expected| {
            let local = Local::Address(local.parse().unwrap());
            let failure = failure("127.0.0.1:80".parse().unwrap(), Some(&local), &error.into());
            assert_eq!(failure.kind, expected, "{failure}");
            assert!(failure.message.contains(&format!("--interface {local}")), "{failure}");
        };
        check(io::ErrorKind::AddrNotAvailable, "192.0.2.1", ErrorKind::ConnectUnreachable);
        check(io::ErrorKind::AddrNotAvailable, "127.0.0.1", ErrorKind::Resource);
        check(io::ErrorKind::AddrInUse, "127.0.0.1", ErrorKind::Resource);
    }

    #[test]
    fn local_addresses() {
        let address = |text: &str| Ok(Local::Address(text.parse().unwrap()));
        assert_eq!(Local::parse("127.0.0.9"), address("127.0.0.9"));
        if std::net::TcpListener::bind("[::1]:0").is_ok() {
            assert_eq!(Local::parse("[::1]"), address("::1"));
        }
        for (wrong, says) in [
            ("", "no address and no interface"),
            (".", "no address and no interface"),
            ("192.0.2.1", "this machine has no such address"),
            ("fe80::1", "give the name of the interface"),
            ("fe80::1%lo", "give the name of the interface"),
        ] {
            let error = Local::parse(wrong).unwrap_err();
            assert!(error.contains(says), "{wrong:?}: {error}");
        }
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
