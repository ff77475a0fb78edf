//! A stage whose machines are real: a site of the test's own, a network, and a Debian for each machine.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use homestak_tests::binaries::{binaries, workspace};
use homestak_tests::command::Running;
use homestak_tests::process::Process;
use homestak_tests::stage::Stage;
use homestak_tests::{needs, wait};
use serde_json::{Value, json};

use crate::network::Network;

/// How long an apply may take: two machines boot and install some twenty packages each, on a machine that is busy.
const APPLYING: Duration = Duration::from_secs(400);

/// A stage with real machines. The network goes after the stage, whose processes are in it.
pub(crate) struct Yard {
    pub(crate) stage: Stage,
    pub(crate) network: Network,
    /// The packages of Debian that are served in it.
    pub(crate) pool: PathBuf,
}

/// A public key, and what its owner is called in the site.
pub(crate) const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl one@host.example";

/// What tokens are signed with.
const SIGNING_KEY: &str = "5f3d298ff0286a62cca51d964ab7008e0de2cf00d4d457c9226d4ac5ea513c8e";

impl Yard {
    /// Sets one up; none where something is missing that it needs. In `mode`, STAGE is the stage's folder.
    pub(crate) fn set(test: &str, name: &str, mode: &str) -> Option<Self> {
        let programs = ["debootstrap", "systemd-nspawn", "nsenter", "ip", "python3", "dpkg-scanpackages"];
        if !needs::root(test) || !programs.iter().all(|program| needs::program(test, program)) {
            return None;
        }
        let debian = debian();
        let pool = debian.join("pool");
        let network = Network::make(&pool);
        let mut stage = Stage::set(name);
        let mode = mode.replace("STAGE", &stage.folder().display().to_string());
        let script = format!(
            "#!/bin/sh\nexec {} {} {} {mode} \"$@\"\n",
            workspace().join("tests/debian/machine").display(),
            debian.display(),
            binaries().agent.display(),
        );
        let script = stage.file("machine", script);
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        let site = site(&stage);
        stage.env("HOMESTAK_LOCAL_SPAWN", &script).env("HOMESTAK_SITE_CONFIG", &site);
        stage.run_by(network.by());
        Some(Self { stage, network, pool })
    }

    /// Writes a spec of the site.
    pub(crate) fn spec(&self, name: &str, spec: &Value) {
        self.stage.file(&format!("site/specs/{name}.yaml"), spec.to_string());
    }

    /// Applies these nodes, name and mode and spec each, and gives the document.
    #[track_caller]
    pub(crate) fn apply(&self, code: i32, nodes: &[(&str, &str, &str)]) -> Value {
        let nodes: Vec<Value> = nodes
            .iter()
            .map(|(name, mode, spec)| {
                json!({ "name": name, "type": "vm", "image": "debian-12", "preset": "vm-small", "spec": spec,
                        "execution": { "mode": mode } })
            })
            .collect();
        self.apply_nodes(code, &Value::Array(nodes))
    }

    /// The same with nodes as a manifest has them.
    #[track_caller]
    pub(crate) fn apply_nodes(&self, code: i32, nodes: &Value) -> Value {
        self.begin(nodes).finish(APPLYING).exits(code).json()
    }

    /// Begins it.
    pub(crate) fn begin(&self, nodes: &Value) -> Running {
        let manifest = json!({ "schema_version": 2, "name": "real", "pattern": "flat", "nodes": nodes });
        self.stage.start(&["apply", "--manifest-json", &manifest.to_string(), "--json"])
    }

    /// Ends it: nothing of it may remain.
    pub(crate) fn strike(mut self) {
        self.network.serve_nothing();
        self.stage.strike();
    }

    /// The machine of this name, seen from outside.
    pub(crate) fn inside(&self, name: &str) -> Inside {
        let machine = self.stage.machine(&format!("local/real/{name}"));
        let nspawn = machine.process().unwrap_or_else(|| panic!("{name} runs"));
        Inside { root: machine.folder.join("root"), leader: wait::until("it boots", || child_of(&nspawn)) }
    }
}

/// A machine's root folder, and its first process.
pub(crate) struct Inside {
    root: PathBuf,
    leader: i32,
}

impl Inside {
    /// Runs a program inside.
    pub(crate) fn output(&self, command: &str) -> Output {
        let target = self.leader.to_string();
        let mut nsenter = Command::new("nsenter");
        nsenter.args(["-t", &target, "-m", "-u", "-i", "-n", "-p", "--", "/bin/sh", "-c", command]);
        let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        nsenter.env_clear().env("PATH", path).env("LC_ALL", "C.UTF-8").env("HOME", "/root").output().unwrap()
    }

    /// Its standard output. Fails unless it ends well.
    #[track_caller]
    pub(crate) fn run(&self, command: &str) -> String {
        let Output { status, stdout, stderr } = self.output(command);
        let (out, err) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
        assert!(status.success(), "{command}: {status}\n{out}{err}");
        out.trim().to_owned()
    }

    /// Runs the agent's command, and gives its code and document.
    #[track_caller]
    pub(crate) fn agent(&self, arguments: &str) -> (Option<i32>, Value) {
        let out = self.output(&format!("homestak-agent {arguments} --json"));
        let text = String::from_utf8_lossy(&out.stdout);
        let document = serde_json::from_str(&text);
        let errors = String::from_utf8_lossy(&out.stderr);
        (out.status.code(), document.unwrap_or_else(|error| panic!("{arguments}: {error}: {text}\n{errors}")))
    }

    /// Where a file inside is seen from outside.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// Writes a file inside.
    pub(crate) fn write(&self, path: &str, text: &str) {
        fs::write(self.path(path), text).unwrap();
    }

    /// Reads a file inside, if it is there.
    pub(crate) fn read(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.path(path)).ok()
    }

    /// A marker of the configuration, if it is there.
    pub(crate) fn marker(&self, name: &str) -> Option<Value> {
        let text = self.read(&format!("/var/lib/homestak/{name}.json"))?;
        Some(serde_json::from_str(&text).unwrap())
    }
}

/// The first process of a booted machine: the child of systemd-nspawn.
fn child_of(nspawn: &Process) -> Option<i32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children", pid = nspawn.pid)).ok()?;
    let leader: i32 = children.split_whitespace().next()?.parse().ok()?;
    Process::of(leader)?.arguments.first()?.contains("systemd").then_some(leader)
}

/// The Debian that machines are copies of; made where it is missing.
fn debian() -> PathBuf {
    let target = binaries().agent.ancestors().nth(2).unwrap().to_owned();
    let folder = target.join("debian");
    let build = Command::new(workspace().join("tests/debian/build")).arg(&folder).output().unwrap();
    assert!(build.status.success(), "{}", String::from_utf8_lossy(&build.stderr));
    folder
}

/// A site with a posture for each kind of use, a preset, a key, and no spec yet.
fn site(stage: &Stage) -> PathBuf {
    let site = stage.folder().join("site");
    for folder in ["specs", "postures", "presets"] {
        fs::create_dir_all(site.join(folder)).unwrap();
    }
    let write = |name: &str, value: Value| fs::write(site.join(name), value.to_string()).unwrap();
    write("site.yaml", json!({ "defaults": { "domain": "site.example", "timezone": "Etc/UTC" } }));
    write("presets/vm-small.yaml", json!({ "cores": 1, "memory": 1024, "disk": 10 }));
    write(
        "postures/dev.yaml",
        json!({
            "ssh": { "port": 22, "permit_root_login": "yes", "password_authentication": "yes" },
            "sudo": { "nopasswd": true }, "fail2ban": { "enabled": false }, "packages": ["strace"],
        }),
    );
    write(
        "postures/prod.yaml",
        json!({
            "ssh": { "port": 2222, "permit_root_login": "no", "password_authentication": "no" },
            "sudo": { "nopasswd": false }, "fail2ban": { "enabled": true }, "packages": [],
        }),
    );
    write("secrets.yaml", json!({ "auth": { "signing_key": SIGNING_KEY }, "ssh_keys": { "one": KEY } }));
    fs::set_permissions(site.join("secrets.yaml"), fs::Permissions::from_mode(0o600)).unwrap();
    site
}
