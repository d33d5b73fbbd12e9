//! Opens a connection, and drives its I/O in a task.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use h2::client::Builder;
use overlapped_proto::error::ErrorKind;
use overlapped_proto::limits;
use overlapped_proto::origin::ConnKey;
use overlapped_proto::outcome::Failure;
use overlapped_proto::time::Nanos;
use tokio::runtime::Handle;

use super::meter::{Meter, Received};
use super::shared::Shared;
use super::stream::Stream;
use crate::net::stream::{self, Socket};
use crate::net::tls_failure::Identify;

/// What a server may send before it is read, in bytes: the windows of flow control, and a head, which has none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Windows {
    pub(crate) stream: u32,
    pub(crate) connection: u32,
    pub(crate) head: u32,
}

impl Windows {
    /// Windows with which everything that waits to be read, on all streams of a run, is at most a share of its memory
    /// budget; and the same for heads.
    pub(crate) fn new(memory_max: Option<u64>, parallel_max: usize) -> Self {
        let each = memory_max.unwrap_or(limits::MEMORY_BYTES) / parallel_max.max(1) as u64;
        let part =
            |share: u64, min, max| u32::try_from((each / share).clamp(min, max)).expect("a small maximum");
        let (min, max) = (limits::H2_STREAM_WINDOW_MIN.into(), limits::H2_STREAM_WINDOW_MAX.into());
        let stream = part(limits::H2_MEMORY_SHARE, min, max);
        let (min, max) = (limits::H2_HEAD_BYTES_MIN as u64, limits::HEAD_BYTES_MAX as u64);
        let head = part(limits::H2_HEADS_SHARE, min, max);
        let connection = stream.saturating_mul(limits::H2_WINDOWS_A_CONNECTION);
        Self {
            stream,
            head,
            connection: connection.clamp(limits::H2_CONNECTION_WINDOW_MIN, limits::H2_CONNECTION_WINDOW_MAX),
        }
    }

    /// The same where responses may wait for their readers as long as these like: only the windows of streams are bounds, so
    /// that those which wait do not stop the others on their connection.
    pub(crate) fn of_streams_alone(self) -> Self {
        Self { connection: limits::H2_WINDOW_MAX, ..self }
    }
}

/// Begins HTTP/2 on an open stream of the current runtime. The result is for the pool; each request gets a lease of it.
///
/// The I/O is done by a task of the runtime `home`, which ends when the connection is closed, or when neither the pool
/// nor a request has a stream of it. If the runtime ends first, all its requests fail.
///
/// # Errors
///
/// The connection broke, or the system does not let the socket change its runtime.
pub(crate) async fn open<S: Socket + Send + 'static>(
    mut stream: stream::Stream<S>,
    windows: Windows,
    identify: Identify,
    key: ConnKey,
    remote: Option<SocketAddr>,
    now: Nanos,
    home: Handle,
) -> Result<Stream, Failure> {
    if home.id() != Handle::current().id() {
        let _entered = home.enter();
        stream.rehome().map_err(|error| {
            let message = format!("the connection cannot be used in another runtime: {error}");
            Failure::new(ErrorKind::Resource, message)
        })?;
    }
    let received = Arc::new(Received::new(windows.stream, windows.head, identify));
    let socket = Meter::new(stream, Arc::clone(&received));
    let broken =
        |error: h2::Error| Failure::new(ErrorKind::HttpReset, format!("HTTP/2 cannot begin: {error}"));
    let (send, connection) = builder(windows).handshake(socket).await.map_err(broken)?;
    let shared = Arc::new(Shared::new(key, remote, now, received));
    let end = End(Arc::clone(&shared));
    home.spawn(async move {
        // Each stream receives its error as well.
        let _ = connection.await;
        drop(end);
    });
    Ok(Stream::new(send, shared))
}

fn builder(windows: Windows) -> Builder {
    let mut builder = Builder::new();
    builder
        .enable_push(false)
        .initial_window_size(windows.stream)
        .initial_connection_window_size(windows.connection)
        .max_frame_size(limits::H2_FRAME_BYTES_MAX)
        .max_header_list_size(windows.head)
        .header_table_size(limits::H2_HEADER_TABLE_BYTES)
        .initial_max_send_streams(limits::H2_STREAMS_FIRST)
        .max_concurrent_reset_streams(limits::H2_RESETS_REMEMBERED)
        .reset_stream_duration(limits::H2_RESET_REMEMBERED.into())
        .max_local_error_reset_streams(Some(limits::H2_ERRORS_MAX))
        .max_send_buffer_size(limits::H2_SEND_BYTES_MAX);
    builder
}

/// Marks the end of the task, also if it is dropped with its runtime.
struct End(Arc<Shared>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.has_ended.store(true, Ordering::Relaxed);
    }
}
