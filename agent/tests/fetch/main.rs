//! `config fetch` as users and scripts meet it: the real binary, its words, its exit codes and what it leaves in the state
//! folder, against an endpoint that does what the test wants.

#![expect(clippy::unwrap_used, clippy::panic, reason = "what goes wrong here fails the test")]

mod endpoint;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use homestak_protocol::fault::Code;
use homestak_protocol::token::{Claims, SigningKey, mint};
use serde_json::{Value, json};

use self::endpoint::{Deed, Endpoint};

/// Every attempt comes at once.
const AT_ONCE: &str = "0";

fn token() -> String {
    let key = SigningKey::parse_hex(&"5f".repeat(32)).unwrap();
    mint(&key, &Claims::new("edge", "base", 1_738_800_000)).unwrap()
}

fn spec(package: &str) -> String {
    json!({ "schema_version": 1, "identity": { "hostname": "edge" }, "platform": { "packages": [package] } })
        .to_string()
}

/// A machine that fetches.
struct Machine {
    folder: tempfile::TempDir,
    env: Vec<(&'static str, String)>,
}

/// What came of it.
struct Ended {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Ended {
    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}\n{}", self.stdout, self.stderr))
    }
}

impl Machine {
    fn told_of(endpoint: &Endpoint) -> Self {
        Self::told(format!("https://{}", endpoint.address), endpoint.pin.to_string())
    }

    fn told(server: String, pin: String) -> Self {
        let env = vec![("HOMESTAK_SERVER", server), ("HOMESTAK_CA", pin), ("HOMESTAK_TOKEN", token())];
        Self { folder: tempfile::tempdir().unwrap(), env }
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    fn fetches(&self, scale: &str, more: &[&str]) -> Ended {
        let mut command = Command::new(env!("CARGO_BIN_EXE_homestak-agent"));
        command.args(["config", "fetch"]).args(more).env_clear().stdin(Stdio::null());
        command.env("HOME", "/nonexistent").env("HOMESTAK_STATE_DIR", self.state()).env("HOMESTAK_NAME", "edge");
        command.env("HOMESTAK_FETCH_SCALE", scale).envs(self.env.iter().map(|(name, value)| (name, value)));
        let Output { status, stdout, stderr } = command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ended { code: status.code().unwrap(), stdout: text(stdout), stderr: text(stderr) }
    }

    fn read(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.state().join(name)).ok()
    }

    fn marker(&self) -> Option<Value> {
        self.read("config-failed.json").map(|text| serde_json::from_str(&text).unwrap())
    }
}

#[test]
fn what_passes_is_tried_again_after_longer_and_longer_waits() {
    let endpoint = Endpoint::open();
    let machine = Machine::told_of(&endpoint);
    let refusals = [Deed::Refuse(Code::Internal), Deed::Refuse(Code::TooMany)];
    endpoint.does([Deed::HangUp, Deed::Rubbish].into_iter().chain(refusals).chain([Deed::Spec(spec("htop"))]));
    let begun = Instant::now();
    let ended = machine.fetches("0.01", &["--json"]);
    // A hundredth of 0, 10, 20, 40 and 80 seconds.
    assert!(begun.elapsed() >= Duration::from_millis(1500), "{:?}", begun.elapsed());
    let expected = json!({
        "success": true, "spec": "base", "server": format!("https://{}", endpoint.address), "attempts": 5,
        "file": machine.state().join("spec.yaml"),
    });
    assert_eq!((ended.code, ended.json()), (0, expected), "{}", ended.stderr);
    assert_eq!(endpoint.asked(), vec![("edge".to_owned(), token()); 3], "two of five had no TLS");
    assert!(machine.read("spec.yaml").unwrap().contains("- htop"));
    let mode = |name: &str| fs::metadata(machine.state().join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!([mode("spec.yaml"), mode("config.log"), mode("")], [0o600, 0o600, 0o700]);
    let log = machine.read("config.log").unwrap();
    let attempts: Vec<bool> =
        log.lines().enumerate().map(|(n, line)| line.contains(&format!("attempt {}: ", n + 1))).collect();
    assert_eq!((attempts, log.contains(&token())), (vec![true; 5], false), "{log}");
    assert_eq!(machine.marker(), None);
}

#[test]
fn what_never_passes_leaves_word_and_the_spec_that_was_there() {
    let endpoint = Endpoint::open();
    let machine = Machine::told_of(&endpoint);
    endpoint.does([Deed::Spec(spec("htop"))]);
    assert_eq!(machine.fetches(AT_ONCE, &[]).code, 0);
    let before = machine.read("spec.yaml").unwrap();

    endpoint.does(vec![Deed::Refuse(Code::Internal); 6]);
    let ended = machine.fetches(AT_ONCE, &["--json"]);
    let error = &ended.json()["error"];
    assert_eq!((ended.code, &error["code"], endpoint.left()), (1, &json!("E500"), 1), "{}", ended.stderr);
    assert!(error["hint"].as_str().is_some_and(|hint| hint.contains("log")), "{error}");
    let mut marker = machine.marker().unwrap();
    let [first, last] =
        ["first_attempt", "last_attempt"].map(|key| humantime::parse_rfc3339(marker[key].as_str().unwrap()).unwrap());
    assert!(first <= last);
    (marker["first_attempt"], marker["last_attempt"]) = (Value::Null, Value::Null);
    let expected = json!({
        "error": "fetch", "code": "E500", "message": error["message"], "node": "edge", "spec": "base",
        "server": format!("https://{}", endpoint.address), "attempts": 5, "first_attempt": null, "last_attempt": null,
        "log": machine.state().join("config.log"),
    });
    assert_eq!(marker, expected);
    assert_eq!((machine.read("spec.yaml"), machine.read("spec.yaml.prev")), (Some(before.clone()), None));

    // The next one that succeeds takes the word back, and keeps the spec before it.
    endpoint.does([Deed::Spec(spec("tree"))]);
    assert_eq!(machine.fetches(AT_ONCE, &[]).code, 0);
    assert_eq!((machine.marker(), machine.read("spec.yaml.prev")), (None, Some(before)));
    assert!(machine.read("spec.yaml").unwrap().contains("- tree"));
    // The same again is no other one.
    let kept = machine.read("spec.yaml.prev");
    endpoint.does([Deed::Spec(spec("tree"))]);
    assert_eq!((machine.fetches(AT_ONCE, &[]).code, machine.read("spec.yaml.prev")), (0, kept));
}

#[test]
fn a_refusal_is_not_tried_again() {
    let endpoint = Endpoint::open();
    let machine = Machine::told_of(&endpoint);
    for code in [
        Code::UnknownEndpoint,
        Code::NotFound,
        Code::PostureNotFound,
        Code::KeyNotFound,
        Code::TokenMalformed,
        Code::TokenRefused,
        Code::TokenSpent,
        Code::SpecInvalid,
    ] {
        endpoint.does(vec![Deed::Refuse(code); 2]);
        let ended = machine.fetches(AT_ONCE, &["--json"]);
        let (error, marker) = (&ended.json()["error"], machine.marker().unwrap());
        assert_eq!((ended.code, &error["code"]), (3, &json!(code.as_str())), "{}", ended.stderr);
        assert_eq!((&marker["code"], &marker["attempts"], endpoint.left()), (&error["code"], &json!(1), 1), "{marker}");
        assert!(error["hint"].as_str().is_some_and(|hint| !hint.is_empty()), "{error}");
    }
    // What it gives must be a spec.
    for nothing in [
        "<html>",
        "{}",
        r#"{"schema_version": 2}"#,
        r#"{"schema_version": 1, "access": {"users": [{"name": "../x"}]}}"#,
    ] {
        endpoint.does([Deed::Spec(nothing.to_owned())]);
        let ended = machine.fetches(AT_ONCE, &["--json"]);
        assert_eq!((ended.code, &ended.json()["error"]["code"]), (3, &json!("E400")), "{nothing}");
        assert_eq!(machine.read("spec.yaml"), None);
    }
    let ended = Machine { env: [&machine.env[..2], &[("HOMESTAK_TOKEN", "unreadable".into())]].concat(), ..machine };
    endpoint.does([Deed::Refuse(Code::TokenMalformed)]);
    assert_eq!(ended.fetches(AT_ONCE, &[]).code, 3);
    assert_eq!(ended.marker().unwrap()["spec"], Value::Null);
}

#[test]
fn one_that_cannot_be_reached_is_told_from_one_that_fails() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let machine = Machine::told(format!("https://{nobody}"), format!("sha256:{}", "ab".repeat(32)));
    let ended = machine.fetches(AT_ONCE, &["--json"]);
    let (error, marker) = (&ended.json()["error"], machine.marker().unwrap());
    assert_eq!((ended.code, &error["code"], &marker["attempts"]), (4, &json!("E501"), &json!(5)), "{}", ended.stderr);
    assert!(error["message"].as_str().is_some_and(|said| said.contains("refused")), "{error}");
    // For people the same, on stderr.
    let ended = machine.fetches(AT_ONCE, &[]);
    assert_eq!((ended.code, ended.stdout.as_str()), (4, ""));
    assert!(ended.stderr.contains("error[E501]: ") && ended.stderr.contains("\nhint: "), "{}", ended.stderr);

    // One of several that answers is enough.
    let endpoint = Endpoint::open();
    endpoint.does([Deed::Silence, Deed::Spec(spec("htop"))]);
    let address = endpoint.address;
    let machine = Machine::told(format!("https://{nobody},https://{address},{address}"), endpoint.pin.to_string());
    let ended = machine.fetches(AT_ONCE, &["--json"]);
    assert_eq!((ended.code, &ended.json()["attempts"]), (0, &json!(1)), "{}", ended.stderr);
    assert!(machine.read("config.log").unwrap().contains("no connection in time"));
}

#[test]
fn the_token_goes_to_the_server_with_the_pin_and_to_nobody_else() {
    let (endpoint, other) = (Endpoint::open(), Endpoint::open());
    let machine = Machine::told(format!("https://{}", endpoint.address), other.pin.to_string());
    endpoint.does(vec![Deed::Spec(spec("htop")); 5]);
    let ended = machine.fetches(AT_ONCE, &["--json"]);
    let error = &ended.json()["error"];
    let said = |key: &str| error[key].as_str().unwrap_or_default().to_owned();
    assert_eq!((ended.code, said("code").as_str(), endpoint.asked()), (4, "E501", Vec::new()), "{error:#}");
    let pins = format!("the parent's CA is {}, expected {}", endpoint.pin, other.pin);
    assert_eq!(said("message"), format!("{} cannot be reached: {pins}", endpoint.address));
    assert!(said("hint").contains("HOMESTAK_CA"), "{error:#}");
    assert_eq!((machine.marker().unwrap()["attempts"].as_u64(), machine.read("spec.yaml")), (Some(5), None));
    // As a flag, it goes before the environment.
    let ended = machine.fetches(AT_ONCE, &["--json", "--ca", &endpoint.pin.to_string()]);
    assert_eq!((ended.code, endpoint.asked().len()), (0, 1), "{}", ended.stderr);
}

#[test]
fn whoever_is_trusted_unseen_is_warned_of() {
    let endpoint = Endpoint::open();
    let mut machine = Machine::told_of(&endpoint);
    endpoint.does(vec![Deed::Spec(spec("htop")); 2]);
    machine.env.retain(|(name, _)| *name != "HOMESTAK_CA");
    let ended = machine.fetches(AT_ONCE, &["--json"]);
    assert_eq!((ended.code, &ended.json()["error"]["code"], endpoint.asked()), (3, &json!("E900"), Vec::new()));
    for more in [&["--insecure", "--json"][..], &["--insecure"]] {
        let ended = machine.fetches(AT_ONCE, more);
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        assert!(
            ended.stderr.contains("warning: --insecure: whoever answers gets this machine's token"),
            "{}",
            ended.stderr
        );
        let is_told =
            if more.contains(&"--json") { ended.json()["success"] == true } else { ended.stdout.contains("spec.yaml") };
        assert!(is_told, "{}", ended.stdout);
    }
    // Without a token there is nothing to show.
    machine.env.retain(|(name, _)| *name != "HOMESTAK_TOKEN");
    let ended = machine.fetches(AT_ONCE, &["--insecure", "--json"]);
    assert_eq!((ended.code, &ended.json()["error"]["message"]), (3, &json!("there is no token")));
}
