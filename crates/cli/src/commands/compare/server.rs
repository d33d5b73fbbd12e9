//! The other end of the experiment, on this machine: answers `/1` to `/5` after the experiment's delays.
//!
//! Plain `std::net`, a thread a connection, and nothing of the engine, so that what is measured is not measured
//! with itself. It listens on 127.0.0.1 alone and ends with the process.

use std::io::{self, BufRead, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// The times of the experiment's five requests, one after the other, in seconds.
const DELAYS_S: [f64; 5] = [1.904, 1.293, 2.078, 2.381, 2.218];
/// Bytes of a request's head; ours have about 100.
const HEAD_BYTES_MAX: u64 = 16 << 10;

/// A running server.
pub(super) struct Server {
    address: SocketAddr,
    delays: Arc<[Duration]>,
}

impl Server {
    /// Starts it, with the delays scaled.
    ///
    /// # Errors
    ///
    /// The address cannot be bound, or no thread started.
    pub(super) fn start(scale: f64) -> io::Result<Self> {
        let delays: Arc<[Duration]> = DELAYS_S.iter().map(|s| Duration::from_secs_f64(s * scale)).collect();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let shared = Arc::clone(&delays);
        thread::Builder::new().name("server".into()).spawn(move || accept(&listener, &shared))?;
        Ok(Self { address, delays })
    }

    pub(super) fn urls(&self) -> Vec<String> {
        (1..=self.delays.len()).map(|i| format!("http://{}/{i}", self.address)).collect()
    }

    /// The longest delay: no way to fetch all can take less.
    pub(super) fn longest(&self) -> Duration {
        self.delays.iter().copied().max().unwrap_or_default()
    }
}

fn accept(listener: &TcpListener, delays: &Arc<[Duration]>) {
    for stream in listener.incoming().flatten() {
        let delays = Arc::clone(delays);
        // A refused thread closes the connection, which the client reports.
        let _ = thread::Builder::new().name("answer".into()).spawn(move || answer(stream, &delays));
    }
}

/// Answers the requests of one connection, until it closes.
fn answer(mut stream: TcpStream, delays: &[Duration]) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut input = BufReader::new(stream.try_clone()?);
    while let Some(path) = request(&mut input)? {
        let number = path.strip_prefix('/').and_then(|text| text.parse::<usize>().ok());
        let delay = number.and_then(|number| delays.get(number.checked_sub(1)?));
        let (status, body) = match delay {
            Some(delay) => {
                thread::sleep(*delay);
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
