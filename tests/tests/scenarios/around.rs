//! The world around: others that do the same, an ordinary user, a full disk, a pipe that nobody reads, a narrow terminal.

use std::fs;
use std::io::Read as _;
use std::process::Stdio;
use std::thread;

use homestak_tests::binaries::binaries;
use homestak_tests::command::start;
use homestak_tests::disk::SmallDisk;
use homestak_tests::document::{all, is_contiguous};
use homestak_tests::needs;
use homestak_tests::stage::Stage;
use homestak_tests::wait;

#[test]
fn two_state_folders_never_meet() {
    let stages = [Stage::set("here"), Stage::set("there")];
    thread::scope(|scope| {
        for stage in &stages {
            scope.spawn(|| all(&stage.json(0, &["apply", "n2-tiered"]), "action", "created"));
        }
    });
    let [here, there] = stages;
    let before = there.machines();
    assert_eq!((here.machines().len(), before.len()), (2, 2));
    here.json(0, &["destroy", "n2-tiered", "--yes"]);
    here.strike();
    assert_eq!(there.machines(), before);
    all(&there.json(0, &["apply", "n2-tiered"]), "action", "unchanged");
    there.strike();
}

#[test]
fn two_commands_at_once_start_one_daemon() {
    let stage = Stage::set("race");
    thread::scope(|scope| {
        for manifest in ["n1-push", "n1-pull", "flat-3", "n2-tiered"] {
            let stage = &stage;
            scope.spawn(move || all(&stage.json(0, &["apply", manifest]), "action", "created"));
        }
    });
    let daemons = stage.processes().into_iter().filter(|process| process.has("server")).count();
    assert_eq!((daemons, stage.machines().len()), (1, 7));
    is_contiguous(&stage);
    stage.strike();
}

#[test]
fn an_ordinary_user_needs_nothing_more() {
    let mut stage = Stage::set("nobody");
    if rustix::process::geteuid().is_root() {
        if !needs::program("an_ordinary_user_needs_nothing_more", "setpriv") {
            return;
        }
        stage.give_to_nobody();
    }
    // Where an ordinary user's state is, if nobody says otherwise.
    stage.unset("HOMESTAK_STATE_DIR").env("HOMESTAK_PORT", "0");
    all(&stage.json(0, &["apply", "n2-tiered"]), "status", "completed");
    let state = stage.folder().join("home/.local/state/homestak");
    assert_eq!(homestak_tests::machine::below(&state).len(), 2);
    all(&stage.json(0, &["apply", "n2-tiered"]), "action", "unchanged");
    all(&stage.json(0, &["destroy", "n2-tiered", "--yes"]), "status", "destroyed");
    stage.is_empty_soon();
}

#[test]
fn a_full_disk_loses_nothing_and_work_goes_on_when_there_is_room_again() {
    let name = "a_full_disk_loses_nothing_and_work_goes_on_when_there_is_room_again";
    if !needs::root(name) {
        return;
    }
    let stage = Stage::set("full");
    let disk = SmallDisk::at(&stage.state(), 12);
    if !needs::have(name, "a tmpfs that may be mounted", disk.is_some()) {
        return;
    }
    let disk = disk.unwrap();
    stage.json(0, &["apply", "n2-tiered"]);
    let before = stage.machines();
    disk.fill();
    let run = stage.start(&["apply", "flat-3", "--json"]);
    let said = wait::until("somebody says that the disk is full", || {
        let mut logs = String::new();
        for log in
            homestak_tests::machine::files_below(&stage.state()).iter().filter(|f| f.to_string_lossy().ends_with("log"))
        {
            let _ = fs::File::open(log).and_then(|mut log| log.read_to_string(&mut logs));
        }
        let full =
            |text: &str| text.contains("No space left") || text.contains("disk is full") || text.contains("full");
        full(&logs).then_some(logs)
    });
    assert!(!said.contains("panicked"), "{said}");
    disk.empty();
    let outcome = run.finish(wait::PATIENCE);
    assert!([0, 1, 3, 4].contains(&outcome.code), "{outcome}");
    assert!(outcome.code == 0 || !outcome.json()["error"].is_null(), "{outcome}");
    all(&stage.json(0, &["apply", "flat-3"]), "status", "completed");
    all(&stage.json(0, &["apply", "n2-tiered"]), "action", "unchanged");
    let kept: Vec<_> = stage.machines().into_iter().filter(|machine| before.contains(machine)).collect();
    assert_eq!(kept, before);
    is_contiguous(&stage);
    stage.json(0, &["destroy", "flat-3", "--yes"]);
    stage.json(0, &["destroy", "n2-tiered", "--yes"]);
    stage.coord(&["server", "stop"]);
    stage.is_empty_soon();
    drop(disk);
}

#[test]
fn output_into_a_pipe_that_nobody_reads_is_no_reason_to_panic_or_to_stop() {
    let stage = Stage::set("pipe");
    for arguments in
        [["manifests", "list"].as_slice(), &["--help"], &["apply", "n1-push", "--json"], &["status", "--json"]]
    {
        let mut command = stage.command(stage.program(&binaries().coord));
        let child = command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = child.unwrap();
        drop(child.stdout.take());
        let mut complaints = String::new();
        child.stderr.take().unwrap().read_to_string(&mut complaints).unwrap();
        child.wait().unwrap();
        assert!(!complaints.contains("panicked") && !complaints.contains("backtrace"), "{arguments:?}: {complaints}");
    }
    wait::until("the run is over, whoever listens", || {
        let runs = stage.json(0, &["runs"]);
        (runs["runs"][0]["state"] == "succeeded").then_some(())
    });
    stage.strike();
}

#[test]
fn a_terminal_of_80_columns_shows_every_node_on_a_line_of_its_own() {
    if !needs::program("a_terminal_of_80_columns_shows_every_node_on_a_line_of_its_own", "script") {
        return;
    }
    let mut stage = Stage::set("terminal");
    stage.env("TERM", "xterm-256color").env("SHELL", "/bin/sh");
    stage.env("HOMESTAK_LOCAL_FAULTS", "root-pve:configure:delay=700");
    let coord = stage.program(&binaries().coord);
    let on_terminal = |arguments: &str| {
        let line = format!("stty cols 80 rows 24; exec '{}' {arguments}", coord.display());
        let outcome = start(stage.command("script").args(["-qec", &line, "/dev/null"])).finish(wait::PATIENCE);
        assert_eq!(outcome.code, 0, "{outcome}");
        outcome.stdout
    };
    for arguments in
        ["apply n3-deep", "status", "status n3-deep", "agents", "runs", "manifests list", "destroy n3-deep --yes"]
    {
        let shown = on_terminal(arguments);
        for line in shown.split(['\n', '\r']) {
            let width = visible(line).chars().count();
            assert!(width <= 80, "{arguments}: {width} columns: {line:?}");
        }
        if arguments.contains("n3-deep") {
            for node in ["root-pve", "leaf-pve", "edge"] {
                assert!(shown.contains(node), "{arguments}: {shown}");
            }
        }
    }
    stage.env("NO_COLOR", "1");
    let line = format!("stty cols 80 rows 24; exec '{}' manifests list", coord.display());
    let plain = start(stage.command("script").args(["-qec", &line, "/dev/null"])).finish(wait::PATIENCE);
    assert!(!plain.stdout.contains("\u{1b}[3"), "no colours where they are not wanted: {plain}");
    stage.strike();
}

/// A line as it is seen: without control sequences (ECMA-48).
fn visible(line: &str) -> String {
    let mut seen = String::new();
    let mut rest = line.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\u{1b}' if rest.peek() == Some(&'[') => {
                rest.next();
                while rest.next().is_some_and(|c| !('@'..='~').contains(&c)) {}
            }
            '\u{1b}' if rest.peek() == Some(&']') => while rest.next().is_some_and(|c| c != '\u{7}') {},
            c if c.is_control() => {}
            c => seen.push(c),
        }
    }
    seen
}
