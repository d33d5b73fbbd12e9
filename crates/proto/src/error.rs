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

macro_rules! kinds {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal, $phase:ident, $again:ident, $curl:literal;)+) => {
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
        }
    };
    (@again transient) => { true };
    (@again permanent) => { false };
}

kinds! {
    /// The row is empty or its URL column is null.
    InputEmpty = "input.empty", Input, permanent, 3;
    /// The URL cannot be parsed.
    InputUrl = "input.url", Input, permanent, 3;
    /// The row is longer than the limit for one row.
    InputTooLong = "input.too_long", Input, permanent, 3;
    /// The row is not UTF-8, or holds a NUL byte.
    InputEncoding = "input.encoding", Input, permanent, 3;
    /// The row is not what its format promises, such as broken JSON or a missing CSV field.
    InputFormat = "input.format", Input, permanent, 3;
    /// A header name or value is not allowed, or would break the request apart.
    InputHeader = "input.header", Input, permanent, 43;
    /// The scheme is not http or https.
    PolicyScheme = "policy.scheme", Input, permanent, 1;
    /// The port may not be dialled.
    PolicyPort = "policy.port", Input, permanent, 3;
    /// The site's robots.txt forbids it, or could not be had.
    PolicyRobots = "policy.robots", Input, permanent, 9;
    /// The address may not be dialled under the address policy.
    PolicyAddress = "policy.address", Connect, permanent, 7;
    /// The name does not exist or has no address.
    DnsNotFound = "dns.not_found", Dns, permanent, 6;
    /// The resolver failed for now.
    DnsTemporary = "dns.temporary", Dns, transient, 6;
    /// The resolver did not answer in time.
    DnsTimeout = "dns.timeout", Dns, transient, 28;
    /// The server refused the connection.
    ConnectRefused = "connect.refused", Connect, transient, 7;
    /// The host or network cannot be reached.
    ConnectUnreachable = "connect.unreachable", Connect, transient, 7;
    /// The connection could not be opened in time.
    ConnectTimeout = "connect.timeout", Connect, transient, 28;
    /// The connection was reset while it was opened.
    ConnectReset = "connect.reset", Connect, transient, 7;
    /// The connection failed in another way.
    ConnectFailed = "connect.failed", Connect, transient, 7;
    /// The server's certificate is not trusted for this name.
    TlsCertificate = "tls.certificate", Tls, permanent, 60;
    /// The TLS handshake failed.
    TlsHandshake = "tls.handshake", Tls, permanent, 35;
    /// The server, or the network, broke the TLS handshake off.
    TlsReset = "tls.reset", Tls, transient, 35;
    /// The TLS handshake took too long.
    TlsTimeout = "tls.timeout", Tls, transient, 28;
    /// The connection ended before a byte of the response came.
    HttpNoResponse = "http.no_response", Head, transient, 52;
    /// The connection broke while the request was sent or the head was read.
    HttpReset = "http.reset", Head, transient, 56;
    /// The connection ended inside the head of the response.
    HttpTruncated = "http.truncated", Head, transient, 56;
    /// The head of the response is not HTTP.
    HttpParse = "http.parse", Head, permanent, 8;
    /// The head of the response is larger than the limit.
    HttpLimit = "http.limit", Head, permanent, 56;
    /// No first byte of the response came in time.
    TimeoutFirstByte = "timeout.first_byte", Head, transient, 28;
    /// The body came slower than the limit.
    TimeoutSlow = "timeout.slow", Body, transient, 28;
    /// The whole request took longer than the limit.
    TimeoutTotal = "timeout.total", Run, transient, 28;
    /// There were more redirects than the limit.
    RedirectTooMany = "redirect.too_many", Head, permanent, 47;
    /// The redirect points to something that is not a URL, or to one of more than 8 KiB.
    RedirectInvalid = "redirect.invalid", Head, permanent, 3;
    /// The redirect would lose its protection: from https to http with a credential or a body.
    RedirectDowngrade = "redirect.downgrade", Head, permanent, 1;
    /// The connection ended before the body did.
    BodyTruncated = "body.truncated", Body, transient, 18;
    /// The connection broke while the body was read.
    BodyReset = "body.reset", Body, transient, 56;
    /// The framing of the body is not HTTP.
    BodyFraming = "body.framing", Body, permanent, 56;
    /// The body is larger than the limit.
    BodyTooLarge = "body.too_large", Body, permanent, 63;
    /// The body does not have the SHA-256 that the row asks for.
    BodyHashMismatch = "body.hash_mismatch", Body, permanent, 56;
    /// The compressed body is damaged.
    DecodeCorrupt = "decode.corrupt", Body, permanent, 61;
    /// The body has more encodings than the limit.
    DecodeChain = "decode.chain", Body, permanent, 61;
    /// The compressed body needs a larger window than the limit.
    DecodeWindow = "decode.window", Body, permanent, 61;
    /// The status counts as a failure.
    Status = "status", Head, permanent, 22;
    /// The row was not tried: its origin gave no answer for the time of `--host-down-after`, or its host none but 429 and 5xx.
    HostDown = "host.down", Connect, permanent, 7;
    /// The result could not be written.
    SinkIo = "sink.io", Sink, permanent, 23;
    /// The machine ran out of files, ports, threads or memory.
    Resource = "resource", Run, transient, 27;
    /// The request may have been sent by a run that was killed, and must not be sent twice.
    RunUnconfirmed = "run.unconfirmed", Run, permanent, 56;
    /// A defect in this program ended the row.
    Internal = "internal", Run, permanent, 2;
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
            assert!(kind.name().bytes().all(|b| b.is_ascii_lowercase() || b == b'.' || b == b'_'), "{kind}");
            assert!(ErrorKind::ALL[..i].iter().all(|other| other.name() != kind.name()), "{kind} twice");
            assert!(kind.meaning().ends_with('.'), "{kind}: {:?}", kind.meaning());
        }
    }
}
