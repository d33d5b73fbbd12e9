//! A server whose connections are scripts from the start: it reads a request only if the script says so.

use std::ops::Deref;

use crate::script::Script;
use crate::server::Server;

/// A server whose connections are scripts. It derefs to its [`Server`], which records the requests that the script reads.
///
/// ```
/// use std::io::{Read, Write};
/// use overlapped_testkit::{RawServer, Script};
///
/// let server = RawServer::start(
///     Script::new().expect_request().send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel").reset(),
/// );
/// let mut client = std::net::TcpStream::connect(server.addr()).unwrap();
/// client.write_all(b"GET /x HTTP/1.1\r\n\r\n").unwrap();
/// assert!(client.read_to_end(&mut Vec::new()).is_err());
/// assert_eq!(server.seen()[0].target, "/x");
/// ```
#[derive(Debug)]
pub struct RawServer(Server);

impl RawServer {
    /// Plays this script on every connection.
    ///
    /// # Panics
    ///
    /// When the server can't listen.
    pub fn start(script: Script) -> RawServer {
        RawServer::start_each([script])
    }

    /// Plays the first script on the first connection, the second on the second, and the last on all that follow. To combine
    /// this with TLS or several addresses, see [`Builder::raw`](crate::Builder::raw).
    ///
    /// # Panics
    ///
    /// When the server can't listen, or there is no script.
    pub fn start_each(scripts: impl IntoIterator<Item = Script>) -> RawServer {
        RawServer(Server::builder().raw(scripts).start())
    }
}

impl Deref for RawServer {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.0
    }
}
