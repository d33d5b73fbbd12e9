//! What a program did to the disk, call by call.

use std::path::Path;

/// A call that changed something, or might have.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// `create`, `open`, `write`, `truncate`, `sync`, `sync-all`, `rename`, `unlink`, `mkdir`; `fault`: one that failed.
    pub(crate) name: String,
    pub(crate) inode: u64,
    pub(crate) offset: usize,
    pub(crate) path: String,
    /// Where a rename leads to.
    pub(crate) to: String,
    /// What is written.
    pub(crate) data: Vec<u8>,
}

/// The calls in order. The last one of a program that was killed may be half written down; it is left out.
pub(crate) fn read(path: &Path) -> Vec<Call> {
    let bytes = std::fs::read(path).unwrap_or_default();
    let (mut rest, mut calls) = (bytes.as_slice(), Vec::new());
    while let Some(call) = take(&mut rest) {
        calls.push(call);
    }
    calls
}

fn take(rest: &mut &[u8]) -> Option<Call> {
    let end = rest.iter().position(|&byte| byte == b'\n')?;
    let line = std::str::from_utf8(&rest[..end]).unwrap();
    let fields: Vec<_> = line.split('\t').collect();
    let [name, inode, offset, length, path, to] = fields[..] else { panic!("{line:?}") };
    let length: usize = length.parse().unwrap();
    let data = rest.get(end + 1..end + 1 + length)?.to_vec();
    *rest = &rest[end + 1 + length..];
    let (inode, offset) = (inode.parse().unwrap(), offset.parse().unwrap());
    Some(Call { name: name.to_owned(), inode, offset, path: clean(path), to: clean(to), data })
}

fn clean(path: &str) -> String {
    path.trim_end_matches('/').to_owned()
}
