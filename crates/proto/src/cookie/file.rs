//! The file of a jar, as curl, wget and browsers' exports have it: one cookie a line, with seven fields separated by tabs: the
//! domain, whether hosts below it get the cookie, the path, whether it needs https, when it ends in seconds since 1970 (0: with
//! the session), the name and the value. `#HttpOnly_` before the domain marks a cookie that scripts do not see.

use super::jar::{Cookie, Jar};
use super::parse::{SetCookie, fits, is_control};

const HEAD: &[u8] =
    b"# Netscape HTTP Cookie File\n# domain, for subdomains, path, secure, expires, name, value\n\n";
const HTTP_ONLY: &[u8] = b"#HttpOnly_";

impl Jar {
    /// Adds the cookies of a file, and returns the number of lines that are no cookies: neither empty nor comments. Cookies
    /// that are over are left out.
    ///
    /// ```
    /// use overlapped_proto::cookie::{Bounds, Jar};
    ///
    /// let mut jar = Jar::new(Bounds::RUN);
    /// assert_eq!(jar.read(b".a.test\tTRUE\t/\tFALSE\t0\tid\t1\nwhat?\n", 0), 1);
    /// assert_eq!(jar.len(), 1);
    /// ```
    pub fn read(&mut self, file: &[u8], now: i64) -> usize {
        let mut strange = 0;
        let file = file.strip_prefix(b"\xef\xbb\xbf").unwrap_or(file);
        for line in file.split(|&byte| byte == b'\n') {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let (line, http_only) = match line.strip_prefix(HTTP_ONLY) {
                Some(line) => (line, true),
                None if line.trim_ascii().is_empty() || line.starts_with(b"#") => continue,
                None => (line, false),
            };
            match cookie(line, http_only) {
                Some(cookie) => self.add(cookie, true, now),
                None => strange += 1,
            }
        }
        strange
    }

    /// The file, with the cookies of sessions and without those that are over or whose name or path has a tab.
    #[must_use]
    pub fn to_file(&self, now: i64) -> Vec<u8> {
        let mut file = HEAD.to_vec();
        let flag = |is_set: bool| if is_set { &b"TRUE"[..] } else { b"FALSE" };
        let has_tab = |cookie: &Cookie| cookie.name.contains(&b'\t') || cookie.path.contains(&b'\t');
        for cookie in self.iter().filter(|cookie| !cookie.is_over(now) && !has_tab(cookie)) {
            if cookie.http_only {
                file.extend_from_slice(HTTP_ONLY);
            }
            if !cookie.host_only {
                file.push(b'.');
            }
            let expires = cookie.expires.unwrap_or(0).to_string();
            let fields: [&[u8]; 7] = [
                cookie.domain.as_bytes(),
                flag(!cookie.host_only),
                &cookie.path,
                flag(cookie.secure),
                expires.as_bytes(),
                &cookie.name,
                &cookie.value,
            ];
            file.extend_from_slice(&fields.join(&b'\t'));
            file.push(b'\n');
        }
        file
    }
}

fn cookie(line: &[u8], http_only: bool) -> Option<Cookie> {
    let mut fields = line.splitn(7, |&byte| byte == b'\t');
    let domain = fields.next()?;
    // A dot marks subdomains; a second one would be taken for that when the file is read again.
    let domain = domain.strip_prefix(b".").unwrap_or(domain);
    if domain.starts_with(b".") {
        return None;
    }
    let host_only = !flag(fields.next()?)?;
    let path = fields.next().filter(|path| path.starts_with(b"/"))?;
    let secure = flag(fields.next()?)?;
    let expires = fields.next()?;
    let (name, value) = (fields.next()?, fields.next().unwrap_or_default());
    if !fits(name, value) || line.iter().any(|&byte| is_control(byte)) {
        return None;
    }
    // Some exports have a fraction, and -1 for a session.
    let whole = expires.split(|&byte| byte == b'.').next()?;
    let expires: i64 = std::str::from_utf8(whole).ok()?.parse().ok()?;
    let set = SetCookie {
        name,
        value,
        domain: Some(domain),
        path: Some(path),
        secure,
        http_only,
        expires: Some(expires).filter(|&expires| expires > 0),
    };
    Cookie::new(set, host_only)
}

fn flag(text: &[u8]) -> Option<bool> {
    match text {
        _ if text.eq_ignore_ascii_case(b"true") => Some(true),
        _ if text.eq_ignore_ascii_case(b"false") => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use url::Url;

    use super::*;
    use crate::cookie::Bounds;

    const NOW: i64 = 1_700_000_000;

    fn read(file: &[u8], now: i64) -> (Jar, usize) {
        let mut jar = Jar::new(Bounds::RUN);
        let strange = jar.read(file, now);
        (jar, strange)
    }

    #[test]
    fn what_is_written_is_read_again() {
        let mut jar = Jar::new(Bounds::RUN);
        let url = Url::parse("https://www.example.org/dir/").unwrap();
        let fields: [&[u8]; 7] = [
            b"host=1",
            b"all=2; Domain=example.org; Path=/",
            b"=nameless",
            b"empty=",
            b"bytes=\xff\tx",
            b"kept=1; Max-Age=60; Secure; HttpOnly",
            b"__Host-a=1; Secure; Path=/",
        ];
        jar.store(&url, fields, NOW);
        jar.store(&url, [&b"over=1; Max-Age=5"[..], b"a\tb=1", b"path=1; Path=/a\tb"], NOW);
        let file = jar.to_file(NOW + 5);
        let (again, strange) = read(&file, NOW + 5);
        assert_eq!((again.len(), strange), (7, 0), "{}", String::from_utf8_lossy(&file));
        assert_eq!(again.to_file(NOW + 5), file);
        let text = String::from_utf8_lossy(&file);
        assert!(
            text.contains("\n#HttpOnly_www.example.org\tFALSE\t/dir\tTRUE\t1700000060\tkept\t1\n"),
            "{text}"
        );
        assert!(text.contains("\n.example.org\tTRUE\t/\tFALSE\t0\tall\t2\n"), "{text}");
    }

    #[test]
    fn lines_that_are_no_cookies() {
        let check = |line: &str, is_kept: bool| {
            let (jar, strange) = read(line.as_bytes(), NOW);
            assert_eq!((jar.len(), strange), (usize::from(is_kept), usize::from(!is_kept)), "{line:?}");
        };
        check("a.test\tFALSE\t/\tFALSE\t0\ta\tb", true);
        check("a.test\tfalse\t/\ttrue\t1800000000.5\ta", true);
        check("A.Test\tTRUE\t/\tFALSE\t-1\ta\tb\r", true);
        check("a.test FALSE / FALSE 0 a b", false);
        check("a.test\tFALSE\tx\tFALSE\t0\ta\tb", false);
        check("a.test\tmaybe\t/\tFALSE\t0\ta\tb", false);
        check("a.test\tFALSE\t/\tFALSE\tnow\ta\tb", false);
        check("a.test\tFALSE\t/\tFALSE\t0\t\t", false);
        check("a.test\tFALSE\t/\tFALSE\t0\ta\t\x01", false);
        check("..0.1\tFALSE\t/x\tTRUE\t0\ta\tb", false);
        check(".co.uk\tTRUE\t/\tFALSE\t0\ta\tb", false);
        check("a.test\tFALSE\t/\tFALSE\t0\t__Secure-a\tb", false);
        check("\tFALSE\t/\tFALSE\t0\ta\tb", false);
        let (jar, strange) = read(b"\xef\xbb\xbf# x\n\n \na.test\tTRUE\t/\tTRUE\t5\ta\tb\n", NOW);
        assert_eq!((jar.len(), strange), (0, 0), "it is over");
    }
}
