//! A lower bound for a client: fetches a list of `http://` URLs over N connections on one thread, a new one for each URL of
//! another host, and prints the number of responses with status 200. It trusts the server (a `Content-Length`, no
//! unsolicited bytes), follows no redirects, and keeps and times nothing. `benches/` compares clients with it.
//!
//! ```text
//! cargo run --release -p overlapped-testkit --example bare_sockets -- urls.txt 64
//! ```

#![allow(clippy::print_stdout, reason = "a program")]

use std::cell::{Cell, RefCell};
use std::io::{self, BufRead, BufReader, Lines};
use std::rc::Rc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::LocalSet;

type List = Rc<RefCell<Lines<BufReader<std::fs::File>>>>;

fn main() -> io::Result<()> {
    let mut words = std::env::args().skip(1);
    let (Some(list), Some(Ok(connections))) = (words.next(), words.next().map(|word| word.parse::<usize>()))
    else {
        return Err(io::Error::other("usage: bare_sockets LIST CONNECTIONS"));
    };
    let list: List = Rc::new(RefCell::new(BufReader::new(std::fs::File::open(list)?).lines()));
    let good = Rc::new(Cell::new(0_u64));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let lanes = LocalSet::new();
    for _ in 0..connections {
        lanes.spawn_local(lane(list.clone(), good.clone()));
    }
    runtime.block_on(lanes);
    println!("{}", good.get());
    Ok(())
}

/// Fetches URLs sequentially, on one connection as long as they are of one host.
async fn lane(list: List, good: Rc<Cell<u64>>) -> io::Result<()> {
    let mut stream: Option<(String, TcpStream)> = None;
    while let Some(url) = next(&list)? {
        let rest = url.strip_prefix("http://").unwrap_or(&url);
        let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        if stream.as_ref().is_none_or(|(of, _)| of != host) {
            drop(stream.take());
            stream = Some((host.to_owned(), TcpStream::connect(host).await?));
        }
        let Some((_, connection)) = &mut stream else { continue };
        connection.write_all(request.as_bytes()).await?;
        if answered_well(connection).await? {
            good.set(good.get() + 1);
        }
    }
    Ok(())
}

fn next(list: &List) -> io::Result<Option<String>> {
    list.borrow_mut().next().transpose()
}

/// Reads one response; true if its status is 200. No buffer is allocated while it waits.
async fn answered_well(stream: &mut TcpStream) -> io::Result<bool> {
    stream.readable().await?;
    let mut buffer = Vec::with_capacity(4 << 10);
    let (good, mut left) = loop {
        read(stream, &mut buffer).await?;
        if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(buffer.get(..end).unwrap_or_default());
            let length =
                head.lines().find_map(|line| line.strip_prefix("Content-Length: ")?.parse::<usize>().ok());
            let length = length.ok_or_else(|| io::Error::other("no Content-Length"))?;
            break (head.starts_with("HTTP/1.1 200"), (length + end + 4).saturating_sub(buffer.len()));
        }
    };
    while left > 0 {
        buffer.clear();
        left = left.saturating_sub(read(stream, &mut buffer).await?);
    }
    Ok(good)
}

async fn read(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<usize> {
    match stream.read_buf(buffer).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        count => Ok(count),
    }
}
