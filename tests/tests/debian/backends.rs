//! The other backend: what ansible-playbook makes of a machine is what this agent makes of it.

use std::fs;

use serde_json::{Value, json};

use crate::ansible;
use crate::becomes::{everything, looked_at};
use crate::yard::Yard;

/// The spec with every field, and this package.
fn wanted(package: &str) -> Value {
    let mut spec = everything();
    spec["platform"] = json!({
        "packages": ["htop", "chrony", "rpcbind", package],
        // Not chrony: its unit is not for containers, and ansible would start it again each time.
        "services": { "enable": ["ssh"], "disable": ["rpcbind"] },
    });
    spec
}

#[test]
fn both_backends_make_the_same_of_a_machine() {
    let test = "both_backends_make_the_same_of_a_machine";
    if !ansible::is_here(test) {
        return;
    }
    let Some(yard) = Yard::set(test, "debian-both", "unit") else { return };
    yard.spec("small", &json!({ "schema_version": 1, "access": { "posture": "dev", "users": [{ "name": "homestak", "ssh_keys": ["one"] }] } }));
    yard.apply(0, &[("native", "push", "small"), ("other", "push", "small")]);
    let (native, other) = (yard.inside("native"), yard.inside("other"));
    let give = |package: &str| {
        yard.spec("wanted", &wanted(package));
        for (name, machine) in [("native", &native), ("other", &other)] {
            let spec = yard.stage.coord(&["config", "spec", "wanted", "--node", name]).exits(0);
            fs::write(machine.path("/root/wanted.yaml"), spec.stdout).unwrap();
        }
    };
    give("tree");
    let by_ansible =
        |more: &str| other.agent(&format!("config apply --spec /root/wanted.yaml --backend ansible {more}"));

    let (code, missing) = by_ansible("");
    let said = |document: &Value, key: &str| document["error"][key].as_str().unwrap_or_default().to_owned();
    assert_eq!((code, said(&missing, "message").as_str()), (Some(2), "ansible-playbook is not on this machine"));
    assert!(said(&missing, "hint").contains("ansible-core"), "{missing:#}");

    ansible::install(&other);
    let traces = || {
        other.run("md5sum /etc/hosts /etc/passwd /var/lib/dpkg/status /etc/ssh/sshd_config.d/*; ls /etc/sudoers.d /etc/fail2ban || true")
    };
    let before = traces();
    let (code, would) = by_ansible("--dry-run");
    assert_eq!((code, &would["dry_run"]), (Some(0), &json!(true)), "{would:#}");
    assert!(would["changed"].as_u64().is_some_and(|changed| changed > 0), "{would:#}");
    assert_eq!(traces(), before, "nothing was changed");

    assert_eq!(native.agent("config apply --spec /root/wanted.yaml").0, Some(0));
    let (code, applied) = by_ansible("");
    assert_eq!(
        (code, &applied["backend"], &applied["error"]),
        (Some(0), &json!("ansible"), &Value::Null),
        "{applied:#}"
    );
    let same: Vec<String> = looked_at(&other).iter().map(|line| line.replace("other", "native")).collect();
    assert_eq!(same, looked_at(&native));
    // Each finds nothing to do where the other was at work.
    let (code, found) = other.agent("config check --spec /root/wanted.yaml --detailed-exitcode");
    assert_eq!(code, Some(0), "{found:#}");
    let (code, again) = by_ansible("");
    assert_eq!((code, &again["changed"]), (Some(0), &json!(0)), "{again:#}");
    let complete = other.marker("config-complete").unwrap();
    assert_eq!((&complete["changed"], &complete["users"]), (&json!(false), &json!(2)));

    // What fails is told in the tool's own words.
    give("no-such-package");
    let (code, failed) = by_ansible("");
    assert_eq!((code, said(&failed, "code").as_str()), (Some(2), "E707"), "{failed:#}");
    let message = said(&failed, "message");
    ["Packages", "no-such-package"].iter().for_each(|words| assert!(message.contains(words), "{words}: {message}"));
    assert_eq!(other.marker("config-failed").unwrap()["message"], message.as_str());
    yard.stage.strike();
}
