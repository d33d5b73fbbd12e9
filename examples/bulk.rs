//! The engine as a library: fetches a list politely, looks at each record as it comes, and writes all of them down.
//!
//! `cargo run -p overlapped-fetch --example bulk -- urls.txt results.ndjson`

#![allow(clippy::print_stdout)]

use std::error::Error;
use std::io;

use overlapped_fetch::sink::{Existing, Fields, Lines, OutputFile, Sink};
use overlapped_fetch::{Bulk, Config, Input, Pace, Record, Request};

/// Prints what failed, and why. Bodies are left alone.
struct Failures;

impl Sink for Failures {
    fn accept(&mut self, record: &mut Record) -> io::Result<()> {
        if let Some(failure) = &record.failure {
            println!("row {}: {failure} after {} attempts", record.row.0, record.attempts);
        }
        Ok(())
    }

    fn commit(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let (Some(list), Some(results)) = (words.next(), words.next()) else {
        return Err("usage: bulk LIST RESULTS.ndjson".into());
    };
    let config = Config {
        pace: Pace { rate_host: Some("10/s".parse()?), ..Pace::default() },
        request: Request { headers: vec![("accept".into(), "text/html".into())], ..Request::default() },
        ..Config::default()
    };
    let file = OutputFile::create(results.into(), Existing::Keep)?;
    let summary = Bulk::new(config)?
        .input(Input::File(list.into()))
        .sink(Box::new(Lines::ndjson(file, Fields::default())))
        .sink(Box::new(Failures))
        .start()? // a future, on any runtime or none
        .wait()?;
    println!("{} of {} rows are ok", summary.progress.ok, summary.progress.rows_done);
    Ok(())
}
