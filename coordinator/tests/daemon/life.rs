//! Coming up, being one, ending.

use std::os::unix::fs::PermissionsExt as _;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::stage::{Stage, until};

#[test]
fn a_daemon_that_a_command_starts_ends_by_itself_and_leaves_no_socket() {
    let stage = Stage::set();
    assert_eq!(stage.json(0, &["status"])["trees"].as_array().map(Vec::len), Some(0));
    let server = stage.json(0, &["server", "status"]);
    assert_eq!((&server["running"], &server["on_demand"]), (&true.into(), &true.into()));
    until("it ends by itself", || (!stage.state().join("coord.pid").exists()).then_some(()));
    assert!(!stage.state().join("coord.sock").exists());
    stage.json(1, &["server", "status"]);
}

#[test]
fn a_daemon_that_was_asked_for_stays_though_a_command_had_started_it() {
    let stage = Stage::set();
    stage.json(0, &["status"]);
    let first = stage.json(0, &["server", "status"])["pid"].clone();
    assert_eq!(stage.coord(&["server", "start"]).status.code(), Some(0));
    let server = stage.json(0, &["server", "status"]);
    assert_eq!((&server["pid"], &server["on_demand"]), (&first, &false.into()));
    assert_eq!(stage.json(0, &["server", "stop"])["stopped"], true);
    assert_eq!(stage.json(0, &["server", "stop"])["stopped"], false);
}

#[test]
fn many_commands_at_once_start_one_daemon() {
    let stage = Stage::set();
    thread::scope(|scope| {
        let commands: Vec<_> = (0..6).map(|_| scope.spawn(|| stage.json(0, &["runs"]))).collect();
        commands.into_iter().for_each(|command| drop(command.join().unwrap()));
    });
    let log = std::fs::read_to_string(stage.state().join("coord.log")).unwrap();
    assert_eq!(log.matches("the daemon is up").count(), 1, "{log}");
}

#[test]
fn a_second_daemon_is_refused_and_the_first_does_not_notice() {
    let stage = Stage::set();
    let mut first = stage.foreground(&[]);
    let second = stage.coord(&["server", "run"]);
    assert_eq!(second.status.code(), Some(4));
    let told = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(told.contains(&first.0.id().to_string()) && told.contains("server stop"), "{told}");
    assert!(first.0.try_wait().unwrap().is_none());
}

#[test]
fn a_signal_ends_it_whoever_still_listens_and_a_kill_leaves_a_folder_that_the_next_one_takes() {
    let stage = Stage::set();
    let mut daemon = stage.foreground(&[]);
    // Somebody who listens for ever, and somebody who says nothing.
    let build = stage.json(0, &["server", "status"])["build"].as_str().unwrap().to_owned();
    let mut watcher = stage.greet(&build);
    watcher.say(r#"{"status":{"manifest":null,"host":null,"watch":true}}"#);
    assert!(watcher.hear()["snapshot"].is_object());
    let silent = stage.greet("another");
    let before = Instant::now();
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.code(), Some(0));
    // It waits for neither: the silent one alone would be given ten seconds.
    assert!(before.elapsed() < Duration::from_secs(8), "{:?}", before.elapsed());
    assert_eq!(silent.hear_out(), "");

    let mut daemon = stage.foreground(&[]);
    daemon.0.kill().unwrap();
    daemon.0.wait().unwrap();
    assert!(stage.state().join("coord.sock").exists());
    let _daemon = stage.foreground(&[]);
    assert_eq!(stage.json(0, &["server", "status"])["healthy"], true);
}

#[test]
fn a_hangup_has_the_site_read_again_and_a_bad_one_leaves_the_last_good_one_in_force() {
    let stage = Stage::set();
    let site = stage.folder().join("site");
    std::fs::create_dir(&site).unwrap();
    let write = |text: &str| std::fs::write(site.join("site.yaml"), text).unwrap();
    write("defaults: {domain: quay.example}\n");
    let daemon = stage.foreground(&["--site", site.to_str().unwrap()]);
    // This command alone looks at no file.
    let problems = || {
        let server = stage.json(0, &["server", "status", "--site", site.to_str().unwrap()]);
        server["problems"].as_array().unwrap().clone()
    };
    assert!(problems().is_empty());
    write("defaults: {gateway: 999.1.1.1}\n");
    assert!(problems().is_empty(), "nobody has said that there is something new");
    daemon.signal(Signal::HUP);
    until("the daemon tells of the bad site", || {
        let told = problems();
        told.iter().any(|told| told.as_str().is_some_and(|told| told.contains("stays in force"))).then_some(())
    });
    write("defaults: {gateway: 192.0.2.1}\n");
    daemon.signal(Signal::HUP);
    until("the mended site is in force", || problems().is_empty().then_some(()));
}

#[test]
fn a_daemon_whose_state_folder_is_gone_ends_and_its_agent_too() {
    let stage = Stage::set();
    let mut daemon = stage.foreground(&[]);
    let elsewhere = stage.folder().join("elsewhere");
    std::fs::rename(stage.state(), &elsewhere).unwrap();
    assert_eq!(daemon.code(), Some(0));
    until("nobody holds the agent's folder", || {
        // Where no agent lies beside the program, there is no such file.
        let lock = std::fs::File::options().write(true).open(elsewhere.join("agents/local/lock"));
        let Ok(lock) = lock else { return Some(()) };
        rustix::fs::flock(lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).ok()
    });
}

#[test]
fn a_state_folder_may_have_a_path_that_is_too_long_for_a_socket() {
    let stage = Stage::named(&format!("{}/{}", "d".repeat(100), "e".repeat(100)));
    stage.json(0, &["status"]);
    let mode = std::fs::metadata(stage.state().join("coord.sock")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_daemon_that_cannot_start_says_why_where_it_was_asked_for() {
    let stage = Stage::set();
    let told = |arguments: &[&str], variable: (&str, &str)| {
        let output = stage.command(arguments).env(variable.0, variable.1).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, text) = told(&["status"], ("HOMESTAK_LIMITS", "boot=soon"));
    assert!(code == Some(2) && text.contains("boot") || text.contains("soon"), "{code:?} {text}");
    let taken = std::net::TcpListener::bind("[::]:0").or_else(|_| std::net::TcpListener::bind("0.0.0.0:0")).unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let (code, text) = told(&["status"], ("HOMESTAK_PORT", &port));
    assert!(code == Some(4) && text.contains(&port) && text.contains("--port"), "{code:?} {text}");
    std::fs::create_dir_all(stage.state().join("coord")).unwrap();
    std::fs::write(stage.state().join("coord/store.db"), vec![b'x'; 4096]).unwrap();
    let (code, text) = told(&["status"], ("LANG", "C"));
    assert!(code == Some(1) && text.contains("damaged") && text.contains("restore"), "{code:?} {text}");
}

#[test]
fn a_site_that_another_daemon_of_the_folder_does_not_serve_is_refused() {
    let stage = Stage::set();
    let _daemon = stage.foreground(&[]);
    let other = stage.folder().join("site");
    std::fs::create_dir(&other).unwrap();
    let output = stage.coord(&["status", "--site", other.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(3));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("demo") && told.contains("--state-dir"), "{told}");
}
