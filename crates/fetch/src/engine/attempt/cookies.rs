//! The cookies of an attempt: those that its request has, and those that its response sets.

use overlapped_proto::cookie::{Bounds, Jar};

use super::terms::Cookies;
use super::{Attempt, Purpose};
use crate::cookies::CookieJar;
use crate::locality::Locality;
use crate::net::request;

impl<L: Locality, A: Fn()> Attempt<'_, L, A> {
    /// The jar of the run, for what is asked for in its name: not for robots.txt.
    fn jar(&self) -> Option<&CookieJar> {
        self.requester.plan.cookies.as_ref().filter(|_| self.purpose != Purpose::Robots)
    }

    /// The cookies for the next request.
    pub(super) fn cookies(&mut self) -> request::Cookies {
        let (url, now) = (&self.job.url, || self.requester.clock.unix_s(self.requester.now()));
        let own = match (self.terms.cookies, self.jar()) {
            (Cookies::Store(None), _) => return request::Cookies::None,
            (Cookies::Store(Some(value)), _) => {
                self.has_cookies = true;
                return request::Cookies::Instead(value.as_bytes().to_vec());
            }
            (Cookies::Own, Some(jar)) => {
                let found = jar.header(url, now());
                self.has_cookies = found.is_some();
                found
            }
            // The site has set them within this row, so they are no secret of the caller.
            (Cookies::Own, None) => self.job.cookies.as_deref().and_then(|cookies| cookies.peek(url, now())),
        };
        own.map_or(request::Cookies::None, request::Cookies::Beside)
    }

    /// Keeps the cookies that the response has set: in the jar of the run, or in the row if it is redirected.
    pub(super) fn keep_cookies(&mut self, redirected: bool) {
        if !redirected && self.jar().is_none() {
            return;
        }
        let (url, now) = (&self.job.url, self.requester.clock.unix_s(self.requester.now()));
        let mut set = self.outcome.headers.all("set-cookie").peekable();
        let is_own = matches!(self.terms.cookies, Cookies::Own) && self.terms.prepared.is_none();
        let is_set = set.peek().is_some();
        let mut kept = None;
        match self.jar().filter(|_| is_own) {
            Some(jar) if is_set => jar.store(url, set, now),
            None if is_own => {
                kept = self.job.cookies.clone();
                if is_set {
                    kept.get_or_insert_with(|| Box::new(Jar::new(Bounds::ROW))).store(url, set, now);
                }
            }
            Some(_) | None => {}
        }
        self.outcome.cookies = kept.filter(|jar| !jar.is_empty());
    }
}
