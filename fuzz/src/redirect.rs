//! An untrusted `Location`, and what a host says of https: no credential leaves its origin, and nothing but http and https is followed.

use overlapped_proto::hsts::{Hosts, Policy};
use overlapped_proto::job::{Job, Method, Row};
use overlapped_proto::limits;
use overlapped_proto::origin::{Origin, same};
use overlapped_proto::redirect::{self, Decision, Sent, decide, may_send};
use url::Url;

use crate::take::Take;

const URLS: [&str; 6] = [
    "http://me:secret@a.test/dir/page?query#part",
    "https://me:secret@a.test/",
    "https://a.test:8443/x",
    "http://127.0.0.1/",
    "http://[::1]:81/a/b",
    "https://xn--e1afmkfd.test/",
];
const STATUSES: [u16; 6] = [301, 302, 303, 307, 308, 300];

/// The first bytes choose the URL, the status and what was sent; the first line is a `Strict-Transport-Security`, the rest a
/// `Location`.
pub fn redirect(data: &[u8]) {
    let mut take = Take(data);
    let url = Url::parse(URLS[usize::from(take.byte()) % URLS.len()]).unwrap();
    let status = STATUSES[usize::from(take.byte()) % STATUSES.len()];
    let choice = take.byte();
    let method = if choice % 2 == 0 { Method::Get } else { Method::Post };
    let sent = Sent { method: &method, body: choice & 2 != 0, secret: choice & 4 != 0 };
    let (said, location) = match take.0.iter().position(|&byte| byte == b'\n') {
        Some(end) => (&take.0[..end], &take.0[end + 1..]),
        None => (take.0, &b""[..]),
    };
    follow(Job::new(Row(0), url.clone()), sent, status, location);
    upgrade(&url, said, location);
}

fn follow(mut job: Job, sent: Sent<'_>, status: u16, location: &[u8]) {
    let follow = match decide(&job, sent, status, Some(location), &redirect::Policy::default()) {
        Decision::Follow(follow) => follow,
        Decision::Stay => return,
        Decision::Fail(failure) => {
            return assert!(
                ["redirect.", "policy."].iter().any(|kind| failure.kind.name().starts_with(kind))
            );
        }
    };
    let to = &follow.url;
    assert!(matches!(to.scheme(), "http" | "https") && to.port() != Some(0));
    assert!(to.as_str().len() <= limits::REDIRECT_URL_BYTES_MAX);
    assert_eq!(redirect::target(&job.url, location).map(|url| origin(&url)), Some(origin(to)));
    assert_eq!(follow.crosses_origin, origin(&job.url) != origin(to));
    assert_eq!(follow.crosses_origin, !same(&job.url, to));
    let has_user = !to.username().is_empty() || to.password().is_some();
    assert!(!has_user || !follow.crosses_origin && to.password() == job.url.password());
    assert!(!follow.downgraded || !sent.secret && !sent.body);
    job.crossed_origin = follow.crosses_origin;
    assert_eq!(may_send("authorization", &job), !follow.crosses_origin);
}

fn origin(url: &Url) -> Origin {
    Origin::of(url).unwrap()
}

#[derive(Clone, Copy, Default)]
struct Fixed;

impl std::hash::BuildHasher for Fixed {
    type Hasher = std::hash::DefaultHasher;

    fn build_hasher(&self) -> Self::Hasher {
        std::hash::DefaultHasher::new()
    }
}

fn upgrade(url: &Url, said: &[u8], location: &[u8]) {
    let mut hosts = Hosts::<Fixed>::default();
    hosts.learn(url, said, 7);
    let policy = Policy::parse(said);
    assert!(hosts.is_empty() || policy.is_some_and(|policy| policy.max_age > 0));
    let Some(to) = redirect::target(url, location) else { return };
    let Some(upgraded) = hosts.upgrade(&to, 7) else { return };
    assert_eq!((to.scheme(), upgraded.scheme(), upgraded.host()), ("http", "https", to.host()));
    let port = |url: &Url| url.port_or_known_default();
    assert!(port(&upgraded) == port(&to) || (port(&to), port(&upgraded)) == (Some(80), Some(443)));
    let (known, asked) = (url.host_str().unwrap(), to.host_str().unwrap().trim_end_matches('.'));
    let is_below = asked.strip_suffix(known).is_some_and(|rest| rest.ends_with('.'));
    assert!(asked == known || is_below && policy.is_some_and(|policy| policy.subdomains), "{known} {asked}");
    assert!(upgraded.domain().is_some(), "addresses have no policy");
}
