//! Files as bodies of requests: what the server gets, what is sent again, and which files a list may name.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::fs::{self, File};
use std::io::{self, Read};
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::Duration;

use overlapped_fetch::record::Method;
use overlapped_fetch::{Config, Http, Network, Request, Row, Timeouts, UploadFile};
use overlapped_proto::input::Format;
use overlapped_testkit::frames::{self, kind};
use overlapped_testkit::{Http2, Http2Rules, Http2Server, Reply, Script, Server};
use support::{Scratch, body, config, error, fetch_list, fetch_one, retrying};

fn write(directory: &Scratch, name: &str, content: &[u8]) -> PathBuf {
    let path = directory.path().join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, content).unwrap();
    path
}

/// No block of it is like another one.
fn content(bytes: usize) -> Vec<u8> {
    (0_u64..).flat_map(|word| (word.wrapping_mul(0x9e37_79b9_7f4a_7c15)).to_le_bytes()).take(bytes).collect()
}

fn sending(config: Config, method: Method, file: UploadFile) -> Config {
    Config { request: Request { method, body_file: Some(file), ..Request::default() }, ..config }
}

fn allowing(config: Config, directory: &Path) -> Config {
    Config { request: Request { body_dir: Some(directory.into()), ..Request::default() }, ..config }
}

#[test]
fn the_server_gets_the_file() {
    let (server, directory) = (Server::start(), Scratch::new());
    for bytes in [0, 1, 65_536, 65_537, 1_000_000] {
        let sent = content(bytes);
        let file = UploadFile::open(&write(&directory, "file", &sent)).unwrap();
        let record = fetch_one(sending(config(), Method::Put, file), server.url("/echo"));
        assert_eq!(error(&record), "");
        let seen = server.seen().pop().unwrap();
        assert_eq!((seen.method.as_str(), seen.header("content-length")), ("PUT", Some(&*bytes.to_string())));
        assert!(seen.request.body == sent, "{bytes}");
    }
}

#[test]
fn the_server_gets_the_file_over_http2() {
    let server = Http2Server::start(|_| Http2::Rules(Http2Rules::new(|asked| Reply::ok(asked.body.clone()))));
    let directory = Scratch::new();
    for bytes in [0, 1, 65_536, 300_000] {
        let sent = content(bytes);
        let file = UploadFile::open(&write(&directory, "file", &sent)).unwrap();
        let network = Network { http: Http::Http2, ..Network::default() };
        let record = fetch_one(sending(Config { network, ..config() }, Method::Put, file), server.url("/"));
        assert_eq!(error(&record), "");
        assert!(body(&record) == sent, "{bytes}");
    }
}

#[test]
fn rows_send_files_beneath_the_directory() {
    let (server, directory) = (Server::start(), Scratch::new());
    write(&directory, "one", b"first");
    write(&directory, "deep/er/two", b"second");
    let rows = [
        format!(r#"{{"url":"{}","body_file":"one"}}"#, server.url("/echo?1")),
        format!(r#"{{"url":"{}","body_file":"./deep/er/two","method":"PUT"}}"#, server.url("/echo?2")),
        format!(r#"{{"url":"{}"}}"#, server.url("/echo?3")),
    ];
    let fetched =
        fetch_list(allowing(config(), directory.path()), Format::Ndjson, rows.join("\n"), rows.len());
    assert_eq!(fetched.errors(), ["", "", ""]);
    let mut seen = server.seen();
    seen.sort_by_key(|seen| seen.target.clone());
    let seen: Vec<_> = seen.iter().map(|seen| (seen.method.as_str(), &seen.request.body[..])).collect();
    assert_eq!(seen, [("POST", &b"first"[..]), ("PUT", b"second"), ("GET", b"")]);
}

#[test]
fn rows_send_no_other_files() {
    let (server, outside) = (Server::start(), Scratch::new());
    write(&outside, "inside/file", b"inside");
    let directory = outside.path().join("inside");
    let secret = write(&outside, "secret", b"outside");
    symlink(&secret, directory.join("link")).unwrap();
    symlink(outside.path(), directory.join("folder")).unwrap();
    make_pipe(&directory.join("pipe"));
    let names = [
        secret.to_str().unwrap(),
        "../secret",
        "folder/secret",
        "folder/../secret",
        "link",
        "pipe",
        ".",
        "folder",
        "missing",
        "file/x",
        "a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a",
        "missing@2x",
    ];
    let row = |name: &&str| format!(r#"{{"url":"{}","body_file":"{name}"}}"#, server.url("/echo"));
    let rows: Vec<_> = names.iter().map(row).collect();
    let fetched = fetch_list(allowing(config(), &directory), Format::Ndjson, rows.join("\n"), rows.len());
    assert_eq!(fetched.errors(), vec!["input.body"; rows.len()]);
    let message = &fetched.records.last().unwrap().failure.as_ref().unwrap().message;
    assert!(message.starts_with("body_file missing@2x: "), "{message}");
    // Nor any, unless the caller says from where.
    let row = row(&"file");
    let fetched = fetch_list(config(), Format::Ndjson, row, 1);
    assert_eq!(fetched.errors(), ["input.body"]);
    let message = &fetched.records[0].failure.as_ref().unwrap().message;
    assert!(message.contains("--body-dir"), "{message}");
    assert_eq!(server.requests(), 0);
}

fn make_pipe(path: &Path) {
    let made = std::process::Command::new("mkfifo").arg(path).status().unwrap();
    assert!(made.success());
}

#[test]
fn a_file_is_sent_again_after_a_redirect_and_a_failure() {
    let server = Server::builder()
        .route("/moved", Script::response(307, &[("location", "/echo?moved")], ""))
        .route("/gone", Script::response(303, &[("location", "/echo?gone")], ""))
        .start();
    let (directory, sent) = (Scratch::new(), content(200_000));
    let file = UploadFile::open(&write(&directory, "file", &sent)).unwrap();
    let put = |config| sending(config, Method::Put, file.clone());
    assert_eq!(error(&fetch_one(put(config()), server.url("/moved"))), "");
    let seen = server.seen();
    assert!(seen.len() == 2 && seen.iter().all(|seen| seen.request.body == sent));
    server.forget();
    assert_eq!(error(&fetch_one(put(config()), server.url("/gone"))), "");
    let seen: Vec<_> = server.seen().iter().map(|seen| (seen.method.clone(), seen.body_bytes)).collect();
    assert_eq!(seen, [("PUT".to_owned(), 200_000), ("GET".to_owned(), 0)]);
    server.forget();
    assert_eq!(error(&fetch_one(put(retrying(2)), server.url("/flaky?key=a&fail=2"))), "");
    let seen = server.seen();
    assert!(seen.len() == 3 && seen.iter().all(|seen| seen.request.body == sent), "{}", seen.len());
}

/// The server reads nothing until the file has changed. More is to be sent than the sockets hold.
#[test]
fn a_file_that_changes_while_it_is_sent_is_an_error_of_its_row() {
    const BYTES: u64 = 64 << 20;
    let change: [fn(&File); 3] = [
        |file| file.set_len(BYTES - 1).unwrap(),
        |file| file.set_len(BYTES + 1).unwrap(),
        |file| std::os::unix::fs::FileExt::write_all_at(file, b"x", BYTES - 1).unwrap(),
    ];
    for (number, change) in change.into_iter().enumerate() {
        let directory = Scratch::new();
        let path = write(&directory, "file", b"");
        File::options().write(true).open(&path).unwrap().set_len(BYTES).unwrap();
        let sent = UploadFile::open(&path).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let server = thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            socket.read_exact(&mut [0; 100]).unwrap();
            change(&File::options().write(true).open(&path).unwrap());
            io::copy(&mut socket, &mut io::sink())
        });
        let record = fetch_one(sending(config(), Method::Put, sent), url);
        assert_eq!(error(&record), "input.body", "{number}: {record:?}");
        // Without its last bytes the request is never complete.
        assert!(server.join().unwrap().map_or(0, |bytes| bytes) < BYTES, "{number}");
        assert!(record.failure.unwrap().message.contains("changed"), "{number}");
    }
}

/// A server that answers with this when it has the head of a request, and counts the bytes of the body that come then, up to a
/// number.
fn answering_early(answer: &'static str, bytes: u64) -> (String, thread::JoinHandle<u64>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let server = thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") {
            socket.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        io::Write::write_all(&mut socket, answer.as_bytes()).unwrap();
        // The client has the answer before it can send more.
        thread::sleep(Duration::from_millis(100));
        io::copy(&mut socket.take(bytes), &mut io::sink()).unwrap_or(0)
    });
    (url, server)
}

const EARLY: [&str; 4] = [
    "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nearly",
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nearly\r\n0\r\n\r\n",
    "HTTP/1.1 204 No Content\r\n\r\n",
    "HTTP/1.1 201 Created\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
];

/// A success that comes before the end of the upload does not end it; a refusal does.
#[test]
fn a_server_that_answers_before_it_has_read_the_file_gets_all_of_it() {
    const BYTES: u64 = 32 << 20;
    let directory = Scratch::new();
    let path = write(&directory, "file", b"");
    File::options().write(true).open(&path).unwrap().set_len(BYTES).unwrap();
    let put = |url| fetch_one(sending(config(), Method::Put, UploadFile::open(&path).unwrap()), url);
    for answer in EARLY {
        let (url, server) = answering_early(answer, BYTES);
        assert_eq!(error(&put(url)), "", "{answer}");
        assert_eq!(server.join().unwrap(), BYTES, "{answer}");
    }
    let (url, server) = answering_early("HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n", BYTES);
    assert_eq!(error(&put(url)), "status");
    assert!(server.join().unwrap() < BYTES);
}

#[test]
fn a_server_that_answers_before_it_has_read_an_upload_of_a_client_gets_all_of_it() {
    const BYTES: u64 = 32 << 20;
    let client = overlapped_fetch::blocking::Client::new(config()).unwrap();
    let upload = || overlapped_fetch::RequestBody::reader(io::repeat(0).take(BYTES), Some(BYTES));
    for answer in EARLY {
        let (url, server) = answering_early(answer, BYTES);
        let response = client.request(Method::Put, url).body(upload()).send().unwrap();
        // The caller of an empty response need not read it.
        let has_body = answer.contains("early");
        assert!(!has_body || response.bytes().unwrap() == "early");
        assert_eq!(server.join().unwrap(), BYTES, "{answer}");
    }
}

#[test]
fn a_stream_that_is_answered_before_it_has_ended_is_sent_whole() {
    const BYTES: u32 = 300_000;
    let (told, whole) = mpsc::channel();
    let told = Mutex::new(told);
    let server = Http2Server::start(move |_| {
        let told = told.lock().unwrap().clone();
        Http2::Frames(Box::new(move |mut peer| {
            let mut serve = || -> io::Result<u32> {
                peer.preface()?;
                peer.send(&frames::settings(&[]))?;
                let stream = peer.requests(1)?[0];
                peer.send(&frames::head(stream, 201, &[], true))?;
                let mut bytes = 0;
                loop {
                    let read = peer.read()?;
                    if read.kind == kind::DATA {
                        let more = u32::try_from(read.payload.len()).unwrap();
                        bytes += more;
                        for stream in [0, stream] {
                            let window = frames::frame(kind::WINDOW_UPDATE, 0, stream, &more.to_be_bytes());
                            peer.send(&window[..if more > 0 { window.len() } else { 0 }])?;
                        }
                    }
                    let is_last = read.kind == kind::DATA && read.flags & frames::END_STREAM > 0;
                    if read.kind == kind::RST_STREAM || is_last {
                        return Ok(bytes);
                    }
                }
            };
            told.send(serve().unwrap_or(0)).unwrap();
        }))
    });
    let directory = Scratch::new();
    let file = UploadFile::open(&write(&directory, "file", &content(BYTES as usize))).unwrap();
    let network = Network { http: Http::Http2, ..Network::default() };
    let record = fetch_one(sending(Config { network, ..config() }, Method::Put, file), server.url("/"));
    assert_eq!((error(&record), record.status), ("", Some(201)));
    assert_eq!(whole.recv().unwrap(), BYTES);
}

/// How long the server may take nothing is limited, not how long it takes all.
#[test]
fn a_server_that_takes_no_more_of_a_body_is_not_waited_for() {
    const BYTES: u64 = 64 << 20;
    let first_byte = Some(Duration::from_millis(300));
    let timeouts = Timeouts { first_byte, total: None, ..Timeouts::default() };
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    // SETTINGS without a window.
    let closed = Http2Server::start(|_| {
        Http2::Frames(Box::new(|mut peer| {
            let _ = peer.preface().and_then(|()| peer.send(&frames::settings(&[(4, 0)])));
            peer.rest();
        }))
    });
    let directory = Scratch::new();
    let path = write(&directory, "file", b"");
    File::options().write(true).open(&path).unwrap().set_len(BYTES).unwrap();
    for (http, url) in [(Http::Negotiated, &url), (Http::Http2, &closed.url("/"))] {
        let network = Network { http, ..Network::default() };
        let config = Config { timeouts: timeouts.clone(), network, ..config() };
        let file = UploadFile::open(&path).unwrap();
        let record = fetch_one(sending(config, Method::Put, file), url.as_str());
        assert_eq!(error(&record), "timeout.first_byte", "{record:?}");
        assert!(record.failure.unwrap().message.contains("took no more of the body to send"));
    }
    drop(silent);
}

/// A body that is produced slowly has the time that it takes.
#[test]
fn a_source_may_take_its_time() {
    let server = Server::start();
    let timeouts = Timeouts { first_byte: Some(Duration::from_millis(300)), ..Timeouts::default() };
    let client = overlapped_fetch::Client::new(Config { timeouts, ..config() }).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let pieces = futures_util::stream::unfold(0, |piece| async move {
        tokio::time::sleep(Duration::from_millis(400)).await;
        (piece < 3).then(|| (Ok(bytes::Bytes::from_static(b"abc")), piece + 1))
    });
    let body = overlapped_fetch::RequestBody::stream(pieces, None);
    let sent = runtime.block_on(client.post(server.url("/echo")).body(body).send()).unwrap();
    assert_eq!((sent.status(), &server.seen()[0].request.body[..]), (200, &b"abcabcabc"[..]));
}

#[test]
fn a_row_of_the_library_may_name_a_file() {
    let (server, directory) = (Server::start(), Scratch::new());
    write(&directory, "one", b"first");
    let row = Row { body_file: Some("one".into()), ..Row::new(server.url("/echo")) };
    let (sink, collected) = overlapped_fetch::sink::collect();
    let bulk = overlapped_fetch::Bulk::new(allowing(config(), directory.path())).unwrap();
    bulk.input(overlapped_fetch::Input::Rows(Box::new([row].into_iter())))
        .sink(sink)
        .start()
        .unwrap()
        .wait()
        .unwrap();
    assert_eq!(error(&collected.take()[0]), "");
    assert_eq!(&server.seen()[0].request.body[..], b"first");
}
