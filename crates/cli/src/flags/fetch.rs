//! The flags of `fetch`, as parsed. They have curl's names where curl has the feature, and the groups of the guide
//! (`docs/guide/command-line.md`). [`super::plan`] combines them.

use std::path::PathBuf;

use clap::{ArgAction, Args, ValueEnum};
use overlapped_fetch::HostConfig;
use overlapped_proto::bucket::Rate;
use overlapped_proto::input::{Format, Keep};
use overlapped_proto::job::Shard;
use overlapped_proto::limits;
use overlapped_proto::max_errors::MaxErrors;

use super::output::Output;
use super::values::{self, Ranges, Resolve, Size, Span};

/// `overlapped fetch`.
#[derive(Args, Debug)]
#[command(next_help_heading = "Output", disable_help_flag = true, after_help = DEFAULTS)]
pub(crate) struct Flags {
    /// URLs with curl's {a,b} and [1-9]; @FILE: a list; -: the list on standard input.
    #[arg(value_name = "URL|@FILE|-", required = true, help_heading = "Input")]
    pub(crate) inputs: Vec<String>,
    /// Take { } [ ] in URLs as they are.
    #[arg(short = 'g', long, help_heading = "Input")]
    pub(crate) globoff: bool,
    /// What the list is written in [default: by suffix, else by its first byte].
    #[arg(long, value_name = "FORMAT", help_heading = "Input")]
    pub(crate) input_format: Option<ListFormat>,
    /// The column that holds the URL.
    #[arg(long, value_name = "NAME", default_value = "url", help_heading = "Input")]
    pub(crate) url_col: String,
    /// Columns of the list that records have in meta: A,B, or all, or none.
    #[arg(long, value_name = "COLUMNS", default_value = "all", value_parser = values::keep, help_heading = "Input")]
    pub(crate) keep: Keep,
    /// Rows to leave out at the start.
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Input")]
    pub(crate) skip: u64,
    /// Rows to take after those.
    #[arg(long, value_name = "N", help_heading = "Input")]
    pub(crate) limit: Option<u64>,
    /// Let rows send files from this directory (column body_file).
    #[arg(long, value_name = "DIR", help_heading = "Input")]
    pub(crate) body_dir: Option<PathBuf>,
    /// Of those only the part K, from 1, of N: all rows of a host are in the same part.
    #[arg(long, value_name = "K/N", value_parser = values::shard, help_heading = "Input")]
    pub(crate) shard: Option<Shard>,

    /// Where records go, by suffix: .ndjson .jsonl .csv .tsv (also .gz .zst behind these) .parquet .arrow .har .warc.gz .warc, DIR/ (a file a row), - (NDJSON here); with one URL any other name is the file of its body.
    #[arg(short, long = "output", value_name = "PATH")]
    pub(crate) outputs: Vec<Output>,
    /// Write the body of one URL to a file named as the end of its path.
    #[arg(short = 'O', long)]
    pub(crate) remote_name: bool,
    /// With -O: named as the server says, unless there is such a file.
    #[arg(short = 'J', long, conflicts_with_all = ["summary", "waterfall", "report", "dump_header", "cookie_jar", "continue_at"])]
    pub(crate) remote_header_name: bool,
    /// Write the head before the body of one URL.
    #[arg(short = 'i', long)]
    pub(crate) include: bool,
    /// Write the head of one URL's response to a file; -: to standard output.
    #[arg(short = 'D', long, value_name = "FILE")]
    pub(crate) dump_header: Option<PathBuf>,
    /// Print this of each row, with curl's %{names}: '%{http_code} %{url}\n'.
    #[arg(short = 'w', long, value_name = "FORMAT")]
    pub(crate) write_out: Option<String>,
    /// The files of DIR/ [default: {row:09}{ext}].
    #[arg(long, value_name = "TEMPLATE")]
    pub(crate) name: Option<String>,
    /// Leave the bodies out of the records.
    #[arg(long)]
    pub(crate) no_body: bool,
    /// In .csv and .tsv, put a ' before text that a spreadsheet would run as a formula.
    #[arg(long)]
    pub(crate) csv_safe: bool,
    /// Write an index of .warc.gz beside it: F.cdxj.
    #[arg(long)]
    pub(crate) cdxj: bool,
    /// Begin a further file F-00001.warc.gz at this size; 0: never [default: 1000000000].
    #[arg(long, value_name = "SIZE")]
    pub(crate) warc_max_size: Option<Size>,
    /// Write records in the order of the list.
    #[arg(long)]
    pub(crate) ordered: bool,
    /// Draw the run into an SVG picture.
    #[arg(long, value_name = "F.svg", value_parser = values::picture)]
    pub(crate) waterfall: Option<PathBuf>,
    /// Make a page of the run: figures, hosts, errors, waterfall.
    #[arg(long, value_name = "F.html", value_parser = values::page)]
    pub(crate) report: Option<PathBuf>,
    /// Write this when all rows of a shard are done, as the commit of its outputs; if it is there, there is nothing to do.
    #[arg(long, value_name = "F.json", conflicts_with_all = ["skip", "limit", "shard"])]
    pub(crate) manifest: Option<PathBuf>,
    /// Write the figures of the run, as JSON.
    #[arg(long, value_name = "F.json")]
    pub(crate) summary: Option<PathBuf>,

    /// Resume the run that was stopped; without one, start it.
    #[arg(long, conflicts_with = "overwrite", help_heading = "Run")]
    pub(crate) resume: bool,
    /// Resume, and fetch the rows that failed again.
    #[arg(long, conflicts_with = "overwrite", help_heading = "Run")]
    pub(crate) retry_failed: bool,
    /// Replace an output that exists, and discard the state of an earlier run.
    #[arg(long, help_heading = "Run")]
    pub(crate) overwrite: bool,
    /// What a crash may cost: each, group (about a second of results), none (the run cannot be resumed).
    #[arg(long, value_name = "WHEN", default_value = "group", help_heading = "Run")]
    pub(crate) durability: Durability,

    /// Requests at once.
    #[arg(short = 'j', long, value_name = "N", default_value_t = limits::PARALLEL_MAX, value_parser = values::requests, help_heading = "Pace")]
    pub(crate) parallel_max: usize,
    /// Requests at once to one host; 0: no limit [default: 6; no limit for this machine].
    #[arg(long, value_name = "N", help_heading = "Pace")]
    pub(crate) parallel_max_host: Option<usize>,
    /// Requests in a span of time, as 100/s or 5000/h.
    #[arg(long, value_name = "N/U", help_heading = "Pace")]
    pub(crate) rate: Option<Rate>,
    /// The same for each host.
    #[arg(long, value_name = "N/U", help_heading = "Pace")]
    pub(crate) rate_host: Option<Rate>,
    /// Do not lower the concurrency and the rate for a host that is overloaded.
    #[arg(long, help_heading = "Pace")]
    pub(crate) no_adaptive: bool,
    /// Fetch each site's robots.txt first, and obey it.
    #[arg(long, help_heading = "Pace")]
    pub(crate) robots: bool,
    /// --robots --parallel-max-host 1 --rate-host 1/s.
    #[arg(long, help_heading = "Pace")]
    pub(crate) polite: bool,
    /// Consecutive failures to reach a host and port before its rows are held and it is only probed; 0: never.
    #[arg(long, value_name = "N", default_value_t = limits::HOST_ERRORS_MAX, help_heading = "Pace")]
    pub(crate) max_host_errors: u32,
    /// How long a host and port may not respond, or only with 429, 502, 503, 504, 522 and 524, before its rows fail as
    /// host.down; 0: for ever.
    #[arg(long, value_name = "TIME", default_value_t = limits::HOST_DOWN_AFTER.into(), help_heading = "Pace")]
    pub(crate) host_down_after: Span,
    /// Accepted: requests overlap anyway.
    #[arg(short = 'Z', long, hide = true)]
    pub(crate) parallel: bool,

    /// Further attempts after a transient failure.
    #[arg(long, value_name = "N", default_value_t = limits::RETRIES, help_heading = "Retry")]
    pub(crate) retry: u16,
    /// No further attempt this long after the first.
    #[arg(long, value_name = "TIME", help_heading = "Retry")]
    pub(crate) retry_max_time: Option<Span>,
    /// Try again after any failure, whatever the method.
    #[arg(long, help_heading = "Retry")]
    pub(crate) retry_all_errors: bool,

    /// For each step of opening a connection: name resolution (5 s unless this is given), connecting, TLS handshake.
    #[arg(long, value_name = "TIME", default_value_t = limits::CONNECT_TIMEOUT.into(), help_heading = "Time and size")]
    pub(crate) connect_timeout: Span,
    /// From the request to the first byte of the response.
    #[arg(long, value_name = "TIME", default_value_t = limits::FIRST_BYTE_TIMEOUT.into(), help_heading = "Time and size")]
    pub(crate) first_byte_timeout: Span,
    /// The slowest body, in bytes a second ...
    #[arg(short = 'Y', long, value_name = "SIZE", default_value_t = Size(limits::SPEED_LIMIT_BYTES), help_heading = "Time and size")]
    pub(crate) speed_limit: Size,
    /// ... over this long.
    #[arg(short = 'y', long, value_name = "TIME", default_value_t = limits::SPEED_TIME.into(), help_heading = "Time and size")]
    pub(crate) speed_time: Span,
    /// One attempt in all, with its redirects.
    #[arg(short, long, value_name = "TIME", default_value_t = limits::TOTAL_TIMEOUT.into(), help_heading = "Time and size")]
    pub(crate) max_time: Span,
    /// The largest body, decoded, in files and in records.
    #[arg(long, value_name = "SIZE", default_value_t = Size(limits::BODY_BYTES_MAX), help_heading = "Time and size")]
    pub(crate) max_filesize: Size,
    /// Redirects to follow.
    #[arg(long, value_name = "N", default_value_t = limits::REDIRECTS_MAX, help_heading = "Time and size")]
    pub(crate) max_redirs: u16,
    /// Take a redirect as the result.
    #[arg(long, help_heading = "Time and size")]
    pub(crate) no_location: bool,
    /// Accepted: redirects are followed anyway.
    #[arg(short = 'L', long, hide = true)]
    pub(crate) location: bool,

    /// Statuses that fail a row [default: 400-999]; with one URL its body is then not printed.
    #[arg(short, long, value_name = "RANGES", num_args = 0..=1, require_equals = true, default_missing_value = "400-999", help_heading = "Run")]
    pub(crate) fail: Option<Ranges>,
    /// Failed rows, or a share of the rows done as 5%, that end the run.
    #[arg(long, value_name = "N|P%", value_parser = values::max_errors, help_heading = "Run")]
    pub(crate) max_errors: Option<MaxErrors>,
    /// End the run at the first failed row.
    #[arg(long, conflicts_with = "max_errors", help_heading = "Run")]
    pub(crate) fail_early: bool,
    /// Bytes of responses held in memory; beyond half of it they are spilled to disk.
    #[arg(long, value_name = "SIZE", default_value_t = Size(limits::MEMORY_BYTES), help_heading = "Run")]
    pub(crate) max_memory: Size,
    /// Rows to read ahead into memory; further ones may be spilled to disk.
    #[arg(long, value_name = "ROWS", default_value_t = limits::WINDOW_ROWS, value_parser = values::rows, help_heading = "Run")]
    pub(crate) window: usize,
    /// Count rows, bad rows and hosts, and send nothing.
    #[arg(long, help_heading = "Run")]
    pub(crate) dry_run: bool,
    /// How progress is shown on standard error.
    #[arg(long, value_name = "HOW", default_value = "auto", help_heading = "Run")]
    pub(crate) progress: Progress,
    /// No progress and no summary; errors are still printed.
    #[arg(short, long, help_heading = "Run")]
    pub(crate) silent: bool,
    /// Accepted: errors are printed even with -s.
    #[arg(short = 'S', long, hide = true)]
    pub(crate) show_error: bool,
    /// A line on standard error for every row.
    #[arg(short, long, help_heading = "Run")]
    pub(crate) verbose: bool,
    /// Flags from this file, in TOML, by their long names; [host."example.org"]: settings of a host.
    #[arg(short = 'K', long, value_name = "FILE", help_heading = "Run")]
    pub(crate) config: Option<PathBuf>,
    /// The settings of single hosts in that file.
    #[arg(skip)]
    pub(crate) hosts: Vec<HostConfig>,
    /// Print help.
    #[arg(short, long, action = ArgAction::HelpShort, help_heading = "Run")]
    pub(super) help: Option<bool>,

    /// The method.
    #[arg(short = 'X', long, value_name = "METHOD", help_heading = "HTTP")]
    pub(crate) request: Option<String>,
    /// A header field 'Name: value', or @FILE with one a line, or '$NAME' for a variable; 'Name:' removes a default.
    #[arg(short = 'H', long = "header", value_name = "FIELD|@FILE|$NAME", help_heading = "HTTP")]
    pub(crate) headers: Vec<String>,
    /// A form to POST, or @FILE; repeated values are joined with &.
    #[arg(short, long, value_name = "DATA|@FILE", help_heading = "HTTP")]
    pub(crate) data: Vec<String>,
    /// The same, where @ has no meaning.
    #[arg(long, value_name = "DATA", help_heading = "HTTP")]
    pub(crate) data_raw: Vec<String>,
    /// The same, the file with its line ends.
    #[arg(long, value_name = "DATA|@FILE", help_heading = "HTTP")]
    pub(crate) data_binary: Vec<String>,
    /// The same, percent-encoded: TEXT, NAME=TEXT, @FILE or NAME@FILE.
    #[arg(long, value_name = "DATA|@FILE", help_heading = "HTTP")]
    pub(crate) data_urlencode: Vec<String>,
    /// The order in which these were given.
    #[arg(skip)]
    pub(crate) data_order: Vec<DataKind>,
    /// A part of a form to POST: NAME=TEXT, NAME=@FILE to upload it, NAME=<FILE for its text.
    #[arg(short = 'F', long, value_name = "NAME=CONTENT", conflicts_with_all = ["data", "data_raw", "data_binary", "data_urlencode", "json", "get", "head", "upload_file"], help_heading = "HTTP")]
    pub(crate) form: Vec<String>,
    /// The same, the text as it is: @, < and ; have no meaning.
    #[arg(long, value_name = "NAME=TEXT", conflicts_with_all = ["data", "data_raw", "data_binary", "data_urlencode", "json", "get", "head", "upload_file"], help_heading = "HTTP")]
    pub(crate) form_string: Vec<String>,
    /// The order in which these were given.
    #[arg(skip)]
    pub(crate) form_order: Vec<FormKind>,
    /// A file to PUT; -: standard input.
    #[arg(short = 'T', long, value_name = "FILE", conflicts_with_all = ["data", "data_raw", "data_binary", "data_urlencode", "json", "get", "head"], help_heading = "HTTP")]
    pub(crate) upload_file: Option<String>,
    /// Only what changed after the date of this file, or after this date; with - before it: not after.
    #[arg(short = 'z', long, value_name = "FILE|DATE", allow_hyphen_values = true, help_heading = "HTTP")]
    pub(crate) time_cond: Option<String>,
    /// JSON to POST, or @FILE, or '$NAME' for a variable.
    #[arg(long, value_name = "DATA|@FILE|$NAME", conflicts_with_all = ["data", "data_raw", "data_binary", "data_urlencode"], help_heading = "HTTP")]
    pub(crate) json: Vec<String>,
    /// Put the data into the query and GET.
    #[arg(short = 'G', long, conflicts_with = "json", help_heading = "HTTP")]
    pub(crate) get: bool,
    /// Ask for the head alone; with one URL it is printed.
    #[arg(short = 'I', long, conflicts_with_all = ["data", "data_raw", "data_binary", "data_urlencode", "json", "request"], help_heading = "HTTP")]
    pub(crate) head: bool,
    /// User-Agent.
    #[arg(short = 'A', long, value_name = "NAME", help_heading = "HTTP")]
    pub(crate) user_agent: Option<String>,
    /// Referer.
    #[arg(short = 'e', long, value_name = "URL", help_heading = "HTTP")]
    pub(crate) referer: Option<String>,
    /// Cookies 'a=1; b=2', or a file of them: then all rows share a jar; '' for an empty one.
    #[arg(short = 'b', long = "cookie", value_name = "COOKIES|FILE", help_heading = "HTTP")]
    pub(crate) cookies: Vec<String>,
    /// Share a jar, and write its cookies to this file at the end.
    #[arg(short = 'c', long, value_name = "FILE", help_heading = "HTTP")]
    pub(crate) cookie_jar: Option<PathBuf>,
    /// Basic authentication, to each row's own origin only; or @FILE, or '$NAME' for a variable.
    #[arg(
        short,
        long,
        value_name = "NAME:PASSWORD|@FILE|$NAME",
        value_parser = values::user,
        conflicts_with = "oauth2_bearer",
        help_heading = "HTTP"
    )]
    pub(crate) user: Option<String>,
    /// Bearer authentication, likewise.
    #[arg(long, value_name = "TOKEN|@FILE|$NAME", help_heading = "HTTP")]
    pub(crate) oauth2_bearer: Option<String>,
    /// Names and passwords of hosts from $NETRC or ~/.netrc.
    #[arg(short = 'n', long, help_heading = "HTTP")]
    pub(crate) netrc: bool,
    /// The same from this file.
    #[arg(long, value_name = "FILE", help_heading = "HTTP")]
    pub(crate) netrc_file: Option<PathBuf>,
    /// A part of each body, as 0-99, 500- or -500.
    #[arg(short = 'r', long, value_name = "RANGE", allow_hyphen_values = true, value_parser = values::range, help_heading = "HTTP")]
    pub(crate) range: Option<String>,
    /// -: go on with the file of one URL where an earlier -C - has stopped.
    #[arg(short = 'C', long, value_name = "-", allow_hyphen_values = true, value_parser = values::continue_at, conflicts_with_all = ["range", "head", "include", "data", "data_raw", "data_binary", "data_urlencode", "json", "form", "form_string", "upload_file"], help_heading = "HTTP")]
    pub(crate) continue_at: Option<String>,
    /// Do not ask for compressed bodies.
    #[arg(long, help_heading = "HTTP")]
    pub(crate) no_compressed: bool,
    /// Accepted: compressed bodies are asked for anyway.
    #[arg(long, hide = true)]
    pub(crate) compressed: bool,
    /// Refuse errors in the head of a response that browsers accept.
    #[arg(long, help_heading = "HTTP")]
    pub(crate) strict_http: bool,
    /// Speak HTTP/1.1 only.
    #[arg(long = "http1.1", conflicts_with = "http2_prior_knowledge", help_heading = "HTTP")]
    pub(crate) http1: bool,
    /// Speak HTTP/2 where a server chooses it over TLS [default].
    #[arg(long, conflicts_with_all = ["http1", "http2_prior_knowledge"], help_heading = "HTTP")]
    pub(crate) http2: bool,
    /// Speak HTTP/2 only, also without TLS.
    #[arg(long, help_heading = "HTTP")]
    pub(crate) http2_prior_knowledge: bool,

    /// Go through this proxy: http://, https://, socks5:// or socks5h://[NAME:PASSWORD@]HOST[:PORT]; '$NAME' for a variable,
    /// '' for none [default: $http_proxy, $https_proxy, $all_proxy].
    #[arg(short = 'x', long, value_name = "URL|$NAME", help_heading = "Network")]
    pub(crate) proxy: Option<String>,
    /// The user name and the password of the proxy; or @FILE, or '$NAME' for a variable.
    #[arg(short = 'U', long, value_name = "NAME:PASSWORD|@FILE|$NAME", help_heading = "Network")]
    pub(crate) proxy_user: Option<String>,
    /// Hosts without a proxy: names with all below them, addresses, 10.0.0.0/8, *; with commas [default: $no_proxy].
    #[arg(long, value_name = "HOSTS", help_heading = "Network")]
    pub(crate) noproxy: Option<String>,
    /// IPv4 only.
    #[arg(short = '4', long, conflicts_with = "ipv6", help_heading = "Network")]
    pub(crate) ipv4: bool,
    /// IPv6 only.
    #[arg(short = '6', long, help_heading = "Network")]
    pub(crate) ipv6: bool,
    /// Addresses to dial instead of a name's own.
    #[arg(long, value_name = "HOST:PORT:ADDRESS", help_heading = "Network")]
    pub(crate) resolve: Vec<Resolve>,
    /// Dial another host and port than those of URLs, which may be empty for any.
    #[arg(long, value_name = "HOST:PORT:HOST:PORT", value_parser = values::connect_to, help_heading = "Network")]
    pub(crate) connect_to: Vec<values::ConnectTo>,
    /// Connect to this socket, whatever the URLs say.
    #[arg(long, value_name = "PATH", help_heading = "Network")]
    pub(crate) unix_socket: Option<PathBuf>,
    /// Connect from this local address or network interface.
    #[arg(long, value_name = "ADDRESS|NAME", help_heading = "Network")]
    pub(crate) interface: Option<String>,
    /// The client certificate for servers that ask for one, as PEM, with its key or --key.
    #[arg(short = 'E', long, value_name = "FILE", help_heading = "Network")]
    pub(crate) cert: Option<PathBuf>,
    /// Its private key, as PEM.
    #[arg(long, value_name = "FILE", help_heading = "Network")]
    pub(crate) key: Option<PathBuf>,
    /// Certificates to trust instead of the system's, as PEM.
    #[arg(long, value_name = "FILE", help_heading = "Network")]
    pub(crate) cacert: Option<PathBuf>,
    /// Do not verify this host's certificate.
    #[arg(long = "insecure-host", value_name = "NAME", help_heading = "Network")]
    pub(crate) insecure_hosts: Vec<String>,
    /// Reach hosts by https only that ask for it (Strict-Transport-Security), in this run.
    #[arg(long, help_heading = "Network")]
    pub(crate) hsts: bool,
    /// Refuse private, loopback and link-local addresses: for lists from untrusted sources.
    #[arg(long, help_heading = "Network")]
    pub(crate) public_only: bool,
    /// Addresses to allow nevertheless.
    #[arg(long = "allow-address", value_name = "CIDR", value_parser = values::network, help_heading = "Network")]
    pub(crate) allow_addresses: Vec<String>,
}

const DEFAULTS: &str = "\
Examples:
  overlapped https://example.org/ -o page.html      the body into a file
  overlapped @urls.txt -o results.ndjson -j 100     one record a row, 100 requests at once
  overlapped @urls.txt -o results.ndjson --resume   resumes after a crash or ^C
  overlapped @urls.txt -o pages/ --name '{row}{ext}'    a file a row
  overlapped @urls.txt -w '%{http_code} %{url}\\n'   a line a row

One URL: its body is streamed to standard output, or to -o NAME. More: one record a row, as NDJSON to a pipe or file, as a short \
line to a terminal. Times are seconds, or 500ms, 2m, 1h; sizes are bytes, or 64k, 10M, 1G; 0 removes a limit.

Exit codes: 0 every row succeeded, 1 a row failed, 2 usage or input, 3 output, 4 stopped by a limit or \
a damaged journal, 129, 130 or 143 interrupted.";

/// When results are made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Durability {
    /// Each as soon as the previous sync has finished.
    Each,
    /// In groups, about once a second.
    Group,
    /// Never: no state is kept.
    None,
}

/// The flag that a piece of data comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DataKind {
    /// `-d`
    Form,
    /// `--data-raw`
    Raw,
    /// `--data-binary`
    Binary,
    /// `--data-urlencode`
    Encoded,
}

/// The flag that a part of a form comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FormKind {
    /// `-F`
    Part,
    /// `--form-string`
    Text,
}

/// The format of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ListFormat {
    /// One URL a line.
    Text,
    /// One JSON object a line.
    Ndjson,
    /// One JSON array of objects or URLs.
    Json,
    /// Comma-separated values with a header line.
    Csv,
    /// Tab-separated values with a header line.
    Tsv,
    /// A table in Parquet.
    Parquet,
    /// A table in Arrow's file format.
    Arrow,
}

impl From<ListFormat> for Format {
    fn from(format: ListFormat) -> Self {
        match format {
            ListFormat::Text => Self::Text,
            ListFormat::Ndjson => Self::Ndjson,
            ListFormat::Json => Self::Json,
            ListFormat::Csv => Self::Csv,
            ListFormat::Tsv => Self::Tsv,
            ListFormat::Parquet => Self::Parquet,
            ListFormat::Arrow => Self::Arrow,
        }
    }
}

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Progress {
    /// A bar on a terminal, else plain lines.
    Auto,
    /// A bar.
    Bar,
    /// A line every 30 s.
    Plain,
    /// Nothing.
    None,
}
