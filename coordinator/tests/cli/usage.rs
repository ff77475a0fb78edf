//! Wrong usage: exit 2, stderr, and with `--json` one document on stdout.

use std::fs::File;
use std::process::Stdio;

use insta::assert_snapshot;

use crate::program::Place;

#[test]
fn wrong_usage_is_refused_and_says_what_would_be_right() {
    let place = Place::new();
    let cases: [(&str, &[&str]); 13] = [
        ("unknown_command", &["aply", "n2-tiered"]),
        ("unknown_flag", &["apply", "n2-tiered", "--paralel", "3"]),
        ("no_manifest", &["apply"]),
        ("two_manifests", &["apply", "n2-tiered", "--manifest-file", "x.yaml"]),
        ("bad_host", &["apply", "n2-tiered", "-H", "../etc"]),
        ("bad_mode", &["apply", "n2-tiered", "--on-error", "retry"]),
        ("bad_timeout", &["apply", "n2-tiered", "--timeout", "soon"]),
        ("bad_depth", &["apply", "n2-tiered", "--depth", "0"]),
        ("bad_run", &["logs", "latest"]),
        ("bad_path", &["agents", "revoke", "father//x"]),
        ("bad_port", &["status", "--port", "70000"]),
        ("quiet_and_verbose", &["status", "-q", "-v"]),
        ("no_action", &["manifests"]),
    ];
    for (name, words) in cases {
        let told = place.run(words);
        assert_eq!((told.code, told.stdout.as_str()), (2, ""), "{name}");
        assert_snapshot!(format!("usage_{name}"), told);
    }
}

#[test]
fn a_verb_without_a_manifest_means_no_manifest_and_touches_nothing() {
    let place = Place::new();
    for verb in [&["apply"][..], &["plan"], &["destroy", "--yes"], &["test"], &["validate"]] {
        let told = place.run(verb);
        assert_eq!((told.code, told.stdout.as_str()), (2, ""), "{verb:?}");
        assert!(told.stderr.contains("MANIFEST") && !told.stderr.contains("n2-tiered"), "{verb:?}: {}", told.stderr);
    }
}

#[test]
fn wrong_usage_is_one_document_where_json_is_asked_for() {
    let place = Place::new();
    for flag in ["--json", "--json-output"] {
        let told = place.run(&["aply", "n2-tiered", flag]);
        assert_eq!(told.code, 2);
        let error = &told.json()["error"];
        assert_eq!(error["code"], "E800");
        assert!(error["message"].as_str().unwrap().contains("aply"), "{told}");
        assert!(error["hint"].as_str().unwrap().contains("apply"), "{told}");
    }
}

#[test]
fn a_port_in_the_environment_that_is_none_is_wrong_usage() {
    let place = Place::new();
    let mut command = place.command(&["status", "--json"]);
    let told = place.told({
        command.env("HOMESTAK_PORT", "many");
        command
    });
    assert_eq!(told.code, 2, "{told}");
    assert!(told.json()["error"]["hint"].is_string() && told.stderr.contains("hint:"), "{told}");
}

#[test]
fn a_stdout_that_is_full_is_told_and_one_that_nobody_reads_is_not() {
    let place = Place::new();
    let mut full = place.command(&["manifests", "list"]);
    full.stdout(Stdio::from(File::options().write(true).open("/dev/full").unwrap()));
    let told = full.output().unwrap();
    assert_eq!(told.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&told.stderr).contains("cannot be written"));

    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut closed = place.command(&["manifests", "list"]);
    let told = closed.stdout(writer).output().unwrap();
    assert_eq!((told.status.code(), told.stderr.len()), (Some(0), 0));
}
