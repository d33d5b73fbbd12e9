//! The flags of `compare`, as parsed.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// `overlapped compare`.
#[derive(Args, Debug)]
#[command(after_help = ARMS)]
pub(crate) struct Flags {
    /// URLs, or @FILE with one a line, instead of the built-in server.
    #[arg(value_name = "URL|@FILE")]
    pub(crate) inputs: Vec<String>,
    /// Threads of the pool.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) workers: u16,
    /// Runs of each arm; the medians are printed.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) runs: u16,
    /// Scale of the built-in server's delays: 1 is 1.3 to 2.4 s.
    #[arg(long, value_name = "FACTOR", default_value_t = 0.1, conflicts_with = "inputs", value_parser = scale)]
    pub(crate) scale: f64,
    /// Concurrent requests of the second comparison, on the built-in server; 0: none.
    #[arg(long, value_name = "N", default_value_t = 400, conflicts_with = "inputs", value_parser = clap::value_parser!(u16).range(0..=1000))]
    pub(crate) many: u16,
    /// Print the Start and End lines and the list of responses.
    #[arg(short, long)]
    pub(crate) verbose: bool,
    /// Write the figures here, as JSON.
    #[arg(long, value_name = "F.json")]
    pub(crate) summary: Option<PathBuf>,
    /// Run one arm on the URLs of standard input and print its measurements as JSON. Used to start the arms.
    #[arg(long, hide = true, conflicts_with_all = ["inputs", "summary"])]
    pub(crate) arm: Option<Arm>,
}

const ARMS: &str = "\
Without a URL a server on this machine answers the five requests of the experiment, so that no network is needed, and \
then many requests at once, to a thread for each and to native async. Each arm runs in a process of its own: its time is \
from the start of that process to its end; its processor time, threads and memory are its own.";

/// One way to fetch a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Arm {
    /// One after the other.
    Sequential,
    /// The same blocking client on a pool of threads.
    Pool,
    /// The engine.
    Native,
}

fn scale(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(scale) if (0.0..=10.0).contains(&scale) => Ok(scale),
        _ => Err("a factor from 0 to 10".to_owned()),
    }
}
