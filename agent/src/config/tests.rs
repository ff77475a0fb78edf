//! What a spec turns a folder into.

use std::os::unix::fs::PermissionsExt;

use homestak_protocol::name::SiteName;
use serde_json::{Value, json};

use super::*;

fn spec(document: Value) -> Spec {
    Spec { name: SiteName::parse("base").unwrap(), document: document.to_string() }
}

fn full() -> Value {
    json!({
        "schema_version": 1,
        "identity": { "hostname": "edge", "domain": "example.org" },
        "access": {
            "users": [
                { "name": "homestak", "sudo": true, "ssh_keys": ["ssh-ed25519 AAAA one@example", "ssh-ed25519 BBBB two"] },
                { "name": "guest" },
            ],
            "security": {
                "ssh": { "port": 2222, "permit_root_login": "no", "password_authentication": "no" },
                "sudo": { "nopasswd": true },
                "fail2ban": { "enabled": true },
                "packages": ["strace", "htop"],
            },
        },
        "platform": { "packages": ["htop", "curl"], "services": { "enable": ["chrony"], "disable": ["rpcbind"] } },
        "config": { "timezone": "America/Denver", "pve": { "remove_subscription_nag": true } },
        "a_key_of_the_future": 1,
    })
}

fn target() -> (tempfile::TempDir, Target) {
    let folder = tempfile::tempdir().unwrap();
    let target = Target { root: folder.path().join("root"), state: folder.path().join("state") };
    fs::create_dir(&target.root).unwrap();
    fs::create_dir(&target.state).unwrap();
    (folder, target)
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn a_spec_becomes_real_files() {
    let (_folder, target) = target();
    assert!(apply_spec(&spec(full()), "edge", &target).unwrap());
    let root = |path: &str| read(&target.root.join(path));
    assert_eq!(root("etc/hostname"), "edge\n");
    assert_eq!(root("etc/timezone"), "America/Denver\n");
    assert_eq!(root("home/homestak/.ssh/authorized_keys"), "ssh-ed25519 AAAA one@example\nssh-ed25519 BBBB two\n");
    assert_eq!(root("etc/sudoers.d/homestak-homestak"), "homestak ALL=(ALL:ALL) NOPASSWD: ALL\n");
    let sshd = "Port 2222\nPermitRootLogin no\nPasswordAuthentication no\n";
    assert_eq!(root("etc/ssh/sshd_config.d/10-homestak.conf"), sshd);
    assert!(root("etc/fail2ban/jail.d/homestak.conf").contains("2222"));
    let mode = |path: &str| fs::metadata(target.root.join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("home/homestak/.ssh/authorized_keys"), 0o600);
    assert_eq!(mode("etc/sudoers.d/homestak-homestak"), 0o440);
    assert_eq!((mode("home/homestak/.ssh"), mode("home"), mode("etc/ssh")), (0o700, 0o755, 0o755));
    let simulated: Value = serde_json::from_str(&read(&target.state.join("simulated.json"))).unwrap();
    assert_eq!(simulated["packages"], json!(["curl", "fail2ban", "htop", "strace"]));
    assert_eq!(simulated["services_enabled"], json!(["chrony"]));
}

#[test]
fn a_second_apply_changes_nothing_and_says_so() {
    let (_folder, target) = target();
    let complete = || -> Value { serde_json::from_str(&read(&target.state.join("config-complete.json"))).unwrap() };
    assert!(apply_spec(&spec(full()), "edge", &target).unwrap());
    let mut first = complete();
    assert!(humantime::parse_rfc3339(first["timestamp"].as_str().unwrap()).is_ok());
    first["timestamp"] = Value::Null;
    let expected = json!({
        "phase": "config", "status": "complete", "timestamp": null, "spec": "edge", "packages": 4,
        "services_enabled": 1, "services_disabled": 1, "users": 2, "changed": true,
    });
    assert_eq!(first, expected);
    assert!(!apply_spec(&spec(full()), "edge", &target).unwrap());
    assert_eq!(complete()["changed"], json!(false));
    assert!(!target.state.join("spec.yaml.prev").exists());
}

#[test]
fn drift_is_seen_and_put_right() {
    let (_folder, target) = target();
    apply_spec(&spec(full()), "edge", &target).unwrap();
    fs::write(target.root.join("etc/hostname"), "other\n").unwrap();
    let keys = target.root.join("home/homestak/.ssh/authorized_keys");
    fs::set_permissions(&keys, fs::Permissions::from_mode(0o644)).unwrap();
    let wanted = spec_resources(&parse(&spec(full())).unwrap(), "edge");
    let found: Vec<String> = check(&wanted, &target).unwrap().into_iter().map(|found| found.resource).collect();
    assert_eq!(found, ["/etc/hostname", "/home/homestak/.ssh/authorized_keys"]);
    assert!(apply_spec(&spec(full()), "edge", &target).unwrap());
    assert!(check(&wanted, &target).unwrap().is_empty());
}

#[test]
fn what_a_new_spec_takes_away_goes() {
    let (_folder, target) = target();
    apply_spec(&spec(full()), "edge", &target).unwrap();
    let mut less = full();
    less["access"]["users"][0]["sudo"] = json!(false);
    less["access"]["security"] = json!({});
    less["platform"]["services"] = json!({ "enable": ["rpcbind"] });
    assert!(apply_spec(&spec(less), "edge", &target).unwrap());
    assert!(!target.root.join("etc/sudoers.d/homestak-homestak").exists());
    assert!(!target.root.join("etc/fail2ban/jail.d/homestak.conf").exists());
    assert!(read(&target.root.join("etc/ssh/sshd_config.d/10-homestak.conf")).starts_with("Port 22\n"));
    let simulated: Value = serde_json::from_str(&read(&target.state.join("simulated.json"))).unwrap();
    assert_eq!(
        (&simulated["services_enabled"], &simulated["services_disabled"]),
        (&json!(["chrony", "rpcbind"]), &json!([]))
    );
    assert!(read(&target.state.join("spec.yaml.prev")).contains("nopasswd"));
}

#[test]
fn nothing_in_a_spec_breaks_out_of_where_it_belongs() {
    let (folder, target) = target();
    let with = |place: &str, value: Value| {
        let mut document = full();
        *document.pointer_mut(place).unwrap() = value;
        spec(document)
    };
    for (place, value) in [
        ("/access/users/0/name", json!("../../evil")),
        ("/access/users/0/name", json!("a b")),
        ("/access/users/0/ssh_keys/0", json!("ssh-ed25519 A\nssh-ed25519 B")),
        ("/access/security/ssh/permit_root_login", json!("yes\nMatch all")),
        ("/access/security/ssh/port", json!(0)),
        ("/config/timezone", json!("../../etc/passwd")),
        ("/identity/hostname", json!("edge\nother")),
        ("/platform/packages/0", json!("htop; reboot")),
        ("/platform/services/enable/0", json!("../x")),
        ("/schema_version", json!(2)),
    ] {
        let fault = Fault::from(apply_spec(&with(place, value), "edge", &target).unwrap_err());
        assert_eq!(fault.code, Code::SpecInvalid, "{place}");
        assert!(fault.hint.is_some());
    }
    assert_eq!(fs::read_dir(&target.root).unwrap().count() + fs::read_dir(&target.state).unwrap().count(), 0);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
}

#[test]
fn a_host_has_a_name_that_it_finds_itself_by() {
    let (_folder, target) = target();
    let wanted = host_resources("root-pve");
    assert_eq!(apply(&wanted, &target).unwrap().len(), 3);
    assert!(check(&wanted, &target).unwrap().is_empty());
    assert!(read(&target.root.join("etc/hosts")).contains("127.0.1.1 root-pve"));
}
