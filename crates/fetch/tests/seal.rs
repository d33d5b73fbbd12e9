//! Outputs that are built at the end: from a spool that survives a stop, and under their final name only when whole.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use overlapped_fetch::durable::{Begin, Durable, Earlier};
use overlapped_fetch::sink::{Checkpoint, Cut, SinkId};
use overlapped_fetch::{Bulk, Config, Input, Pace, Record, Sink};
use overlapped_testkit::Server;

const ROWS: u64 = 120;

struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("overlapped-seal-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn table(&self) -> PathBuf {
        self.0.join("out.table")
    }

    fn spool(&self) -> PathBuf {
        self.0.join("out.table.part")
    }

    fn bulk(&self, server: &Server) -> Bulk {
        let list = self.0.join("urls.txt");
        let url = |row| server.url(&format!("/row/{row}?delay_ms=10\n"));
        fs::write(&list, (0..ROWS).map(url).collect::<String>()).unwrap();
        let pace = Pace { parallel_max: 4, parallel_max_host: Some(4), ..Pace::default() };
        Bulk::new(Config { pace, ..Config::default() }).unwrap().input(Input::File(list))
    }

    fn durable(&self, server: &Server) -> (Bulk, Earlier) {
        let durable = Durable { begin: Begin::Resume, ..Durable::beside(&self.table()) };
        self.bulk(server).durable(durable).unwrap()
    }

    /// The table: its number of rows, then the rows.
    #[track_caller]
    fn check_whole(&self) {
        let text = fs::read_to_string(self.table()).unwrap();
        let (count, rows) = text.split_once('\n').unwrap();
        let mut rows: Vec<u64> = rows.lines().map(|row| row.parse().unwrap()).collect();
        rows.sort_unstable();
        assert_eq!(count.parse(), Ok(ROWS));
        assert!(rows.into_iter().eq(0..ROWS), "{text}");
        assert!(!self.spool().exists());
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A format whose beginning says how much follows, so that it can only be written at the end.
struct Table {
    id: SinkId,
    place: PathBuf,
    spool: Arc<File>,
    bytes: u64,
    rows: u64,
    seals: Arc<AtomicU64>,
    /// Fails once it has sealed, as a crash does.
    fails: Arc<AtomicBool>,
}

impl Table {
    fn open(place: &Place, earlier: Option<&Earlier>, seals: &Arc<AtomicU64>) -> Self {
        let id = SinkId::new("out.table");
        let checkpoint = earlier.and_then(|earlier| earlier.checkpoints.of(&id)).cloned().unwrap_or_default();
        let rows = checkpoint.data.first_chunk().map_or(0, |rows| u64::from_le_bytes(*rows));
        let spool = OpenOptions::new().create(true).append(true).open(place.spool()).unwrap();
        let is_sealed = place.table().exists();
        let found = spool.metadata().unwrap().len();
        assert!(is_sealed || found >= checkpoint.position, "what is durable is there");
        spool.set_len(if is_sealed { 0 } else { checkpoint.position }).unwrap();
        let (place, seals, fails) = (place.table(), Arc::clone(seals), Arc::default());
        Self { id, place, spool: Arc::new(spool), bytes: checkpoint.position, rows, seals, fails }
    }
}

impl Sink for Table {
    fn accept(&mut self, record: &mut Record) -> io::Result<()> {
        let line = format!("{}\n", record.row.0);
        (&*self.spool).write_all(line.as_bytes())?;
        self.bytes += line.len() as u64;
        self.rows += 1;
        Ok(())
    }

    fn commit(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn id(&self) -> Option<&SinkId> {
        Some(&self.id)
    }

    fn cut(&mut self) -> io::Result<Cut> {
        let checkpoint = Checkpoint { position: self.bytes, data: self.rows.to_le_bytes().into() };
        let spool = Arc::clone(&self.spool);
        let sync = Box::new(move || spool.sync_data());
        Ok(Cut { checkpoint: Some(checkpoint), names: Vec::new(), sync: Some(sync) })
    }

    fn seal(&mut self) -> io::Result<()> {
        self.seals.fetch_add(1, Ordering::SeqCst);
        let (spool, new) = (self.place.with_extension("table.part"), self.place.with_extension("new"));
        if self.place.exists() {
            return fs::remove_file(&spool);
        }
        let mut text = format!("{}\n", self.rows).into_bytes();
        text.extend(fs::read(&spool)?);
        let mut file = File::create(&new)?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&new, &self.place)?;
        match self.fails.load(Ordering::SeqCst) {
            true => Err(io::Error::other("it crashed")),
            false => fs::remove_file(&spool),
        }
    }
}

#[test]
fn an_output_is_sealed_once_after_the_last_record() {
    let (place, server, seals) = (Place::new("once"), Server::start(), Arc::default());
    let table = Table::open(&place, None, &seals);
    place.bulk(&server).sink(Box::new(table)).start().unwrap().wait().unwrap();
    place.check_whole();
    assert_eq!(seals.load(Ordering::SeqCst), 1);
}

#[test]
fn a_durable_run_that_is_stopped_leaves_no_output_and_seals_it_when_it_is_done() {
    let (place, server, seals) = (Place::new("stopped"), Server::start(), Arc::default());
    let (bulk, earlier) = place.durable(&server);
    let run = bulk.sink(Box::new(Table::open(&place, Some(&earlier), &seals))).start().unwrap();
    assert!(server.wait_for_requests(ROWS / 4, Duration::from_secs(60)));
    run.control().stop();
    let summary = run.wait().unwrap();
    assert!(!summary.finished);
    assert_eq!((place.table().exists(), seals.load(Ordering::SeqCst)), (false, 0));
    // What a crash leaves behind the last checkpoint.
    let mut spool = OpenOptions::new().append(true).open(place.spool()).unwrap();
    spool.write_all(b"not durable").unwrap();
    let (bulk, earlier) = place.durable(&server);
    assert_eq!(earlier.rows, summary.progress.rows_done);
    bulk.sink(Box::new(Table::open(&place, Some(&earlier), &seals))).start().unwrap().wait().unwrap();
    place.check_whole();
    assert_eq!((server.requests(), seals.load(Ordering::SeqCst)), (ROWS, 1));
}

/// The output has its final name, and the journal does not say yet that the run has ended.
#[test]
fn a_crash_after_the_seal_leaves_a_run_that_seals_again() {
    let (place, server, seals) = (Place::new("crash"), Server::start(), Arc::default());
    let (bulk, earlier) = place.durable(&server);
    let table = Table::open(&place, Some(&earlier), &seals);
    table.fails.store(true, Ordering::SeqCst);
    let failed = bulk.sink(Box::new(table)).start().unwrap().wait().err().unwrap();
    assert!(failed.to_string().contains("it crashed"), "{failed}");
    assert!(place.table().exists() && place.spool().exists());
    let (bulk, earlier) = place.durable(&server);
    assert_eq!((earlier.rows, earlier.finished), (ROWS, false));
    bulk.sink(Box::new(Table::open(&place, Some(&earlier), &seals))).start().unwrap().wait().unwrap();
    place.check_whole();
    assert_eq!((server.requests(), seals.load(Ordering::SeqCst)), (ROWS, 2));
    assert!(!Durable::beside(&place.table()).directory.exists(), "the run has ended");
}

#[test]
fn two_sinks_of_the_same_name_are_refused() {
    let (place, server, seals) = (Place::new("twice"), Server::start(), Arc::default());
    let sink = || Box::new(Table::open(&place, None, &seals));
    let refused = place.bulk(&server).sink(sink()).sink(sink()).start().err().unwrap();
    assert!(refused.to_string().contains("two sinks are called out.table"), "{refused}");
    assert_eq!(server.requests(), 0);
}
