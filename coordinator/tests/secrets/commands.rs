//! The commands, as a user gives them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::stage::{VALUES, fixture, folder, recipient, shape, text};

struct Told {
    code: i32,
    stdout: String,
    stderr: String,
}

/// Calls the program for a site folder, with the identity of the tests at hand or none.
fn call(site: &Path, words: &[&str], identity: bool) -> Told {
    let mut command = Command::new(env!("CARGO_BIN_EXE_homestak-coord"));
    command.args(words).env_clear().env("HOMESTAK_SITE_CONFIG", site).env("HOMESTAK_STATE_DIR", site.join("state"));
    if identity {
        command.env("SOPS_AGE_KEY_FILE", fixture("test-identity.txt"));
    }
    let Output { status, stdout, stderr } = command.stdin(Stdio::null()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Told { code: status.code().unwrap(), stdout: text(stdout), stderr: text(stderr) }
}

impl Told {
    #[track_caller]
    fn document(&self, code: i32) -> Value {
        assert_eq!(self.code, code, "{}{}", self.stdout, self.stderr);
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error} in {}", self.stdout))
    }

    #[track_caller]
    fn shows_no_secret(&self) -> &Self {
        let shown = format!("{}{}", self.stdout, self.stderr);
        assert!(VALUES.iter().all(|value| !shown.contains(value)), "{shown}");
        self
    }
}

#[test]
fn from_nothing_to_encrypted_secrets_and_back() {
    let dir = tempfile::tempdir().unwrap();
    let site = dir.path();
    let check = call(site, &["secrets", "check", "--json"], false).document(0);
    assert_eq!((&check["file"], &check["valid"]), (&Value::Null, &Value::Bool(true)));
    let made = call(site, &["secrets", "init", "--json"], false).document(0);
    assert_eq!(made["encrypted"], false);
    let file = site.join("secrets.yaml");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(call(site, &["secrets", "init", "--json"], false).document(3)["error"]["code"], "E672");
    let nobody = call(site, &["secrets", "encrypt", "--json"], false).document(3);
    assert!(nobody["error"]["hint"].as_str().unwrap().contains("--recipient"), "{nobody}");
    fs::write(
        site.join(".sops.yaml"),
        format!("creation_rules:\n  - path_regex: secrets\\.yaml$\n    age: {}\n", recipient()),
    )
    .unwrap();
    let plain = fs::read_to_string(&file).unwrap();
    let written = call(site, &["secrets", "encrypt", "--remove-plain", "--json"], false).document(0);
    assert_eq!((&written["encrypted"], &written["removed_plain"]), (&Value::Bool(true), &Value::Bool(true)));
    assert_eq!(written["recipients"][0], recipient());
    assert!(!file.exists());
    let locked = call(site, &["secrets", "check", "--json"], false).document(3);
    assert_eq!((&locked["locked"], &locked["problems"][0]["code"]), (&Value::Bool(true), &Value::from("E663")));
    let open = call(site, &["secrets", "check", "--json"], true).document(0);
    assert_eq!((&open["form"], &open["sections"]["signing_key"]), (&Value::from("sops"), &Value::Bool(true)));
    let back = call(site, &["secrets", "decrypt"], true);
    assert_eq!((back.code, shape(&back.stdout)), (0, shape(&plain)));
}

#[test]
fn a_check_names_everything_and_shows_nothing() {
    for (name, fixture_name) in
        [("secrets.yaml", "plain.yaml"), ("secrets.yaml.enc", "python-sops.yaml"), ("secrets.yaml.age", "whole.age")]
    {
        let dir = folder(name, fs::read(fixture(fixture_name)).unwrap());
        for words in [["secrets", "check", "-v"], ["secrets", "check", "--json"]] {
            let told = call(dir.path(), &words, true);
            assert_eq!(told.code, 0, "{}", told.stderr);
            told.shows_no_secret();
            for part in ["father", "attic", "zoe@desk", "adam@desk", "signing_key", "0600"] {
                assert!(told.stdout.contains(part), "{part} in {}", told.stdout);
            }
        }
    }
}

#[test]
fn what_is_wrong_is_told_with_a_place_and_a_hint_and_no_secret() {
    let broken = text("rops.yaml").replacen("data:", "data:AAAA", 1);
    let plain = text("plain.yaml").replace("signing_key: \"", "signing_key: \"zz");
    for (name, text, code) in [("secrets.yaml.enc", broken, "E666"), ("secrets.yaml", plain, "E661")] {
        let dir = folder(name, text);
        let told = call(dir.path(), &["secrets", "check", "--json"], true);
        told.shows_no_secret();
        let document = told.document(3);
        let problem =
            document["problems"].as_array().unwrap().iter().find(|problem| problem["severity"] == "error").unwrap();
        assert_eq!(problem["code"], code);
        assert!(problem["line"].as_u64() > Some(1) && problem["hint"].is_string(), "{problem}");
        let told = call(dir.path(), &["secrets", "decrypt"], true);
        assert!(
            told.code == if name == "secrets.yaml" { 0 } else { 3 },
            "what is plain is not judged when it is printed"
        );
    }
}

#[test]
fn a_rule_that_would_shut_somebody_out_is_not_followed_by_half() {
    let dir = folder("secrets.yaml", text("plain.yaml"));
    for (rules, code) in [
        (format!("creation_rules:\n  - age: {}\n    pgp: '00'\n", recipient()), "E670"),
        (format!("creation_rules:\n  - path_regex: other\n    age: {}\n", recipient()), "E670"),
        ("creation_rules:\n  - age: age1nobody\n".to_owned(), "E671"),
        (format!("creation_rules:\n  - key_groups: [{{age: [{0}]}}, {{age: [{0}]}}]\n", recipient()), "E670"),
        ("creation_rules: []\n".to_owned(), "E670"),
        (format!("creation_rules:\n  - age: {}\n    encrypted_regex: '('\n", recipient()), "E665"),
    ] {
        fs::write(dir.path().join(".sops.yaml"), &rules).unwrap();
        let told = call(dir.path(), &["secrets", "encrypt", "--json"], false).document(3);
        assert_eq!(told["error"]["code"], code, "{rules}: {told}");
        assert!(told["error"]["hint"].is_string(), "{told}");
        assert!(!dir.path().join("secrets.yaml.enc").exists(), "{rules}");
    }
}

#[test]
fn the_demo_site_has_none() {
    let told = call(Path::new("demo"), &["secrets", "check", "--json"], false).document(3);
    assert!(told["error"]["hint"].as_str().unwrap().contains("--site"), "{told}");
}
