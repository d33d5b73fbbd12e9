//! One file a row: under its final name only when it is whole, and never outside the directory.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::{Arc, Mutex};

use overlapped_fetch::sink::{Existing, Files};
use overlapped_fetch::{Bulk, Config, ErrorClass, Input, InputOptions, Response, sink};
use overlapped_proto::filename::Template;
use overlapped_proto::input::Format;
use overlapped_proto::record::Body;
use overlapped_testkit::{Script, Server, bytes_of, row_of, text_of};
use support::{Fetched, Scratch, config, retrying, run};

/// Fetches a list of NDJSON into files below `scratch`; large bodies are spooled there.
fn download(
    config: Config,
    scratch: &Scratch,
    template: &str,
    existing: Existing,
    list: &[String],
) -> Fetched {
    let files = Files::open(scratch.path().to_owned(), Template::parse(template).unwrap(), existing).unwrap();
    let response = Response { spool: Some(scratch.path().to_owned()), ..config.response.clone() };
    let input =
        Input::Read(Box::new(std::io::Cursor::new(list.join("\n").into_bytes())), "of the test".into());
    let options = InputOptions { format: Some(Format::Ndjson), ..InputOptions::default() };
    let bulk = Bulk::new(Config { response, ..config }).unwrap().input(input).input_options(options);
    let fetched = run(bulk.sink(Box::new(files)));
    fetched.assert_complete(list.len());
    fetched
}

fn rows(server: &Server, paths: &[impl AsRef<str>]) -> Vec<String> {
    paths.iter().map(|path| format!(r#"{{"url":"{}"}}"#, server.url(path.as_ref()))).collect()
}

#[test]
fn each_row_has_its_file_and_its_record_says_where() {
    let (server, scratch) = (Server::start(), Scratch::new());
    let list = rows(&server, &["/row/7", "/bytes/3000000", "/text/0", "/gzip/700000", "/status/204"]);
    let fetched = download(config(), &scratch, "{row:04}{ext}", Existing::Keep, &list);
    assert_eq!(fetched.errors(), [""; 5]);
    for record in &fetched.records {
        let Body::File(path) = &record.body else { unreachable!("{record:?}") };
        assert_eq!(path.parent(), Some(scratch.path()));
        assert_eq!(std::fs::metadata(path).unwrap().len(), record.bytes);
    }
    let files = scratch.files();
    assert_eq!(files.len(), 5, "{files:?}");
    let read = |row: &str| scratch.read(files.iter().find(|name| name.starts_with(row)).unwrap());
    assert_eq!(read("0000"), row_of(7));
    assert!(read("0001") == bytes_of("/bytes/3000000", 3_000_000));
    assert!(read("0003") == text_of("/gzip/700000", 700_000));
}

#[test]
fn rows_that_failed_write_nothing() {
    let (server, scratch) = (Server::start(), Scratch::new());
    let mut list = rows(
        &server,
        &[
            "/status/404",
            "/truncate",
            "/truncate?length=1000000&sent=900000",
            "/reset?at=100",
            "/truncate?length=1000000&sent=900000&chunked=1",
            "/gzip/1000000?damage=truncated",
            "/bomb/gzip/9000000",
            "/close",
        ],
    );
    list.push(r#"{"url":"no url"}"#.into());
    let response = Response { max_bytes: 8_000_000, ..Response::default() };
    let fetched = download(Config { response, ..config() }, &scratch, "{row}", Existing::Keep, &list);
    assert!(fetched.records.iter().all(|record| !record.ok), "{:?}", fetched.errors());
    assert_eq!(scratch.files(), [""; 0]);
}

#[test]
fn a_body_that_breaks_has_no_final_name_until_it_came_whole() {
    let scratch = Scratch::new();
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n";
    let first = std::sync::atomic::AtomicBool::new(true);
    let watched = scratch.path().to_owned();
    let named_too_early = Arc::new(Mutex::new(Vec::new()));
    let early = Arc::clone(&named_too_early);
    let server = Server::builder()
        .handler("/twice", move |_| {
            let found = std::fs::read_dir(&watched).unwrap().map(|entry| entry.unwrap().file_name());
            early.lock().unwrap().extend(found.filter(|name| !name.to_str().unwrap().ends_with(".part")));
            let whole = Script::new().send(head);
            if first.swap(false, std::sync::atomic::Ordering::SeqCst) {
                whole.send(vec![b'x'; 900_000]).close()
            } else {
                whole.send(vec![b'y'; 1_000_000])
            }
        })
        .start();
    let fetched = download(retrying(2), &scratch, "body", Existing::Keep, &rows(&server, &["/twice"]));
    assert_eq!((fetched.errors()[0], fetched.records[0].attempts), ("", 2));
    assert_eq!(*named_too_early.lock().unwrap(), Vec::<std::ffi::OsString>::new());
    assert_eq!(scratch.files(), ["body"]);
    assert!(scratch.read("body").iter().all(|byte| *byte == b'y'));
}

#[test]
fn twins_get_numbers_whatever_was_there() {
    let server = Server::start();
    let list = rows(&server, &["/row/1", "/row/2", "/row/3", "/bytes/600000", "/row/4"]);
    let kept = Scratch::new();
    std::fs::write(kept.path().join("same.txt"), "was here").unwrap();
    download(config(), &kept, "same.txt", Existing::Keep, &list);
    assert_eq!(
        kept.files(),
        ["same.txt", "same~2.txt", "same~3.txt", "same~4.txt", "same~5.txt", "same~6.txt"]
    );
    assert_eq!(kept.read("same.txt"), b"was here");
    assert_eq!((kept.read("same~2.txt"), kept.read("same~6.txt")), (row_of(1), row_of(4)));

    let replaced = Scratch::new();
    std::fs::write(replaced.path().join("same.txt"), "was here").unwrap();
    download(config(), &replaced, "same.txt", Existing::Replace, &list);
    assert_eq!(replaced.files(), ["same.txt", "same~2.txt", "same~3.txt", "same~4.txt", "same~5.txt"]);
    assert_eq!((replaced.read("same.txt"), replaced.read("same~5.txt")), (row_of(1), row_of(4)));
    // A run over the same: each replaces what the run before has written.
    download(config(), &replaced, "same.txt", Existing::Replace, &list[..2]);
    assert_eq!((replaced.read("same.txt"), replaced.read("same~2.txt")), (row_of(1), row_of(2)));
    assert_eq!(replaced.files().len(), 5);
}

/// They replaced each other, and only the last body was left though all rows were ok.
#[test]
fn rows_of_one_name_do_not_replace_each_other() {
    const ROWS: u64 = 300;
    let (server, scratch) = (Server::start(), Scratch::new());
    std::fs::write(scratch.path().join("same"), "of another day").unwrap();
    let list = rows(&server, &(0..ROWS).map(|row| format!("/row/{row}")).collect::<Vec<_>>());
    let fetched = download(config(), &scratch, "same", Existing::Replace, &list);
    assert_eq!(scratch.files().len() as u64, ROWS);
    for record in &fetched.records {
        let Body::File(path) = &record.body else { unreachable!("{record:?}") };
        assert_eq!(std::fs::read(path).unwrap(), row_of(record.row.0), "{path:?}");
    }
}

/// A row could be called like the run's own records, and replaced them.
#[test]
fn what_the_run_keeps_out_is_no_rows_name() {
    for existing in [Existing::Keep, Existing::Replace] {
        let (server, scratch) = (Server::start(), Scratch::new());
        let path = |name: &str| scratch.path().join(name);
        std::fs::create_dir_all(path("deep")).unwrap();
        std::fs::write(path("r.ndjson"), "records").unwrap();
        std::fs::write(path("real"), "records").unwrap();
        symlink("real", path("link")).unwrap();
        std::fs::create_dir(path("state")).unwrap();
        let kept = ["r.ndjson", "deep/../later.csv", "link", "state"].map(path);
        let outs = [
            "r.ndjson",
            "R.NDJSON",
            "./r.ndjson",
            "a/../r.ndjson",
            "later.csv",
            "Later.CSV",
            "link",
            "real",
            "state/x",
            "state",
            "other",
        ];
        let list: Vec<_> = (0..)
            .zip(outs)
            .map(|(row, out)| format!(r#"{{"url":"{}","out":"{out}"}}"#, server.url(&format!("/row/{row}"))))
            .collect();
        let files = Files::open(scratch.path().to_owned(), Template::default(), existing).unwrap();
        let files = files.keep_out(&kept).unwrap();
        let input =
            Input::Read(Box::new(std::io::Cursor::new(list.join("\n").into_bytes())), "of the test".into());
        let options = InputOptions { format: Some(Format::Ndjson), ..InputOptions::default() };
        let bulk = Bulk::new(config()).unwrap().input(input).input_options(options).sink(Box::new(files));
        let fetched = run(bulk);
        assert_eq!(fetched.errors(), [""; 11]);
        for record in &fetched.records {
            let Body::File(path) = &record.body else { unreachable!("{record:?}") };
            assert_eq!(std::fs::read(path).unwrap(), row_of(record.row.0), "{path:?}");
        }
        let names = scratch.files();
        assert_eq!((scratch.read("r.ndjson"), scratch.read("real")), (b"records".into(), b"records".into()));
        assert!(path("link").symlink_metadata().unwrap().is_symlink());
        assert!(names.contains(&"other".to_owned()) && names.contains(&"r~2.ndjson".to_owned()), "{names:?}");
        assert!(
            !names.iter().any(|name| name.starts_with("state/") || name.eq_ignore_ascii_case("later.csv"))
        );
    }
}

/// The directory that was made for a row was swapped for a link, and what followed was written through it.
#[test]
fn a_directory_that_becomes_a_link_during_the_run_is_not_followed() {
    let (scratch, elsewhere) = (Scratch::new(), Scratch::new());
    let (deep, away, to) =
        (scratch.path().join("deep"), scratch.path().join("away"), elsewhere.path().to_owned());
    let swaps = move || {
        while !deep.join("0").exists() {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        std::fs::rename(&deep, &away).unwrap();
        symlink(&to, &deep).unwrap();
    };
    let swapped = std::sync::Once::new();
    let server = Server::builder()
        .handler("/swaps", move |_| {
            swapped.call_once(&swaps);
            Script::response(200, &[], "after")
        })
        .start();
    let row = |path: &str, out: &str| format!(r#"{{"url":"{}","out":"{out}"}}"#, server.url(path));
    let list = [row("/row/0", "deep/0"), row("/swaps", "deep/1"), row("/row/2", "deep/2")];
    let fetched = download(support::one_by_one(), &scratch, "{row}", Existing::Keep, &list);
    assert_eq!(fetched.errors(), [""; 3]);
    assert_eq!(elsewhere.files(), [""; 0]);
    assert_eq!(scratch.read("away/0"), row_of(0));
    for (record, body) in fetched.records[1..].iter().zip([b"after".to_vec(), row_of(2)]) {
        let Body::File(path) = &record.body else { unreachable!("{record:?}") };
        assert_eq!((path.parent(), std::fs::read(path).unwrap()), (Some(scratch.path()), body));
    }
}

#[test]
fn directories_are_made_as_the_template_says() {
    let (server, scratch) = (Server::builder().hosts(2).start(), Scratch::new());
    let list: Vec<_> = (0..4)
        .map(|row| format!(r#"{{"url":"{}","id":"id/{row}"}}"#, server.url_on(row, &format!("/row/{row}"))))
        .collect();
    download(config(), &scratch, "{host}/deep/er/{name}-{id}.txt", Existing::Keep, &list);
    let files = scratch.files();
    assert_eq!(files.len(), 4);
    for (row, host) in [(0, 1), (1, 2), (2, 1), (3, 2)] {
        let prefix = format!("127.0.0.{host}/deep/er/{row}-id");
        let name = files.iter().find(|name| name.starts_with(&prefix)).unwrap();
        assert_eq!(name.matches('/').count(), 3, "a slash in a value makes no directory: {name}");
        assert_eq!(scratch.read(name), row_of(row));
    }
}

#[test]
fn a_rows_own_name_cannot_leave_the_directory() {
    let (server, outer) = (Server::start(), Scratch::new());
    let inner = outer.path().join("a/b/out");
    let outs = [
        "../x",
        "/etc/x",
        "../../../../../../tmp/overlapped-escape",
        "a/../../b",
        "..",
        "",
        "sub/dir/ok.txt",
        "C:\\\\x",
    ];
    let list: Vec<_> =
        outs.iter().map(|out| format!(r#"{{"url":"{}","out":"{out}"}}"#, server.url("/ok"))).collect();
    let files = Files::open(inner.clone(), Template::default(), Existing::Keep).unwrap();
    let input =
        Input::Read(Box::new(std::io::Cursor::new(list.join("\n").into_bytes())), "of the test".into());
    let options = InputOptions { format: Some(Format::Ndjson), ..InputOptions::default() };
    let bulk = Bulk::new(config()).unwrap().input(input).input_options(options).sink(Box::new(files));
    let fetched = run(bulk);
    assert_eq!(fetched.errors(), [""; 8]);
    let written = outer.files();
    assert_eq!(written.len(), 8);
    assert!(written.iter().all(|name| name.starts_with("a/b/out/")), "{written:?}");
    assert!(written.contains(&"a/b/out/sub/dir/ok.txt".to_owned()), "{written:?}");
    assert!(!std::path::Path::new("/tmp/overlapped-escape").exists());
}

/// They were followed.
#[test]
fn a_link_in_the_directory_leads_no_file_out_of_it() {
    let row = |url: String, out: &str| format!(r#"{{"url":"{url}","out":"{out}"}}"#);
    for existing in [Existing::Keep, Existing::Replace] {
        let (server, scratch, elsewhere) = (Server::start(), Scratch::new(), Scratch::new());
        let link = |name: &str, to: &Path| symlink(to, scratch.path().join(name)).unwrap();
        std::fs::create_dir(scratch.path().join("deep")).unwrap();
        std::fs::write(elsewhere.path().join("theirs"), "theirs").unwrap();
        link("a", elsewhere.path());
        link("deep/a", elsewhere.path());
        link("dangling", &elsewhere.path().join("nothing"));
        link("file", &elsewhere.path().join("theirs"));
        let outs = ["a/b", "a/b/c", "deep/a/b", "deep/b", "dangling/b", "file/b", "file", "a", "127.0.0.1/b"];
        let list: Vec<_> =
            (0..).zip(outs).map(|(number, out)| row(server.url(&format!("/row/{number}")), out)).collect();
        let fetched = download(config(), &scratch, "{row}", existing, &list);
        assert_eq!(fetched.errors(), [""; 9]);
        for record in &fetched.records {
            let Body::File(path) = &record.body else { unreachable!("{record:?}") };
            assert_eq!(std::fs::read(path).unwrap(), row_of(record.row.0), "{path:?}");
            assert!(
                path.canonicalize().unwrap().starts_with(scratch.path().canonicalize().unwrap()),
                "{path:?}"
            );
        }
        assert_eq!(elsewhere.files(), ["theirs"]);
        assert_eq!(elsewhere.read("theirs"), b"theirs");
        assert_eq!(scratch.read("deep/b"), row_of(3));
    }
}

/// It is the user's choice.
#[test]
fn the_directory_itself_may_be_a_link() {
    let (server, scratch) = (Server::start(), Scratch::new());
    std::fs::create_dir(scratch.path().join("real")).unwrap();
    let link = scratch.path().join("link");
    symlink("real", &link).unwrap();
    let files = Files::open(link, Template::parse("{host}/{row}").unwrap(), Existing::Keep).unwrap();
    let urls = Input::Urls(Box::new(std::iter::once(server.url("/row/0"))));
    run(Bulk::new(config()).unwrap().input(urls).sink(Box::new(files))).assert_complete(1);
    assert_eq!(scratch.read("real/127.0.0.1/0"), row_of(0));
}

/// A server that names the file cannot choose where it goes.
#[test]
fn a_name_from_a_url_stays_below() {
    let (server, scratch) = (Server::start(), Scratch::new());
    let list = rows(&server, &["/..%2f..%2fx", "/%2e%2e/y", "/a%00b", "/.hidden", "/-rf", "/"]);
    let response = Response { fail: Vec::new(), ..Response::default() };
    let fetched = download(Config { response, ..config() }, &scratch, "{name}", Existing::Keep, &list);
    assert_eq!(fetched.errors(), [""; 6]);
    let files = scratch.files();
    assert_eq!(files.len(), 6);
    assert!(files.iter().all(|name| !name.contains('/') && !name.starts_with(['.', '-'])), "{files:?}");
}

#[test]
fn every_sink_sees_where_the_body_went() {
    let (server, scratch) = (Server::start(), Scratch::new());
    let urls = ["/row/1", "/bytes/900000"].map(|path| server.url(path));
    let bodies = Arc::new(Mutex::new(Vec::new()));
    #[derive(Clone)]
    struct To(Arc<Mutex<Vec<u8>>>);
    impl std::io::Write for To {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let files = Files::open(scratch.path().to_owned(), Template::default(), Existing::Keep).unwrap();
    let response = Response { spool: Some(scratch.path().to_owned()), ..Response::default() };
    let bulk =
        Bulk::new(Config { response, ..config() }).unwrap().input(Input::Urls(Box::new(urls.into_iter())));
    run(bulk.sink(Box::new(files)).sink(Box::new(sink::BodyTo::new(To(Arc::clone(&bodies))))));
    let expected = [row_of(1), bytes_of("/bytes/900000", 900_000)].concat();
    assert!(*bodies.lock().unwrap() == expected);
    assert_eq!(scratch.files().len(), 2);
}

/// The second took away what the first had written; in a durable run the first file ended the run.
#[test]
fn a_run_with_two_sinks_for_files_is_refused() {
    let (server, scratch) = (Server::start(), Scratch::new());
    for second in ["one", "two"] {
        let open = |name| {
            Files::open(scratch.path().join(name), Template::default(), Existing::Keep).map(Box::new).unwrap()
        };
        let urls = Input::Urls(Box::new(std::iter::once(server.url("/ok"))));
        let bulk = Bulk::new(config()).unwrap().input(urls).sink(open("one")).sink(open(second));
        let refused = bulk.start().err().unwrap();
        assert_eq!(refused.class(), ErrorClass::Config);
        assert!(refused.to_string().contains("one file"), "{refused}");
    }
    assert_eq!((server.requests(), scratch.files().len()), (0, 0));
}

#[test]
fn a_directory_that_cannot_be_written_to_is_found_at_once() {
    let scratch = Scratch::new();
    let file = scratch.path().join("file");
    std::fs::write(&file, "").unwrap();
    assert!(Files::open(file.join("below"), Template::default(), Existing::Keep).is_err());
    assert!(Files::open(file, Template::default(), Existing::Keep).is_err());
}

#[test]
fn a_run_that_is_aborted_leaves_no_temporary_file() {
    let (server, scratch) = (Server::start(), Scratch::new());
    let files = Files::open(scratch.path().to_owned(), Template::default(), Existing::Keep).unwrap();
    let response = Response { spool: Some(scratch.path().to_owned()), ..Response::default() };
    let urls: Vec<_> =
        (0..5).map(|row| server.url(&format!("/stall?length=2000000&after=1000000&{row}"))).collect();
    let bulk =
        Bulk::new(Config { response, ..config() }).unwrap().input(Input::Urls(Box::new(urls.into_iter())));
    let run = bulk.sink(Box::new(files)).start().unwrap();
    assert!(server.wait_until(support::LONG, |_| scratch.files().len() == 5));
    run.control().abort();
    support::wait(run).unwrap();
    assert!(server.wait_until(support::LONG, |_| scratch.files().is_empty()), "{:?}", scratch.files());
}

#[test]
fn a_failed_row_names_no_file_however_large_its_body() {
    let scratch = Scratch::new();
    let server = Server::builder().route("/large", Script::response(404, &[], vec![b'x'; 1 << 20])).start();
    let fetched =
        download(config(), &scratch, "{row}", Existing::Keep, &rows(&server, &["/large", "/status/404"]));
    assert_eq!(fetched.errors(), ["status", "status"]);
    assert_eq!((fetched.records[0].bytes, &fetched.records[0].body), (1 << 20, &Body::None));
    assert_eq!(support::body(&fetched.records[1]), b"status 404\n");
    assert_eq!(scratch.files(), [""; 0]);
}

/// One row's name is another's directory: neither may end the run for all others.
#[test]
fn a_name_that_cannot_be_had_is_replaced_by_the_rows_number() {
    let row = |url: String, out: &str| format!(r#"{{"url":"{url}","out":"{out}"}}"#);
    for existing in [Existing::Keep, Existing::Replace] {
        let (server, scratch) = (Server::start(), Scratch::new());
        let outs = ["x", "x/y", "d/e", "d", "x/z/w"];
        let list: Vec<_> =
            (0..).zip(outs).map(|(number, out)| row(server.url(&format!("/row/{number}")), out)).collect();
        let fetched = download(config(), &scratch, "{row}", existing, &list);
        assert_eq!(fetched.errors(), [""; 5]);
        let files = scratch.files();
        assert_eq!(files.len(), 5, "{files:?}");
        for record in &fetched.records {
            let Body::File(path) = &record.body else { unreachable!("{record:?}") };
            assert_eq!(std::fs::read(path).unwrap(), row_of(record.row.0), "{path:?}");
        }
        assert_eq!((scratch.read("x"), scratch.read("d/e")), (row_of(0), row_of(2)));
    }
}

#[cfg(unix)]
#[test]
fn files_can_be_read_by_whom_the_umask_lets() {
    use std::os::unix::fs::PermissionsExt;
    let (server, scratch) = (Server::start(), Scratch::new());
    let list = rows(&server, &["/row/1", "/bytes/600000"]);
    download(config(), &scratch, "{row}", Existing::Keep, &list);
    std::fs::write(scratch.path().join("usual"), "").unwrap();
    let mode = |name: &str| std::fs::metadata(scratch.path().join(name)).unwrap().permissions().mode();
    // Whatever the umask: others may read and not write.
    let expected = mode("usual") & !0o022;
    assert_eq!((mode("1"), mode("0")), (expected, expected));
}
