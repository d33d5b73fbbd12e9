//! A jar of cookies that the rows of a run, or the requests of a client, share; and its file.

use std::fmt;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use overlapped_proto::cookie::{Bounds, Jar, Lines};
use overlapped_proto::limits;
use overlapped_proto::time::Nanos;
use url::Url;

use crate::clock::Clock;
use crate::fs::WholeFile;

/// Cookies by the rules of browsers (RFC 6265bis) and the public suffix list, with bounds: 4 KiB each, 50 a response, 180 a site,
/// 3,000 in all.
///
/// Its clones are the same jar. Given as [`Config::cookies`](crate::Config::cookies) it is used for all rows of a run, or all
/// requests of a client; the caller may read it and write it at any time.
///
/// ```
/// use overlapped_fetch::{Client, Config, CookieJar};
/// # let server = overlapped_testkit::Server::start();
/// # let (set, echo) = (server.url("/set-cookie?id=1"), server.url("/echo"));
///
/// # overlapped::block_on(async {
/// let jar = CookieJar::new();
/// let client = Client::new(Config { cookies: Some(jar.clone()), ..Config::default() })?;
/// client.get(set).send().await?.bytes().await?;
/// assert_eq!(jar.len(), 1);
/// let text = client.get(echo).send().await?.text().await?;
/// assert!(text.contains("id=1"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct CookieJar {
    jar: Arc<Mutex<Jar>>,
}

impl CookieJar {
    /// An empty jar.
    #[must_use]
    pub fn new() -> Self {
        Self { jar: Arc::new(Mutex::new(Jar::new(Bounds::RUN))) }
    }

    /// Adds the cookies of a file in the format of Netscape, which curl, wget and browsers' exports use. Tells
    /// what its lines are.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or is larger than any jar.
    ///
    /// # Blocking
    ///
    /// Reads the file.
    pub fn read(&self, path: &Path) -> io::Result<Lines> {
        let mut file = Vec::new();
        let most = limits::COOKIE_FILE_BYTES_MAX;
        std::fs::File::open(path)?.take(most + 1).read_to_end(&mut file)?;
        if file.len() as u64 > most {
            return Err(io::Error::other("it is larger than any file of cookies"));
        }
        Ok(self.lock().read(&file, now()))
    }

    /// Writes the file of the jar, with the cookies of sessions, as a [`WholeFile`]: beside `path` first, and then in its place. A
    /// symbolic link is replaced, not followed. Only the user can read the file.
    ///
    /// # Errors
    ///
    /// There is a directory, named pipe, socket or device that is not below `/dev`; the file cannot be written. An earlier one
    /// stays as it was.
    ///
    /// # Blocking
    ///
    /// Writes and syncs the file.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        WholeFile::check(path)?;
        let mut file = WholeFile::create(path, 0o600)?;
        self.write_to(&mut file)?;
        file.sync()?;
        file.finish()
    }

    /// Writes the same text to `out`.
    ///
    /// # Errors
    ///
    /// Those of `out`.
    ///
    /// # Blocking
    ///
    /// As `out` does.
    pub fn write_to(&self, out: &mut impl io::Write) -> io::Result<()> {
        let text = self.lock().to_file(now());
        out.write_all(&text)
    }

    /// The number of cookies.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// True if there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// What a request to `url` carries at this time of the run.
    pub(crate) fn header(&self, url: &Url, now: i64) -> Option<Vec<u8>> {
        self.lock().header(url, now)
    }

    /// Keeps what a response from `url` has set.
    pub(crate) fn store<'a>(&self, url: &Url, set_cookie: impl Iterator<Item = &'a [u8]>, now: i64) {
        self.lock().store(url, set_cookie, now);
    }

    fn lock(&self) -> MutexGuard<'_, Jar> {
        self.jar.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for CookieJar {
    fn default() -> Self {
        Self::new()
    }
}

/// Its size only: cookies are secret.
impl fmt::Debug for CookieJar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CookieJar").field("cookies", &self.len()).finish_non_exhaustive()
    }
}

/// Seconds since 1970.
fn now() -> i64 {
    Clock::start().unix_s(Nanos::ZERO)
}
