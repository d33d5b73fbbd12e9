//! Frames of HTTP/2 by hand: what a connection sends, right or wrong, byte by byte.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

/// The preface of a client.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Longer than any test may take.
const LONG: Duration = Duration::from_secs(30);

/// The kinds of frames, by their numbers.
pub mod kind {
    #![allow(missing_docs, reason = "the names of RFC 9113, section 6")]
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PUSH_PROMISE: u8 = 5;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// END_STREAM of DATA and HEADERS, ACK of SETTINGS and PING.
pub const END_STREAM: u8 = 1;
/// END_HEADERS of HEADERS and CONTINUATION.
pub const END_HEADERS: u8 = 4;

/// A frame as received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its number in [`kind`].
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream.
    pub stream: u32,
    /// What follows its head.
    pub payload: Vec<u8>,
}

/// The bytes of a frame. Nothing is checked.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
    let mut bytes = length.get(1..).unwrap_or_default().to_vec();
    bytes.extend_from_slice(&[kind, flags]);
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// SETTINGS with these numbers and values.
pub fn settings(values: &[(u16, u32)]) -> Vec<u8> {
    let payload = values.iter().flat_map(|(number, value)| {
        number.to_be_bytes().into_iter().chain(value.to_be_bytes()).collect::<Vec<_>>()
    });
    frame(kind::SETTINGS, 0, 0, &payload.collect::<Vec<_>>())
}

/// A head with this status and these fields, uncompressed, in one frame.
pub fn head(stream: u32, status: u16, fields: &[(&str, &str)], ends_stream: bool) -> Vec<u8> {
    let flags = END_HEADERS | if ends_stream { END_STREAM } else { 0 };
    frame(kind::HEADERS, flags, stream, &block(status, fields))
}

/// A header block with this status and these fields, uncompressed.
pub fn block(status: u16, fields: &[(&str, &str)]) -> Vec<u8> {
    let status = status.to_string();
    let mut block = Vec::new();
    for (name, value) in [(":status", &*status)].iter().chain(fields) {
        block.push(0);
        for text in [name, value] {
            integer(text.len(), &mut block);
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

/// A number with a prefix of seven bits (RFC 7541, section 5.1).
fn integer(mut number: usize, out: &mut Vec<u8>) {
    if number < 127 {
        out.push(u8::try_from(number).unwrap_or(0));
        return;
    }
    out.push(127);
    number -= 127;
    while number >= 128 {
        out.push(u8::try_from(number % 128).unwrap_or(0) | 128);
        number /= 128;
    }
    out.push(u8::try_from(number).unwrap_or(0));
}

/// GOAWAY with the last stream that was processed and an error code.
pub fn goaway(last: u32, code: u32) -> Vec<u8> {
    frame(kind::GOAWAY, 0, 0, &[last.to_be_bytes(), code.to_be_bytes()].concat())
}

/// The server's end of a connection. Its reads wait for at most half a minute.
#[derive(Debug)]
pub struct Frames(TcpStream);

impl Frames {
    pub(crate) fn new(stream: TcpStream) -> Frames {
        let _ = stream.set_read_timeout(Some(LONG));
        Frames(stream)
    }

    /// Reads the preface of the client.
    ///
    /// # Errors
    ///
    /// The client sent something else, or nothing.
    pub fn preface(&mut self) -> io::Result<()> {
        let mut preface = [0; PREFACE.len()];
        self.0.read_exact(&mut preface)?;
        if preface == PREFACE { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
    }

    /// The next frame of the client.
    ///
    /// # Errors
    ///
    /// The connection has ended.
    pub fn read(&mut self) -> io::Result<Frame> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head)?;
        let [l0, l1, l2, kind, flags, s0, s1, s2, s3] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, l0, l1, l2]) as usize];
        self.0.read_exact(&mut payload)?;
        Ok(Frame { kind, flags, stream: u32::from_be_bytes([s0, s1, s2, s3]), payload })
    }

    /// Reads until this number of requests have begun, and returns their streams.
    ///
    /// # Errors
    ///
    /// The connection has ended.
    pub fn requests(&mut self, count: usize) -> io::Result<Vec<u32>> {
        let mut streams = Vec::new();
        while streams.len() < count {
            let frame = self.read()?;
            if frame.kind == kind::HEADERS {
                streams.push(frame.stream);
            }
        }
        Ok(streams)
    }

    /// Reads the preface and the first `requests` requests, and returns their streams.
    ///
    /// # Errors
    ///
    /// The connection has ended.
    pub fn begin(&mut self, requests: usize) -> io::Result<Vec<u32>> {
        self.preface()?;
        self.requests(requests)
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    ///
    /// The client has closed the connection.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    /// Closes the sending direction, without a word.
    ///
    /// # Errors
    ///
    /// The connection has ended.
    pub fn half_close(&mut self) -> io::Result<()> {
        self.0.shutdown(Shutdown::Write)
    }

    /// What the client still sends, until it closes the connection.
    pub fn rest(&mut self) -> Vec<Frame> {
        std::iter::from_fn(|| self.read().ok()).collect()
    }
}
