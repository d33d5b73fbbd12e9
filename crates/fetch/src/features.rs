//! What this build of the engine can do, for `--version` and for reports of defects.

/// Protocols, codings and formats that are compiled in, sorted. Those that a feature of the crate adds are there if it is on.
///
/// ```
/// let names = overlapped_fetch::features();
/// assert!(names.contains(&"HTTP2") && names.contains(&"ndjson"));
/// println!("+{}", names.join(" +"));
/// ```
#[must_use]
pub fn features() -> Vec<&'static str> {
    const ALWAYS: &str = "ALPN brotli cookies csv deflate gzip har HSTS HTTP1.1 HTTP2 IPv6 ndjson netrc proxy PSL robots socks5 TLS1.2 \
                          TLS1.3 tsv UnixSockets warc zstd";
    let by_feature = [
        (cfg!(feature = "tables"), "arrow"),
        (cfg!(feature = "tables"), "parquet"),
        (cfg!(feature = "tracing"), "tracing"),
        (cfg!(debug_assertions), "debug"),
    ];
    let added = by_feature.into_iter().filter_map(|(is_on, name)| is_on.then_some(name));
    let mut names: Vec<_> = ALWAYS.split(' ').chain(added).collect();
    names.sort_unstable_by_key(|name| name.to_ascii_lowercase());
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_there_once_and_optional_ones_by_their_feature() {
        let names = features();
        let mut once = names.clone();
        once.dedup();
        assert_eq!(names, once);
        assert_eq!(names.contains(&"parquet"), cfg!(feature = "tables"));
    }
}
