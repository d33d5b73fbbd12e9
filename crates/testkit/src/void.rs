//! Addresses where no server is: one that never answers a connect, and one that refuses it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType, bind, getsockname, listen, socket};

/// How long a connect may take until the backlog counts as full. On loopback an answer takes microseconds.
const FULL_AFTER: Duration = Duration::from_millis(250);

/// How many connections it takes at most to fill the shortest backlog.
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

/// An address that refuses connections as long as this lives: its port is taken, and nobody listens.
#[derive(Debug)]
pub struct Refused {
    address: SocketAddr,
    _socket: OwnedFd,
}

/// An address on 127.0.0.1 that swallows connects.
///
/// # Panics
///
/// When the system gives no socket, or the backlog can't be filled.
pub fn blackhole() -> Blackhole {
    blackhole_on(Ipv4Addr::LOCALHOST)
}

/// An address on this loopback address that swallows connects.
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

/// An address on this loopback address that refuses connects.
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
