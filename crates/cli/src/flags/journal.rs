//! The flags of `journal`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// `overlapped journal`.
#[derive(Args, Debug)]
pub(crate) struct Flags {
    /// What to do with it.
    #[arg(value_name = "WHAT")]
    pub(crate) look: Look,
    /// The run directory, such as results.ndjson.run.
    pub(crate) run: PathBuf,
}

/// The subcommands of `journal`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Look {
    /// Print every entry: its file, its byte, what it says.
    Cat,
    /// Read all of it, and say whether it is intact.
    Verify,
    /// Cut a damaged journal where the damage begins; the results after it are fetched again.
    Repair,
}
