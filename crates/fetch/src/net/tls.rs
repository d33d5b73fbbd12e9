//! TLS with rustls: trust anchors and the handshake.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use overlapped_proto::error::ErrorKind;
use overlapped_proto::limits;
use overlapped_proto::outcome::Failure;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, OtherError, RootCertStore, SignatureScheme,
};
use rustls_platform_verifier::Verifier;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use url::Host;
use webpki::EndEntityCert;

use super::tls_failure::{Identify, SelfSigned, Unusable, of_handshake};
use super::tls_pinned;
use crate::error::Error;

/// The trust settings of a run. The system's certificates are loaded for the first TLS connection, so that a run
/// without TLS does not pay for them.
#[derive(Debug)]
pub(crate) struct Trust {
    roots: Option<Arc<Roots>>,
    /// No certificate is verified.
    verifies_none: bool,
    exceptions: Vec<Exception>,
    identity: Option<Identity>,
    /// TLS sessions that are kept, to be resumed.
    sessions: usize,
    /// By [`Trust::config`].
    configs: [OnceLock<Result<TlsConnectorConfig, Failure>>; 4],
}

/// The certificates of the caller.
#[derive(Debug)]
struct Roots {
    store: RootCertStore,
    /// Those that have signed themselves: a server may present one of them.
    own: Vec<CertificateDer<'static>>,
}

/// The protocols that are offered in a handshake (RFC 7301), the preferred one first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alpn {
    Http1,
    Http2,
    Both,
}

impl Alpn {
    fn names(self) -> Vec<Vec<u8>> {
        let names: &[&[u8]] = match self {
            Self::Http1 => &[HTTP1],
            Self::Http2 => &[HTTP2],
            Self::Both => &[HTTP2, HTTP1],
        };
        names.iter().map(|name| name.to_vec()).collect()
    }
}

const HTTP1: &[u8] = b"http/1.1";
const HTTP2: &[u8] = b"h2";

/// True if the server has chosen HTTP/2.
pub(crate) fn chose_http2<S>(session: &TlsStream<S>) -> bool {
    session.get_ref().1.alpn_protocol() == Some(HTTP2)
}

/// True if the server has chosen HTTP/1.1.
pub(crate) fn chose_http1<S>(session: &TlsStream<S>) -> bool {
    session.get_ref().1.alpn_protocol() == Some(HTTP1)
}

/// A host whose certificate is not verified.
#[derive(Debug)]
struct Exception {
    given: String,
    /// In the form of a URL's host.
    host: String,
    /// True once a row had this host.
    met: AtomicBool,
}

type TlsConnectorConfig = Arc<ClientConfig>;

impl Trust {
    /// # Errors
    ///
    /// `ca_pem` has no certificate, or one that cannot be parsed; or `identity`, a certificate chain and a private key, cannot be
    /// used.
    pub(crate) fn new(
        ca_pem: Option<&[u8]>,
        insecure_hosts: Vec<String>,
        identity: Option<(&[u8], &[u8])>,
    ) -> Result<Self, Error> {
        let identity = identity.map(|(chain, key)| Identity::of(chain, key)).transpose()?;
        let roots =
            ca_pem.map(roots).transpose().map_err(|what| Error::config(format!("--cacert: {what}")))?;
        let exceptions = insecure_hosts.into_iter().map(Exception::of).collect();
        let roots = roots.map(Arc::new);
        Ok(Self {
            roots,
            verifies_none: false,
            exceptions,
            identity,
            sessions: limits::TLS_HOSTS_MAX * limits::TLS_SESSIONS_HOST,
            configs: Default::default(),
        })
    }

    /// The settings of single requests.
    ///
    /// # Errors
    ///
    /// As [`Trust::new`].
    pub(crate) fn single(
        ca_pem: Option<&[u8]>,
        verifies: bool,
        identity: Option<(&[u8], &[u8])>,
    ) -> Result<Self, Error> {
        let sessions = limits::TLS_SESSIONS_SINGLE;
        Ok(Self { verifies_none: !verifies, sessions, ..Self::new(ca_pem, Vec::new(), identity)? })
    }

    /// True if a client certificate is sent to servers that ask for one.
    pub(crate) fn identifies(&self) -> bool {
        self.identity.is_some()
    }

    /// Whether a certificate is sent where one may be.
    pub(crate) fn identifies_by(&self, identify: Identify) -> Identify {
        if self.identifies() { identify } else { Identify::No }
    }

    /// True if the certificate of `host` is verified.
    pub(crate) fn verifies(&self, host: &str) -> bool {
        !self.verifies_none && !self.is_insecure(host)
    }

    /// True if the certificate of `host` is not verified; such connections are never shared with verified ones.
    pub(crate) fn is_insecure(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host);
        let met = self.exceptions.iter().filter(|exception| exception.host.eq_ignore_ascii_case(host));
        met.map(|exception| exception.met.store(true, Ordering::Relaxed)).count() > 0
    }

    /// The exceptions that no row has matched, as they were given.
    pub(crate) fn unmet(&self) -> Vec<String> {
        let unmet = self.exceptions.iter().filter(|exception| !exception.met.load(Ordering::Relaxed));
        unmet.map(|exception| exception.given.clone()).collect()
    }

    /// Performs the handshake with `host` over any stream, verifying its certificate unless [`Trust::is_insecure`], and
    /// offers the protocols of `alpn`.
    pub(crate) async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        host: &str,
        stream: S,
        alpn: Alpn,
        identify: Identify,
    ) -> Result<TlsStream<S>, Failure> {
        let config = self.config(self.verifies(host), identify)?;
        let bare = host.strip_suffix('.').unwrap_or(host).trim_matches(['[', ']']);
        let name = ServerName::try_from(bare.to_owned()).map_err(|_| {
            Failure::new(ErrorKind::TlsHandshake, format!("{host} is not a name TLS can ask for"))
        })?;
        let connector = TlsConnector::from(config);
        let session = connector.with_alpn(alpn.names()).connect(name, stream);
        session.await.map_err(|error| of_handshake(&error, bare, self.identifies_by(identify)))
    }
}

impl Trust {
    /// The settings of the library, which are made once.
    fn config(&self, verifies: bool, identify: Identify) -> Result<TlsConnectorConfig, Failure> {
        let identity = self.identity.as_ref().filter(|_| identify == Identify::Yes);
        let [plain, known, lax, lax_known] = &self.configs;
        let config = match (verifies, identity) {
            (true, None) => plain,
            (true, Some(_)) => known,
            (false, None) => lax,
            (false, Some(_)) => lax_known,
        };
        let settings = (identity, self.sessions);
        let make = || if verifies { verified(self.roots.clone(), settings) } else { unverified(settings) };
        config.get_or_init(make).clone()
    }
}

/// A client certificate.
#[derive(Debug)]
struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Identity {
    fn of(chain: &[u8], key: &[u8]) -> Result<Self, Error> {
        let wrong = |what: &str| Error::config(format!("the client certificate: {what}"));
        let chain = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| wrong("the certificates cannot be read; they must be PEM"))?;
        if chain.is_empty() {
            return Err(wrong("there is no certificate; it must be PEM"));
        }
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|_| wrong("the private key cannot be read; it must be PEM, without a password"))?;
        let pair = Self { chain, key };
        pair.check().map_err(|_| wrong("the private key does not belong to the certificate"))?;
        Ok(pair)
    }

    fn check(&self) -> Result<(), rustls::Error> {
        let provider = aws_lc_rs::default_provider();
        rustls::sign::CertifiedKey::from_der(self.chain.clone(), self.key.clone_key(), &provider).map(drop)
    }
}

impl Exception {
    /// Normalises a name in any spelling of a URL: with a trailing dot, in Unicode, an address without brackets.
    fn of(given: String) -> Self {
        let bare = given.strip_suffix('.').unwrap_or(&given);
        let bracketed = format!("[{bare}]");
        let spelling = if bare.parse::<std::net::Ipv6Addr>().is_ok() { &bracketed } else { bare };
        let host = Host::parse(spelling).map_or_else(|_| bare.to_owned(), |host| host.to_string());
        Self { host, given, met: AtomicBool::new(false) }
    }
}

fn roots(pem: &[u8]) -> Result<Roots, String> {
    let (mut store, mut own) = (RootCertStore::empty(), Vec::new());
    for (number, certificate) in (1..).zip(CertificateDer::pem_slice_iter(pem)) {
        let unreadable = || format!("certificate {number} of the file cannot be read");
        let certificate = certificate.map_err(|_| unreadable())?;
        if is_self_signed(&certificate) {
            own.push(certificate.clone());
        }
        store.add(certificate).map_err(|_| unreadable())?;
    }
    match store.is_empty() {
        false => Ok(Roots { store, own }),
        true => Err("there is no certificate in the file; it must be PEM, which begins with \
                     -----BEGIN CERTIFICATE-----"
            .to_owned()),
    }
}

/// The client certificate, and the number of sessions.
type Settings<'a> = (Option<&'a Identity>, usize);

fn verified(roots: Option<Arc<Roots>>, settings: Settings<'_>) -> Result<TlsConnectorConfig, Failure> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let inner: Arc<dyn ServerCertVerifier> = match &roots {
        None => Arc::new(Verifier::new(provider).map_err(|_| {
            setup("this system has no certificates that can be used; --cacert FILE names some")
        })?),
        Some(roots) => WebPkiServerVerifier::builder_with_provider(Arc::new(roots.store.clone()), provider)
            .build()
            .map_err(|_| setup("the certificates of --cacert cannot be used"))?,
    };
    config(Arc::new(Verified { inner, roots }), settings)
}

fn unverified(settings: Settings<'_>) -> Result<TlsConnectorConfig, Failure> {
    config(Arc::new(Unverified(aws_lc_rs::default_provider())), settings)
}

fn config(
    verifier: Arc<dyn ServerCertVerifier>,
    (identity, sessions): Settings<'_>,
) -> Result<TlsConnectorConfig, Failure> {
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|_| setup("the library has no version of TLS in common with itself"))?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some(Identity { chain, key }) => builder
            .with_client_auth_cert(chain.clone(), key.clone_key())
            .map_err(|_| setup("the client certificate cannot be used"))?,
    };
    config.resumption = Resumption::in_memory_sessions(sessions);
    Ok(Arc::new(config))
}

fn setup(what: &str) -> Failure {
    Failure::new(ErrorKind::TlsHandshake, format!("TLS cannot be set up: {what}"))
}

/// Wraps a verifier to distinguish a self-signed certificate from one of an unknown authority, and to trust one that the
/// caller trusts by itself.
#[derive(Debug)]
struct Verified {
    inner: Arc<dyn ServerCertVerifier>,
    roots: Option<Arc<Roots>>,
}

impl ServerCertVerifier for Verified {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.roots.as_ref().is_some_and(|roots| roots.own.contains(end_entity)) {
            return tls_pinned::verify(end_entity, server_name, now)
                .map(|()| ServerCertVerified::assertion())
                .map_err(Into::into);
        }
        let verified =
            self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match verified {
            Err(rustls::Error::InvalidCertificate(
                CertificateError::UnknownIssuer | CertificateError::Other(_),
            )) if is_self_signed(end_entity) => {
                Err(CertificateError::Other(OtherError(Arc::new(SelfSigned))).into())
            }
            Err(rustls::Error::InvalidCertificate(_)) if EndEntityCert::try_from(end_entity).is_err() => {
                Err(unusable(Unusable::Form))
            }
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        proven(self.inner.verify_tls12_signature(message, cert, dss), cert)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        proven(self.inner.verify_tls13_signature(message, cert, dss), cert)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// The proof that the server has the key of its certificate, with the reason why there is none.
fn proven(
    proof: Result<HandshakeSignatureValid, rustls::Error>,
    certificate: &CertificateDer<'_>,
) -> Result<HandshakeSignatureValid, rustls::Error> {
    match proof {
        Err(rustls::Error::InvalidCertificate(_)) => {
            let is_readable = EndEntityCert::try_from(certificate).is_ok();
            Err(unusable(if is_readable { Unusable::Key } else { Unusable::Form }))
        }
        other => other,
    }
}

fn unusable(why: Unusable) -> rustls::Error {
    CertificateError::Other(OtherError(Arc::new(why))).into()
}

fn is_self_signed(certificate: &CertificateDer<'_>) -> bool {
    EndEntityCert::try_from(certificate)
        .is_ok_and(|certificate| certificate.issuer() == certificate.subject())
}

/// Accepts every certificate, for the listed names only. Handshake signatures are still verified.
#[derive(Debug)]
struct Unverified(CryptoProvider);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        proven(rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms), cert)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        proven(rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms), cert)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    use tokio::io::ReadBuf;

    use super::*;

    /// A server that says `close_notify` so many times, and then ends the stream or says nothing more.
    struct Goodbye {
        times: u32,
        ends: bool,
        reads: u32,
    }

    impl AsyncRead for Goodbye {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            self.reads += 1;
            match (self.times.checked_sub(self.reads), self.ends) {
                (Some(_), _) => buf.put_slice(b"\x15\x03\x03\0\x02\x01\0"),
                (None, true) => {}
                (None, false) => return Poll::Pending,
            }
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Goodbye {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(buf.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn a_close_notify_in_the_handshake_ends_it() {
        let trust = Trust::new(None, vec!["a.test".to_owned()], None).unwrap();
        let mut cx = Context::from_waker(Waker::noop());
        for times in [1, 3] {
            for ends in [true, false] {
                let mut server = Goodbye { times, ends, reads: 0 };
                let shaken = std::pin::pin!(trust.handshake("a.test", &mut server, Alpn::Both, Identify::No))
                    .poll(&mut cx)
                    .map(|session| session.err().map(|failure| failure.kind));
                let expected = if ends { Poll::Ready(Some(ErrorKind::TlsReset)) } else { Poll::Pending };
                assert_eq!(shaken, expected);
                assert!(server.reads <= times + 2, "{} reads", server.reads);
            }
        }
    }
}
