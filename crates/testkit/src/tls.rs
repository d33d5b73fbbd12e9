//! TLS for a server: a certificate authority, created for each server, with valid and deliberately invalid leaf certificates.
//!
//! Only this file uses rcgen and rustls.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{HandshakeKind, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::wire::Transport;

/// The kind of a server's certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Certificate {
    /// Valid for `localhost`, all names of the builder and all addresses of the server; signed by the server's CA.
    #[default]
    Valid,
    /// The same, but expired in 2001.
    Expired,
    /// The same, but not valid before 2100.
    NotYetValid,
    /// Valid for `wrong.example` only.
    WrongName,
    /// Signed by an unknown CA.
    UnknownIssuer,
    /// Self-signed, without a CA.
    SelfSigned,
}

/// A server's side of TLS, ready for connections.
pub(crate) struct Tls {
    acceptor: TlsAcceptor,
    ca_pem: String,
}

impl Transport for TlsStream<TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }
}

impl Tls {
    /// # Panics
    ///
    /// When a name is not allowed in a certificate.
    pub(crate) fn new(
        certificate: Certificate,
        names: &[String],
        addresses: &[IpAddr],
        alpn: &[&str],
    ) -> Tls {
        const MADE: &str = "a certificate for these names can be made";
        let ca = authority("overlapped-testkit CA");
        let mut subjects: Vec<String> = vec!["localhost".to_owned()];
        subjects.extend_from_slice(names);
        subjects.extend(addresses.iter().map(IpAddr::to_string));
        if certificate == Certificate::WrongName {
            subjects = vec!["wrong.example".to_owned()];
        }
        let mut params = CertificateParams::new(subjects).expect(MADE);
        params.distinguished_name.push(DnType::CommonName, "overlapped-testkit");
        params.not_before = rcgen::date_time_ymd(2000, 1, 1);
        params.not_after = rcgen::date_time_ymd(2200, 1, 1);
        let key = KeyPair::generate().expect(MADE);
        let leaf = match certificate {
            Certificate::Valid | Certificate::WrongName => params.signed_by(&key, &ca),
            Certificate::Expired => {
                params.not_after = rcgen::date_time_ymd(2001, 1, 1);
                params.signed_by(&key, &ca)
            }
            Certificate::NotYetValid => {
                params.not_before = rcgen::date_time_ymd(2100, 1, 1);
                params.signed_by(&key, &ca)
            }
            Certificate::UnknownIssuer => params.signed_by(&key, &authority("another CA")),
            Certificate::SelfSigned => params.self_signed(&key),
        }
        .expect(MADE);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has the default versions")
            .with_no_client_auth()
            .with_single_cert(
                vec![leaf.der().clone()],
                PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
            )
            .expect("the key belongs to the certificate");
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Tls { acceptor: TlsAcceptor::from(Arc::new(config)), ca_pem: ca.pem() }
    }

    pub(crate) fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    pub(crate) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        self.acceptor.accept(stream).await
    }
}

/// True if the session was resumed from an earlier connection.
pub(crate) fn is_resumed(stream: &TlsStream<TcpStream>) -> bool {
    stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed)
}

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = rcgen::date_time_ymd(2000, 1, 1);
    params.not_after = rcgen::date_time_ymd(2200, 1, 1);
    let key = KeyPair::generate().expect("a key can be made");
    CertifiedIssuer::self_signed(params, key).expect("a CA can sign itself")
}
