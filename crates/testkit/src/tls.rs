//! TLS for a server: a certificate authority, created for each server, with valid and deliberately invalid leaf certificates.
//!
//! Only this file uses rcgen and rustls.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, DnType, ExtendedKeyUsagePurpose,
    IsCa, KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{HandshakeKind, RootCertStore, ServerConfig};
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
    /// The same, and it calls itself a CA, as those of `openssl req -x509` do.
    SelfSignedAuthority,
    /// The same, but expired in 2001.
    SelfSignedExpired,
    /// Valid, and sent with further certificates, all of them just under 64 KiB, the limit of many clients.
    LongChain,
    /// The same, and just over 64 KiB.
    OverlongChain,
}

/// A server's side of TLS, ready for connections.
pub(crate) struct Tls {
    acceptor: TlsAcceptor,
    ca_pem: String,
    certificate_pem: String,
    client_pem: Option<(String, String)>,
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
        wants_client: bool,
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
            Certificate::Valid
            | Certificate::WrongName
            | Certificate::LongChain
            | Certificate::OverlongChain => params.signed_by(&key, &ca),
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
            Certificate::SelfSignedAuthority => {
                params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
                params.self_signed(&key)
            }
            Certificate::SelfSignedExpired => {
                params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
                params.not_after = rcgen::date_time_ymd(2001, 1, 1);
                params.self_signed(&key)
            }
        }
        .expect(MADE);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("the provider has the default versions");
        let builder = if wants_client {
            let mut roots = RootCertStore::empty();
            roots.add(ca.der().clone()).expect("the CA can be trusted");
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().expect("there is a CA"))
        } else {
            builder.with_no_client_auth()
        };
        let client_pem = wants_client.then(|| client(&ca));
        let fillers = match certificate {
            Certificate::LongChain => 15,
            Certificate::OverlongChain => 17,
            Certificate::Valid
            | Certificate::Expired
            | Certificate::NotYetValid
            | Certificate::WrongName
            | Certificate::UnknownIssuer
            | Certificate::SelfSigned
            | Certificate::SelfSignedAuthority
            | Certificate::SelfSignedExpired => 0,
        };
        let chain = std::iter::once(leaf.der().clone()).chain((0..fillers).map(|_| filler(&ca)));
        let mut config = builder
            .with_single_cert(
                chain.collect(),
                PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
            )
            .expect("the key belongs to the certificate");
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Tls { acceptor, ca_pem: ca.pem(), certificate_pem: leaf.pem(), client_pem }
    }

    pub(crate) fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    pub(crate) fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// A certificate that the server accepts of a client, and its key.
    pub(crate) fn client_pem(&self) -> Option<(&str, &str)> {
        self.client_pem.as_ref().map(|(chain, key)| (chain.as_str(), key.as_str()))
    }

    pub(crate) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        self.acceptor.accept(stream).await
    }
}

/// True if the session was resumed from an earlier connection.
pub(crate) fn is_resumed(stream: &TlsStream<TcpStream>) -> bool {
    stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed)
}

/// A certificate of four KiB that belongs to no chain.
fn filler(ca: &CertifiedIssuer<'static, KeyPair>) -> CertificateDer<'static> {
    const BYTES: usize = 4 << 10;
    let mut params = CertificateParams::default();
    let unknown = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99_999, 1], vec![0; BYTES - 400]);
    params.custom_extensions = vec![unknown];
    let key = KeyPair::generate().expect("a key can be made");
    params.signed_by(&key, ca).expect("a certificate can be made").der().clone()
}

fn client(ca: &CertifiedIssuer<'static, KeyPair>) -> (String, String) {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "a client");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.not_before = rcgen::date_time_ymd(2000, 1, 1);
    params.not_after = rcgen::date_time_ymd(2200, 1, 1);
    let key = KeyPair::generate().expect("a key can be made");
    let certificate = params.signed_by(&key, ca).expect("a certificate for a client can be made");
    (certificate.pem(), key.serialize_pem())
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
