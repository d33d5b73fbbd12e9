//! Servers and proxies of others, where they are installed.

#![allow(clippy::print_stderr, reason = "a test says what it leaves out")]

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::program::Directory;

/// A server that ends with its test.
pub(crate) struct Daemon {
    child: Child,
    pub(crate) port: u16,
    _directory: Directory,
}

impl Drop for Daemon {
    /// Asked to end at first, because Apache ends its own processes then.
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let begun = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) && begun.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts a program with these words for its port and a directory, once `prepare` has filled that; `None`: it is not installed, or
/// needs what this machine does not give, such as a user of its own.
pub(crate) fn start(
    name: &str,
    words: impl Fn(&Directory, u16) -> Vec<String>,
    prepare: impl Fn(&Directory, u16),
) -> Option<Daemon> {
    let directory = Directory::new();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    prepare(&directory, port);
    let mut command = Command::new(name);
    command.args(words(&directory, port)).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let Ok(child) = command.spawn() else {
        eprintln!("not compared: there is no {name}");
        return None;
    };
    let mut daemon = Daemon { child, port, _directory: directory };
    let begun = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        if begun.elapsed() > Duration::from_secs(60) || daemon.child.try_wait().unwrap().is_some() {
            eprintln!("not compared: {name} does not start");
            return None;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Some(daemon)
}
