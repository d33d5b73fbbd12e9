//! The flags of `report`, as parsed.

use std::path::PathBuf;

use clap::Args;

use super::values;

/// `overlapped report`.
#[derive(Args, Debug)]
pub(crate) struct Flags {
    /// The result: an .ndjson, .parquet, .arrow or .har file, or - for NDJSON on standard input.
    pub(crate) results: PathBuf,
    /// The page to write.
    #[arg(short, long, value_name = "F.html", value_parser = values::page)]
    pub(crate) output: PathBuf,
}
