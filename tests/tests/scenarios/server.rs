//! The daemon as a service: the certificate that it shows, a manager that waits for its word, and one that has frozen.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use homestak_tests::stage::Stage;
use homestak_tests::{needs, wait};
use rustix::process::Signal;
use serde_json::Value;

/// A certificate for a made-up name, signed by itself, and its key.
fn certificate(stage: &Stage, name: &str) -> (PathBuf, PathBuf) {
    let (cert, key) = (stage.folder().join(format!("{name}.pem")), stage.folder().join(format!("{name}.key")));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"])
        .args(["-subj", "/CN=coord.example", "-addext", "subjectAltName=DNS:coord.example", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&cert)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    (cert, key)
}

/// Whether a client that trusts nothing but this certificate gets an answer under this name.
fn trusts(port: u64, name: &str, cert: &Path) -> bool {
    let resolve = format!("{name}:{port}:127.0.0.1");
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--fail", "--max-time", "30", "--resolve", &resolve, "--cacert"]).arg(cert);
    curl.arg(format!("https://{name}:{port}/health")).output().unwrap().status.success()
}

#[test]
fn a_certificate_of_ones_own_is_shown_to_people_and_read_again_on_a_hangup() {
    let test = "a_certificate_of_ones_own_is_shown_to_people_and_read_again_on_a_hangup";
    if !needs::program(test, "curl") || !needs::program(test, "openssl") {
        return;
    }
    let stage = Stage::set("own-certificate");
    let (cert, key) = certificate(&stage, "served");
    let first = fs::read(&cert).unwrap();
    let served = ["--cert", cert.to_str().unwrap(), "--key", key.to_str().unwrap()];
    // Half of a pair, and files that are none, are told before anything runs.
    stage.coord(&["server", "start", "--cert", served[1]]).exits(2).says("--key");
    let swapped = ["server", "start", "--cert", key.to_str().unwrap(), "--key", key.to_str().unwrap()];
    stage.coord(&swapped).exits(3).says("--cert names a certificate");
    let started = stage.json(0, &[&["server", "start"], &served[..]].concat());
    let port = started["port"].as_u64().unwrap();
    let shown = |server: &Value| server["fingerprint"].as_str().unwrap().to_owned();
    let before = shown(&started);
    let digest = Command::new("openssl").args(["x509", "-noout", "-fingerprint", "-sha256", "-in", served[1]]).output();
    let digest = String::from_utf8(digest.unwrap().stdout).unwrap().trim().replace(':', "").to_lowercase();
    assert_eq!(before.trim_start_matches("sha256:"), digest.rsplit_once('=').unwrap().1);
    assert!(trusts(port, "coord.example", &cert));
    // Machines ask for the hub, and are shown its own.
    assert!(!trusts(port, "hub.homestak.internal", &cert));

    let (next, next_key) = certificate(&stage, "next");
    fs::copy(&next, &cert).unwrap();
    let daemon = stage.daemon().unwrap();
    // The certificate is there and its key is not yet: what was in force stays so, and the daemon says it.
    daemon.signal(Signal::HUP);
    wait::until("it says what is wrong", || {
        let problems = stage.coord(&["server", "status", "--json"]).json()["problems"].to_string();
        problems.contains("certificate").then_some(())
    });
    let old = stage.file("old.pem", &first);
    assert!(trusts(port, "coord.example", &old));
    fs::copy(&next_key, &key).unwrap();
    daemon.signal(Signal::HUP);
    wait::until("the next one is shown", || trusts(port, "coord.example", &next).then_some(()));
    assert!(!trusts(port, "coord.example", &old));
    let after = stage.json(0, &["server", "status"]);
    assert_ne!(shown(&after), before);
    assert_eq!(after["pid"].as_i64(), Some(daemon.pid.into()));
    stage.strike();
}

#[test]
fn a_daemon_that_has_frozen_is_unhealthy_and_is_replaced_or_ended() {
    let stage = Stage::set("frozen");
    stage.coord(&["server", "start"]).exits(0);
    let daemon = stage.daemon().unwrap();
    daemon.signal(Signal::STOP);
    let begun = Instant::now();
    let status = stage.json(2, &["server", "status"]);
    assert_eq!((&status["running"], &status["healthy"]), (&true.into(), &false.into()), "{status:#}");
    // Another takes its place, and never stands beside it.
    stage.coord(&["server", "start"]).exits(0).says("it is killed");
    assert!(!daemon.is_alive());
    let other = stage.daemon().unwrap();
    assert_eq!(stage.json(0, &["server", "status"])["pid"].as_i64(), Some(other.pid.into()));
    other.signal(Signal::STOP);
    let stopped = stage.json(0, &["server", "stop"]);
    assert_eq!(stopped["stopped"], true);
    assert!(!other.is_alive(), "it had to be killed");
    // Each of them gives up on it by itself.
    assert!(begun.elapsed() < Duration::from_secs(80), "{:?}", begun.elapsed());
    stage.json(1, &["server", "status"]);
    stage.coord(&["server", "start"]).exits(0);
    stage.strike();
}

/// What a service manager hears.
struct Manager(UnixDatagram);

impl Manager {
    fn hears(&self, word: &str) {
        let mut buffer = [0; 256];
        loop {
            let length = self.0.recv(&mut buffer).unwrap_or_else(|error| panic!("{word} is not said: {error}"));
            let said = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if said.lines().any(|line| line == word) {
                return;
            }
        }
    }
}

#[test]
fn a_service_manager_hears_that_it_is_ready_alive_reloading_and_ending() {
    let mut stage = Stage::set("managed");
    let socket = stage.folder().join("notify");
    let manager = Manager(UnixDatagram::bind(&socket).unwrap());
    manager.0.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stage.env("NOTIFY_SOCKET", &socket).env("WATCHDOG_USEC", "500000");
    let running = stage.start(&["server", "run"]);
    manager.hears("READY=1");
    // Whoever is told that it is ready finds it so.
    stage.unset("NOTIFY_SOCKET").unset("WATCHDOG_USEC");
    assert_eq!(stage.json(0, &["server", "status"])["healthy"], true);
    manager.hears("WATCHDOG=1");
    let daemon = stage.daemon().unwrap();
    daemon.signal(Signal::HUP);
    manager.hears("RELOADING=1");
    manager.hears("READY=1");
    daemon.signal(Signal::TERM);
    manager.hears("STOPPING=1");
    running.finish(Duration::from_secs(30)).exits(0);
    stage.is_empty_soon();
}
