//! stub
use crate::exit::{Ending, Error};
use crate::flags::fetch::Flags;
use crate::flags::plan::plan;
pub(super) fn run(flags: Flags) -> Result<Ending, Error> {
    let _ = plan(flags)?;
    Ok(Ending::Succeeded)
}
