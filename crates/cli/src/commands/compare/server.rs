//! The built-in server: answers `/1` to `/5` after a fixed delay each, and `/many/*` after half a second. All delays
//! are scaled.
//!
//! It uses `std::net` with a thread per connection, and no code of the engine, so that the engine is not measured
//! against itself. It listens on 127.0.0.1 only and ends with the process.

use std::io::{self, BufRead, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// The delays of `/1` to `/5`, in seconds.
const DELAYS_S: [f64; 5] = [1.904, 1.293, 2.078, 2.381, 2.218];
/// The delay of each request below `/many/`, in seconds.
const MANY_S: f64 = 0.5;
/// The listen backlog. Many connections arrive at once, and the client retries a dropped SYN only after a second.
const BACKLOG: i32 = 4_096;
/// The stack size of a connection's thread, whose call depth is small.
const STACK_BYTES: usize = 128 << 10;
/// The largest request head that is accepted; those of the arms have about 100 bytes.
const HEAD_BYTES_MAX: u64 = 16 << 10;

/// A running server.
pub(super) struct Server {
    address: SocketAddr,
    delays: Arc<Delays>,
}

/// The delays of its responses.
struct Delays {
    five: [Duration; 5],
    many: Duration,
}

impl Delays {
    fn of(&self, path: &str) -> Option<Duration> {
        if path.starts_with("/many/") {
            return Some(self.many);
        }
        let number: usize = path.strip_prefix('/')?.parse().ok()?;
        self.five.get(number.checked_sub(1)?).copied()
    }
}

impl Server {
    /// Starts it, with the delays scaled.
    ///
    /// # Errors
    ///
    /// The address cannot be bound, or no thread started.
    pub(super) fn start(scale: f64) -> io::Result<Self> {
        let scaled = |s: f64| Duration::from_secs_f64(s * scale);
        let delays = Arc::new(Delays { five: DELAYS_S.map(scaled), many: scaled(MANY_S) });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        // Listens again with a longer backlog than that of the standard library.
        #[cfg(unix)]
        rustix::net::listen(&listener, BACKLOG)?;
        let address = listener.local_addr()?;
        let shared = Arc::clone(&delays);
        thread::Builder::new().name("server".into()).spawn(move || accept(&listener, &shared))?;
        Ok(Self { address, delays })
    }

    pub(super) fn urls(&self) -> Vec<String> {
        (1..=self.delays.five.len()).map(|i| format!("http://{}/{i}", self.address)).collect()
    }

    /// `count` URLs with equal delays.
    pub(super) fn many(&self, count: u16) -> Vec<String> {
        (0..count).map(|i| format!("http://{}/many/{i}", self.address)).collect()
    }

    pub(super) fn many_take(&self) -> Duration {
        self.delays.many
    }

    /// The longest delay: a lower bound for every arm.
    pub(super) fn longest(&self) -> Duration {
        self.delays.five.iter().copied().max().unwrap_or_default()
    }
}

fn accept(listener: &TcpListener, delays: &Arc<Delays>) {
    for stream in listener.incoming().flatten() {
        let delays = Arc::clone(delays);
        // If no thread can be started, the connection is closed, and the client reports that.
        let thread = thread::Builder::new().name("answer".into()).stack_size(STACK_BYTES);
        let _ = thread.spawn(move || answer(stream, &delays));
    }
}

/// Answers the requests of one connection, until it closes.
fn answer(mut stream: TcpStream, delays: &Delays) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut input = BufReader::new(stream.try_clone()?);
    while let Some(path) = request(&mut input)? {
        let (status, body) = match delays.of(&path) {
            Some(delay) => {
                thread::sleep(delay);
                ("200 OK", format!("answered after {:.3} s\n", delay.as_secs_f64()))
            }
            None => ("404 Not Found", "there are /1 to /5\n".to_owned()),
        };
        let length = body.len();
        let head =
            format!("HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\r\n");
        stream.write_all((head + &body).as_bytes())?;
    }
    Ok(())
}

/// Reads the head of a request; returns its path, or `None` at the end of the connection.
fn request(input: &mut BufReader<TcpStream>) -> io::Result<Option<String>> {
    let mut head = input.take(HEAD_BYTES_MAX);
    let mut first = String::new();
    if head.read_line(&mut first)? == 0 {
        return Ok(None);
    }
    let mut line = String::new();
    while head.read_line(&mut line)? > 0 && !line.trim_end().is_empty() {
        line.clear();
    }
    Ok(first.split(' ').nth(1).map(str::to_owned))
}
