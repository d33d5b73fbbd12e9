//! The flags of `verify`, as parsed.

use std::path::PathBuf;

use clap::Args;

/// `overlapped verify`.
#[derive(Args, Debug)]
pub(crate) struct Flags {
    /// The directory with the outputs of the shards and their manifests.
    #[arg(value_name = "DIR")]
    pub(crate) directory: PathBuf,
    /// The plan of the shards, or the directory that it is in [default: DIR/plan.json].
    #[arg(long, value_name = "FILE")]
    pub(crate) plan: Option<PathBuf>,
}
