//! Addresses without a server: one that does not respond to a connect, and one that refuses it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType, bind, getsockname, listen, socket};

/// The time after which a pending connect means that the backlog is full. On loopback a connect takes microseconds.
const FULL_AFTER: Duration = Duration::from_millis(250);

/// The most connections that are opened to fill the shortest backlog.
const FILL_MAX: usize = 64;

/// An address on which a connect neither succeeds nor fails: a listener that never accepts and whose backlog is full.
///
/// ```
/// use std::{net::TcpStream, time::Duration};
///
/// let hole = overlapped_testkit::blackhole();
/// assert!(TcpStream::connect_timeout(&hole.addr(), Duration::from_millis(50)).is_err());
/// ```
#[derive(Debug)]
pub struct Blackhole {
    address: SocketAddr,
    _listener: OwnedFd,
    _backlog: Vec<TcpStream>,
}

/// An address that refuses connections until this is dropped: its port is bound, and not listening.
#[derive(Debug)]
pub struct Refused {
    address: SocketAddr,
    _socket: OwnedFd,
}

/// An address on 127.0.0.1 where a connect neither succeeds nor fails.
///
/// # Panics
///
/// When the system gives no socket, or the backlog can't be filled.
pub fn blackhole() -> Blackhole {
    blackhole_on(Ipv4Addr::LOCALHOST)
}

/// The same on another loopback address.
///
/// # Panics
///
/// As [`blackhole`].
pub fn blackhole_on(address: Ipv4Addr) -> Blackhole {
    let (listener, address) = bound(address).expect("a loopback port is free");
    listen(&listener, 0).expect("a bound socket can listen");
    let mut backlog = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, FULL_AFTER) {
        backlog.push(stream);
        assert!(backlog.len() < FILL_MAX, "the backlog of {address} never fills");
    }
    Blackhole { address, _listener: listener, _backlog: backlog }
}

/// An address on 127.0.0.1 that refuses connects.
///
/// # Panics
///
/// When the system gives no socket.
pub fn refused() -> Refused {
    refused_on(Ipv4Addr::LOCALHOST)
}

/// The same on another loopback address.
///
/// # Panics
///
/// When the system gives no socket.
pub fn refused_on(address: Ipv4Addr) -> Refused {
    let (socket, address) = bound(address).expect("a loopback port is free");
    Refused { address, _socket: socket }
}

impl Blackhole {
    /// The address.
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// The URL of a path there.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

impl Refused {
    /// The address.
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// The URL of a path there.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

fn bound(address: Ipv4Addr) -> io::Result<(OwnedFd, SocketAddr)> {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    bind(&socket, &SocketAddr::V4(SocketAddrV4::new(address, 0)))?;
    let bound = SocketAddr::try_from(getsockname(&socket)?)?;
    Ok((socket, bound))
}
