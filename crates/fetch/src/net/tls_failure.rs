//! Messages for TLS errors, with the flag that helps. Debug output of rustls is never shown.

use std::borrow::Cow;
use std::fmt;
use std::io;

use overlapped_proto::error::ErrorKind;
use overlapped_proto::limits;
use overlapped_proto::outcome::Failure;
use overlapped_proto::{record, sanitize};
use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError, InvalidMessage, OtherError, PeerIncompatible};

/// Whether a server that asks for a client certificate gets one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Identify {
    Yes,
    /// There is none, or it is not the server that the certificate was given for: a proxy, or where a redirect to another origin led.
    #[default]
    No,
}

/// A self-signed certificate, which rustls reports as one of an unknown authority.
#[derive(Debug)]
pub(super) struct SelfSigned;

impl fmt::Display for SelfSigned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the certificate is signed by itself")
    }
}

impl std::error::Error for SelfSigned {}

/// A certificate that the library does not take, also where certificates are not verified: the server has to prove in the handshake
/// that it has the key of its certificate.
#[derive(Clone, Copy, Debug)]
pub(super) enum Unusable {
    /// The proof cannot be verified with its key.
    Key,
    /// It cannot be read.
    Form,
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Key => {
                "has a key that is not supported, such as one of RSA with fewer than 2048 bits, or that the server does not have"
            }
            Self::Form => "cannot be read: it is damaged, or of a version of X.509 before 3",
        })
    }
}

impl std::error::Error for Unusable {}

/// The failure of a handshake with `host`, for which the client may have sent a certificate.
#[expect(clippy::wildcard_enum_match_arm, reason = "kinds come with new versions of the library")]
pub(super) fn of_handshake(error: &io::Error, host: &str, identify: Identify) -> Failure {
    let Some(tls) = tls_error(error) else {
        let what = match error.kind() == io::ErrorKind::UnexpectedEof {
            true => format!("{host} ended the connection during the TLS handshake"),
            false => format!("the connection to {host} broke during the TLS handshake: {error}"),
        };
        // A server that restarts, or has no room, closes what it has accepted.
        return Failure::new(ErrorKind::TlsReset, what);
    };
    match tls {
        rustls::Error::AlertReceived(AlertDescription::DecryptError) if identify == Identify::Yes => {
            Failure::new(ErrorKind::TlsHandshake, format!("no TLS with {host}: {UNVERIFIED}"))
        }
        rustls::Error::InvalidCertificate(certificate) => {
            Failure::new(ErrorKind::TlsCertificate, of_certificate(certificate, host))
        }
        rustls::Error::NoCertificatesPresented => {
            Failure::new(ErrorKind::TlsCertificate, format!("{host} presents no certificate"))
        }
        rustls::Error::InvalidMessage(InvalidMessage::HandshakePayloadTooLarge) => {
            let what =
                format!("a message of the TLS handshake of {host} is larger than 64 KiB: its certificates");
            Failure::new(ErrorKind::TlsHandshake, what)
        }
        rustls::Error::InvalidMessage(_) => {
            let what = format!("what {host} sends is not TLS; if it speaks plain HTTP there, use http://");
            Failure::new(ErrorKind::TlsHandshake, what)
        }
        other => {
            let kind = if is_transient(other) { ErrorKind::TlsReset } else { ErrorKind::TlsHandshake };
            Failure::new(kind, format!("no TLS with {host}: {}", words(other)))
        }
    }
}

/// True for what says nothing about how the server is set up: it had an error or gave up, or a record was damaged on
/// its way.
#[expect(clippy::wildcard_enum_match_arm, reason = "kinds come with new versions of the library")]
fn is_transient(error: &rustls::Error) -> bool {
    use AlertDescription as A;
    match error {
        rustls::Error::DecryptError => true,
        rustls::Error::AlertReceived(alert) => matches!(
            alert,
            A::CloseNotify
                | A::UserCanceled
                | A::InternalError
                | A::BadRecordMac
                | A::DecryptionFailed
                | A::DecryptError
        ),
        _ => false,
    }
}

/// What a server means by `decrypt_error` that was sent a certificate.
const UNVERIFIED: &str = "the server cannot verify the client certificate: another authority than the one it knows by this name has \
                          signed it";

/// The failure of the first request of a connection, if the server has refused the certificate of the client, which may have been
/// sent, or wants one. With TLS 1.3 the client learns this only when it reads the response.
pub(crate) fn of_identity(error: &io::Error, identify: Identify) -> Option<Failure> {
    let rustls::Error::AlertReceived(alert) = tls_error(error)? else { return None };
    let refused = |what: &'static str| Some(Failure::new(ErrorKind::TlsHandshake, what));
    match (*alert, identify) {
        (AlertDescription::DecryptError, Identify::Yes) => refused(UNVERIFIED),
        (alert, Identify::Yes | Identify::No) if is_about_identity(alert) => refused(of_alert(alert)),
        (_, Identify::Yes | Identify::No) => None,
    }
}

fn is_about_identity(alert: AlertDescription) -> bool {
    use AlertDescription as A;
    matches!(
        alert,
        A::CertificateRequired
            | A::NoCertificate
            | A::BadCertificate
            | A::UnsupportedCertificate
            | A::UnknownCA
            | A::CertificateUnknown
            | A::CertificateExpired
            | A::CertificateRevoked
            | A::AccessDenied
    )
}

/// The message for an I/O error of a connection.
pub(crate) fn told(error: &io::Error) -> Cow<'static, str> {
    match tls_error(error) {
        Some(tls) => words(tls).into(),
        // What the library says of it is meant for programmers.
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            "TLS ended without close_notify, so it may have been cut".into()
        }
        None => error.to_string().into(),
    }
}

fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref::<rustls::Error>()
}

/// The message for a certificate of `host` that is not accepted, with the flag that helps.
#[expect(clippy::wildcard_enum_match_arm, reason = "kinds come with new versions of the library")]
fn of_certificate(error: &CertificateError, host: &str) -> String {
    use CertificateError as E;
    if let E::Other(OtherError(inner)) = error
        && let Some(unusable) = inner.downcast_ref::<Unusable>()
    {
        return format!(
            "the certificate of {host} {unusable}; no setting helps, the server needs another one"
        );
    }
    let what = match error {
        E::ExpiredContext { time, not_after } => {
            format!("expired on {} (today is {} by this machine's clock)", day(*not_after), day(*time))
        }
        E::NotValidYetContext { time, not_before } => {
            format!(
                "is not valid before {} (today is {} by this machine's clock)",
                day(*not_before),
                day(*time)
            )
        }
        E::NotValidForNameContext { presented, .. } => names(presented, host),
        E::Expired => "has expired".to_owned(),
        E::NotValidYet => "is not valid yet".to_owned(),
        E::NotValidForName => format!("is for another name than {host}"),
        E::UnknownIssuer => {
            return format!(
                "the certificate of {host} comes from an authority that is not trusted here: --cacert FILE trusts \
                 those in FILE, --insecure-host {host} does not verify it"
            );
        }
        E::Other(OtherError(inner)) if inner.is::<SelfSigned>() => {
            return format!(
                "the certificate of {host} is signed by itself: --cacert FILE trusts it if it is in FILE, \
                 --insecure-host {host} does not verify it"
            );
        }
        E::BadEncoding => "cannot be read".to_owned(),
        E::Revoked => "was revoked".to_owned(),
        E::UnhandledCriticalExtension => "has a critical extension that is not supported".to_owned(),
        E::UnknownRevocationStatus | E::ExpiredRevocationList | E::ExpiredRevocationListContext { .. } => {
            "has an unknown revocation status".to_owned()
        }
        E::BadSignature => "has a wrong signature".to_owned(),
        E::UnsupportedSignatureAlgorithmContext { .. }
        | E::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "has a signature algorithm that is not supported, or no longer safe".to_owned()
        }
        E::InvalidPurpose | E::InvalidPurposeContext { .. } => "is not meant for servers".to_owned(),
        E::InvalidOcspResponse => "comes with an invalid OCSP response".to_owned(),
        _ => "is not a valid certificate".to_owned(),
    };
    format!("the certificate of {host} {what}; --insecure-host {host} does not verify it")
}

/// The names in a certificate. The library formats them as `DnsName("a.test")`, `IpAddress(127.0.0.1)`.
fn names(presented: &[String], host: &str) -> String {
    let plain = |name: &String| {
        let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or(name);
        sanitize::quote(inner.trim_matches('"').as_bytes(), limits::QUOTE_BYTES_MAX)
    };
    let mut told: Vec<String> = presented.iter().take(limits::HOSTS_TOLD).map(plain).collect();
    if presented.len() > told.len() {
        told.push(format!("{} more", presented.len() - told.len()));
    }
    match told.is_empty() {
        true => format!("names no host, so not {host} either"),
        false => format!("is for {}, not for {host}", told.join(", ")),
    }
}

/// The message for any other TLS error.
#[expect(clippy::wildcard_enum_match_arm, reason = "kinds come with new versions of the library")]
fn words(error: &rustls::Error) -> &'static str {
    use rustls::Error as E;
    match error {
        E::InappropriateMessage { .. } | E::InappropriateHandshakeMessage { .. } | E::PeerMisbehaved(_) => {
            "the server violates the TLS protocol"
        }
        E::InvalidMessage(_) | E::PeerSentOversizedRecord => "what the server sends is not TLS",
        E::DecryptError => "a TLS record failed its integrity check: it was damaged or changed on its way",
        E::PeerIncompatible(
            PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
            | PeerIncompatible::SupportedVersionsExtensionRequired,
        ) => "the server speaks neither TLS 1.2 nor TLS 1.3",
        E::PeerIncompatible(PeerIncompatible::ExtendedMasterSecretExtensionRequired) => {
            "the server does not support the extended master secret, which TLS 1.2 needs (RFC 7627)"
        }
        E::PeerIncompatible(_) => {
            "the server and this program have no cipher suite or other parameter in common"
        }
        E::AlertReceived(alert) => of_alert(*alert),
        E::InvalidCertificate(_) | E::NoCertificatesPresented => "the server's certificate is not valid",
        E::UnsupportedNameType => "the name cannot be verified",
        E::NoApplicationProtocol => "the server accepts no version of HTTP that was offered (ALPN)",
        E::FailedToGetCurrentTime => "this machine's clock cannot be read",
        E::FailedToGetRandomBytes => "this machine gives no random numbers",
        _ => "TLS failed on this side",
    }
}

/// The message for an alert from the server.
#[expect(clippy::wildcard_enum_match_arm, reason = "an alert may have any number")]
fn of_alert(alert: AlertDescription) -> &'static str {
    use AlertDescription as A;
    match alert {
        A::HandshakeFailure | A::InsufficientSecurity => {
            "the server accepts none of the cipher suites and parameters that were offered, or it wants a client certificate that it \
             knows: with TLS 1.2 it says both in the same way"
        }
        A::ProtocolVersion => "the server speaks neither TLS 1.2 nor TLS 1.3",
        A::UnrecognisedName => "the server does not have this host name (SNI)",
        A::CertificateRequired | A::NoCertificate | A::BadCertificate | A::UnsupportedCertificate => {
            "the server asks for a client certificate, and there is none"
        }
        A::AccessDenied => "the server denies access",
        A::InternalError => "the server reports an internal error",
        A::NoApplicationProtocol => "the server accepts no version of HTTP that was offered (ALPN)",
        A::UserCanceled | A::CloseNotify => "the server gave up",
        A::UnknownCA | A::CertificateUnknown | A::CertificateExpired | A::CertificateRevoked => {
            "the server does not accept a certificate"
        }
        A::BadRecordMac | A::DecryptError | A::DecryptionFailed => {
            "the server reports a TLS record that failed its integrity check: it was damaged or changed on its way"
        }
        _ => "the server refused the connection by a TLS alert",
    }
}

fn day(time: UnixTime) -> String {
    record::date(i64::try_from(time.as_secs()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use AlertDescription as A;

    use super::*;

    fn told_of(error: rustls::Error) -> String {
        let failure =
            of_handshake(&io::Error::new(io::ErrorKind::InvalidData, error), "a.test", Identify::No);
        failure.message.into()
    }

    #[test]
    fn a_certificate_is_told_in_words() {
        let time = UnixTime::since_unix_epoch(std::time::Duration::from_secs(1_800_000_000));
        let past = UnixTime::since_unix_epoch(std::time::Duration::from_secs(1_700_000_000));
        let presented = vec!["DnsName(\"b.test\")".to_owned(), "IpAddress(127.0.0.1)".to_owned()];
        let expected = rustls::pki_types::ServerName::try_from("a.test").unwrap();
        for (error, words) in [
            (
                CertificateError::ExpiredContext { time, not_after: past },
                "expired on 2023-11-14 (today is 2027-01-15",
            ),
            (
                CertificateError::NotValidYetContext { time: past, not_before: time },
                "not valid before 2027-01-15",
            ),
            (
                CertificateError::NotValidForNameContext { expected, presented },
                "is for b.test, 127.0.0.1, not for a.test;",
            ),
            (CertificateError::UnknownIssuer, "authority that is not trusted here: --cacert FILE"),
            (CertificateError::Other(OtherError(std::sync::Arc::new(SelfSigned))), "is signed by itself"),
            (CertificateError::BadSignature, "has a wrong signature"),
            (CertificateError::ApplicationVerificationFailure, "is not a valid certificate"),
        ] {
            let told = told_of(rustls::Error::InvalidCertificate(error));
            assert!(told.contains(words) && told.contains("--insecure-host a.test"), "{told}");
        }
    }

    #[test]
    fn no_flag_is_named_that_does_not_help() {
        for (unusable, words) in
            [(Unusable::Key, "fewer than 2048 bits"), (Unusable::Form, "version of X.509")]
        {
            let other = CertificateError::Other(OtherError(std::sync::Arc::new(unusable)));
            let told = told_of(rustls::Error::InvalidCertificate(other));
            assert!(told.contains(words) && !told.contains("--"), "{told}");
        }
    }

    #[test]
    fn a_missing_close_notify_is_told_in_words() {
        let of_library = "peer closed connection without sending TLS close_notify: https://docs.rs/x";
        let told = told(&io::Error::new(io::ErrorKind::UnexpectedEof, of_library));
        assert!(told.contains("without close_notify") && !told.contains("http"), "{told}");
    }

    #[test]
    fn a_server_of_tls_1_2_may_miss_a_client_certificate() {
        let told = told_of(rustls::Error::AlertReceived(A::HandshakeFailure));
        assert!(told.contains("client certificate"), "{told}");
    }

    #[test]
    fn what_may_go_better_is_told_apart() {
        use io::ErrorKind as I;
        use rustls::Error as E;
        let kind =
            |error: E| of_handshake(&io::Error::new(I::InvalidData, error), "a.test", Identify::No).kind;
        let transient = [A::InternalError, A::UserCanceled, A::CloseNotify, A::BadRecordMac, A::DecryptError];
        let permanent = [A::HandshakeFailure, A::ProtocolVersion, A::UnrecognisedName, A::AccessDenied];
        for alert in transient {
            assert_eq!(kind(E::AlertReceived(alert)), ErrorKind::TlsReset, "{alert:?}");
        }
        for alert in permanent {
            assert_eq!(kind(E::AlertReceived(alert)), ErrorKind::TlsHandshake, "{alert:?}");
        }
        for broken in [I::UnexpectedEof, I::ConnectionReset, I::ConnectionAborted, I::BrokenPipe, I::TimedOut]
        {
            assert_eq!(
                of_handshake(&broken.into(), "a.test", Identify::Yes).kind,
                ErrorKind::TlsReset,
                "{broken:?}"
            );
        }
        assert_eq!(kind(E::DecryptError), ErrorKind::TlsReset);
        for settled in [
            E::InvalidMessage(InvalidMessage::InvalidContentType),
            E::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon),
            E::NoApplicationProtocol,
        ] {
            assert_eq!(kind(settled), ErrorKind::TlsHandshake);
        }
        assert_eq!(kind(E::NoCertificatesPresented), ErrorKind::TlsCertificate);
    }

    /// The names of variants have capitals inside; words do not.
    #[test]
    fn nothing_is_told_as_programmers_print_it() {
        use rustls::{Error as E, PeerMisbehaved};
        let alerts = (0..=255).map(|number| E::AlertReceived(AlertDescription::from(number)));
        let others = [
            E::InvalidMessage(InvalidMessage::InvalidContentType),
            E::PeerMisbehaved(PeerMisbehaved::IncorrectBinder),
            E::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon),
            E::PeerIncompatible(PeerIncompatible::ServerDoesNotSupportTls12Or13),
            E::InvalidCertificate(CertificateError::InvalidPurpose),
            E::NoCertificatesPresented,
            E::UnsupportedNameType,
            E::DecryptError,
            E::EncryptError,
            E::General("SomeThing".to_owned()),
            E::HandshakeNotComplete,
            E::PeerSentOversizedRecord,
            E::NoApplicationProtocol,
            E::BadMaxFragmentSize,
        ];
        for error in alerts.chain(others) {
            let debug = format!("{error:?}");
            let io = io::Error::new(io::ErrorKind::InvalidData, error.clone());
            for told in [told_of(error), told(&io).into_owned()] {
                let is_code = |word: &str| {
                    let inside = word.chars().skip(1).collect::<String>();
                    inside.chars().any(char::is_uppercase) && inside.chars().any(char::is_lowercase)
                };
                let word = told.split(|c: char| !c.is_ascii_alphanumeric()).find(|word| is_code(word));
                assert_eq!(word, None, "{debug}: {told}");
            }
        }
    }
}
