//! Fetch a list of 5 to 500 million URLs: one record a row, polite to hosts, in bounded memory.
//!
//! A [`Bulk`] takes settings, a list and sinks; [`Bulk::start`] runs it on threads of its own and gives back a [`Run`],
//! which is a future of the [`Summary`] and belongs to no runtime. [`Bulk::stream`] gives the records themselves.
//! A [`Client`] makes single requests.
//!
//! ```
//! use overlapped_fetch::{Bulk, Config, Input, sink};
//! # let server = overlapped_testkit::Server::start();
//! # let url = |path: &str| server.url(path);
//!
//! let urls = vec![url("/ok"), url("/status/404"), "no url at all".to_owned()];
//! let (records, collected) = sink::collect();
//! let summary = Bulk::new(Config { ordered: true, ..Config::default() })?
//!     .input(Input::Urls(Box::new(urls.into_iter())))
//!     .sink(records)
//!     .start()?
//!     .wait()?;
//!
//! // Every row has exactly one record, failures included.
//! assert_eq!((summary.progress.rows_done, summary.progress.ok), (3, 1));
//! let names = collected.take().iter().map(|record| record.failure.as_ref().map(|f| f.kind.name())).collect::<Vec<_>>();
//! assert_eq!(names, [None, Some("status"), Some("input.url")]);
//! # Ok::<(), overlapped_fetch::Error>(())
//! ```
//!
//! Messages of records and of [`Error`] name settings by the flags of the program; [`wording::told`] names them by their fields, as
//! [`RequestError`] does.
//!
//! Decisions (what may start, what is retried, where a redirect leads) are made in `overlapped-proto`, which does no I/O
//! and reads no clock. Only this crate uses sockets, files and the clock.
//!
//! The modules are listed from the outside in; a module imports only modules listed below it.

#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod client;
mod stream;
mod bulk;
mod run;
mod survey;
#[cfg(feature = "tables")]
pub mod partition;
mod engine;
pub mod durable;
mod plan;
pub mod sink;
mod body;
#[cfg(feature = "arrow")]
pub mod arrow;
mod table_list;
#[cfg(feature = "tables")]
pub mod tables;
mod net;
mod memory;
mod summary;
mod shared;
mod channels;
mod budget;
mod mailbox;
mod per_shard;
mod sync;
mod config;
mod cookies;
mod hsts;
mod row;
pub mod record;
mod fs;
mod packing;
mod single_flight;
mod locality;
mod lent;
mod clock;
mod trace;
mod sha256;
mod features;
mod error;

pub use body::tap::{Begun, Receiver};
pub use bulk::Bulk;
pub use client::{
    Client, CookieStore, Hop, PreparedRequest, RawHeaders, RequestBody, RequestBuilder, RequestError,
    Response as ClientResponse, ResponseHead, Spawned, Timings, Tls, TlsConfig, blocking,
};
pub use config::{
    Config, Family, HostConfig, HostPort, Http, Identity, Network, Pace, Proxies, Request, Response, Retry,
    Timeouts,
};
pub use cookies::CookieJar;
pub use engine::feed::{Batches, Input, InputOptions};
pub use engine::unpack::Unpack;
pub use error::{Error, ErrorClass};
pub use features::features;
pub use fs::{Left, PartFile, UploadFile, WholeFile, check_open_files_limit, raise_open_files_limit};
pub use futures_core::Stream;
pub use overlapped_proto::bucket::{InvalidRate, Rate};
pub use overlapped_proto::cookie::Lines as CookieLines;
pub use overlapped_proto::input::{BadRow, Format, Keep, Options as ColumnOptions};
pub use overlapped_proto::job::Shard;
pub use overlapped_proto::limits;
pub use overlapped_proto::max_errors::MaxErrors;
pub use overlapped_proto::netrc::Netrc;
pub use overlapped_proto::schedule::Held;
pub use overlapped_proto::survey::Survey;
pub use overlapped_proto::wording;
pub use record::{Bytes, ErrorKind, Failure, Method, Record};
pub use row::Row;
pub use run::{Control, Run};
pub use sha256::{sha256_hex, sha256_of};
pub use shared::{SlowestHost, Stop};
pub use sink::Sink;
pub use stream::Records;
pub use summary::{Percentiles, Progress, Summary};
pub use survey::survey;
