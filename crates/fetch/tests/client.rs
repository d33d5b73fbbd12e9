//! Rows fetched by the client for single requests: what it does is what the engine does with a list of one row.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::Duration;

use overlapped_fetch::blocking::Client;
use overlapped_fetch::{
    Bulk, Config, ErrorClass, Input, Method, Network, Pace, Rate, Request, Response, Row,
};
use overlapped_proto::record::{Body, Record};
use overlapped_testkit::{Server, bytes_of, refused, row_of};
use support::{body, config, error, retrying, run, text};

/// What a client and a list of one row must have in common.
fn shown(record: &Record) -> impl PartialEq + std::fmt::Debug + use<> {
    let Record { url, final_url, host, method, status, attempts, chain, .. } = record;
    let chain: Vec<_> = chain.iter().map(|hop| (hop.url.clone(), hop.status, hop.remote)).collect();
    let row = (url.clone(), final_url.clone(), host.clone(), method.clone(), *status, *attempts, chain);
    let failure = record.failure.clone();
    let content = (
        record.bytes,
        record.wire_bytes,
        record.truncated,
        record.sha256,
        record.body.inline().map(<[u8]>::to_vec),
    );
    (row, failure, record.ok, content, record.notes, record.connection.http_version)
}

#[test]
fn a_record_is_the_one_that_a_list_gives() {
    let server = Server::builder().hosts(9).start();
    let dead = refused();
    let rows = |server: &Server| {
        let with_body = Row { body: Some(b"x=1".to_vec()), ..Row::new(server.url_on(1, "/echo?1")) };
        let with_headers = Row {
            headers: vec![("X-A".into(), "1".into()), ("Accept".into(), String::new())],
            method: Some(Method::Put),
            ..Row::new(server.url_on(2, "/echo?2"))
        };
        let urls = [
            server.url_on(0, "/row/7"),
            server.url_on(3, "/redirect/3"),
            server.url_on(4, "/redirect/11"),
            server.url_on(5, "/status/404"),
            server.url_on(6, "/truncate"),
            server.url_on(7, "/gzip/5000"),
            dead.url("/"),
            "no url at all".to_owned(),
            "ftp://a.test/".to_owned(),
        ];
        [with_body, with_headers].into_iter().chain(urls.map(Row::new)).collect::<Vec<_>>()
    };
    let client = Client::new(config()).unwrap();
    let own: Vec<_> = rows(&server).into_iter().map(|row| client.fetch(row)).collect();
    let numbers: Vec<_> = own.iter().map(|record| record.row.0).collect();
    assert_eq!(numbers, (0..own.len() as u64).collect::<Vec<_>>());
    for (row, own) in rows(&server).into_iter().zip(&own) {
        let url = row.url.clone();
        let bulk = Bulk::new(config()).unwrap().input(Input::Rows(Box::new([row].into_iter())));
        let listed = run(bulk).records.remove(0);
        assert_eq!(shown(own), shown(&listed), "{url}");
    }
}

#[test]
fn connections_are_kept_from_one_request_to_the_next() {
    let server = Server::start();
    let client = Client::new(config()).unwrap();
    for row in 0..5 {
        let record = client.fetch(Row::new(server.url(&format!("/row/{row}"))));
        assert_eq!((error(&record), body(&record)), ("", &row_of(row)[..]));
        assert_eq!(record.connection.reused, Some(row > 0));
    }
    assert_eq!(server.connections(), 1);
}

#[test]
fn tls_connections_are_kept_too_and_verified() {
    let server = Server::builder().tls().start();
    let network = Network { ca_pem: Some(server.ca_pem().unwrap().into()), ..Network::default() };
    let client = Client::new(Config { network, ..config() }).unwrap();
    for row in 0..2 {
        assert_eq!(body(&client.fetch(Row::new(server.url(&format!("/row/{row}"))))), row_of(row));
    }
    assert_eq!(server.connections(), 1);
    let record = Client::new(config()).unwrap().fetch(Row::new(server.url("/row/3")));
    assert_eq!(error(&record), "tls.certificate");
}

#[test]
fn what_breaks_is_tried_again_but_a_post_is_not() {
    let server = Server::builder().hosts(3).start();
    let client = Client::new(retrying(2)).unwrap();
    let record = client.fetch(Row::new(server.url_on(0, "/flaky")));
    assert_eq!((error(&record), text(&record), record.attempts), ("", "at last\n", 2));
    let record = client.fetch(Row::new(server.url_on(1, "/status/503")));
    assert_eq!((error(&record), record.attempts), ("status", 3));
    let post = Row { body: Some(b"x".to_vec()), ..Row::new(server.url_on(2, "/flaky?post")) };
    let record = client.fetch(post);
    assert_eq!((error(&record), record.attempts), ("status", 1));
    assert_eq!(server.requests(), 6);
}

#[test]
fn no_credential_is_sent_to_another_origin() {
    let (home, away) = (Server::start(), Server::builder().address([127, 0, 0, 2]).start());
    let target: String = away.url("/echo").bytes().map(|byte| format!("%{byte:02x}")).collect();
    let request = Request { bearer: Some("canary".into()), ..Request::default() };
    let client = Client::new(Config { request, ..config() }).unwrap();
    let record = client.fetch(Row::new(home.url(&format!("/redirect-to?url={target}"))));
    assert_eq!((error(&record), record.chain.len(), away.requests()), ("", 1, 1));
    assert!(home.received("canary") && !away.received("canary"));
}

#[test]
fn limits_hold() {
    let server = Server::start();
    let response = Response { max_bytes: 100, ..Response::default() };
    let network = Network { public_only: true, ..Network::default() };
    let client = Client::new(Config { response, ..config() }).unwrap();
    assert_eq!(error(&client.fetch(Row::new(server.url("/bytes/101")))), "body.too_large");
    let timeout = Some(Duration::from_millis(20));
    let record = client.fetch(Row { timeout, ..Row::new(server.url("/delay/60000")) });
    assert_eq!(error(&record), "timeout.total");
    let client = Client::new(Config { network, ..config() }).unwrap();
    assert_eq!(error(&client.fetch(Row::new(server.url("/ok")))), "policy.address");
}

#[test]
fn a_body_that_does_not_fit_into_memory_is_on_disk() {
    const SIZE: u64 = 3_000_000;
    let server = Server::start();
    let response = Response { memory_max: Some(1 << 20), ..Response::default() };
    let client = Client::new(Config { response, ..config() }).unwrap();
    let records: Vec<_> =
        (0..3).map(|_| client.fetch(Row::new(server.url(&format!("/bytes/{SIZE}"))))).collect();
    for record in records {
        assert_eq!((error(&record), record.bytes), ("", SIZE));
        let Body::Spooled(spooled) = &record.body else { panic!("the body is not on disk: {record:?}") };
        let mut read = Vec::new();
        spooled.reader().read_to_end(&mut read).unwrap();
        assert!(read == bytes_of(&format!("/bytes/{SIZE}"), SIZE as usize));
    }
}

#[test]
fn what_a_client_does_not_hold_back_it_does_not_promise() {
    let rate: Option<Rate> = "1/s".parse().ok();
    assert!(rate.is_some());
    for (name, pace) in [
        ("robots", Pace { robots: true, ..Pace::default() }),
        ("rate", Pace { rate, ..Pace::default() }),
        ("rate_host", Pace { rate_host: rate, ..Pace::default() }),
    ] {
        let error = Client::new(Config { pace, ..config() }).err().unwrap();
        assert_eq!(error.class(), ErrorClass::Config);
        assert!(error.to_string().contains(&format!("pace.{name} ")), "{error}");
    }
}

/// Serves one connection after the other; every answer is the path. When told, it sends an answer that no request has
/// asked for on the connection that is open.
fn serve(listener: &TcpListener, told: &mpsc::Receiver<()>, sent: &mpsc::Sender<()>) {
    let answer = |mut tcp: &TcpStream, body: &str| {
        write!(tcp, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
    };
    while let Ok((tcp, _)) = listener.accept() {
        let mut lines = BufReader::new(&tcp).lines();
        while let Some(Ok(line)) = lines.next() {
            let path = line.strip_prefix("GET /").and_then(|rest| rest.strip_suffix(" HTTP/1.1")).unwrap();
            while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
            answer(&tcp, path);
            if path == "before" {
                told.recv().unwrap();
                answer(&tcp, "unasked");
                sent.send(()).unwrap();
            } else if path == "last" {
                return;
            }
        }
    }
}

/// Also on a connection that has answered so often that it is no longer checked before each use by the engine.
#[test]
fn what_comes_between_two_requests_is_no_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let ((tell, told), (sent, has_sent)) = (mpsc::channel(), mpsc::channel());
    let server = std::thread::spawn(move || serve(&listener, &told, &sent));
    let client = Client::new(config()).unwrap();
    let get = |path: &str| text(&client.fetch(Row::new(format!("http://{address}/{path}")))).to_owned();
    for row in 0..20 {
        assert_eq!(get(&row.to_string()), row.to_string());
    }
    assert_eq!(get("before"), "before");
    tell.send(()).unwrap();
    has_sent.recv().unwrap();
    assert_eq!(get("last"), "last");
    server.join().unwrap();
}
