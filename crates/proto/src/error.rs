//! The closed table of everything that can go wrong with one row. One name for each kind, the same in records, in
//! Rust, in Python and in the documentation (`docs/reference/errors.md`, compared by a test).

use std::fmt;

/// Where in a request something went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Before anything was sent: reading the row, checking the policy.
    Input,
    /// Name resolution.
    Dns,
    /// Opening the connection.
    Connect,
    /// The TLS handshake.
    Tls,
    /// Sending the request.
    Send,
    /// Waiting for, or reading, the head of the response.
    Head,
    /// Reading the body.
    Body,
    /// Writing the result.
    Sink,
    /// Any of them: the failure is of the run, not of the request.
    Run,
}

/// Who is to blame for a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Blame {
    /// The row, its settings, this program or this machine: nothing was learned about the origin.
    Us,
    /// The network of this machine or its resolver, by which every host fails alike.
    Network,
    /// That network or the origin: the failure does not tell which.
    Either,
    /// The origin, or a server in front of it.
    Origin,
}

/// The columns, in this order: the name; the phase; `transient` if another attempt may go better, or `permanent`; curl's
/// exit code; who is to blame; whether the origin was `reached`, `unreached`, which counts towards parking it, or
/// `untold`; and whether it is a sign of a `slow` host, whose concurrency is then lowered, or `plain`.
macro_rules! kinds {
    ($(
        $(#[doc = $doc:literal])+
        $variant:ident = $name:literal, $phase:ident, $again:ident, $curl:literal, $blame:ident, $contact:ident, $pace:ident;
    )+) => {
        /// What went wrong with a row.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ErrorKind {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl ErrorKind {
            /// Every kind, in the order of the table.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The name that records, Python and the documentation use, such as `dns.timeout`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// One sentence on what it means.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc,)+).trim_ascii_start(),)+ }
            }

            /// Where in a request it happens.
            #[must_use]
            pub const fn phase(self) -> Phase {
                match self { $(Self::$variant => Phase::$phase,)+ }
            }

            /// True if another attempt may go better.
            #[must_use]
            pub const fn is_transient(self) -> bool {
                match self { $(Self::$variant => kinds!(@again $again),)+ }
            }

            /// curl's exit code for the same failure.
            #[must_use]
            pub const fn curl_code(self) -> u8 {
                match self { $(Self::$variant => $curl,)+ }
            }

            /// Who is to blame for it.
            #[must_use]
            pub const fn blame(self) -> Blame {
                match self { $(Self::$variant => Blame::$blame,)+ }
            }

            /// Whether the origin was reached. `None`: it was not tried, or the failure does not tell.
            #[must_use]
            pub const fn reached(self) -> Option<bool> {
                match self { $(Self::$variant => kinds!(@contact $contact),)+ }
            }

            /// True if it is a sign that the host is overloaded: a time limit has passed.
            #[must_use]
            pub const fn is_slow(self) -> bool {
                match self { $(Self::$variant => kinds!(@pace $pace),)+ }
            }
        }
    };
    (@again transient) => { true };
    (@again permanent) => { false };
    (@contact reached) => { Some(true) };
    (@contact unreached) => { Some(false) };
    (@contact untold) => { None };
    (@pace slow) => { true };
    (@pace plain) => { false };
}

kinds! {
    /// The row is empty or its URL column is null.
    InputEmpty = "input.empty", Input, permanent, 3, Us, untold, plain;
    /// The URL cannot be parsed.
    InputUrl = "input.url", Input, permanent, 3, Us, untold, plain;
    /// The row is longer than the limit for one row.
    InputTooLong = "input.too_long", Input, permanent, 3, Us, untold, plain;
    /// The row is not UTF-8, or holds a NUL byte.
    InputEncoding = "input.encoding", Input, permanent, 3, Us, untold, plain;
    /// The row is not what its format promises, such as broken JSON or a missing CSV field.
    InputFormat = "input.format", Input, permanent, 3, Us, untold, plain;
    /// A header name or value is not allowed, or would break the request apart.
    InputHeader = "input.header", Input, permanent, 43, Us, untold, plain;
    /// The body to send could not be read, or is not as long as was announced.
    InputBody = "input.body", Send, permanent, 26, Us, untold, plain;
    /// The scheme is not http or https.
    PolicyScheme = "policy.scheme", Input, permanent, 1, Us, untold, plain;
    /// The port may not be dialled.
    PolicyPort = "policy.port", Input, permanent, 3, Us, untold, plain;
    /// The site's robots.txt forbids it, or could not be had.
    PolicyRobots = "policy.robots", Input, permanent, 9, Us, untold, plain;
    /// The address may not be dialled under the address policy.
    PolicyAddress = "policy.address", Connect, permanent, 7, Us, untold, plain;
    /// The name does not exist or has no address.
    DnsNotFound = "dns.not_found", Dns, permanent, 6, Origin, unreached, plain;
    /// The resolver failed for now.
    DnsTemporary = "dns.temporary", Dns, transient, 6, Network, unreached, plain;
    /// The resolver did not answer in time.
    DnsTimeout = "dns.timeout", Dns, transient, 28, Network, unreached, plain;
    /// The server refused the connection.
    ConnectRefused = "connect.refused", Connect, transient, 7, Origin, unreached, plain;
    /// The host or network cannot be reached.
    ConnectUnreachable = "connect.unreachable", Connect, transient, 7, Network, unreached, plain;
    /// The connection could not be opened in time.
    ConnectTimeout = "connect.timeout", Connect, transient, 28, Either, unreached, slow;
    /// The connection was accepted, and reset before anything was sent.
    ConnectReset = "connect.reset", Connect, transient, 7, Origin, reached, plain;
    /// The connection failed in another way.
    ConnectFailed = "connect.failed", Connect, transient, 7, Either, unreached, plain;
    /// The proxy cannot be reached.
    ProxyUnreachable = "proxy.unreachable", Connect, transient, 7, Either, unreached, plain;
    /// The proxy could not connect to the host, or does not speak its protocol.
    ProxyFailed = "proxy.failed", Connect, transient, 56, Either, unreached, plain;
    /// The proxy does not connect to the host.
    ProxyDenied = "proxy.denied", Connect, permanent, 56, Us, untold, plain;
    /// The proxy wants a user name and a password, or others (407).
    ProxyAuth = "proxy.auth", Connect, permanent, 56, Us, untold, plain;
    /// The server's certificate is not trusted for this name.
    TlsCertificate = "tls.certificate", Tls, permanent, 60, Origin, reached, plain;
    /// The TLS handshake failed.
    TlsHandshake = "tls.handshake", Tls, permanent, 35, Origin, reached, plain;
    /// The server, or the network, broke the TLS handshake off.
    TlsReset = "tls.reset", Tls, transient, 35, Origin, reached, plain;
    /// The TLS handshake took too long.
    TlsTimeout = "tls.timeout", Tls, transient, 28, Either, unreached, slow;
    /// The connection ended before a byte of the response came.
    HttpNoResponse = "http.no_response", Head, transient, 52, Origin, reached, plain;
    /// The connection broke while the request was sent or the head was read.
    HttpReset = "http.reset", Head, transient, 56, Origin, reached, plain;
    /// The connection ended inside the head of the response.
    HttpTruncated = "http.truncated", Head, transient, 56, Origin, reached, plain;
    /// The head of the response is not HTTP.
    HttpParse = "http.parse", Head, permanent, 8, Origin, reached, plain;
    /// The head of the response is larger than the limit.
    HttpLimit = "http.limit", Head, permanent, 56, Origin, reached, plain;
    /// The server refused the request before it processed it (HTTP/2: GOAWAY, `REFUSED_STREAM`).
    H2Refused = "h2.refused", Head, transient, 92, Origin, reached, plain;
    /// The server reset the stream of the request (HTTP/2).
    H2Reset = "h2.reset", Head, transient, 92, Origin, reached, plain;
    /// The server violated HTTP/2, in this response or on its connection.
    H2Protocol = "h2.protocol", Head, transient, 16, Origin, reached, plain;
    /// The server exceeded a limit of HTTP/2, in this response or on its connection.
    H2Limit = "h2.limit", Head, transient, 16, Origin, reached, plain;
    /// No first byte of the response came in time.
    TimeoutFirstByte = "timeout.first_byte", Head, transient, 28, Either, reached, slow;
    /// The body came slower than the limit.
    TimeoutSlow = "timeout.slow", Body, transient, 28, Either, reached, slow;
    /// The whole request took longer than the limit.
    TimeoutTotal = "timeout.total", Run, transient, 28, Either, untold, slow;
    /// There were more redirects than the limit.
    RedirectTooMany = "redirect.too_many", Head, permanent, 47, Origin, reached, plain;
    /// The redirect points to something that is not a URL, or to one of more than 8 KiB.
    RedirectInvalid = "redirect.invalid", Head, permanent, 3, Origin, reached, plain;
    /// The redirect would lose its protection: from https to http with a credential or a body.
    RedirectDowngrade = "redirect.downgrade", Head, permanent, 1, Origin, reached, plain;
    /// The connection ended before the body did.
    BodyTruncated = "body.truncated", Body, transient, 18, Origin, reached, plain;
    /// The connection broke while the body was read.
    BodyReset = "body.reset", Body, transient, 56, Origin, reached, plain;
    /// The framing of the body is not HTTP.
    BodyFraming = "body.framing", Body, permanent, 56, Origin, reached, plain;
    /// The body is larger than the limit.
    BodyTooLarge = "body.too_large", Body, permanent, 63, Origin, reached, plain;
    /// The server sent another range of the body than was asked for, or does not say which (206).
    BodyRangeMismatch = "body.range_mismatch", Head, permanent, 33, Origin, reached, plain;
    /// The body does not have the SHA-256 that the row asks for.
    BodyHashMismatch = "body.hash_mismatch", Body, permanent, 56, Origin, reached, plain;
    /// The compressed body is damaged.
    DecodeCorrupt = "decode.corrupt", Body, permanent, 61, Origin, reached, plain;
    /// The body has more encodings than the limit.
    DecodeChain = "decode.chain", Body, permanent, 61, Origin, reached, plain;
    /// The compressed body needs a larger window than the limit.
    DecodeWindow = "decode.window", Body, permanent, 61, Origin, reached, plain;
    /// The status counts as a failure.
    Status = "status", Head, permanent, 22, Origin, reached, plain;
    /// The row was not tried, or not once more: for the time of `--host-down-after` its origin gave no answer, or its host only 429, 502, 503, 504, 522 and 524.
    HostDown = "host.down", Connect, permanent, 7, Us, untold, plain;
    /// The result could not be written.
    SinkIo = "sink.io", Sink, permanent, 23, Us, untold, plain;
    /// The machine ran out of files, ports, threads or memory.
    Resource = "resource", Run, transient, 27, Us, untold, plain;
    /// The request may have been sent by a run that was killed, and must not be sent twice.
    RunUnconfirmed = "run.unconfirmed", Run, permanent, 56, Us, untold, plain;
    /// A defect in this program ended the row.
    Internal = "internal", Run, permanent, 2, Us, untold, plain;
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_plain() {
        for (i, kind) in ErrorKind::ALL.iter().enumerate() {
            let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'.' || b == b'_';
            assert!(kind.name().bytes().all(is_plain), "{kind}");
            assert!(ErrorKind::ALL[..i].iter().all(|other| other.name() != kind.name()), "{kind} twice");
            assert!(kind.meaning().ends_with('.'), "{kind}: {:?}", kind.meaning());
        }
    }

    /// What is learned of an origin fits to who is to blame.
    #[test]
    fn the_columns_agree() {
        for kind in ErrorKind::ALL {
            match kind.blame() {
                Blame::Us => assert!(kind.reached().is_none() && !kind.is_slow(), "{kind}"),
                Blame::Network => {
                    assert_eq!((kind.reached(), kind.is_slow()), (Some(false), false), "{kind}")
                }
                Blame::Either => assert!(kind.is_transient(), "{kind}"),
                Blame::Origin => assert!(kind.reached().is_some() && !kind.is_slow(), "{kind}"),
            }
        }
    }
}
