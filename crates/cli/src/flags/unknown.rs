//! Names that the command line does not have: flags that are left out, and what other programs call our flags. An
//! unknown flag is refused, and the message says what to use instead.

/// Flags that are left out on purpose, and why.
const LEFT_OUT: &[(&[&str], &str)] = &[
    (&["-k", "--insecure"], "would trust every host: name one instead, --insecure-host NAME"),
    (&["--form-escape"], "is left out: names in a form are percent-encoded, as browsers do"),
];

/// What other programs call a flag, and what it is called here.
const RENAMED: &[(&[&str], &str)] = &[
    (
        &["--concurrency", "--concurrent", "--workers", "--threads", "--jobs", "--parallelism", "-P", "-t"],
        "-j N",
    ),
    (&["--timeout"], "-m TIME for a whole request, --connect-timeout TIME to connect"),
    (&["--retries", "--tries", "--max-retries"], "--retry N"),
    (&["--input-file", "--input", "--urls", "--list", "--file"], "@FILE"),
    (&["--output-dir", "--outdir", "--directory-prefix", "--create-dirs"], "-o DIR/ for a file a row"),
    (&["--format", "--output-format"], "the suffix of -o: F.ndjson, F.csv, DIR/"),
    (&["--quiet", "-q"], "-s"),
    (&["--continue"], "--resume"),
    (&["--force"], "--overwrite"),
    (&["--delay", "--wait", "--sleep"], "--rate-host N/U, as 1/s"),
    (&["--limit-rate"], "--rate N/U: requests are limited, bytes a second are not"),
    (&["--method"], "-X METHOD"),
    (&["--headers"], "-H 'Name: value', once for each"),
    (&["--body", "--post-data"], "-d DATA"),
    (&["--no-check-certificate", "--no-verify"], "--insecure-host NAME"),
    (&["--no-follow", "--no-redirect"], "--no-location"),
    (&["--follow", "--follow-redirects"], "the default"),
    (&["--max-redirect", "--max-redirects"], "--max-redirs N"),
    (&["--order", "--keep-order"], "--ordered"),
    (&["--auth"], "-u NAME:PASSWORD"),
];

/// Our name of another program's flag.
pub(super) fn equivalent(name: &str) -> Option<&'static str> {
    RENAMED.iter().find(|(names, _)| names.contains(&name)).map(|(_, ours)| *ours)
}

/// The message for a flag that is left out on purpose.
pub(super) fn explain(name: &str) -> Option<String> {
    let (_, why) = LEFT_OUT.iter().find(|(names, _)| names.contains(&name))?;
    Some(format!("{name} {why}"))
}
