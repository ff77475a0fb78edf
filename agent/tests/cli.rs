//! The command line as users and scripts meet it: the real binary, its words and its exit codes.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "what unwraps wrongly here fails the test")]

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// How long anything may take before a test gives up on it.
const DEADLINE: Duration = Duration::from_secs(60);
const PIN: &str = "sha256:abababababababababababababababababababababababababababababababab";

fn agent(state: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_homestak-agent"));
    command
        .args(arguments)
        .env_clear()
        .env("HOME", "/nonexistent")
        .env("HOMESTAK_STATE_DIR", state)
        .stdin(Stdio::null());
    command
}

fn output(mut command: Command) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().expect("it was not killed"), text(stdout), text(stderr))
}

/// Runs an agent whose parent does not answer, until it is asked to end.
struct Running(Child);

impl Running {
    fn start(state: &Path) -> Self {
        let mut command = agent(state, &["run", "--quiet"]);
        command.env("HOMESTAK_SERVER", "https://127.0.0.1:9").env("HOMESTAK_CA", PIN).env("HOMESTAK_TOKEN", "t.t");
        let running = Self(command.spawn().unwrap());
        wait_for(|| state.join("agent.sock").exists());
        running
    }

    fn end(mut self) -> Option<i32> {
        kill_process(Pid::from_child(&self.0), Signal::TERM).unwrap();
        self.0.wait().unwrap().code()
    }
}

fn wait_for(mut come_about: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !come_about() {
        assert!(begun.elapsed() < DEADLINE, "never came about");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn help_says_what_there_is() {
    let state = tempfile::tempdir().unwrap();
    let (code, help, err) = output(agent(state.path(), &["--help"]));
    assert_eq!((code, err.as_str()), (0, ""));
    insta::assert_snapshot!("help", help);
    let (code, version, _) = output(agent(state.path(), &["--version"]));
    assert_eq!((code, version), (0, format!("homestak-agent {}\n", env!("CARGO_PKG_VERSION"))));
    let (code, script, _) = output(agent(state.path(), &["completions", "bash"]));
    assert!(code == 0 && script.contains("homestak-agent"));
}

#[test]
fn every_error_has_its_code_a_remedy_and_one_document_if_asked() {
    let top = tempfile::tempdir().unwrap();
    let state = top.path().join("state");
    let missing_pin = agent(&state, &["run"]);
    let mut no_parent = agent(&state, &["run"]);
    no_parent.env("HOMESTAK_CA", PIN);
    let mut no_token = agent(&state, &["enrol"]);
    no_token.env("HOMESTAK_CA", PIN).env("HOMESTAK_SERVER", "127.0.0.1:9");
    let mut bad_port = agent(&state, &["run"]);
    bad_port.env("HOMESTAK_PORT", "many");
    let mut bad_faults = agent(&state, &["run"]);
    bad_faults.env("HOMESTAK_LOCAL_FAULTS", "edge:boot:explode");
    let cases = [
        ("missing_pin", 3, missing_pin),
        ("no_parent", 3, no_parent),
        ("no_token", 3, no_token),
        ("bad_port", 2, bad_port),
        ("bad_faults", 2, bad_faults),
        ("not_running", 4, agent(&state, &["status"])),
        ("no_file", 3, agent(&state, &["facts", "--config", "/nowhere/agent.yaml"])),
        ("usage", 2, agent(&state, &["frobnicate"])),
    ];
    for (name, expected, mut command) in cases {
        command.arg("--json-output");
        let (code, out, err) = output(command);
        assert_eq!(code, expected, "{name}: {err}");
        let document: Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{name}: {error}: {out}"));
        assert!(document["error"]["code"].as_str().is_some_and(|code| code.starts_with('E')), "{name}: {out}");
        assert!(!document["error"]["hint"].as_str().unwrap().is_empty(), "{name}");
        let err = err.replace(&state.display().to_string(), "/state");
        insta::assert_snapshot!(name, err);
    }
}

#[test]
fn a_parent_that_does_not_answer_is_one_that_cannot_be_reached() {
    let state = tempfile::tempdir().unwrap();
    let mut command = agent(state.path(), &["enrol", "--json"]);
    command.env("HOMESTAK_SERVER", "https://127.0.0.1:9").env("HOMESTAK_CA", PIN).env("HOMESTAK_TOKEN", "hunter2.t");
    let (code, out, err) = output(command);
    assert_eq!(code, 4, "{err}");
    assert!(!out.contains("hunter2") && !err.contains("hunter2"));
}

#[test]
fn a_running_agent_says_how_it_stands_and_has_its_state_folder_for_itself() {
    let top = tempfile::tempdir().unwrap();
    let state = top.path().join("state-".to_owned() + &"x".repeat(150));
    let running = Running::start(&state);
    let (code, out, err) = output(agent(&state, &["status", "--json"]));
    assert_eq!(code, 0, "{err}");
    let document: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (&document["connected"], &document["path"], &document["parent"]),
        (&false.into(), &Value::Null, &Value::Null)
    );
    assert_eq!(document["version"], env!("CARGO_PKG_VERSION"));
    assert!(document["since"].is_string() && document["trees"].as_array().unwrap().is_empty());
    let (code, out, _) = output(agent(&state, &["status"]));
    assert!(code == 0 && out.contains("not enrolled yet"), "{out}");

    let mut second = agent(&state, &["run"]);
    second.env("HOMESTAK_SERVER", "https://127.0.0.1:9").env("HOMESTAK_CA", PIN).env("HOMESTAK_TOKEN", "t.t");
    let (code, _, err) = output(second);
    assert_eq!(code, 4, "{err}");
    assert!(err.contains("in use by process"), "{err}");

    assert_eq!(running.end(), Some(0));
    assert_eq!(output(agent(&state, &["status"])).0, 4);
    let kept: Vec<String> =
        fs::read_dir(&state).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(kept.contains(&"identity".to_owned()), "{kept:?}");
}

#[test]
fn an_agent_whose_state_folder_is_gone_ends() {
    let top = tempfile::tempdir().unwrap();
    let state = top.path().join("state");
    let mut running = Running::start(&state);
    fs::remove_dir_all(&state).unwrap();
    wait_for(|| running.0.try_wait().unwrap().is_some());
}

#[test]
fn facts_are_data_on_stdout() {
    let state = tempfile::tempdir().unwrap();
    let (code, out, err) = output(agent(state.path(), &["facts", "--json"]));
    assert_eq!((code, err.as_str()), (0, ""));
    let facts: Value = serde_json::from_str(&out).unwrap();
    assert!(facts["cpu"].as_u64().unwrap() >= 1 && facts["memory"].as_u64().unwrap() > 0, "{out}");
    let (code, out, _) = output(agent(state.path(), &["facts"]));
    assert!(code == 0 && out.lines().any(|line| line.starts_with("kernel ")), "{out}");
}

#[test]
fn a_folder_that_stands_for_a_machine_is_made_by_apply_and_by_nothing_else() {
    let top = tempfile::tempdir().unwrap();
    let (spec, root) = (top.path().join("base.yaml"), top.path().join("new/root"));
    fs::write(&spec, "schema_version: 1\nnetwork: {ip: 192.0.2.7, gateway: 192.0.2.1}\n").unwrap();
    let config = |deed: &[&str]| {
        let mut command = agent(&top.path().join("state"), &[&["config"][..], deed, &["--json"]].concat());
        command.arg("--spec").arg(&spec).arg("--root").arg(&root);
        let (code, out, err) = output(command);
        (code, serde_json::from_str::<Value>(&out).expect(&err))
    };
    for deed in [&["check"][..], &["apply", "--dry-run"]] {
        let (code, document) = config(deed);
        assert_eq!((code, document["error"]["code"].as_str()), (2, Some("E900")), "{document:#}");
        assert!(!root.exists());
    }
    let (code, document) = config(&["apply"]);
    assert_eq!((code, &document["simulated"], &document["error"]), (0, &true.into(), &Value::Null), "{document:#}");
    let network = fs::read_to_string(root.join("etc/systemd/network/05-homestak.network")).unwrap();
    assert!(network.contains("\nAddress=192.0.2.7/24\nGateway=192.0.2.1\n"), "{network}");
    let (code, document) = config(&["check", "--detailed-exitcode"]);
    assert_eq!((code, &document["differences"]), (0, &0.into()), "{document:#}");
    // A spec that makes no sense makes nothing.
    fs::write(&spec, "schema_version: 1\nnetwork: {ip: 192.0.2.7, gateway: 198.51.100.1}\n").unwrap();
    fs::remove_dir_all(&root).unwrap();
    let (code, document) = config(&["apply"]);
    assert_eq!((code, document["error"]["code"].as_str(), root.exists()), (1, Some("E400"), false), "{document:#}");
}
