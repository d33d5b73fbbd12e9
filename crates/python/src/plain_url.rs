//! URLs that are sent as they are: there is nothing in them to be escaped, resolved or taken off.

/// A plain URL in parts.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct PlainUrl<'a> {
    /// What is before the target.
    pub(crate) origin: &'a str,
    /// The value of `Host`.
    pub(crate) host: &'a str,
    /// The path and the query; "/" if there is none.
    pub(crate) target: &'a str,
}

impl<'a> PlainUrl<'a> {
    /// `None`: it is to be prepared as any other URL. Among those are all with a user name, an address of IPv6, a fragment, a
    /// path that is a dot or has one behind a slash, and a query without a path.
    pub(crate) fn of(url: &'a str) -> Option<Self> {
        let (after, default_port) = match url.strip_prefix("http://") {
            Some(after) => (after, ":80"),
            None => (url.strip_prefix("https://")?, ":443"),
        };
        let end = after.find('/').unwrap_or(after.len());
        let (authority, path) = after.split_at_checked(end)?;
        let origin = url.strip_suffix(path)?;
        let (name, port) = authority.split_once(':').unwrap_or((authority, "1"));
        let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let ends = [name.bytes().next()?, name.bytes().next_back()?];
        let is_host = ends.into_iter().all(is_name)
            && name.bytes().all(|byte| is_name(byte) || matches!(byte, b'.' | b'-'));
        let is_port = !port.starts_with('0') && port.parse::<u16>().is_ok() && !port.starts_with('+');
        let is_path =
            path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/?".contains(&byte));
        // A query that is empty has no question mark.
        if !is_host || !is_port || !is_path || url.contains("/.") || url.ends_with('?') {
            return None;
        }
        let host = authority.strip_suffix(default_port).unwrap_or(authority);
        let target = if path.is_empty() { "/" } else { path };
        Some(Self { origin, host, target })
    }
}
