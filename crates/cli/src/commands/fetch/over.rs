//! `--resume` and `--retry-failed` of a run that is complete: they report that nothing is left to do.

use std::fmt::Write as _;

use overlapped_fetch::durable::{Begin, Earlier, Recorded, discard_rest, holds_no_run, recorded};
use overlapped_fetch::{Input, survey};

use crate::exit::{Ending, Error};
use crate::flags::plan::Plan;
use crate::flags::show::Show;
use crate::report::figures::{count, counted, rows_are};
use crate::terminal;

/// A run whose rows all succeeded has removed its state. Then the outputs decide: if each holds every row of the list,
/// nothing is left to do, and the number of rows is returned. `None`: rows are left, or there is a state that decides.
///
/// # Errors
///
/// [`Error::Usage`]: an existing output does not belong to this run.
pub(super) fn look(plan: &mut Plan) -> Result<Option<(Ending, u64)>, Error> {
    let Some(durable) = &plan.durable else { return Ok(None) };
    let goes_on = matches!(durable.begin, Begin::Resume | Begin::RetryFailed);
    if !goes_on || !holds_no_run(&durable.directory) {
        return Ok(None);
    }
    let mut found = Vec::new();
    for output in &durable.outputs {
        let held = recorded(output).map_err(|error| Error::reading(&output.path, &error))?;
        found.extend(held.map(|held| (output.path.clone(), held)));
    }
    if found.iter().all(|(_, held)| held.rows.is_empty() && held.others == 0) {
        // An empty output counts as new, unless that is all that the list gives.
        return Ok(if !found.is_empty() && is_empty_list(plan)? {
            Some((Ending::Succeeded, 0))
        } else {
            None
        });
    }
    let input = std::mem::replace(&mut plan.input, Input::Urls(Box::new(std::iter::empty())));
    let (survey, read) = survey(input, plan.input_options.clone());
    read?;
    let rows = survey.rows();
    let is_whole = |held: &Recorded| held.others == 0 && held.rows.len() == rows;
    match found.iter().find(|(_, held)| !is_whole(held)) {
        None => {
            discard_rest(durable)?;
            if plan.show.told {
                terminal::say(format_args!("overlapped: nothing to do: all {} done", rows_are(rows)));
            }
            Ok(Some((Ending::Succeeded, rows)))
        }
        Some((path, held)) => {
            let first = held.rows.len();
            // The state of a run whose rows all succeeded is removed.
            let grown = held.others == 0 && first < rows && held.rows.low().0 == first;
            let further = match grown {
                true => {
                    format!("if rows were added to the list, --skip {first} and another -o fetch these; ")
                }
                false => String::new(),
            };
            Err(Error::Usage(format!(
                "{} exists, but there is no state of a run beside it to resume; it holds {} of the {} of the list: \
                 {further}--overwrite replaces it, another -o keeps it",
                path.display(),
                count(first),
                counted(rows, "row")
            )))
        }
    }
}

fn is_empty_list(plan: &Plan) -> Result<bool, Error> {
    // What can be read once only is left to the run.
    let Input::File(path) = &plan.input else { return Ok(false) };
    let (survey, read) = survey(Input::File(path.clone()), plan.input_options.clone());
    read?;
    Ok(survey.rows() == 0)
}

/// Reports that the list is done, and how to fetch its failed rows again.
pub(super) fn told(found: &Earlier, show: Show) -> Ending {
    let mut text = format!("overlapped: nothing to do: all {} done", rows_are(found.rows));
    if found.failed > 0 {
        let _ =
            write!(text, ", {} of them failed: --retry-failed fetches them once more", count(found.failed));
    }
    if show.told {
        terminal::say(format_args!("{text}"));
    }
    if found.failed > 0 { Ending::RowsFailed } else { Ending::Succeeded }
}
