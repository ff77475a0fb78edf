//! Who may know whom: reads what the crates depend on and every source file, and fails where one knows what it should not.
//!
//! The rules are in `crates.rs` (what a crate depends on) and `rules.rs` (what a source file names); `source.rs` reads the
//! files. Each rule is broken once here, on made-up sources, to see that it finds what it is there for.

#![expect(clippy::unwrap_used, reason = "what unwraps wrongly here fails the test")]

mod crates;
mod rules;
mod source;

use source::Source;

#[test]
fn no_crate_depends_on_what_it_may_not_know() {
    let found = crates::violations(&crates::workspace());
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn no_source_names_what_it_may_not_know() {
    let sources = source::all();
    assert!(sources.len() > 30, "the sources are found");
    let found: Vec<String> = sources.iter().flat_map(rules::violations).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn a_dependency_that_is_not_allowed_is_found() {
    let package = |name: &str, dependencies: &[&str]| crates::Package {
        name: name.to_owned(),
        dependencies: dependencies.iter().map(|d| (*d).to_owned()).collect(),
    };
    let all = || crates::workspace();
    assert!(crates::violations(&all()).is_empty());
    for (name, dependency) in [
        ("homestak-agent", "homestak-coord"),
        ("homestak-coord", "homestak-agent"),
        ("homestak-node", "homestak-agent"),
        ("homestak-node", "homestak-manifests"),
        ("homestak-protocol", "homestak-manifests"),
        ("homestak-manifests", "homestak-node"),
        ("homestak-protocol", "tokio"),
        ("homestak-manifests", "rustix"),
        ("homestak-agent", "quinn"),
        ("homestak-coord", "rustls"),
        ("homestak-node", "bincode"),
        ("homestak-node", "yaml_serde"),
        ("homestak-agent", "rusqlite"),
    ] {
        let mut packages = all();
        packages.push(package(name, &[dependency]));
        assert_eq!(crates::violations(&packages).len(), 1, "{name} on {dependency}");
    }
    let mut packages = all();
    packages.push(package("homestak-extra", &[]));
    assert_eq!(crates::violations(&packages).len(), 1, "a crate that nobody has thought about");
}

#[test]
fn a_source_that_breaks_a_rule_is_found() {
    for (path, text) in [
        // who may name which crate
        ("agent/src/x.rs", "use quinn::Endpoint;"),
        ("coordinator/src/x.rs", "fn f(c: &quinn::Connection) {}"),
        ("agent/src/x.rs", "use {std::fmt, quinn};"),
        ("protocol/src/frame.rs", "use bincode::config;"),
        ("node/src/journal/mod.rs", "fn f() { bincode::serde::encode_to_vec(1, 2); }"),
        ("coordinator/src/lower/mod.rs", "use serde_yaml::Value;"),
        ("agent/src/run.rs", "fn f() { yaml_serde::to_string(&1); }"),
        ("manifests/src/graph.rs", "use saphyr_parser::Event;"),
        ("coordinator/src/daemon.rs", "use rusqlite::Connection;"),
        // TLS configurations
        ("node/src/transport/x.rs", "fn f() { rustls::ServerConfig::builder(); }"),
        (
            "node/src/transport/x.rs",
            "use rustls::ClientConfig as C; fn f() { ClientConfig::builder_with_provider(p); }",
        ),
        ("node/src/transport/x.rs", "fn f() { quinn::ServerConfig::with_single_cert(a, b); }"),
        // pure code
        ("protocol/src/x.rs", "use std::fs;"),
        ("protocol/src/x.rs", "use std::{fmt, time::{Duration, Instant}};"),
        ("manifests/src/x.rs", "fn f() { std::time::SystemTime::now(); }"),
        ("manifests/src/x.rs", "use std::net::{IpAddr, UdpSocket};"),
        ("protocol/src/x.rs", "use tokio::sync::mpsc;"),
        ("protocol/src/x.rs", "use std::net;"),
        ("protocol/src/x.rs", "use std::{net::{self}, fmt};"),
        ("protocol/src/x.rs", "use std::net::*;"),
        ("node/src/core/step.rs", "use tokio::time::Instant;"),
        ("node/src/operator/up.rs", "fn f() { std::env::var(\"X\"); }"),
        // what runs
        ("agent/src/run.rs", "use std::time::{Duration, Instant};"),
        ("node/src/transport/x.rs", "fn f() { std::thread::sleep(d); }"),
        ("node/src/transport/x.rs", "use std::time::SystemTime; fn f() { SystemTime::now(); }"),
        // all code
        ("agent/src/x.rs", "unsafe fn f() {}"),
        ("tests/tests/x.rs", "fn f() { unsafe { g() } }"),
        ("agent/src/x.rs", concat!("// TO", "DO: later\nfn f() {}")),
        ("agent/src/x.rs", "fn f() { todo!() }"),
        ("agent/src/x.rs", "#[test] #[ignore] fn f() {}"),
    ] {
        let source = Source::parse(path, &format!("//! A file.\n{text}\n")).unwrap();
        assert_eq!(rules::violations(&source).len(), 1, "{path}: {text}: {:?}", rules::violations(&source));
    }
    let long = "\n".repeat(rules::MAX_LINES);
    let root = source::root();
    for (path, text) in [
        ("agent/src/x.rs", "fn f() {}\n".to_owned()),
        ("agent/src/x.rs", "\n//! Too late.\n".to_owned()),
        ("agent/src/x.rs", format!("//! A file.\n{long}")),
        ("agent/src/x.rs", format!("//! A file.\nconst PLACE: &str = \"{}/x\";\n", root.display())),
    ] {
        let source = Source::parse(path, &text).unwrap();
        assert_eq!(rules::violations(&source).len(), 1, "{path}: {:?}", text.get(..40));
    }
}

#[test]
fn a_source_that_keeps_the_rules_is_not_found() {
    for (path, text) in [
        ("node/src/transport/quic.rs", "use quinn::{ClientConfig, Endpoint}; fn f(c: rustls::ServerConfig) {}"),
        ("node/src/tls/server.rs", "fn f() { rustls::ServerConfig::builder_with_provider(p); }"),
        ("protocol/src/codec.rs", "use bincode::config;"),
        (
            "protocol/src/x.rs",
            "// quinn, tokio and std::fs are not known here\nuse std::{fmt, net::IpAddr, time::Duration};",
        ),
        ("protocol/src/x.rs", "const TEXT: &str = \"std::fs unsafe quinn\";"),
        ("manifests/src/yaml/build.rs", "use saphyr_parser::Event;"),
        ("protocol/tests/x.rs", "fn f() { std::fs::read(p); }"),
        ("agent/src/run.rs", "use std::time::Duration; use tokio::time::Instant; fn f() { Instant::now(); }"),
        ("node/src/trust/clock.rs", "use std::time::SystemTime; fn f() { SystemTime::now(); }"),
        ("tests/tests/x.rs", "use quinn::Endpoint; fn f() { rustls::ClientConfig::builder(); }"),
    ] {
        let source = Source::parse(path, &format!("//! A file.\n{text}\n")).unwrap();
        assert_eq!(rules::violations(&source), Vec::<String>::new(), "{path}");
    }
}
