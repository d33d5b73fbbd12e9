//! What a public address redirects to must be public too, whatever connections are open already. A library loaded before
//! the C library makes 93.184.216.0/24 answer on this machine.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod program;

use std::path::{Path, PathBuf};
use std::process::Command;

use overlapped_testkit::{Script, Server};
use program::{Directory, Ran, command, finish};

/// Runs the program with the public network in its place.
fn run(words: &[&str], list: &str) -> Ran {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/public/shim.c");
    let directory = Directory::new();
    let library = PathBuf::from(directory.path("shim.so"));
    let mut compile = Command::new("cc");
    let compiled = compile.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).status();
    assert!(compiled.unwrap().success(), "the C compiler refuses {source}");
    finish(command(words).env("LD_PRELOAD", Path::new(&library)), list.as_bytes())
}

/// `/to/NAME` redirects to `/inside` at this name and the port that was asked; `/chain` to `/to/127.0.0.1` over another
/// public address.
fn server() -> Server {
    let port = |host: &str| host.rsplit(':').next().unwrap().to_owned();
    Server::builder()
        .handler("/to/", move |request| {
            let name = request.path().rsplit('/').next().unwrap().to_owned();
            let to = format!("http://{name}:{}/inside", port(request.header("host").unwrap()));
            Script::response(302, &[("Location", &to)], "")
        })
        .handler("/chain", move |request| {
            let to = format!("http://93.184.216.35:{}/to/127.0.0.1", port(request.header("host").unwrap()));
            Script::response(302, &[("Location", &to)], "")
        })
        .route("/inside", Script::response(200, &[], "secret"))
        .start()
}

#[test]
fn a_redirect_from_a_public_address_does_not_use_an_open_connection_to_a_private_one() {
    for parallel in ["1", "2", "16"] {
        let server = server();
        let port = server.addr().port();
        // The private addresses have connections open, by address and by name, before and while others lead there.
        let own = [format!("http://127.0.0.1:{port}/ok"), format!("http://localhost:{port}/ok")];
        let away = ["/to/127.0.0.1", "/to/localhost", "/chain", "/to/127.1", "/to/0x7f000001"]
            .map(|path| format!("http://93.184.216.34:{port}{path}"));
        let rows: Vec<_> = (0..20).flat_map(|_| own.iter().chain(&away)).map(String::as_str).collect();
        let ran = run(&["-", "-o", "-", "-s", "-j", parallel, "-4", "--ordered"], &rows.join("\n"));
        let records = ran.records();
        assert_eq!(records.len(), rows.len(), "{ran:?}");
        for record in &records {
            let expected =
                if record["url"].as_str().unwrap().contains("/ok") { "" } else { "policy.address" };
            assert_eq!(record["error"].as_str().unwrap_or(""), expected, "-j {parallel}: {record}");
        }
        assert!(server.seen().iter().all(|seen| seen.path() != "/inside"), "-j {parallel}");
    }
}

#[test]
fn a_redirect_among_public_addresses_is_followed() {
    let server = server();
    let list = format!("http://93.184.216.34:{}/to/93.184.216.36", server.addr().port());
    let records = run(&["-", "-o", "-", "-s"], &list).records();
    assert_eq!((&records[0]["ok"], &records[0]["body"]), (&true.into(), &"secret".into()));
}

/// Asking for robots.txt is a request too.
#[test]
fn robots_is_not_asked_for_where_a_public_address_must_not_lead() {
    let server = server();
    let list = format!(
        "http://93.184.216.34:{0}/to/127.0.0.1\nhttp://93.184.216.34:{0}/chain",
        server.addr().port()
    );
    let records = run(&["-", "-o", "-", "-s", "--robots", "-j", "1"], &list).records();
    assert!(records.iter().all(|record| record["error"] == "policy.address"), "{records:?}");
    let asked = |seen: &overlapped_testkit::Seen| seen.header("host").unwrap().starts_with("127.");
    assert!(!server.seen().iter().any(asked));
}
