//! What a spec turns a folder into.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use homestak_node::world::Task;
use homestak_protocol::name::SiteName;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

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
    let root = folder.path().join("root");
    let task = Task { cancel: CancellationToken::new(), progress: Arc::new(|_| ()) };
    let target =
        Target { system: System::Folder(root.clone()), state: folder.path().join("state"), parent: Vec::new(), task };
    fs::create_dir(&root).unwrap();
    fs::create_dir(&target.state).unwrap();
    (folder, target)
}

async fn apply(document: Value, target: &Target) -> Result<Report, ConfigError> {
    apply_order(&spec(document), "edge", target).await
}

async fn check(document: Value, target: &Target) -> Vec<String> {
    let report = check_spec(&parse(&spec(document)).unwrap(), "edge", target).await.unwrap();
    report.with(Standing::Differs).map(|line| line.resource.clone()).collect()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[tokio::test]
async fn a_spec_becomes_real_files() {
    let (_folder, target) = target();
    assert!(apply(full(), &target).await.unwrap().count(Standing::Changed) > 0);
    let root = |path: &str| read(&target.path(path));
    assert_eq!(root("etc/hostname"), "edge\n");
    assert_eq!(root("etc/timezone"), "America/Denver\n");
    assert_eq!(root("home/homestak/.ssh/authorized_keys"), "ssh-ed25519 AAAA one@example\nssh-ed25519 BBBB two\n");
    assert_eq!(root("etc/sudoers.d/homestak-homestak"), "homestak ALL=(ALL:ALL) NOPASSWD: ALL\n");
    let sshd = "Port 2222\nPermitRootLogin no\nPasswordAuthentication no\n";
    assert_eq!(root("etc/ssh/sshd_config.d/10-homestak.conf"), sshd);
    assert!(root("etc/fail2ban/jail.d/homestak.conf").contains("2222"));
    let mode = |path: &str| fs::metadata(target.path(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("home/homestak/.ssh/authorized_keys"), 0o600);
    assert_eq!(mode("etc/sudoers.d/homestak-homestak"), 0o440);
    assert_eq!((mode("home/homestak/.ssh"), mode("home"), mode("etc/ssh")), (0o700, 0o755, 0o755));
    let simulated: Value = serde_json::from_str(&read(&target.state.join("simulated.json"))).unwrap();
    assert_eq!(simulated["packages"], json!(["curl", "fail2ban", "htop", "strace"]));
    assert_eq!(simulated["services_enabled"], json!(["chrony"]));
}

#[tokio::test]
async fn a_second_apply_changes_nothing_and_says_so() {
    let (_folder, target) = target();
    let complete = || -> Value { serde_json::from_str(&read(&target.state.join("config-complete.json"))).unwrap() };
    assert!(apply(full(), &target).await.unwrap().count(Standing::Changed) > 0);
    let mut first = complete();
    assert!(humantime::parse_rfc3339(first["timestamp"].as_str().unwrap()).is_ok());
    first["timestamp"] = Value::Null;
    let expected = json!({
        "phase": "config", "status": "complete", "timestamp": null, "spec": "edge", "packages": 4,
        "services_enabled": 1, "services_disabled": 1, "users": 2, "changed": true,
    });
    assert_eq!(first, expected);
    assert_eq!(apply(full(), &target).await.unwrap().count(Standing::Changed), 0);
    assert_eq!(complete()["changed"], json!(false));
    assert!(!target.state.join("spec.yaml.prev").exists());
}

#[tokio::test]
async fn drift_is_seen_and_put_right() {
    let (_folder, target) = target();
    apply(full(), &target).await.unwrap();
    fs::write(target.path("etc/hostname"), "other\n").unwrap();
    let keys = target.path("home/homestak/.ssh/authorized_keys");
    fs::set_permissions(&keys, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(check(full(), &target).await, ["hostname", "keys homestak"]);
    assert!(apply(full(), &target).await.unwrap().count(Standing::Changed) > 0);
    assert!(check(full(), &target).await.is_empty());
}

#[tokio::test]
async fn what_a_new_spec_takes_away_goes() {
    let (_folder, target) = target();
    apply(full(), &target).await.unwrap();
    let mut less = full();
    less["access"]["users"][0]["sudo"] = json!(false);
    less["access"]["security"] = json!({});
    less["platform"]["services"] = json!({ "enable": ["rpcbind"] });
    assert!(apply(less, &target).await.unwrap().count(Standing::Changed) > 0);
    assert!(!target.path("etc/sudoers.d/homestak-homestak").exists());
    assert!(!target.path("etc/fail2ban/jail.d/homestak.conf").exists());
    assert!(read(&target.path("etc/ssh/sshd_config.d/10-homestak.conf")).starts_with("Port 22\n"));
    let simulated: Value = serde_json::from_str(&read(&target.state.join("simulated.json"))).unwrap();
    assert_eq!(
        (&simulated["services_enabled"], &simulated["services_disabled"]),
        (&json!(["chrony", "rpcbind"]), &json!([]))
    );
    assert!(read(&target.state.join("spec.yaml.prev")).contains("nopasswd"));
}

#[tokio::test]
async fn nothing_in_a_spec_breaks_out_of_where_it_belongs() {
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
        ("/identity/domain", json!("example.org\n192.0.2.1 other")),
        ("/access/security/ssh/port", json!(70000)),
        ("/platform/packages/0", json!("htop; reboot")),
        ("/platform/services/enable/0", json!("../x")),
        ("/schema_version", json!(2)),
    ] {
        let fault = Fault::from(apply_order(&with(place, value), "edge", &target).await.unwrap_err());
        assert_eq!(fault.code, Code::SpecInvalid, "{place}");
        assert!(fault.hint.is_some());
    }
    assert_eq!(fs::read_dir(target.path("/")).unwrap().count() + fs::read_dir(&target.state).unwrap().count(), 0);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
}

#[tokio::test]
async fn a_host_has_a_name_that_it_finds_itself_by() {
    let (_folder, target) = target();
    let wanted = host_resources(None, "root-pve");
    let applied = engine::run(&wanted, &target, Deed::Apply).await.unwrap();
    assert_eq!(applied.count(Standing::Changed), 2);
    assert_eq!(engine::run(&wanted, &target, Deed::Check).await.unwrap().differences(), None);
    assert!(read(&target.path("etc/hosts")).contains("127.0.1.1 root-pve"));
}

#[tokio::test]
async fn what_makes_a_host_and_its_spec_agree_on_its_name() {
    let (_folder, target) = target();
    let spec = parse(&spec(full())).unwrap();
    let host = host_resources(Some(&spec), "root-pve");
    engine::run(&host, &target, Deed::Apply).await.unwrap();
    apply(full(), &target).await.unwrap();
    assert!(read(&target.path("etc/hosts")).contains("127.0.1.1 edge.example.org edge"));
    assert_eq!(engine::run(&host, &target, Deed::Check).await.unwrap().differences(), None);
}

/// A resource that does what a test wants.
struct Staged {
    name: &'static str,
    needs: &'static str,
    fails: bool,
}

impl Resource for Staged {
    fn name(&self) -> String {
        self.name.to_owned()
    }

    fn needs(&self) -> Vec<String> {
        vec![self.needs.to_owned()]
    }

    fn check<'a>(&'a self, target: &'a Target) -> resource::Step<'a, Option<resource::Difference>> {
        let what = (!target.has(self.name)).then(|| resource::Difference { what: "is missing".to_owned(), diff: None });
        Box::pin(async { Ok(what) })
    }

    fn apply<'a>(&'a self, target: &'a Target) -> resource::Step<'a, ()> {
        Box::pin(async move {
            match self.fails {
                true => Err(Trouble::Tool { what: "tool ended with 100".to_owned(), words: "E: no".to_owned() }),
                false => Ok(target.write(self.name, "", system::PUBLIC)?),
            }
        })
    }
}

#[tokio::test]
async fn a_failure_costs_what_depends_on_it_and_nothing_else() {
    let (_folder, target) = target();
    let staged = |name, needs, fails| Box::new(Staged { name, needs, fails }) as Box<dyn Resource>;
    let all = [staged("a", "", true), staged("b", "a", false), staged("c", "b", false), staged("d", "", false)];
    let report = engine::run(&all, &target, Deed::Apply).await.unwrap();
    let standing: Vec<Standing> = report.lines.iter().map(|line| line.status).collect();
    assert_eq!(standing, [Standing::Failed, Standing::Skipped, Standing::Skipped, Standing::Changed]);
    let fault = report.fault().unwrap();
    assert_eq!(fault.message, "b, c were skipped; a failed: tool ended with 100: E: no");
}
