//! Results in Parquet and in Arrow's file format, also as other programs have written them again.

use std::fs::File;
use std::io;
use std::path::Path;

use arrow_array::Array;
use arrow_array::cast::AsArray as _;
use arrow_array::types::{
    Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use overlapped_fetch::tables::{Kind, Reader};

use super::started::unix_seconds;
use super::{COLUMNS, Entry, no_result};
use crate::exit::Error;

/// Reads the columns that are needed, a batch at a time.
pub(super) fn read(file: File, kind: Kind, path: &Path, accept: &mut dyn FnMut(Entry)) -> Result<(), Error> {
    let failed = |error: io::Error| {
        if error.kind() == io::ErrorKind::InvalidData {
            return Error::Usage(format!("{} is no table: {error}", path.display()));
        }
        Error::reading(path, &error)
    };
    let mut number = 0;
    for batch in Reader::open(file, kind, &COLUMNS).map_err(failed)? {
        let batch = batch.map_err(failed)?;
        let columns = COLUMNS.map(|name| batch.column_by_name(name).map(AsRef::as_ref));
        for at in 0..batch.num_rows() {
            let entry = entry(&columns, at, number);
            let place = || format!("row {number}");
            accept(entry.ok_or_else(|| no_result(path, &place(), "it has no text in a column url"))?);
            number += 1;
        }
    }
    Ok(())
}

/// The row at a place of a batch, whose columns are those of [`COLUMNS`] in their order.
fn entry(columns: &[Option<&dyn Array>; COLUMNS.len()], at: usize, number: u64) -> Option<Entry> {
    let [row, url, host, status, ok, error, message, attempts, bytes, started, rest @ ..] = columns;
    let [blocked, dns, connect, tls, send, wait, receive, elapsed, redirects, chain] = rest;
    let value = |column: &Option<_>| Value::of(*column, at);
    let ms = |column| value(column).number().filter(|ms| *ms >= 0.0).map(|ms| ms / 1e3);
    let (status, error) = (value(status).whole(), value(error).text());
    let entry = Entry {
        row: value(row).whole().unwrap_or(number),
        url: value(url).text()?,
        host: value(host).text(),
        status,
        ok: value(ok).truth().unwrap_or_else(|| error.is_none() && status.is_none_or(|status| status < 400)),
        message: value(message).text(),
        error,
        attempts: value(attempts).whole().unwrap_or(1),
        redirects: value(redirects).whole().unwrap_or_default(),
        chain_s: value(chain).milliseconds() / 1e3,
        bytes: value(bytes).whole().unwrap_or_default(),
        started_s: value(started).time(),
        phases_s: [blocked, dns, connect, tls, send, wait, receive].map(ms),
        elapsed_s: ms(elapsed),
    };
    Some(entry.completed())
}

/// A place of a column; `None` if there is no such column or it is null.
struct Value<'a>(Option<(&'a dyn Array, usize)>);

impl<'a> Value<'a> {
    fn of(column: Option<&'a dyn Array>, at: usize) -> Self {
        let column = column.filter(|column| column.is_valid(at));
        Self(column.map(|column| match column.as_any_dictionary_opt() {
            Some(words) => {
                (words.values().as_ref(), words.normalized_keys().get(at).copied().unwrap_or_default())
            }
            None => (column, at),
        }))
    }

    /// The sum of `total_ms` in a list of structures.
    fn milliseconds(&self) -> f64 {
        let list = self.0.and_then(|(array, at)| Some((array.as_list_opt::<i32>()?, at)));
        // A part of a list is an allocation, and most rows have no redirects.
        let hops = list.filter(|(hops, at)| hops.value_length(*at) > 0).map(|(hops, at)| hops.value(at));
        let hops = hops.as_ref().and_then(|hops| hops.as_struct_opt());
        let totals = hops.and_then(|hops| hops.column_by_name("total_ms")?.as_primitive_opt::<Float64Type>());
        totals.map_or(0.0, |totals| totals.iter().flatten().filter(|ms| *ms > 0.0).sum())
    }

    fn text(&self) -> Option<String> {
        let (array, at) = self.0?;
        let text = array.as_string_opt::<i32>().map(|texts| texts.value(at));
        let text = text.or_else(|| array.as_string_opt::<i64>().map(|texts| texts.value(at)));
        text.or_else(|| array.as_string_view_opt().map(|texts| texts.value(at))).map(str::to_owned)
    }

    fn truth(&self) -> Option<bool> {
        let (array, at) = self.0?;
        array.as_boolean_opt().map(|truths| truths.value(at))
    }

    fn number(&self) -> Option<f64> {
        let (array, at) = self.0?;
        macro_rules! first_of {
            ($($kind:ty),+) => {
                None$(.or_else(|| array.as_primitive_opt::<$kind>().map(|numbers| numbers.value(at) as f64)))+
            };
        }
        first_of!(
            Float64Type,
            UInt64Type,
            UInt16Type,
            Int64Type,
            Int32Type,
            UInt32Type,
            Int16Type,
            UInt8Type,
            Int8Type,
            Float32Type
        )
    }

    /// A number without a fraction.
    fn whole<T: TryFrom<u64>>(&self) -> Option<T> {
        let number = self.number().filter(|number| *number >= 0.0 && number.fract() == 0.0)?;
        T::try_from(number as u64).ok()
    }

    /// Seconds since 1970.
    fn time(&self) -> Option<f64> {
        let (array, at) = self.0?;
        macro_rules! first_of {
            ($($kind:ty, $unit:expr);+) => {
                None$(.or_else(|| array.as_primitive_opt::<$kind>().map(|times| times.value(at) as f64 / $unit)))+
            };
        }
        let time = first_of!(
            TimestampMicrosecondType, 1e6;
            TimestampNanosecondType, 1e9;
            TimestampMillisecondType, 1e3;
            TimestampSecondType, 1.0
        );
        time.or_else(|| unix_seconds(&self.text()?))
    }
}
