//! Everything that a signature of this crate names can be named by a path of this crate.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use overlapped_fetch::record::{Body, Connection, Headers, Hop, Nanos, Notes, Phase, Row, Timing};
use overlapped_fetch::sink::{self, Fields, Guard, Lines, Sink, Template};
use overlapped_fetch::{
    Bulk, Bytes, ColumnOptions, Config, ErrorKind, Failure, Format, Held, Input, InputOptions, MaxErrors,
    Method, Pace, Progress, Rate, Record, Request, Shard, Survey, limits, survey,
};

/// A sink that looks at all that a record shows.
struct Looks;

impl Sink for Looks {
    fn accept(&mut self, record: &mut Record) -> std::io::Result<()> {
        let Record {
            row: Row(row), method, failure, chain, connection, headers, body, notes, timing, ..
        } = record;
        let (_, _, _): (&Method, &Option<Failure>, &Vec<Hop>) = (method, failure, chain);
        let (_, _): (&Connection, &Headers) = (connection, headers);
        let (_, _): (&Body, &Notes) = (body, notes);
        let _: Nanos = Timing::total(timing);
        assert_eq!(*row, 0);
        assert_eq!(
            failure.as_ref().map(|failure| (failure.kind, failure.kind.phase())),
            Some((ErrorKind::InputUrl, Phase::Input))
        );
        Ok(())
    }

    fn commit(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_run_is_set_up_and_read_by_paths_of_this_crate() {
    let rate: Rate = "10/s".parse().unwrap();
    let config = Config {
        request: Request { method: Method::Post, body: Some(Bytes::from_static(b"x")), ..Request::default() },
        pace: Pace { rate: Some(rate), parallel_max: limits::PARALLEL_MAX, ..Pace::default() },
        max_errors: MaxErrors::parse("5%"),
        ..Config::default()
    };
    let options = || InputOptions {
        format: Some(Format::Text),
        columns: ColumnOptions::default(),
        shard: Shard::parse("1/1"),
        ..InputOptions::default()
    };
    let input = || Input::Urls(Box::new(["no url".to_owned()].into_iter()));
    let (records, collected) = sink::collect();
    let lines = Lines::csv(Vec::new(), Fields::default(), Guard::Formulas);
    let bulk = Bulk::new(config).unwrap().input(input()).input_options(options());
    let summary =
        bulk.sink(records).sink(Box::new(lines)).sink(Box::new(Looks)).start().unwrap().wait().unwrap();
    let Progress { rows_done, held, .. } = &summary.progress;
    assert_eq!((*rows_done, *held), (1, Held::Nothing));
    assert_eq!(collected.take().len(), 1);
    let (counted, read): (Survey, _) = survey(input(), options());
    assert_eq!((counted.rows(), read.is_ok()), (1, true));
    assert!(Template::parse("{row}{ext}").is_ok());
}

/// The names that a `use` brings in, as they are there, from its text behind `overlapped_proto::`.
fn names(path: &str) -> Vec<String> {
    let name = |part: &str| part.split(" as ").next().unwrap().rsplit("::").next().unwrap().trim().to_owned();
    match path.split_once('{') {
        None => vec![name(path.trim_end_matches(';'))],
        Some((_, list)) => {
            list.trim_end_matches(['}', ';']).split(',').map(name).filter(|name| !name.is_empty()).collect()
        }
    }
}

/// The parts of a file that are public: whole enums and traits, the fields and functions of the rest.
fn signatures(text: &str) -> String {
    let (mut public, mut block, mut function) = (String::new(), false, false);
    for line in text.lines() {
        let code = line.split("//").next().unwrap_or_default();
        let begins =
            code.trim_start().starts_with("pub ") && !code.contains("pub use") && !code.contains("pub mod");
        block |= line.starts_with("pub enum ") || line.starts_with("pub trait ");
        function |= begins && code.contains("fn ");
        if begins || block || function {
            public.push_str(code.split(" {").next().unwrap_or(code));
            public.push('\n');
        }
        function &= !code.contains('{') && !code.ends_with(';');
        block &= line != "}";
    }
    public
}

#[test]
fn every_type_of_a_signature_is_exported() {
    fn sources(directory: &Path, texts: &mut Vec<String>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, texts);
            } else if !path.ends_with("fuzzing.rs") {
                // What the fuzz targets call is no interface.
                let text = fs::read_to_string(path).unwrap();
                texts.push(text.split("#[cfg(test)]\nmod tests").next().unwrap().to_owned());
            }
        }
    }
    let mut texts = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut texts);
    let uses = |text: &str, begin: &str| -> Vec<String> {
        let lines = text.split(";\n").filter_map(|line| line.trim_start().rsplit_once(begin));
        lines
            .filter(|(before, _)| before.lines().last().is_none_or(|line| line.is_empty()))
            .flat_map(|(_, path)| names(path))
            .collect()
    };
    let exported: BTreeSet<String> =
        texts.iter().flat_map(|text| uses(text, "pub use overlapped_proto::")).collect();
    assert!(exported.len() > 20, "{exported:?}");
    let mut seen = 0;
    for text in &texts {
        let public = signatures(text);
        for name in uses(text, "use overlapped_proto::") {
            let is_named = public.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == name);
            // `limits::X` and the like are values.
            if is_named && name.starts_with(char::is_uppercase) {
                seen += 1;
                assert!(exported.contains(&name), "{name} is in a signature, and cannot be named:\n{public}");
            }
        }
    }
    assert!(seen > 10, "{seen} names were found: the test reads no signatures any more");
}
