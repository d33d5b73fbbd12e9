//! A record as bytes for `pickle`, in the private format of records that wait on disk.
//!
//! The bytes have no password of a URL: they go to wherever a program sends its records.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use overlapped_fetch::record::Record;
use overlapped_proto::record::packed::{Rest, pack, unpack};
use overlapped_proto::sanitize::redact;
use pyo3::PyErr;
use pyo3::exceptions::PyValueError;

/// What the format belongs to: another version may have another one.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// All of a record but its body, of which `rest` tells what it is.
pub(crate) fn bytes_of(record: &Record, rest: &Rest) -> Vec<u8> {
    let mut record = record.clone();
    record.url = redact(&record.url).into();
    record.final_url = record.final_url.map(|url| redact(&url).into());
    for hop in &mut record.chain {
        hop.url = redact(&hop.url).into();
    }
    let mut bytes = Vec::new();
    pack(&record, rest, &mut bytes);
    bytes
}

/// The record that [`bytes_of`] has encoded, without its body.
///
/// # Errors
///
/// A ValueError: another version has encoded it, or nothing has.
pub(crate) fn record_of(version: &str, bytes: &[u8]) -> Result<Record, PyErr> {
    if version != VERSION {
        let message = format!(
            "a record that overlapped {version} has pickled, which only that version reads; this is {VERSION}"
        );
        return Err(PyValueError::new_err(message));
    }
    let record = unpack(bytes, |path| OsStr::from_bytes(path).into());
    record
        .map(|(record, _)| record)
        .ok_or_else(|| PyValueError::new_err("these bytes are no record that was pickled"))
}
