//! Flags and commands that the design has and the program does not do yet, or never will. Each is refused by name,
//! with what to do meanwhile: a flag that is taken and ignored costs its user a run.

/// Names as typed, and what they belong to.
const LATER: &[(&[&str], &str)] = &[
    (&["-x", "--proxy", "--noproxy"], "proxies"),
    (&["--http1.1", "--http2", "--http2-prior-knowledge"], "HTTP/2; HTTP/1.1 is what is spoken"),
    (&["-c", "--cookie-jar"], "cookie jars; -b 'name=value' sends cookies"),
    (&["-n", "--netrc", "--netrc-file"], "netrc; -u and --oauth2-bearer are there"),
    (&["-E", "--cert", "--key"], "client certificates"),
    (&["--connect-to", "--unix-socket", "--interface"], "other ways to connect; --resolve is there"),
    (&["-r", "--range", "-C", "--continue-at"], "ranges; -H 'Range: bytes=0-99' asks for one"),
    (&["-K", "--config"], "configuration files"),
    (&["-O", "--remote-name"], "the server's file names; -o DIR/ with --name is there"),
    (&["-w", "--write-out"], "formats for a line; -o - writes NDJSON"),
    (&["--keep"], "choosing columns to keep"),
    (&["shard"], "splitting a list into files; --shard K/N fetches a part of one"),
    (&["--max-memory"], "a limit on memory; --window and --parallel-max bound it"),
];

/// The one line for a name that is unknown to clap and known to us.
pub(super) fn explain(name: &str) -> Option<String> {
    if matches!(name, "-k" | "--insecure") {
        return Some(format!("{name} would trust everybody: name the host instead, --insecure-host NAME"));
    }
    let (_, what) = LATER.iter().find(|(names, _)| names.contains(&name))?;
    Some(format!("{name} is not built yet ({what})"))
}
