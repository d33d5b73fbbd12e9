//! `waterfall`: draws a run from its results. It reads row by row and keeps only the times.

use super::print;
use super::report::title;
use crate::exit::{Ending, Error};
use crate::flags::place::check_replaced;
use crate::flags::waterfall::Flags;
use crate::picture::{Bars, Chart, svg, text};
use crate::report::write_whole;
use crate::{results, terminal};

pub(super) fn run(flags: &Flags) -> Result<Ending, Error> {
    check_replaced(flags.output.iter().map(|path| ("-o", path.as_path())))?;
    let (mut chart, mut bars) = (Chart::default(), Bars::default());
    results::read(&flags.results, &mut |entry| chart.add(bars.bar(&entry)))?;
    let chart = chart.since_start();
    let Some(path) = &flags.output else {
        let width = flags.width.map_or_else(terminal::width, usize::from);
        let style = text::Style { width, colour: terminal::colour(), span_s: None };
        return print(text::draw(&chart, &style).as_bytes());
    };
    write_whole(path, svg::draw(&chart, &title(&flags.results)).as_bytes())?;
    Ok(Ending::Succeeded)
}
