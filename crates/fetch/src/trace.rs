//! With the feature `tracing`: a span for each attempt, and events of connections and checkpoints. Without it: nothing, of
//! no size.
//!
//! Spans name the host, never a path, a query or a header, which may be secret.

pub(crate) use imp::{Trace, checkpoint};

#[cfg(feature = "tracing")]
mod imp {
    use std::net::SocketAddr;

    use overlapped_proto::job::Job;
    use overlapped_proto::outcome::Failure;
    use tracing::field::Empty;
    use tracing::{Span, debug, debug_span};

    /// The span of one attempt.
    pub(crate) struct Trace(Span);

    impl Trace {
        /// An attempt begins.
        pub(crate) fn attempt(job: &Job) -> Self {
            Self(debug_span!(
                target: "overlapped_fetch",
                "attempt",
                row = job.row.0,
                attempt = job.attempts,
                scheme = job.url.scheme(),
                host = job.url.host_str(),
                port = job.url.port_or_known_default(),
                status = Empty,
                error = Empty,
            ))
        }

        /// A connection was opened for it.
        pub(crate) fn connected(&self, remote: Option<SocketAddr>) {
            debug!(target: "overlapped_fetch", parent: &self.0, remote = remote.map(display), "connection opened");
        }

        /// It uses an idle connection.
        pub(crate) fn reused(&self, remote: Option<SocketAddr>) {
            debug!(target: "overlapped_fetch", parent: &self.0, remote = remote.map(display), "connection reused");
        }

        /// It has ended.
        pub(crate) fn ended(self, status: Option<u16>, failure: Option<&Failure>) {
            self.0.record("status", status);
            self.0.record("error", failure.map(|failure| failure.kind.name()));
        }
    }

    /// A group of results is durable.
    pub(crate) fn checkpoint(rows: u64) {
        debug!(target: "overlapped_fetch", rows, "checkpoint");
    }
}

#[cfg(not(feature = "tracing"))]
mod imp {
    use std::net::SocketAddr;

    use overlapped_proto::job::Job;
    use overlapped_proto::outcome::Failure;

    pub(crate) struct Trace;

    impl Trace {
        pub(crate) fn attempt(_: &Job) -> Self {
            Self
        }

        pub(crate) fn connected(&self, _: Option<SocketAddr>) {}

        pub(crate) fn reused(&self, _: Option<SocketAddr>) {}

        pub(crate) fn ended(self, _: Option<u16>, _: Option<&Failure>) {}
    }

    pub(crate) fn checkpoint(_: u64) {}
}
