//! The same server over TLS, with certificates that are right and wrong.

#![cfg(feature = "tls")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod client;

use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use overlapped_testkit::{Certificate, Server, text_of};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// A GET over TLS by a client that trusts the server's CA: everything up to the end, and how it ended.
fn get(server: &Server, name: &str, target: &str) -> (Vec<u8>, io::Result<()>) {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(server.ca_pem().unwrap().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = Arc::new(config.with_root_certificates(roots).with_no_client_auth());
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut stream =
        StreamOwned::new(ClientConnection::new(config, name).unwrap(), client::connect(server.addr()));
    let mut answer = Vec::new();
    let request = format!("GET {target} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    let end = stream.write_all(request.as_bytes()).and_then(|()| stream.read_to_end(&mut answer)).map(|_| ());
    (answer, end)
}

#[test]
fn a_valid_certificate_is_for_every_name() {
    let server = Server::builder().tls().tls_name("example.test").start();
    assert!(server.url("/ok").starts_with("https://127.0.0.1:"));
    for name in ["127.0.0.1", "localhost", "example.test"] {
        let (answer, end) = get(&server, name, "/text/100000");
        end.unwrap();
        assert_eq!(client::split(&answer).1, text_of("/text/100000", 100_000), "{name}");
    }
    assert!(get(&server, "other.test", "/ok").1.is_err());
    assert!(server.wait_until(Duration::from_secs(60), |server| server.failed_handshakes() == 1));
    assert_eq!((server.requests(), server.connections()), (3, 4));
}

#[test]
fn wrong_certificates_are_wrong() {
    for certificate in [
        Certificate::Expired,
        Certificate::NotYetValid,
        Certificate::WrongName,
        Certificate::UnknownIssuer,
        Certificate::SelfSigned,
    ] {
        let server = Server::builder().tls_with(certificate).start();
        let error = get(&server, "127.0.0.1", "/ok").1.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData, "{certificate:?}: {error}");
        assert_eq!(server.requests(), 0);
    }
}

#[test]
fn truncations_with_and_without_a_word() {
    let server = Server::builder().tls().start();
    let (answer, end) = get(&server, "localhost", "/truncate?sent=7");
    assert_eq!((client::split(&answer).1.len(), end.is_ok()), (7, true));
    let (answer, end) = get(&server, "localhost", "/cut?sent=7");
    assert_eq!(client::split(&answer).1.len(), 7);
    assert_eq!(end.unwrap_err().kind(), ErrorKind::UnexpectedEof);
    let (_, end) = get(&server, "localhost", "/reset?at=7");
    assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset);
}
