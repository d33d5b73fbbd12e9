//! Detects archives that a server mislabels as content-encoded: `Content-Encoding: gzip` on a `.tar.gz`, as several
//! servers add by the suffix alone. The published file, and its checksums, are of the compressed archive, so it is not
//! decoded.

use crate::record::Headers;

/// True if the coding is that of the published file, which is then saved encoded, as wget and Firefox do. `path` is that
/// of the last URL requested.
///
/// ```
/// use overlapped_proto::archive::is_archive;
/// use overlapped_proto::record::Headers;
///
/// let mut headers = Headers::default();
/// headers.push("content-encoding", b"gzip");
/// assert!(is_archive("/v1/src.tar.gz", &headers));
/// assert!(!is_archive("/index.html", &headers));
/// ```
#[must_use]
pub fn is_archive(path: &str, headers: &Headers) -> bool {
    const SUFFIXES: [&str; 4] = [".gz", ".tgz", ".taz", ".gzip"];
    const TYPES: [&[u8]; 5] = [
        b"application/gzip",
        b"application/x-gzip",
        b"application/x-gunzip",
        b"application/x-tgz",
        b"application/x-gtar-compressed",
    ];
    let mut codings = headers.all("content-encoding");
    let coding = codings.next().map(<[u8]>::trim_ascii);
    let is_gzip = coding
        .is_some_and(|coding| coding.eq_ignore_ascii_case(b"gzip") || coding.eq_ignore_ascii_case(b"x-gzip"));
    if !is_gzip || codings.next().is_some() {
        return false;
    }
    let name = path.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
    let content_type = headers.first("content-type").unwrap_or_default();
    let content_type = content_type.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
    SUFFIXES.iter().any(|suffix| name.ends_with(suffix))
        || TYPES.iter().any(|known| content_type.eq_ignore_ascii_case(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, fields: &[(&str, &str)], expected: bool) {
        let mut headers = Headers::default();
        fields.iter().for_each(|(name, value)| headers.push(name, value.as_bytes()));
        assert_eq!(is_archive(path, &headers), expected, "{path} {fields:?}");
    }

    #[test]
    fn suffix_or_type_tell() {
        const GZIP: (&str, &str) = ("content-encoding", "gzip");
        check("/a.tar.gz", &[GZIP], true);
        check("/A.TGZ", &[("content-encoding", "x-gzip")], true);
        check("/download", &[GZIP, ("content-type", "application/x-gzip; a=b")], true);
        check("/download", &[GZIP, ("content-type", "application/json")], false);
        check("/page", &[GZIP], false);
        check("/a.gz/page", &[GZIP], false);
        check("/a.tar.gz", &[], false);
        check("/a.tar.gz", &[("content-encoding", "br")], false);
        check("/a.tar.gz", &[("content-encoding", "gzip, gzip")], false);
        check("/a.tar.gz", &[GZIP, GZIP], false);
    }
}
