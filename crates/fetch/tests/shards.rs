//! A list that several machines share: each row is fetched by one of them, all rows of a host by the same.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use std::collections::HashMap;
use std::time::Duration;

use overlapped_fetch::{Bulk, Config, Input, InputOptions};
use overlapped_proto::job::Shard;
use overlapped_testkit::Server;
use support::{Fetched, config, run};

const ROWS: u64 = 300;

fn part(mut config: Config, urls: Vec<String>, options: InputOptions) -> Fetched {
    // Only the first host answers.
    config.pace.host_down_after = Some(Duration::from_millis(50));
    let input = Input::Urls(Box::new(urls.into_iter()));
    run(Bulk::new(config).unwrap().input(input).input_options(options))
}

/// Forty hosts, all of this machine, and a bad row now and then.
fn list(server: &Server) -> Vec<String> {
    let port = server.url("").rsplit(':').next().unwrap().trim_end_matches('/').to_owned();
    let url = |row: u64| match row % 7 {
        0 => format!("no url {row}"),
        _ => format!("http://127.0.0.{}:{port}/row/{row}", 1 + row % 40),
    };
    (0..ROWS).map(url).collect()
}

#[test]
fn each_row_is_in_one_part_and_each_host_too() {
    let server = Server::start();
    let urls = list(&server);
    let mut owner: HashMap<String, u32> = HashMap::new();
    let mut rows = Vec::new();
    for index in 0..3 {
        let options = InputOptions {
            skip: 10,
            limit: Some(280),
            shard: Some(Shard { index, of: 3 }),
            ..Default::default()
        };
        let fetched = part(config(), urls.clone(), options);
        assert!(fetched.summary.finished);
        for record in &fetched.records {
            if let Some(host) = &record.host {
                assert_eq!(*owner.entry(host.to_string()).or_insert(index), index, "{host} is in two parts");
            }
            assert_eq!(*record.url, urls[record.row.0 as usize], "a row keeps its number");
        }
        let part: Vec<u64> = fetched.records.iter().map(|record| record.row.0).collect();
        assert!(part.is_sorted() && part.len() > 30, "part {index} in order: {part:?}");
        rows.extend(part);
    }
    rows.sort_unstable();
    assert_eq!(rows, (10..290).collect::<Vec<_>>());
}

#[test]
fn a_narrow_order_does_not_stop_at_rows_of_other_parts() {
    let server = Server::start();
    let urls = list(&server);
    let options = InputOptions { shard: Some(Shard { index: 1, of: 20 }), ..Default::default() };
    let fetched = part(Config { window_rows: 2, ..config() }, urls.clone(), options);
    let rows: Vec<u64> = fetched.records.iter().map(|record| record.row.0).collect();
    assert!(rows.is_sorted() && !rows.is_empty(), "{rows:?}");
    let alone = InputOptions { shard: Some(Shard { index: 0, of: 1 }), ..Default::default() };
    part(config(), urls, alone).assert_complete(ROWS as usize);
}
