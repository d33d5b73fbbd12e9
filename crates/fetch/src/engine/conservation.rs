//! Conservation of rows: every row that comes in leaves as one record. A row that is lost or doubled by a defect ends the
//! run with an error, instead of a list with a gap or a run that never ends.

use std::cell::Cell;

use crate::error::Error;

/// What a shard has done with the rows that it was given.
#[derive(Debug, Default)]
pub(crate) struct Accounts {
    pub(crate) received: Count,
    /// Records.
    pub(crate) delivered: Count,
    /// Rows that a redirect has moved to another shard.
    pub(crate) moved: Count,
    /// Rows that were not started when the run was stopped.
    pub(crate) dropped: Count,
    reported: Cell<bool>,
}

/// A counter of rows.
#[derive(Debug, Default)]
pub(crate) struct Count(Cell<u64>);

impl Count {
    pub(crate) fn add(&self, rows: usize) {
        self.0.set(self.0.get() + rows as u64);
    }
}

impl Accounts {
    /// Checks that the shard still has every row that it was given and has not passed on. `held`: its rows in memory, in
    /// flight and on disk. A difference is reported once.
    ///
    /// # Errors
    ///
    /// A row was lost or doubled.
    pub(crate) fn check(&self, held: u64) -> Result<(), Error> {
        let (received, delivered) = (self.received.0.get(), self.delivered.0.get());
        let (moved, dropped) = (self.moved.0.get(), self.dropped.0.get());
        if received == delivered + moved + dropped + held || self.reported.replace(true) {
            return Ok(());
        }
        Err(Error::sum(&format!(
            "a shard was given {received} rows; it has {held} and has delivered {delivered}, moved {moved} and dropped {dropped}"
        )))
    }
}

/// Checks a run that was not stopped: the rows read from the list, and the records written.
///
/// # Errors
///
/// A row was lost or doubled.
pub(crate) fn check_run(read: u64, written: u64) -> Result<(), Error> {
    if read == written {
        return Ok(());
    }
    Err(Error::sum(&format!("{read} rows were read but {written} records were written")))
}

/// Checks a run under way: the rows handed out, and the records written.
///
/// # Errors
///
/// A row was doubled.
pub(crate) fn check_written(fed: u64, written: u64) -> Result<(), Error> {
    if written <= fed {
        return Ok(());
    }
    Err(Error::sum(&format!("{written} records were written for {fed} rows")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(lost: impl Fn(&Accounts), held: u64, expected: Option<&str>) {
        let accounts = Accounts::default();
        accounts.received.add(10);
        accounts.delivered.add(4);
        accounts.moved.add(2);
        accounts.dropped.add(1);
        lost(&accounts);
        let told = accounts.check(held).err().map(|error| error.to_string());
        match expected {
            None => assert_eq!(told, None),
            Some(expected) => {
                let told = told.expect("a difference is reported");
                assert!(told.contains("do not add up") && told.contains(expected), "{told}");
                assert!(accounts.check(held).is_ok(), "it is reported once");
            }
        }
    }

    #[test]
    fn a_row_that_is_lost_or_doubled_is_reported() {
        check(|_| {}, 3, None);
        check(|_| {}, 2, Some("was given 10 rows; it has 2"));
        check(|_| {}, 4, Some("it has 4"));
        check(|accounts| accounts.delivered.add(1), 3, Some("delivered 5"));
        check(|accounts| accounts.received.add(1), 3, Some("was given 11"));
        assert!(check_run(3, 3).is_ok() && check_written(3, 2).is_ok() && check_written(3, 3).is_ok());
        assert!(check_run(3, 2).is_err() && check_run(2, 3).is_err() && check_written(2, 3).is_err());
    }
}
