//! A list that is a table, as lines of NDJSON. Without the feature `tables` such a list is refused.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use overlapped_proto::input::{Format, Options};

/// An open table.
pub(crate) struct Lines {
    /// Its rows, each as a line.
    pub(crate) read: Box<dyn Read + Send>,
    /// Their number from the beginning of the table, where it is known.
    pub(crate) rows: Option<u64>,
}

/// Opens `file` as a table from row `from` on; `None`: it is none.
///
/// # Errors
///
/// It is said to be a table and is none, or cannot be read.
///
/// # Blocking
///
/// On the disk.
#[cfg(feature = "tables")]
pub(crate) fn open(
    path: &Path,
    file: &File,
    format: Option<Format>,
    options: &Options,
    from: u64,
) -> io::Result<Option<Lines>> {
    use crate::tables::list::{List, kind};

    if !file.metadata()?.is_file() {
        return Ok(None);
    }
    let Some(kind) = kind(file, path, format)? else { return Ok(None) };
    let list = List::open(file.try_clone()?, kind, options, from)?;
    let rows = list.rows();
    Ok(Some(Lines { read: Box::new(list), rows }))
}

/// As with the feature.
#[cfg(not(feature = "tables"))]
pub(crate) fn open(
    path: &Path,
    _file: &File,
    format: Option<Format>,
    _options: &Options,
    _from: u64,
) -> io::Result<Option<Lines>> {
    let named = || path.file_name().and_then(|name| Format::of_name(&name.to_string_lossy()));
    match format.or_else(named) {
        Some(Format::Parquet | Format::Arrow) => {
            Err(io::Error::new(io::ErrorKind::Unsupported, "this build reads no tables (feature `tables`)"))
        }
        Some(Format::Text | Format::Ndjson | Format::Json | Format::Csv | Format::Tsv) | None => Ok(None),
    }
}

/// The first bytes of a table.
const MAGICS: [&[u8]; 2] = [b"PAR1", b"ARROW1"];

/// True if these bytes may be the beginning of the first bytes of a table.
pub(crate) fn may_begin(first_bytes: &[u8]) -> bool {
    MAGICS.iter().any(|magic| magic.len() > first_bytes.len() && magic.starts_with(first_bytes))
}

/// What is wrong with a list that does not come from a plain file, if it is said to be a table, or begins as one.
pub(crate) fn misplaced(format: Option<Format>, first_bytes: &[u8]) -> Option<&'static str> {
    match format {
        Some(Format::Parquet | Format::Arrow) => {}
        None if MAGICS.iter().any(|magic| first_bytes.starts_with(magic)) => {}
        Some(Format::Text | Format::Ndjson | Format::Json | Format::Csv | Format::Tsv) | None => return None,
    }
    Some(
        "a table is read from a plain file that is not packed, neither from a pipe nor together with other lists: \
         write it to a file, and give @FILE",
    )
}
