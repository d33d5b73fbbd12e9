//! Addresses without a server, and addresses with one.
#![cfg(unix)]

mod client;

use std::io::ErrorKind;
use std::net::{Ipv6Addr, TcpStream};
use std::time::Duration;

use client::get;
use overlapped_testkit::{Server, blackhole, blackhole_on, refused};

#[test]
fn a_blackhole_swallows_connects() {
    for hole in [blackhole(), blackhole_on([127, 0, 0, 9].into())] {
        for _ in 0..2 {
            let error = TcpStream::connect_timeout(&hole.addr(), Duration::from_millis(300)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TimedOut);
        }
    }
}

#[test]
fn a_refused_port_refuses() {
    let refused = refused();
    let error = TcpStream::connect(refused.addr()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn other_loopback_addresses() {
    let server = Server::builder().address([127, 0, 0, 2]).start();
    assert!(server.url("/ok").starts_with("http://127.0.0.2:"));
    assert_eq!(get(server.addr(), "/ok").1, b"ok\n");
    let server = Server::builder().address(Ipv6Addr::LOCALHOST).start();
    assert!(server.url("/ok").starts_with("http://[::1]:"));
    assert_eq!(get(server.addr(), "/ok").1, b"ok\n");
}
