//! What this crate reads out of the text of a URL agrees with the one URL parser of the program.
//!
//! With `OVERLAPPED_VECTORS` naming a directory that holds `urltestdata.json` of the web platform tests, those cases
//! are used too.

#![allow(clippy::print_stderr, reason = "a test says what it skips")]

use overlapped_proto::input::url::parse;
use overlapped_proto::job::HostKey;
use overlapped_proto::origin::{self, Origin};
use overlapped_proto::sanitize::redact;
use proptest::prelude::*;

/// Redacting the text and redacting the URL come to the same, so no credential is left and nothing else is lost.
fn check(text: &str) {
    let Ok(url) = parse(text) else { return };
    assert!(
        url.scheme().starts_with("http") && url.host_str().is_some_and(|host| !host.is_empty()),
        "{text:?}"
    );
    assert_ne!(url.port(), Some(0), "{text:?}");
    let mut bare = url.clone();
    assert!(bare.set_username("").is_ok() && bare.set_password(None).is_ok());
    assert_eq!(parse(&redact(text)).as_ref(), Ok(&bare), "{text:?}");
    assert_eq!(redact(url.as_str()), bare.as_str(), "{text:?}");

    assert!(origin::same(&url, &bare), "{text:?}");
    let mut dotted = bare.clone();
    if url.domain().is_some_and(|name| !name.ends_with('.'))
        && dotted.set_host(Some(&format!("{}.", url.host_str().unwrap_or_default()))).is_ok()
    {
        assert_eq!(Origin::of(&dotted), Origin::of(&url), "{text:?}");
        assert_eq!(HostKey::of(&dotted), HostKey::of(&url), "{text:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000 * ProptestConfig::default().cases / 256))]

    #[test]
    fn any_text(text in "(https?:)?[/\\\\]{0,3}[a-z0-9:@/\\\\?#;.%\\[\\] \u{e4}-]{0,24}") {
        check(&text);
    }

    #[test]
    fn urls(
        userinfo in "([a-z:@;%]{0,6}@)?",
        host in "([a-z0-9-]{1,5}\\.){0,2}[a-z]{1,5}\\.?",
        rest in "(:[0-9]{0,5})?([/\\\\?#][a-z@:/]{0,8})?",
    ) {
        check(&format!("http://{userinfo}{host}{rest}"));
    }
}

#[test]
fn cases_of_the_web_platform_tests() {
    #[expect(clippy::disallowed_methods, reason = "where the cases are is not the program's to know")]
    let Ok(directory) = std::env::var("OVERLAPPED_VECTORS") else {
        eprintln!("skipped: OVERLAPPED_VECTORS is not set");
        return;
    };
    let text = std::fs::read_to_string(format!("{directory}/urltestdata.json")).unwrap();
    let cases: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    let mut fetched = 0;
    for case in &cases {
        let Some(input) = case["input"].as_str() else { continue };
        check(input);
        let stands_alone = case["base"].is_null() && !input.bytes().any(|byte| byte < 0x20);
        let href = case["href"]
            .as_str()
            .filter(|href| stands_alone && matches!(href.split(':').next(), Some("http" | "https")));
        if let Some(href) = href.filter(|href| !href.contains(":0/")) {
            assert_eq!(parse(input).map(String::from).as_deref(), Ok(href), "{input:?}");
            fetched += 1;
        } else if case["failure"] == true {
            assert!(parse(input).is_err(), "{input:?}");
        }
    }
    assert!(fetched > 100, "{fetched}");
}
