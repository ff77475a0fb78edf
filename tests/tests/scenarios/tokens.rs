//! Provisioning tokens at work: for whom they count, until when, and how often.

use std::fs;

use homestak_protocol::path::NodePath;
use homestak_protocol::token::{Claims, SigningKey, mint};
use homestak_tests::curl::{Answer, curl, told};
use homestak_tests::machine::Machine;
use homestak_tests::needs;
use homestak_tests::site;
use homestak_tests::stage::Stage;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

const OLD: &str = "c2d298ff0286a62cca51d964ab7008e0de2cf00d4d457c9226d4ac5ea513c8e7";
const NEW: &str = "5f3d298ff0286a62cca51d964ab7008e0de2cf00d4d457c9226d4ac5ea513c8e";

/// A machine that pulls.
const ONE: &str = r#"{"schema_version": 2, "name": "one", "pattern": "flat", "nodes": [
    {"name": "edge", "type": "vm", "spec": "base", "preset": "vm-xsmall", "image": "debian-12", "vmid": 99301,
     "execution": {"mode": "pull"}}]}"#;

struct Asked {
    stage: Stage,
    url: String,
}

impl Asked {
    fn get(&self, node: &str, token: &str) -> Answer {
        curl(&format!("{}/spec/{node}", self.url), Some(token), &[])
    }

    #[track_caller]
    fn says(&self, token: &str, status: u16, code: &str) {
        let answer = self.get("edge", token);
        let said = if status == 200 { (answer.status, String::new()) } else { answer.error() };
        assert_eq!(said, (status, code.to_owned()));
    }

    /// From here on, tokens of the posture `dev` count once.
    fn counts_once(&self) {
        self.edits("postures/dev.yaml", "auth:\n", "auth:\n  one_time: true\n");
    }

    /// From here on, the spec `base` names this package as well.
    fn installs(&self, package: &str) {
        self.edits("specs/base.yaml", "packages: [", &format!("packages: [{package}, "));
    }

    fn edits(&self, file: &str, part: &str, instead: &str) {
        let file = self.stage.folder().join("site").join(file);
        let text = fs::read_to_string(&file).unwrap();
        let edited = text.replacen(part, instead, 1);
        assert_ne!(edited, text);
        fs::write(&file, edited).unwrap();
        self.reload();
    }

    fn reload(&self) {
        let pid = self.stage.json(0, &["server", "status"])["pid"].as_i64().unwrap();
        kill_process(Pid::from_raw(pid.try_into().unwrap()).unwrap(), Signal::HUP).unwrap();
    }
}

fn token(key: &str, change: impl FnOnce(&mut Claims)) -> String {
    let mut claims = Claims::new("edge", "base", 1_738_800_000);
    change(&mut claims);
    mint(&SigningKey::parse_hex(key).unwrap(), &claims).unwrap()
}

fn asked(name: &str) -> Option<Asked> {
    if !needs::program(name, "curl") {
        return None;
    }
    let mut stage = Stage::set("tokens");
    let folder = site::demo(&stage, &format!("auth:\n  signing_key: {OLD}\n"));
    stage.env("HOMESTAK_SITE_CONFIG", folder);
    let url = stage.json(0, &["server", "start"])["url"].as_str().unwrap().to_owned();
    Some(Asked { stage, url })
}

#[test]
fn a_token_ends_with_its_time_its_key_and_its_node() {
    let Some(asked) = asked("a_token_ends_with_its_time_its_key_and_its_node") else { return };
    let good = token(OLD, |_| {});
    asked.says(&good, 200, "");
    asked.says(&token(OLD, |claims| claims.expires = Some(4_000_000_000)), 200, "");
    asked.says(&token(OLD, |claims| claims.expires = Some(1_738_800_001)), 401, "E301");
    asked.says(&token(OLD, |claims| claims.node = "other".into()), 401, "E301");
    asked.says(&token(NEW, |_| {}), 401, "E301");
    for spec in ["nowhere", "../base", "base/", "base\0"] {
        asked.says(&token(OLD, |claims| claims.spec = spec.into()), 404, "E200");
    }
    // The key is changed; the older one counts as long as it is there.
    let secrets = asked.stage.folder().join("site/secrets.yaml");
    fs::write(&secrets, format!("auth:\n  signing_key: {NEW}\n  previous_signing_key: {OLD}\n")).unwrap();
    asked.reload();
    let new = token(NEW, |_| {});
    homestak_tests::wait::until("the new key counts", || (asked.get("edge", &new).status == 200).then_some(()));
    asked.says(&good, 200, "");
    fs::write(&secrets, format!("auth:\n  signing_key: {NEW}\n")).unwrap();
    asked.reload();
    homestak_tests::wait::until("the old one no longer", || (asked.get("edge", &good).status == 401).then_some(()));
    // Whatever was minted up to now is revoked, what comes after is not, and a restart changes nothing.
    asked.stage.coord(&["token", "revoke", "edge"]).exits(0);
    asked.says(&new, 403, "E302");
    let later = asked.stage.json(0, &["token", "mint", "edge", "base"])["token"].as_str().unwrap().to_owned();
    asked.says(&later, 200, "");
    asked.stage.coord(&["server", "stop"]).exits(0);
    asked.stage.json(0, &["server", "start"]);
    asked.says(&new, 403, "E302");
    asked.says(&later, 200, "");
    asked.stage.strike();
}

#[test]
fn a_token_that_counts_once_is_used_up_when_its_node_is_configured() {
    let Some(asked) = asked("a_token_that_counts_once_is_used_up_when_its_node_is_configured") else { return };
    asked.counts_once();
    // One that is of no machine yet may be shown as often as it likes.
    let path = NodePath::parse("local/one/edge").unwrap();
    let early = token(OLD, |claims| claims.path = Some(path.clone()));
    asked.says(&early, 200, "");
    asked.says(&early, 200, "");
    asked.stage.json(0, &["apply", "--manifest-json", ONE]);
    let (_, injected) = told(&asked.stage.machine("local/one/edge"));
    for token in [&early, &injected] {
        homestak_tests::wait::until("it is used up", || (asked.get("edge", token).status == 403).then_some(()));
        asked.says(token, 403, "E302");
    }
    asked.stage.coord(&["server", "stop"]).exits(0);
    asked.stage.json(0, &["server", "start"]);
    asked.says(&injected, 403, "E302");
    asked.stage.strike();
}

/// A machine that pulls, below one that relays what it asks.
const TWO: &str = r#"{"schema_version": 2, "name": "two", "pattern": "tiered", "nodes": [
    {"name": "outer", "type": "pve", "spec": "pve", "preset": "vm-medium", "image": "debian-13-pve", "vmid": 99311},
    {"name": "edge", "type": "vm", "spec": "base", "preset": "vm-xsmall", "image": "debian-12", "vmid": 99312, "parent": "outer",
     "execution": {"mode": "pull"}}]}"#;

#[test]
fn a_machine_whose_token_is_used_up_pulls_by_its_certificate() {
    let Some(asked) = asked("a_machine_whose_token_is_used_up_pulls_by_its_certificate") else { return };
    asked.counts_once();
    let pulled = |machine: &Machine| {
        fs::read_to_string(machine.folder.join("log")).unwrap().matches("the parent gave the spec").count()
    };
    for (manifest, place) in [(ONE, "local/one/edge"), (TWO, "local/two/outer/edge")] {
        asked.stage.json(0, &["apply", "--manifest-json", manifest]);
        let machine = asked.stage.machine(place);
        let (_, token) = told(&machine);
        homestak_tests::wait::until("it is used up", || (asked.get("edge", &token).status == 403).then_some(()));
        assert_eq!(pulled(&machine), 1, "{place}");
        // Another spec is pulled all the same, at the next apply and by hand.
        asked.installs(&format!("for-{}", machine.vmid));
        asked.stage.json(0, &["apply", "--manifest-json", manifest]);
        assert_eq!(
            (pulled(&machine), asked.stage.machine(place).incarnation),
            (2, machine.incarnation.clone()),
            "{place}"
        );
        let spec = || fs::read_to_string(machine.state().join("spec.yaml")).unwrap();
        assert!(spec().contains(&format!("for-{}", machine.vmid)), "{}", spec());
        asked.installs(&format!("by-hand-{}", machine.vmid));
        let (state, settings) = (machine.state(), machine.state().join("agent.yaml"));
        let [state, settings] = [&state, &settings].map(|path| path.display().to_string());
        let fetch = ["config", "fetch", "--config", &settings, "--state-dir", &state, "--json"];
        homestak_tests::wait::until("the other spec is served", || {
            let fetched = asked.stage.agent(&fetch).exits(0).json();
            assert_eq!((&fetched["attempts"], &fetched["success"]), (&json!(1), &json!(true)));
            spec().contains(&format!("by-hand-{}", machine.vmid)).then_some(())
        });
        // A certificate that was taken away is good for nothing.
        asked.stage.coord(&["agents", "revoke", place]).exits(0);
        let refused = asked.stage.agent(&fetch).exits(3).json();
        assert_eq!(refused["error"]["code"], "E301", "{refused}");
    }
    // The stage ends here: machines whose agents were revoked are waited for before they are destroyed.
}
