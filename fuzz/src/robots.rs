//! An untrusted robots.txt: parsed in bounded memory, alike for all line ends, and the same path gets the same answer.

use overlapped_proto::limits;
use overlapped_proto::robots::Rules;

/// Reads the bytes up to the first NUL as a path, and what follows as a robots.txt.
pub fn robots(data: &[u8]) {
    let at = data.iter().position(|&byte| byte == 0).unwrap_or(0);
    let (path, text) = (format!("/{}", String::from_utf8_lossy(&data[..at])), &data[at..]);
    let rules = Rules::parse(text, "overlapped");
    let allowed = rules.allows(&path);
    assert_eq!(Rules::parse(text, "Overlapped").allows(&path), allowed, "names know no case");
    assert!(rules.allows("/robots.txt"), "it may itself be asked for");
    if text.len() < limits::ROBOTS_BYTES_MAX / 2 {
        let text: Vec<u8> =
            text.iter().flat_map(|&byte| if byte == b'\n' { b"\r\n".to_vec() } else { vec![byte] }).collect();
        assert_eq!(Rules::parse(&text, "overlapped").allows(&path), allowed, "line ends make no difference");
    }
    assert!(rules.bytes() <= 64 * limits::ROBOTS_BYTES_MAX);
}
