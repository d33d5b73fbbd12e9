//! stub
use super::Account;
use crate::exit::Error;
use crate::flags::compare::Arm;
pub(super) fn run(_arm: Arm, _workers: usize) -> Result<Account, Error> {
    Err(Error::Usage("stub".into()))
}
