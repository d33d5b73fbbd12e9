//! Cookies as browsers handle them (RFC 6265bis): what a `Set-Cookie` field means, which cookies a request carries, and
//! the file in which they are kept. The time is an argument, in seconds since 1970.

mod file;
mod jar;
mod parse;
mod date;

pub use file::Lines;
pub use jar::{Bounds, Jar, site};

/// The value of a `Cookie` field with the cookies of a jar and those that the caller has set, `own`. Of a name that the jar has
/// sent, the caller's value is left out: the site has replaced it.
///
/// ```
/// use overlapped_proto::cookie::merged;
///
/// assert_eq!(merged(b"a=2", "a=1; b=1"), b"a=2; b=1");
/// assert_eq!(merged(b"a=2", "a=1"), b"a=2");
/// ```
#[must_use]
pub fn merged(jar: &[u8], own: &str) -> Vec<u8> {
    let names: Vec<&[u8]> = jar.split(|&byte| byte == b';').map(name).collect();
    let mut all = jar.to_vec();
    for pair in own.split(';').map(str::trim).filter(|pair| !pair.is_empty()) {
        if !names.contains(&name(pair.as_bytes())) {
            if !all.is_empty() {
                all.extend_from_slice(b"; ");
            }
            all.extend_from_slice(pair.as_bytes());
        }
    }
    all
}

fn name(pair: &[u8]) -> &[u8] {
    let pair = pair.trim_ascii();
    let end = pair.iter().position(|&byte| byte == b'=');
    end.and_then(|end| pair.get(..end)).unwrap_or_default().trim_ascii_end()
}
