//! `waterfall`: draws a run from its NDJSON output. It reads line by line and keeps only the times.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use super::print;
use crate::exit::{Ending, Error};
use crate::flags::place::check_replaced;
use crate::flags::waterfall::Flags;
use crate::picture::{Bar, Chart, svg, text};
use crate::terminal;

pub(super) fn run(flags: &Flags) -> Result<Ending, Error> {
    check_replaced(flags.output.iter().map(|path| ("-o", path.as_path())))?;
    let chart = read(&flags.results)?.since_start();
    let Some(path) = &flags.output else {
        let width = flags.width.map_or_else(terminal::width, usize::from);
        let style = text::Style { width, colour: terminal::colour(), span_s: None };
        return print(text::draw(&chart, &style).as_bytes());
    };
    let name = flags.results.file_name().unwrap_or_default().to_string_lossy();
    let title = if flags.results == Path::new("-") { "standard input".into() } else { name };
    crate::report::write_whole(path, svg::draw(&chart, &title).as_bytes())?;
    Ok(Ending::Succeeded)
}

fn read(path: &Path) -> Result<Chart, Error> {
    let suffix = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    if matches!(suffix.as_str(), "har" | "parquet" | "arrow" | "csv" | "gz") {
        return Err(Error::Usage(format!(
            "{}: only NDJSON results are drawn so far: run it with a further -o F.ndjson",
            path.display()
        )));
    }
    if path == Path::new("-") {
        return chart(io::stdin().lock(), path);
    }
    chart(BufReader::new(File::open(path).map_err(|error| Error::reading(path, &error))?), path)
}

fn chart(mut input: impl BufRead, path: &Path) -> Result<Chart, Error> {
    let mut chart = Chart::default();
    let mut line = Vec::new();
    for number in 1_u64.. {
        line.clear();
        if input.read_until(b'\n', &mut line).map_err(|error| Error::reading(path, &error))? == 0 {
            break;
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        chart.add(Bar::of_line(&line, number - 1).map_err(|what| {
            Error::Usage(format!(
                "{} line {number} is no record of `overlapped fetch`: {what}",
                path.display()
            ))
        })?);
    }
    Ok(chart)
}
