//! What a shard says of itself, in the metadata of its file: its number and its plan. A shard that was renamed, or copied from
//! another directory, is found by it before a row of it is fetched.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use parquet::file::metadata::{KeyValue, ParquetMetaDataReader};

use crate::error::Error;

/// The label of a shard.
pub(super) struct Label {
    /// Its number, from 0.
    pub(super) shard: u32,
    /// The fingerprint of the plan.
    pub(super) plan: String,
}

const SHARD: &str = "overlapped.shard";
const PLAN: &str = "overlapped.plan";

impl Label {
    /// Its fields in the metadata of the file.
    pub(super) fn fields(&self) -> Vec<KeyValue> {
        let field = |name: &str, value: String| KeyValue { key: name.to_owned(), value: Some(value) };
        vec![field(SHARD, self.shard.to_string()), field(PLAN, self.plan.clone())]
    }

    /// That of a file; `None`: it has none.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or is no table in Parquet.
    ///
    /// # Blocking
    ///
    /// On the disk.
    pub(super) fn read(path: &Path) -> Result<Option<Self>, Error> {
        let name = path.display().to_string();
        let file = File::open(path).map_err(|error| Error::input(&name, 0, error))?;
        // The reader may panic at a file that is damaged.
        let read = || ParquetMetaDataReader::new().parse_and_finish(&file).ok();
        let Some(metadata) = catch_unwind(AssertUnwindSafe(read)).ok().flatten() else {
            return Err(Error::config(format!(
                "{name} is no Parquet file, or is damaged: split the list again"
            )));
        };
        let fields = metadata.file_metadata().key_value_metadata();
        let field = |name: &str| fields?.iter().find(|field| field.key == name)?.value.clone();
        let label = || Some(Self { shard: field(SHARD)?.parse().ok()?, plan: field(PLAN)? });
        Ok(label())
    }
}
