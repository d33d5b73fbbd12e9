//! The numbers that keep the connections of requests with proxies of their own apart.

use std::sync::Arc;

use overlapped_proto::limits;
use overlapped_proto::proxy::Proxy;

/// Numbers from 0 on. None is given to two proxies, or to two credentials of one.
#[derive(Default)]
pub(super) struct Numbers {
    known: Vec<(Arc<Proxy>, u32)>,
    given: u32,
}

impl Numbers {
    /// The number of `proxy`. Beyond a limit the oldest are forgotten: they get another number, and new connections.
    pub(super) fn of(&mut self, proxy: &Arc<Proxy>) -> u32 {
        if let Some((_, number)) = self.known.iter().find(|(known, _)| known == proxy) {
            return *number;
        }
        if self.known.len() >= limits::PROXIES_MAX {
            self.known.remove(0);
        }
        let number = self.given;
        self.given = self.given.checked_add(1).expect("there are fewer proxies than numbers");
        self.known.push((Arc::clone(proxy), number));
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_proxy_and_each_password_has_its_number() {
        let proxy = |text: &str| Arc::new(Proxy::parse(text).unwrap());
        let mut numbers = Numbers::default();
        let urls = ["a", "b", "me:1@a", "me:2@a", "a", "socks5://a"];
        assert_eq!(urls.map(|url| numbers.of(&proxy(url))), [0, 1, 2, 3, 0, 4]);
        for number in 0..2 * limits::PROXIES_MAX {
            numbers.of(&proxy(&format!("p{number}")));
        }
        assert!(numbers.known.len() <= limits::PROXIES_MAX);
        assert!(numbers.of(&proxy("a")) > 100, "no number is given twice");
    }
}
