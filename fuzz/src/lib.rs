//! Functions that take any bytes and panic when a promise is broken. The bytes are drawn by the test of this crate, which
//! mutates a corpus, or by libFuzzer.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a target reports a broken promise by a panic"
)]

// From the outside in; a module imports only modules listed below it.

// A run directory with any files in it.
mod recovery;

// One file of a run: what was written, and what a crash makes of it.
mod journal;

// A list of URLs in every format, cut into blocks anywhere.
mod list;

// A list that is compressed, or says so.
mod unpack;

// Any operations on the scheduler.
mod schedule;

// An untrusted response, received as a row receives it.
mod response;

// Content codings.
mod decode;

// An untrusted HTTP/1.1 response, in the codec alone.
mod http1;

// Untrusted HTTP/2 frames.
mod http2;

// Untrusted cookies, and the file of a jar.
mod cookie;

// What a proxy answers, and what names one.
mod proxy;

// A tunnel through a proxy.
mod tunnel;

// Where a redirect leads, and which hosts want https.
mod redirect;

// An untrusted robots.txt.
mod robots;

// The URL of a row, patterns and names of files.
mod url;

// Names of files by a template.
mod filename;

// Cuts.
mod pieces;

// Choices out of bytes.
mod take;

pub use cookie::cookie;
pub use decode::decode;
pub use filename::filename;
pub use http1::http1;
pub use http2::http2;
pub use journal::journal;
pub use list::list;
pub use proxy::proxy;
pub use recovery::recovery;
pub use redirect::redirect;
pub use response::response;
pub use robots::robots;
pub use schedule::schedule;
pub use tunnel::tunnel;
pub use unpack::unpack;
pub use url::url;

/// What takes any bytes.
pub type Target = fn(&[u8]);

/// Every target, by the name of its folder in the corpus.
pub const TARGETS: [(&str, Target); 16] = [
    ("cookie", cookie),
    ("decode", decode),
    ("filename", filename),
    ("http1", http1),
    ("http2", http2),
    ("journal", journal),
    ("list", list),
    ("proxy", proxy),
    ("recovery", recovery),
    ("redirect", redirect),
    ("response", response),
    ("robots", robots),
    ("schedule", schedule),
    ("tunnel", tunnel),
    ("unpack", unpack),
    ("url", url),
];
