//! The file of a jar, as curl, wget and browsers' exports have it: one cookie a line, with seven fields separated by tabs: the
//! domain, whether hosts below it get the cookie, the path, whether it needs https, when it ends in seconds since 1970 (0: with
//! the session), the name and the value. `#HttpOnly_` before the domain marks a cookie that scripts do not see.

use super::jar::{Cookie, Jar, Refused};
use super::parse::{SetCookie, fits, is_control};

const HEAD: &[u8] =
    b"# Netscape HTTP Cookie File\n# domain, for subdomains, path, secure, expires, name, value\n\n";
const HTTP_ONLY: &[u8] = b"#HttpOnly_";

/// What a file has, by line. Those that are empty or comments do not count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lines {
    /// Cookies, those that are over and those that were refused included.
    pub cookies: usize,
    /// No cookies.
    pub strange: usize,
    /// Cookies that were refused, because they are for all domains below a public suffix, such as `co.uk`.
    pub on_suffix: usize,
    /// Cookies that were refused, because they break the promise of their names: `__Host-` or `__Secure-`.
    pub misnamed: usize,
}

impl Jar {
    /// Adds the cookies of a file, and tells what it has. Cookies that are over are left out.
    ///
    /// ```
    /// use overlapped_proto::cookie::{Bounds, Jar};
    ///
    /// let mut jar = Jar::new(Bounds::RUN);
    /// let lines = jar.read(b".a.test\tTRUE\t/\tFALSE\t0\tid\t1\nwhat?\n", 0);
    /// assert_eq!((lines.cookies, lines.strange, jar.len()), (1, 1, 1));
    /// ```
    pub fn read(&mut self, file: &[u8], now: i64) -> Lines {
        let mut lines = Lines::default();
        let file = file.strip_prefix(b"\xef\xbb\xbf").unwrap_or(file);
        for line in file.split(|&byte| byte == b'\n') {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let (line, http_only) = match line.strip_prefix(HTTP_ONLY) {
                Some(line) => (line, true),
                None if line.trim_ascii().is_empty() || line.starts_with(b"#") => continue,
                None => (line, false),
            };
            let found = cookie(line, http_only);
            lines.count(&found);
            if let Ok(cookie) = found {
                self.add(cookie, true, now);
            }
        }
        lines
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

impl Lines {
    fn count(&mut self, found: &Result<Cookie, Refused>) {
        self.cookies += usize::from(!matches!(found, Err(Refused::Strange)));
        match found {
            Ok(_) => {}
            Err(Refused::Strange) => self.strange += 1,
            Err(Refused::Suffix) => self.on_suffix += 1,
            Err(Refused::Misnamed) => self.misnamed += 1,
        }
    }
}

fn cookie(line: &[u8], http_only: bool) -> Result<Cookie, Refused> {
    let (set, host_only) = fields(line, http_only).ok_or(Refused::Strange)?;
    Cookie::new(set, host_only)
}

/// The fields of a line, and whether the cookie is for one host only; `None`: it is no cookie.
fn fields(line: &[u8], http_only: bool) -> Option<(SetCookie<'_>, bool)> {
    let mut fields = line.splitn(7, |&byte| byte == b'\t');
    let domain = fields.next()?;
    // A dot marks subdomains; a second one would be taken for that when the file is read again.
    let domain = domain.strip_prefix(b".").unwrap_or(domain);
    if domain.starts_with(b".") {
        return None;
    }
    let host_only = !flag(fields.next()?)?;
    // As with curl, quotes around it do not count, and what is no path is all of them. A cookie that was set may have one at its end.
    let path = fields.next()?;
    let path = path.strip_prefix(b"\"").map_or(path, |bare| bare.strip_suffix(b"\"").unwrap_or(bare));
    let path = if path.starts_with(b"/") { path } else { b"/" };
    let secure = flag(fields.next()?)?;
    let expires = fields.next()?;
    let (name, value) = (fields.next()?, fields.next().unwrap_or_default());
    if !fits(name, value) || line.iter().any(|&byte| is_control(byte)) {
        return None;
    }
    let expires = seconds(expires)?;
    let set = SetCookie { name, value, domain: Some(domain), path: Some(path), secure, http_only, expires };
    Some((set, host_only))
}

/// When a cookie ends, in whole seconds, or with the session. Some exports have a fraction, and -1 for a session.
fn seconds(text: &[u8]) -> Option<Option<i64>> {
    let whole = std::str::from_utf8(text.split(|&byte| byte == b'.').next()?).ok()?;
    let digits = whole.strip_prefix('-').unwrap_or(whole);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // What is too large counts as the largest.
    let most = if digits.len() < whole.len() { i64::MIN } else { i64::MAX };
    Some(Some(whole.parse().unwrap_or(most)).filter(|&at| at != 0 && at != -1))
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

    fn read(file: &[u8], now: i64) -> (Jar, Lines) {
        let mut jar = Jar::new(Bounds::RUN);
        let lines = jar.read(file, now);
        (jar, lines)
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
        let (again, lines) = read(&file, NOW + 5);
        let expected = Lines { cookies: 7, ..Lines::default() };
        assert_eq!((again.len(), lines), (7, expected), "{}", String::from_utf8_lossy(&file));
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
            let (jar, lines) = read(line.as_bytes(), NOW);
            let (cookies, strange) = (usize::from(is_kept), usize::from(!is_kept));
            let expected = Lines { cookies, strange, ..Lines::default() };
            assert_eq!((jar.len(), lines), (cookies, expected), "{line:?}");
        };
        check("a.test\tFALSE\t/\tFALSE\t0\ta\tb", true);
        check("a.test\tfalse\t/\ttrue\t1800000000.5\ta", true);
        check("A.Test\tTRUE\t/\tFALSE\t-1\ta\tb\r", true);
        check("a.test FALSE / FALSE 0 a b", false);
        check("a.test\tFALSE\tx\tFALSE\t0\ta\tb", true);
        check("a.test\tFALSE\t/\tFALSE\t99999999999999999999\ta\tb", true);
        check("a.test\tmaybe\t/\tFALSE\t0\ta\tb", false);
        for no_time in ["now", "", "-", "+1", "--1", "1x"] {
            check(&format!("a.test\tFALSE\t/\tFALSE\t{no_time}\ta\tb"), false);
        }
        check("a.test\tFALSE\t/\tFALSE\t0\t\t", false);
        check("a.test\tFALSE\t/\tFALSE\t0\ta\t\x01", false);
        check("..0.1\tFALSE\t/x\tTRUE\t0\ta\tb", false);
        check("\tFALSE\t/\tFALSE\t0\ta\tb", false);
    }

    #[test]
    fn cookies_that_are_not_kept() {
        let check = |file: &str, expected| {
            let (jar, lines) = read(file.as_bytes(), NOW);
            assert_eq!((jar.len(), lines), (0, expected), "{file:?}");
        };
        let over = Lines { cookies: 1, ..Lines::default() };
        check("\u{feff}# x\n\n \na.test\tTRUE\t/\tTRUE\t5\ta\tb\n", over);
        check("a.test\tTRUE\t/\tTRUE\t-2\ta\tb", over);
        check("a.test\tTRUE\t/\tTRUE\t-99999999999999999999\ta\tb", over);
        check(".co.uk\tTRUE\t/\tFALSE\t0\ta\tb", Lines { on_suffix: 1, ..over });
        check("a.test\tFALSE\t/\tFALSE\t0\t__Secure-a\tb", Lines { misnamed: 1, ..over });
        check(".a.test\tTRUE\t/\tTRUE\t0\t__Host-a\tb", Lines { misnamed: 1, ..over });
    }

    #[test]
    fn what_is_no_path_is_all_of_them() {
        for (given, kept) in [("x", "/"), ("", "/"), ("\"/x\"", "/x"), ("/x\"", "/x\"")] {
            let line = |path: &str| format!("a.test\tFALSE\t{path}\tFALSE\t0\ta\tb\n");
            let (jar, _) = read(line(given).as_bytes(), NOW);
            assert!(jar.to_file(NOW).ends_with(line(kept).as_bytes()), "{given:?}");
        }
    }
}
