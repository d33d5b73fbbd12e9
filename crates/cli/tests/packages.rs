//! What is published: the packages of the crates, with their licences and what registries show of them. `check-packages` beside this
//! folder builds them, and the Debian package.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod program;

use std::path::Path;
use std::process::Command;

use program::{Directory, run};

const PUBLIC: [&str; 4] = ["overlapped", "overlapped-proto", "overlapped-fetch", "overlapped-cli"];
const PRIVATE: [&str; 3] = ["overlapped-testkit", "overlapped-fuzz", "overlapped-python"];

fn stdout_of(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_public_crate_is_packed_without_a_network() {
    let directory = Directory::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args([
        "package",
        "--workspace",
        "--offline",
        "--locked",
        "--no-verify",
        "--allow-dirty",
        "--quiet",
    ]);
    cargo.args(PRIVATE.iter().flat_map(|name| ["--exclude", name]));
    // Not the folder of this build, which cargo may have locked.
    stdout_of(cargo.args(["--target-dir", &directory.path("")]).current_dir(&root));
    for name in PUBLIC {
        let folder = format!("{name}-{}", env!("CARGO_PKG_VERSION"));
        let package = directory.path(&format!("package/{folder}.crate"));
        let names = stdout_of(Command::new("tar").args(["-tzf", &package]));
        let names: Vec<_> =
            names.lines().filter_map(|line| line.strip_prefix(&format!("{folder}/"))).collect();
        for wanted in ["README.md", "LICENSE-MIT", "LICENSE-APACHE", "Cargo.toml", "src/lib.rs"] {
            assert!(names.contains(&wanted), "{name} has no {wanted}: {names:?}");
        }
        let read = |file: &str| {
            stdout_of(Command::new("tar").args(["-xOzf", &package, &format!("{folder}/{file}")]))
        };
        assert!(
            read("LICENSE-MIT").contains("Permission is hereby granted"),
            "{name}: a link instead of the licence"
        );
        let manifest = read("Cargo.toml");
        for field in [
            "description",
            "license",
            "repository",
            "readme",
            "keywords",
            "categories",
            "rust-version",
            "[package.metadata.docs.rs]",
        ] {
            assert!(manifest.contains(&format!("\n{field}")), "{name}: no {field}");
        }
        for other in manifest.lines().filter(|line| line.starts_with("[dependencies.overlapped")) {
            let (_, rest) = manifest.split_once(other).unwrap();
            let entry = rest.split("\n[").next().unwrap();
            assert!(entry.contains("version = \"") && !entry.contains("path = "), "{name}: {other}{entry}");
        }
        assert!(!manifest.contains("overlapped-testkit"), "{name} needs a crate that is not published");
        let bytes = std::fs::metadata(&package).unwrap().len();
        assert!(bytes < 1 << 20, "{name}: {bytes} bytes");
    }
}

/// What the Debian package collects is what the program makes.
#[test]
fn the_debian_package_has_a_manual_page_of_each_command() {
    let script = include_str!("../check-packages");
    let (_, commands) = script.split_once("\ncommands=\"").unwrap();
    let (commands, _) = commands.split_once('"').unwrap();
    let told = run(&["help"]).stdout;
    let (_, list) = told.split_once("\nCommands:\n").unwrap();
    let (list, _) = list.split_once("\n\n").unwrap();
    let names = list
        .lines()
        .filter(|line| !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next());
    assert_eq!(commands.split_whitespace().collect::<Vec<_>>(), names.collect::<Vec<_>>());
}

#[test]
fn the_version_says_what_is_compiled_in() {
    let ran = run(&["--version"]);
    ran.check_code(0);
    let lines: Vec<_> = ran.stdout.lines().collect();
    let [version, features] = lines[..] else { panic!("two lines: {ran:?}") };
    assert_eq!(version, concat!("overlapped ", env!("CARGO_PKG_VERSION")));
    let features = features.strip_prefix("Features: ").unwrap();
    for feature in ["HTTP2", "TLS1.3", "parquet", "arrow", "warc", "zstd"] {
        assert!(features.split(' ').any(|name| name == feature), "{feature}: {features}");
    }
    assert_eq!(run(&["version"]).stdout, ran.stdout);
    assert_eq!(run(&["-V"]).stdout, format!("{version}\n"));
}
