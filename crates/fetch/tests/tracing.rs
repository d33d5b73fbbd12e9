//! What a subscriber of `tracing` sees of attempts, connections and checkpoints.

#![cfg(feature = "tracing")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use overlapped_fetch::durable::{Durable, Output};
use overlapped_fetch::sink::{Format, FormatOptions};
use overlapped_fetch::{Bulk, Input, Row};
use overlapped_testkit::{Server, refused};
use support::{Scratch, one_by_one, run};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// The fields of each span and each event, in order.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<Fields>>>);

#[derive(Clone, Debug, Default)]
struct Fields(BTreeMap<&'static str, String>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }
}

impl Subscriber for Seen {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "overlapped_fetch"
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        let mut seen = self.0.lock().unwrap();
        seen.push(fields);
        Id::from_u64(seen.len() as u64)
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        values.record(&mut self.0.lock().unwrap()[span.into_u64() as usize - 1]);
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let parent = event.parent().map(|parent| ("parent", parent.into_u64().to_string()));
        fields.0.extend(parent);
        self.0.lock().unwrap().push(fields);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// One test for all, because the subscriber is that of the process.
#[test]
fn attempts_connections_and_checkpoints_are_seen_and_no_secret() {
    let seen = Seen::default();
    tracing::subscriber::set_global_default(seen.clone()).unwrap();
    let (server, dead, scratch) = (Server::start(), refused(), Scratch::new());
    let urls = [server.url("/status/404?token=canary"), server.url("/ok"), dead.url("/canary")];
    let rows = urls.map(|url| Row { headers: vec![("X-A".into(), "canary".into())], ..Row::new(url) });
    let results = scratch.path().join("results.ndjson");
    let output = Output::new(Format::Ndjson, results.clone());
    let durable = Durable { outputs: vec![output.clone()], ..Durable::beside(&results) };
    let bulk = Bulk::new(one_by_one()).unwrap().input(Input::Rows(Box::new(rows.into_iter())));
    let (bulk, earlier) = bulk.durable(durable).unwrap();
    run(bulk.sink(output.open(Some(&earlier), FormatOptions::default()).unwrap()));

    let seen = seen.0.lock().unwrap().clone();
    let field = |fields: &Fields, name: &str| fields.0.get(name).cloned().unwrap_or_default();
    let attempts: Vec<_> = seen.iter().filter(|fields| fields.0.contains_key("attempt")).collect();
    let told: Vec<_> =
        attempts.iter().map(|f| ["row", "attempt", "status", "error"].map(|name| field(f, name))).collect();
    assert_eq!(told, [["0", "1", "404", ""], ["1", "1", "200", ""], ["2", "1", "", "connect.refused"]]);
    assert!(attempts.iter().all(|fields| field(fields, "host") == "127.0.0.1"));
    let messages: Vec<_> = seen.iter().map(|f| (field(f, "message"), field(f, "parent"))).collect();
    let of =
        |message: &str, parent: &str| messages.iter().filter(|(m, p)| m == message && p == parent).count();
    assert_eq!((of("connection opened", "1"), of("connection reused", "3")), (1, 1), "{messages:?}");
    let rows: u64 = seen
        .iter()
        .filter(|f| field(f, "message") == "checkpoint")
        .map(|f| field(f, "rows").parse::<u64>().unwrap())
        .sum();
    assert_eq!(rows, 3);
    assert!(!format!("{seen:?}").contains("canary"));
}
