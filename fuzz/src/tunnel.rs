//! What a proxy answers when it is asked for a tunnel: no byte of the server behind it is taken for the proxy's.

use overlapped_fetch::fuzzing::tunnel as ask;
use overlapped_proto::proxy::Proxy;

use crate::pieces::{cut, owned};
use crate::take::Take;

const PROXIES: [&str; 4] = [
    "http://127.0.0.1",
    "http://me:secret@127.0.0.1",
    "socks5h://127.0.0.1",
    "socks5h://me:secret@127.0.0.1",
];

/// The first bytes choose the proxy and the cuts; what follows them is all that comes from it.
pub fn tunnel(data: &[u8]) {
    let mut take = Take(data);
    let proxy = Proxy::parse(PROXIES[usize::from(take.byte()) % PROXIES.len()]).unwrap();
    let cuts = take.bytes(3);
    let pieces = ask(owned(&cut(take.0, cuts)), &proxy);
    assert_eq!(ask(vec![take.0.to_vec()], &proxy), pieces, "it does not depend on the cuts");
    match pieces {
        Ok(behind) => {
            let (answer, rest) = take.0.split_at(take.0.len() - behind.len());
            assert_eq!(rest, behind);
            // Without its last byte the answer is none.
            let short = &answer[..answer.len() - 1];
            assert!(ask(vec![short.to_vec()], &proxy).is_err());
        }
        Err(kind) => assert!(kind.name().starts_with("proxy."), "{}", kind.name()),
    }
}
