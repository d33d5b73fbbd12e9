//! What is made of all rows of a run at its end: the picture of `--waterfall`, the page of `--report`.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use overlapped_fetch::Sink;
use overlapped_proto::record::Record;

use crate::exit::Error;
use crate::flags::plan::Plan;
use crate::page::Page;
use crate::picture::{Bars, Chart, svg};
use crate::report::write_whole;
use crate::results::Entry;

/// Collects the rows; its clones share them.
#[derive(Clone)]
pub(super) struct Pictures(Arc<Mutex<Collected>>);

struct Collected {
    title: String,
    chart: Option<(PathBuf, Chart, Bars)>,
    page: Option<(PathBuf, Page)>,
}

impl Pictures {
    /// Those that were asked for; `None` if none was.
    pub(super) fn of(plan: &Plan) -> Option<Self> {
        let chart = plan.waterfall.clone().map(|path| (path, Chart::default(), Bars::default()));
        let page = plan.report.clone().map(|path| (path, Page::default()));
        let is_wanted = chart.is_some() || page.is_some();
        let title = plan.title.clone();
        is_wanted.then(|| Self(Arc::new(Mutex::new(Collected { title, chart, page }))))
    }

    /// Writes them; `note` says on the page that it does not have all rows of the run.
    ///
    /// # Errors
    ///
    /// A file cannot be written.
    pub(super) fn write(&self, note: Option<&str>) -> Result<(), Error> {
        let Collected { title, chart, page } = &mut *self.collected();
        if let Some((path, chart, _)) = chart {
            write_whole(path, svg::draw(&std::mem::take(chart).since_start(), title).as_bytes())?;
        }
        match page {
            Some((path, page)) => write_whole(path, page.html(title, note).as_bytes()),
            None => Ok(()),
        }
    }

    fn collected(&self) -> MutexGuard<'_, Collected> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for Pictures {
    fn accept(&mut self, record: &mut Record) -> io::Result<()> {
        let entry = Entry::of(record);
        let collected = &mut *self.collected();
        if let Some((_, chart, bars)) = &mut collected.chart {
            chart.add(bars.bar(&entry));
        }
        if let Some((_, page)) = &mut collected.page {
            page.add(&entry);
        }
        Ok(())
    }

    fn commit(&mut self) -> io::Result<()> {
        Ok(())
    }
}
