//! The interface of a cookie store, which the caller provides.

/// A cookie store. It is read before each request and updated after each response, those of redirects included.
///
/// Its methods are called within the request, so they must not block for long, and must not use the client.
pub trait CookieStore: Send + Sync {
    /// The value of the `Cookie` field for a request to `url`, such as `a=1; b=2`; `None`: none is sent. A `Cookie` field of
    /// the request itself takes precedence.
    fn cookies(&self, url: &str) -> Option<String>;

    /// A response from `url` has these `Set-Cookie` fields, one value each. There is at least one.
    fn store(&self, url: &str, set_cookie: &mut dyn Iterator<Item = &[u8]>);
}
