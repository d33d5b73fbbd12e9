//! Names of files from what servers and lists say: a path that stays beneath its directory and means nothing to a shell or a
//! terminal.

use overlapped_proto::filename::{Parts, Template, is_safe};
use overlapped_proto::input::url;
use overlapped_proto::job::Row;
use overlapped_proto::limits;

use crate::take::Take;

const TEMPLATES: [&str; 6] =
    ["{row:09}{ext}", "{host}/{name}{ext}", "{id}", "{stem}{ext}", "{name}", "{host}/{id}/{stem}-{row}{ext}"];

/// The first byte chooses the template, unless the first line is one. The lines behind it are the media type, the row's own name, and
/// the last part of a URL.
pub fn filename(data: &[u8]) {
    let mut take = Take(data);
    let choice = usize::from(take.byte());
    let mut lines = take.0.splitn(4, |&byte| byte == b'\n');
    let mut text = || String::from_utf8_lossy(lines.next().unwrap_or_default()).into_owned();
    let (template, content_type, id, name) = (text(), text(), text(), text());
    let template = Template::parse(&template)
        .unwrap_or_else(|_| Template::parse(TEMPLATES[choice % TEMPLATES.len()]).unwrap());
    let Ok(url) = url::parse(&format!("http://a.test/{name}")) else { return };
    let parts = Parts { row: Row(7), id: Some(&id), url: &url, content_type: Some(&content_type) };
    for twin in [0, 2, 77] {
        let path = template.path(&parts, twin);
        assert!(is_safe(&path), "{path:?}");
        let is_short = |name: &str| name.len() <= limits::FILE_NAME_BYTES_MAX + 40;
        assert!(path.split('/').all(|name| is_short(name) && !matches!(name, "" | "." | "..")), "{path:?}");
        assert!(
            !path.chars().any(|c| c.is_control() || matches!(c, '\\' | '\u{202e}' | '\u{2066}')),
            "{path:?}"
        );
        assert!(!path.starts_with(['/', '-', '~']), "{path:?}");
    }
}
