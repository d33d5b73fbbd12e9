//! The flags of `waterfall`, as parsed.

use std::path::PathBuf;

use clap::Args;

use super::values;

/// `overlapped waterfall`.
#[derive(Args, Debug)]
#[command(after_help = ROWS)]
pub(crate) struct Flags {
    /// The result: an .ndjson, .parquet, .arrow or .har file, or - for NDJSON on standard input.
    pub(crate) results: PathBuf,
    /// Write an SVG picture here instead of text to the terminal.
    #[arg(short, long, value_name = "F.svg", value_parser = values::picture)]
    pub(crate) output: Option<PathBuf>,
    /// Characters in a line [default: the terminal's width].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(40..=1000))]
    pub(crate) width: Option<u16>,
}

const ROWS: &str = "\
Up to 80 rows get a bar each, with its phases. More are packed into lanes under a curve of the requests in flight.";
