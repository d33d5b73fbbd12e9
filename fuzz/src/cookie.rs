//! Untrusted cookies, and any file as that of a jar: within the bounds, never sent to another site, and what is written
//! is read again.

use overlapped_proto::cookie::{Bounds, Jar, merged};
use overlapped_proto::limits;
use url::Url;

use crate::take::Take;

const URLS: [&str; 8] = [
    "https://www.example.org/dir/page",
    "http://www.example.org/",
    "http://example.org/dir/",
    "https://other.example.com/dir",
    "http://a.co.uk/",
    "http://me.github.io/",
    "http://127.0.0.1/x",
    "http://[::1]/",
];

/// Reads lines: the first byte of each chooses the URL from which it is set.
pub fn cookie(data: &[u8]) {
    let urls = URLS.map(|url| Url::parse(url).unwrap());
    let mut take = Take(data);
    let bounds =
        if take.byte() % 2 == 0 { Bounds::RUN } else { Bounds { cookies: 8, site: 3, bytes: 4 << 10 } };
    let now = i64::from(take.byte()) << 24;
    let mut jar = Jar::new(bounds);
    for line in take.0.split(|&byte| byte == b'\n') {
        let Some((choice, field)) = line.split_first() else { continue };
        jar.store(&urls[usize::from(*choice) % urls.len()], [field], now);
        assert!(jar.len() <= bounds.cookies && jar.bytes() <= bounds.bytes.max(8 << 10));
    }
    check(&mut jar, &urls, now);
    let mut jar = Jar::new(bounds);
    jar.read(take.0, now);
    check(&mut jar, &urls, now);
    let text = String::from_utf8_lossy(take.0);
    assert!(merged(b"a=1", &text).starts_with(b"a=1"));
}

fn check(jar: &mut Jar, urls: &[Url], now: i64) {
    let mut alone = jar.clone();
    for url in urls {
        let peeked = jar.peek(url, now);
        let sent = jar.header(url, now);
        assert_eq!(sent, peeked);
        let sent = sent.unwrap_or_default();
        assert!(sent.len() <= limits::COOKIE_HEADER_BYTES_MAX);
        assert!(!sent.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)), "no other line");
    }
    // What one site sets is not sent to others.
    let field = b"canary-of-a-site=1; Domain=example.org; Path=/";
    alone.store(&urls[0], [&field[..]], now);
    for url in &urls[3..] {
        let sent = alone.header(url, now).unwrap_or_default();
        assert!(!sent.windows(16).any(|part| part == b"canary-of-a-site"));
    }
    let file = jar.to_file(now);
    let mut again = Jar::new(Bounds::RUN);
    let lines = again.read(&file, now);
    assert_eq!((lines.strange, lines.on_suffix, lines.misnamed), (0, 0, 0), "every line is a cookie");
    assert_eq!(again.to_file(now), file);
}
