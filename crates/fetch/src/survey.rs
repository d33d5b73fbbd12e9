//! A dry run over a list: it sends nothing and writes nothing.

use std::sync::Arc;

use overlapped_proto::survey::Survey;

use crate::durable::Passed;
use crate::engine::feed::{Feed, Input, InputOptions};
use crate::error::Error;

/// Counts the rows and hosts of a list. The result shows whether it could be read to its end.
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
