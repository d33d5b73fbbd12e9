//! A look at a list without fetching anything: no name is resolved, no packet is sent, nothing is written.

use std::sync::Arc;

use overlapped_proto::survey::Survey;

use crate::durable::Passed;
use crate::engine::feed::{Feed, Input, InputOptions};
use crate::error::Error;

/// Counts what a list asks for, and says why it could not be read to its end, if it could not.
///
/// ```
/// use overlapped_fetch::{Input, InputOptions, survey};
///
/// let urls = ["http://a.test/1", "http://a.test/2", "no url"].map(String::from);
/// let (survey, read) = survey(Input::Urls(Box::new(urls.into_iter())), InputOptions::default());
/// assert!(read.is_ok());
/// assert_eq!((survey.rows(), survey.bad(), survey.hosts()), (3, 1, 1));
/// ```
///
/// # Errors
///
/// The list cannot be opened, or not be read to its end.
///
/// # Blocking
///
/// Until the list is read.
pub fn survey(input: Input, options: InputOptions) -> (Survey, Result<(), Error>) {
    let mut survey = Survey::default();
    let mut feed = match Feed::open(input, options, Passed::default(), Arc::default()) {
        Ok((feed, _)) => feed,
        Err(error) => return (survey, Err(error)),
    };
    let mut rows = Vec::new();
    loop {
        let mut block = feed.read(rows);
        block.rows.drain(..).for_each(|row| survey.add(row));
        if block.ended {
            return (survey, block.failure.map_or(Ok(()), Err));
        }
        rows = block.rows;
    }
}
