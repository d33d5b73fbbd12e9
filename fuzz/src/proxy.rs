//! Untrusted answers of a proxy, and any text as the URL of a proxy or as a list of hosts without one.

use overlapped_proto::proxy::{Exceptions, Proxy, Socks5, Target};
use url::Url;

use crate::take::Take;

/// Reads the first line as a proxy, the second as a list of hosts, and the rest as what a SOCKS proxy answers.
pub fn proxy(data: &[u8]) {
    let mut parts = data.splitn(3, |&byte| byte == b'\n');
    let mut text = || String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
    let (given, list) = (text(), text());
    let exceptions = Exceptions::parse(&list);
    for url in ["http://www.example.org/", "https://127.0.0.1:8443/", "http://[::1]/"] {
        let url = Url::parse(url).unwrap();
        let has = exceptions.has(&url);
        assert_eq!(Exceptions::parse(&list.replace(',', " , ")).has(&url), has, "blanks make no difference");
        assert!(Exceptions::parse(&format!("{list},*")).has(&url));
    }
    let parsed = Proxy::parse(&given);
    if let Ok(proxy) = &parsed {
        assert_eq!(&Proxy::parse(&proxy.to_string()).unwrap().to_string(), &proxy.to_string());
        assert!(
            proxy
                .authorization()
                .is_none_or(|value| value.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' '))
        );
    }
    let proxy = parsed.unwrap_or_else(|_| Proxy::parse("socks5h://me:secret@127.0.0.1").unwrap());
    let mut take = Take(parts.next().unwrap_or_default());
    let Ok((mut socks, first)) = Socks5::begin(&proxy, Target::Name("a.test"), 443) else { return };
    assert!(first.len() <= 4);
    let mut turns = 0;
    while socks.wants() > 0 {
        turns += 1;
        assert!(turns <= 4 && socks.wants() <= 257, "the conversation ends");
        let answer = take.bytes(socks.wants());
        match socks.take(answer) {
            Ok(message) => assert!(answer.len() > 1 && message.len() <= 513),
            Err(failure) => return assert!(failure.kind.name().starts_with("proxy.")),
        }
    }
}
