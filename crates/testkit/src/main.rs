//! The server as a program, for tests and benchmarks in other languages. It prints its URLs, one a line, and stops after a
//! given time, at SIGINT or SIGTERM, or at the end of its standard input.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use overlapped_testkit::{Builder, Server, raise_open_files};

const USAGE: &str = "\
usage: overlapped-testkit [OPTIONS]

  --listen ADDR      address and port [127.0.0.1:0]; again for further addresses, the port of the last one counts
  --hosts N          listen on 127.0.0.1, 127.0.0.2, ... in place of --listen's address
  --scale S          factor on the delays of /experiment/0..4 [0.1]; 1 is real time
  --seconds N        stop after so long [600]
  --until-eof        stop when standard input ends, too
  --record FILE      at the end, write what was seen, a JSON line a request
  --record-limit N   how many requests to keep for that [100000; 0 without --record]
  --robots FILE      the text of /robots.txt
  --tls              speak TLS
  --ca-file FILE     write the certificate authority there, as PEM
";

/// The command line, as parsed.
#[derive(Default)]
struct Options {
    listen: Vec<SocketAddr>,
    hosts: Option<u16>,
    scale: Option<f64>,
    seconds: Option<f64>,
    until_eof: bool,
    record: Option<String>,
    record_limit: Option<usize>,
    robots: Option<String>,
    tls: bool,
    ca_file: Option<String>,
}

fn main() -> ExitCode {
    let options = match parse(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            // A failure cannot be reported anywhere else.
            let _ = io::stdout().write_all(USAGE.as_bytes());
            return ExitCode::SUCCESS;
        }
        Err(why) => {
            let _ = write!(io::stderr(), "overlapped-testkit: {why}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "overlapped-testkit: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> io::Result<()> {
    raise_open_files();
    let server = builder(options)?.try_start()?;
    if let Some(path) = &options.ca_file {
        write_ca(&server, path)?;
    }
    let mut out = io::stdout().lock();
    for index in 0..server.addresses().len() {
        writeln!(out, "{}", server.url_on(index, ""))?;
    }
    out.flush()?;
    wait(options)?;
    if let Some(path) = &options.record {
        server.write_record(BufWriter::new(File::create(path)?))?;
    }
    Ok(())
}

fn builder(options: &Options) -> io::Result<Builder> {
    let limit = options.record_limit.unwrap_or(if options.record.is_some() { 100_000 } else { 0 });
    let mut builder = Server::builder().record_limit(limit);
    if let Some(hosts) = options.hosts {
        builder = builder.hosts(hosts);
    }
    for address in &options.listen {
        builder = builder.port(address.port());
        if options.hosts.is_none() {
            builder = builder.address(address.ip());
        }
    }
    if let Some(scale) = options.scale {
        builder = builder.scale(scale);
    }
    if let Some(path) = &options.robots {
        builder = builder.robots(std::fs::read_to_string(path)?);
    }
    #[cfg(feature = "tls")]
    if options.tls {
        builder = builder.tls();
    }
    Ok(builder)
}

#[cfg(feature = "tls")]
fn write_ca(server: &Server, path: &str) -> io::Result<()> {
    let pem = server.ca_pem().ok_or_else(|| io::Error::other("--ca-file needs --tls"))?;
    std::fs::write(path, pem)
}

#[cfg(not(feature = "tls"))]
fn write_ca(_: &Server, _: &str) -> io::Result<()> {
    Err(io::Error::other("this program was built without TLS"))
}

/// Waits for the first reason to stop.
fn wait(options: &Options) -> io::Result<()> {
    let (ended, input) = tokio::sync::oneshot::channel();
    // Without the flag the sender is kept to the end of this function, and sends nothing.
    let _silent = if options.until_eof {
        std::thread::spawn(move || {
            // A read error counts as the end of the input.
            let _ = io::copy(&mut io::stdin(), &mut io::sink());
            let _ = ended.send(());
        });
        None
    } else {
        Some(ended)
    };
    let time = Duration::from_secs_f64(options.seconds.unwrap_or(600.0));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        tokio::select! {
            () = tokio::time::sleep(time) => Ok(()),
            _ = input => Ok(()),
            signalled = signal() => signalled,
        }
    })
}

#[cfg(unix)]
async fn signal() -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
    }
}

#[cfg(not(unix))]
async fn signal() -> io::Result<()> {
    tokio::signal::ctrl_c().await
}

/// `None` when help was asked for.
fn parse(mut words: impl Iterator<Item = String>) -> Result<Option<Options>, String> {
    let mut options = Options::default();
    while let Some(flag) = words.next() {
        match flag.as_str() {
            "-h" | "--help" => return Ok(None),
            "--listen" => options.listen.push(value(&flag, &mut words)?),
            "--hosts" => options.hosts = Some(value(&flag, &mut words)?),
            "--scale" => options.scale = Some(value(&flag, &mut words)?),
            "--seconds" => options.seconds = Some(value(&flag, &mut words)?),
            "--until-eof" => options.until_eof = true,
            "--record" => options.record = Some(value(&flag, &mut words)?),
            "--record-limit" => options.record_limit = Some(value(&flag, &mut words)?),
            "--robots" => options.robots = Some(value(&flag, &mut words)?),
            "--tls" if cfg!(feature = "tls") => options.tls = true,
            "--ca-file" => options.ca_file = Some(value(&flag, &mut words)?),
            other => return Err(format!("{other:?} is unknown")),
        }
    }
    let numbers = [options.scale, options.seconds];
    if numbers.into_iter().flatten().any(|number| !(0.0..1e9).contains(&number)) {
        return Err("--scale and --seconds are between 0 and 1e9".to_owned());
    }
    Ok(Some(options))
}

fn value<T: std::str::FromStr>(flag: &str, words: &mut impl Iterator<Item = String>) -> Result<T, String> {
    let text = words.next().ok_or_else(|| format!("{flag} needs a value"))?;
    text.parse().map_err(|_| format!("{flag} can't be {text:?}"))
}
