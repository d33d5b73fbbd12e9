//! `report`: makes a page of a run from its results. It reads row by row.

use std::path::Path;

use crate::exit::{Ending, Error};
use crate::flags::place::check_replaced;
use crate::flags::report::Flags;
use crate::page::Page;
use crate::report::write_whole;
use crate::results;

pub(super) fn run(flags: &Flags) -> Result<Ending, Error> {
    check_replaced([("-o", flags.output.as_path())])?;
    let same = |path: &Path| path.canonicalize().ok();
    if same(&flags.results).is_some_and(|results| Some(results) == same(&flags.output)) {
        return Err(Error::Usage("-o: the page would replace the result that it is made from".to_owned()));
    }
    let mut page = Page::default();
    results::read(&flags.results, &mut |entry| page.add(&entry))?;
    write_whole(&flags.output, page.html(&title(&flags.results), None).as_bytes())?;
    Ok(Ending::Succeeded)
}

/// What a picture of these results is called.
pub(super) fn title(results: &Path) -> String {
    if results == Path::new("-") {
        return "standard input".to_owned();
    }
    results.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
