use super::*;

fn entry(row: u64) -> Entry {
    let ok = !row.is_multiple_of(10);
    Entry {
        row,
        url: format!("http://h{}.test/{row}", row % 7),
        host: Some(format!("h{}.test", row % 7)),
        status: ok.then_some(200),
        ok,
        error: (!ok).then(|| "connect.refused".to_owned()),
        attempts: 1,
        bytes: 10,
        started_s: Some(1e9 + row as f64 / 100.0),
        phases_s: [Some(0.0), None, None, None, Some(0.001), Some(0.1), Some(0.01)],
        elapsed_s: Some(0.111),
        ..Entry::default()
    }
}

fn page(entries: impl Iterator<Item = Entry>) -> Page {
    let mut page = Page::default();
    entries.for_each(|entry| page.add(&entry));
    page
}

#[test]
fn figures_are_those_of_the_rows() {
    let figures = page((0..1_000).map(entry)).figures(1, None);
    assert_eq!(
        (&figures["rows"], &figures["ok"], &figures["bytes"]),
        (&json!(1_000), &json!(900), &json!(10_000))
    );
    assert_eq!(
        (&figures["statuses"], &figures["errors"]),
        (&json!({"200": 900}), &json!({"connect.refused": 100}))
    );
    assert_eq!(figures["hosts"]["list"].as_array().unwrap().len(), 7);
    assert_eq!(figures["failures"]["list"].as_array().unwrap().len(), 100);
    assert_eq!(figures["total"]["count"], 1_000);
    assert_eq!(figures["sample"]["list"].as_array().unwrap().len(), 1_000);
    let span = figures["span_s"].as_f64().unwrap();
    assert!((span - 10.101).abs() < 1e-3, "{span}");
}

#[test]
fn hostile_text_stays_text() {
    let evil = "</script><script>alert(1)</script><!--<script>\u{2028}";
    let hostile = |row| Entry {
        url: format!("http://a.test/{evil}"),
        host: Some(evil.to_owned()),
        error: Some(evil.to_owned()),
        message: Some(evil.to_owned()),
        ..entry(row)
    };
    let html = page([hostile(0), hostile(1)].into_iter()).html(evil, Some(evil));
    assert_eq!(html.matches("</script>").count(), TEMPLATE.matches("</script>").count());
    assert_eq!(html.matches("<script").count(), TEMPLATE.matches("<script").count());
    assert_eq!(html.matches("<!--").count(), TEMPLATE.matches("<!--").count());
}

#[test]
fn a_page_is_bounded_whatever_is_in_it() {
    let long = "<".repeat(2_000);
    let row = |row| {
        let texts = Some(format!("{long}{row}"));
        Entry {
            url: format!("http://{long}/{row}"),
            host: texts.clone(),
            error: texts.clone(),
            message: texts,
            ok: false,
            ..entry(row)
        }
    };
    let html = page((0..2_000).map(row)).html(&"<".repeat(100), None);
    assert!(html.len() <= PAGE_BYTES_MAX, "{}", html.len());
    assert!(html.contains("\"rows\":2000"));
}

#[test]
fn an_empty_run_has_a_page() {
    let html = Page::default().html("nothing", None);
    assert!(html.contains("\"rows\":0") && html.contains("<title>nothing</title>"));
}
