//! TLS by rustls: what is trusted, and the handshake.

use std::sync::{Arc, OnceLock};

use overlapped_proto::error::ErrorKind;
use overlapped_proto::outcome::Failure;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_platform_verifier::BuilderVerifierExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// What is trusted, for all shards of a run. The system's certificates are read when the first TLS connection is
/// made, so that a run without TLS does not pay for them.
#[derive(Debug)]
pub(crate) struct Trust {
    ca_pem: Option<Vec<u8>>,
    insecure_hosts: Vec<String>,
    verified: OnceLock<Result<TlsConnectorConfig, Failure>>,
    unverified: OnceLock<Result<TlsConnectorConfig, Failure>>,
}

type TlsConnectorConfig = Arc<ClientConfig>;

impl Trust {
    pub(crate) fn new(ca_pem: Option<Vec<u8>>, insecure_hosts: Vec<String>) -> Self {
        Self { ca_pem, insecure_hosts, verified: OnceLock::new(), unverified: OnceLock::new() }
    }

    /// True if the certificate of `host` is not verified; such connections are never shared with verified ones.
    pub(crate) fn is_insecure(&self, host: &str) -> bool {
        self.insecure_hosts.iter().any(|name| name.eq_ignore_ascii_case(host))
    }

    /// Shakes hands with `host` over an open connection.
    pub(crate) async fn handshake(
        &self,
        host: &str,
        tcp: TcpStream,
    ) -> Result<TlsStream<TcpStream>, Failure> {
        let config = if self.is_insecure(host) {
            self.unverified.get_or_init(unverified)
        } else {
            self.verified.get_or_init(|| verified(self.ca_pem.as_deref()))
        };
        let config = config.clone()?;
        let bare = host.strip_suffix('.').unwrap_or(host).trim_matches(['[', ']']);
        let name = ServerName::try_from(bare.to_owned()).map_err(|_| {
            Failure::new(ErrorKind::TlsHandshake, format!("{host} is not a name TLS can ask for"))
        })?;
        TlsConnector::from(config).connect(name, tcp).await.map_err(|error| failure(&error))
    }
}

fn builder() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, Failure> {
    ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(setup)
}

fn verified(ca_pem: Option<&[u8]>) -> Result<TlsConnectorConfig, Failure> {
    let builder = builder()?;
    let builder = match ca_pem {
        None => builder.with_platform_verifier().map_err(setup)?,
        Some(pem) => {
            let mut roots = RootCertStore::empty();
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let certificate = certificate.map_err(setup)?;
                roots.add(certificate).map_err(setup)?;
            }
            builder.with_root_certificates(roots)
        }
    };
    Ok(finish(builder.with_no_client_auth()))
}

fn unverified() -> Result<TlsConnectorConfig, Failure> {
    let verifier = Arc::new(Unverified(aws_lc_rs::default_provider()));
    let builder = builder()?.dangerous().with_custom_certificate_verifier(verifier);
    Ok(finish(builder.with_no_client_auth()))
}

fn finish(mut config: ClientConfig) -> TlsConnectorConfig {
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(config)
}

fn setup(error: impl std::fmt::Display) -> Failure {
    Failure::new(ErrorKind::TlsHandshake, format!("TLS cannot be set up: {error}"))
}

fn failure(error: &std::io::Error) -> Failure {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let certificate = matches!(tls, Some(rustls::Error::InvalidCertificate(_)));
    let kind = if certificate { ErrorKind::TlsCertificate } else { ErrorKind::TlsHandshake };
    Failure::new(kind, error.to_string())
}

/// Accepts every certificate, for the names that the caller has listed. Signatures are still checked.
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
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
