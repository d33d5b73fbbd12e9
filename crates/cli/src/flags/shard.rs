//! The flags of `shard`, as parsed.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use overlapped_fetch::partition::{Key, SHARDS_MAX};
use overlapped_proto::bucket::Rate;
use overlapped_proto::limits;

use super::fetch::ListFormat;
use super::values::{self, Size, Span};

/// `overlapped shard`.
#[derive(Args, Debug)]
pub(crate) struct Flags {
    /// The list: a file with or without an @ before its name, or - for standard input.
    #[arg(value_name = "LIST")]
    pub(crate) list: String,
    /// Shards: a few times as many as machines, so that a machine that is done takes a further one.
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(SHARDS_MAX)), required_unless_present = "dry_run")]
    pub(crate) shards: Option<u32>,
    /// The directory of the shards and of their plan.
    #[arg(short, long, value_name = "DIR", required_unless_present = "dry_run")]
    pub(crate) output: Option<PathBuf>,
    /// What the list is written in [default: by suffix, else by its first byte].
    #[arg(long, value_name = "FORMAT")]
    pub(crate) input_format: Option<ListFormat>,
    /// The column that holds the URL.
    #[arg(long, value_name = "NAME", default_value = "url")]
    pub(crate) url_col: String,
    /// What is in one shard as a whole.
    #[arg(long, value_name = "KEY", default_value = "host", conflicts_with = "dry_run")]
    pub(crate) politeness_key: PolitenessKey,
    /// Spread a host, or a domain, over so many shards, each of which must have its share of the limits.
    #[arg(long = "split-host", value_name = "NAME=N", value_parser = values::split, conflicts_with = "dry_run")]
    pub(crate) splits: Vec<(Box<str>, u32)>,
    /// Replace the shards of an earlier list.
    #[arg(long)]
    pub(crate) overwrite: bool,
    /// Write nothing: count rows and hosts, and tell how many machines the list needs.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// For --dry-run: how long a request takes.
    #[arg(long, value_name = "TIME", default_value = "0.5", requires = "dry_run")]
    pub(crate) latency: Span,
    /// For --dry-run: bytes of a response.
    #[arg(long, value_name = "SIZE", default_value = "100k", requires = "dry_run")]
    pub(crate) response: Size,
    /// For --dry-run: bytes a second that a machine receives.
    #[arg(long, value_name = "SIZE", default_value = "100M", requires = "dry_run")]
    pub(crate) bandwidth: Size,
    /// For --dry-run: requests at once of a machine.
    #[arg(short = 'j', long, value_name = "N", default_value_t = limits::PARALLEL_MAX, value_parser = values::requests, requires = "dry_run")]
    pub(crate) parallel_max: usize,
    /// For --dry-run: requests at once to one host.
    #[arg(long, value_name = "N", default_value_t = limits::PARALLEL_MAX_HOST, value_parser = values::requests, requires = "dry_run")]
    pub(crate) parallel_max_host: usize,
    /// For --dry-run: requests to one host in a span of time, as 1/s.
    #[arg(long, value_name = "N/U", requires = "dry_run")]
    pub(crate) rate_host: Option<Rate>,
}

/// What is in one shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PolitenessKey {
    /// A host.
    Host,
    /// A registrable domain, by the public suffix list.
    Domain,
}

impl From<PolitenessKey> for Key {
    fn from(key: PolitenessKey) -> Self {
        match key {
            PolitenessKey::Host => Self::Host,
            PolitenessKey::Domain => Self::Domain,
        }
    }
}
