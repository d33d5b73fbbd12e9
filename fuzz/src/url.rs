//! The URL of a row, patterns for many, and names of files: what is taken is what it looks like, and stays in its place.

use overlapped_proto::filename::safe_path;
use overlapped_proto::glob::Glob;
use overlapped_proto::input::url;
use overlapped_proto::origin::Origin;

/// Reads the bytes as each of them.
pub fn url(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(parsed) = url::parse(&text) {
        assert_eq!(url::parse(parsed.as_str()).as_ref(), Ok(&parsed), "a URL that was parsed is one");
        assert!(matches!(parsed.scheme(), "http" | "https") && parsed.has_host());
        assert!(Origin::of(&parsed).is_some());
        assert!(parsed.as_str().bytes().all(|byte| (0x21..0x7f).contains(&byte)), "{parsed}");
    }
    if let Ok(glob) = Glob::parse(&text) {
        assert_eq!(glob.iter().take(100).collect::<Vec<_>>(), glob.iter().take(100).collect::<Vec<_>>());
    }
    for twin in [0, 2] {
        let path = safe_path(&text, twin);
        let parts = path.split('/').all(|part| !matches!(part, "" | "." | "..") && part.len() <= 255);
        assert!(parts && !path.contains('\0'), "{path:?}");
    }
}
