//! `-h`: the flags that matter, on one screen of 24 lines and 80 columns. `--help` has all.

use std::ffi::OsString;

/// A line less than the screen has, for the prompt that follows.
const TEXT: &str = "\
overlapped [fetch] [OPTIONS] URL|@FILE|- ...     -: the list on standard input

Output   -o, --output PATH     F.ndjson, F.csv, F.parquet (a record a row), DIR/
                               (a file a row); of one URL the file of its body
             --ordered         records in the order of the list
Pace     -j, --parallel-max N  requests at once [256]
             --rate-host N/U   requests to each host, as 2/s
             --polite          robots.txt, one request at once and 1/s a host
Retry        --retry N         further attempts after a transient failure [2]
         -m, --max-time TIME   for one attempt [300]; 500ms, 2m, 1h
Run          --resume          go on with the run that was stopped
             --retry-failed    the same, and fetch the rows that failed again
         -f, --fail[=RANGES]   statuses that fail a row [400-999]
             --dry-run         count rows and hosts, send nothing
         -K, --config FILE     flags from a file, settings of single hosts
         -s, --silent          no progress and no summary
Request  -H, --header FIELD    'Name: value'
         -d, --data DATA       a form to POST, or @FILE; --json DATA for JSON
         -u, --user USER       NAME:PASSWORD, to each row's own host only
         -x, --proxy URL       http://, https://, socks5:// or socks5h://

All flags: overlapped fetch --help    Other commands: overlapped help
";

/// The short help, if these arguments of `fetch` ask for it.
pub(super) fn asked(words: &[OsString]) -> Option<&'static str> {
    let [command, .., last] = words else { return None };
    let is_short = |word: &OsString| word == "-h";
    let long = words.iter().any(|word| word == "--help");
    (command == "fetch" && (is_short(last) || words.get(1).is_some_and(is_short)) && !long).then_some(TEXT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_fits_a_screen_and_has_flags_that_there_are() {
        assert!(TEXT.lines().count() < 24, "{}", TEXT.lines().count());
        assert!(TEXT.lines().all(|line| line.chars().count() <= 80));
        let program = super::super::declaration();
        let fetch = program.find_subcommand("fetch").unwrap();
        let mut told = 0;
        let word = |c: char| !(c.is_ascii_alphanumeric() || c == '-');
        let flags =
            TEXT.split(word).filter_map(|word| word.strip_prefix("--")).filter(|flag| *flag != "help");
        for flag in flags {
            assert!(fetch.get_arguments().any(|arg| arg.get_long() == Some(flag)), "{flag}");
            told += 1;
        }
        assert!(told > 12);
    }
}
