//! Guests: what a fake Proxmox VE host only says to run, runs. For each guest that is running there is an agent, told what the
//! guest's own cloud-init would tell it; it is killed when the guest is stopped, as by a power cut.
//!
//! Each guest's agent is set up as a machine of the provider `local` is, with what arrived at the fake as its size: so what it
//! says of itself is what was made, and its configuration goes into a folder.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::{Value, json};

use crate::binaries::binaries;
use crate::fakepve::FakePve;
use crate::stage::Stage;

/// How often the hosts are looked at.
const GLANCE: Duration = Duration::from_millis(25);

/// Where a guest's agent finds what it is told.
const ENVIRONMENT: &str = "etc/homestak/agent.env";

/// A stand-in for `pct` in front of the agent's PATH: a container's root is a folder.
pub fn pct_stand_in(stage: &Stage) -> String {
    let file = pct(stage.folder());
    let folder = file.parent().expect("a file lies in a folder").display();
    format!("{folder}:{}", std::env::var("PATH").unwrap_or_default())
}

/// A stand-in for `pct`, in `pct` below a folder; the roots of containers are in `containers` there.
pub fn pct(below: &Path) -> PathBuf {
    let (folder, roots) = (below.join("pct"), below.join("containers"));
    fs::create_dir_all(&folder).expect("a stage's folder can be written");
    let script = format!(
        "#!/bin/sh\nset -e\nroot='{}'/$2\necho \"$@\" >> '{}'\nmkdir -p \"$root/etc\"\n[ $1 = mount ] && echo \"mounted CT $2 in '$root'\"\nexit 0\n",
        roots.display(),
        folder.join("log").display(),
    );
    let file = folder.join("pct");
    fs::write(&file, script).expect("a stage's folder can be written");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("a file can be made a program");
    file
}

/// Runs the guests of some hosts until it is dropped.
#[derive(Debug)]
pub struct Guests {
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

struct Keeper {
    folder: PathBuf,
    hosts: Vec<Arc<FakePve>>,
    running: BTreeMap<(String, u64), (Value, Child)>,
    environment: BTreeMap<String, String>,
}

impl Guests {
    /// Keeps the guests of these hosts. A guest whose node is a host itself is the one of that name among them.
    pub fn keep(stage: &Stage, hosts: &[Arc<FakePve>], environment: &[(&str, &str)]) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let mut keeper = Keeper {
            folder: stage.folder().join("guests"),
            hosts: hosts.to_vec(),
            running: BTreeMap::new(),
            environment: environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        };
        let told = Arc::clone(&ended);
        let thread = thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                keeper.look();
                thread::sleep(GLANCE);
            }
            keeper.running.values_mut().for_each(|(_, child)| end(child));
        });
        Self { ended, thread: Some(thread) }
    }
}

impl Drop for Guests {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Keeper {
    fn look(&mut self) {
        let mut there = BTreeMap::new();
        for host in &self.hosts {
            for guest in host.guests().into_iter().filter(|guest| {
                let tags = guest["config"]["tags"].as_str().unwrap_or_default();
                guest["status"] == "running" && tags.starts_with("homestak-")
            }) {
                let vmid = guest["vmid"].as_u64().expect("a guest has an id");
                there.insert((host.node.clone(), vmid), guest);
            }
        }
        self.running.retain(|key, (since, child)| {
            let runs = there.get(key).is_some_and(|guest| guest["started"] == *since)
                && child.try_wait().is_ok_and(|ended| ended.is_none());
            if !runs {
                end(child);
            }
            runs
        });
        for (key, guest) in there {
            if !self.running.contains_key(&key) {
                let host = self.hosts.iter().find(|host| host.node == key.0).expect("it is one of ours");
                let child = self.boot(host, &guest);
                self.running.insert(key, (guest["started"].clone(), child));
            }
        }
    }

    /// A file in a container.
    fn container(&self, vmid: u64, path: &str) -> PathBuf {
        self.folder.with_file_name("containers").join(vmid.to_string()).join(path)
    }

    fn boot(&self, host: &FakePve, guest: &Value) -> Child {
        let name = guest["name"].as_str().expect("a guest has a name");
        // A guest that is made anew has another disk, and so another folder.
        let facts = described(guest["config"]["description"].as_str().unwrap_or_default());
        let disk = guest["config"]["vmgenid"].as_str().unwrap_or(&facts["incarnation"]);
        let folder = self.folder.join(&host.node).join(format!("{name}-{disk}"));
        let vmid = guest["vmid"].as_u64().unwrap_or_default();
        let is_container = guest["kind"] == "lxc";
        let environment = match is_container {
            true => environment_in(&fs::read_to_string(self.container(vmid, ENVIRONMENT)).unwrap_or_default()),
            false => injected(&host.snippets, name),
        };
        let is_host = environment.get("HOMESTAK_PROVIDER").is_some_and(|provider| provider == "pve");
        let place = self.hosts.iter().position(|one| one.node == host.node).unwrap_or_default();
        let ip = format!("127.90.{place}.{}", vmid % 250 + 1);
        let config = &guest["config"];
        let number = |value: &Value| value.as_u64().or_else(|| value.as_str()?.parse().ok()).unwrap_or_default();
        let disk = config[if is_container { "rootfs" } else { "virtio0" }]
            .as_str()
            .and_then(|disk| disk.split("size=").nth(1))
            .unwrap_or_default();
        let digits: String = disk.chars().take_while(char::is_ascii_digit).collect();
        let machine = json!({
            "kind": match (is_host, is_container) { (true, _) => "pve", (_, true) => "ct", _ => "vm" }, "image": "debian-12", "cores": number(&config["cores"]),
            "memory_mib": number(&config["memory"]), "disk_gib": digits.parse::<u64>().unwrap_or_default(),
            "vmid": vmid, "bridge": null,
        });
        let record = json!({
            "site": facts["site"], "host": facts["host"], "manifest": facts["manifest"], "path": facts["homestak"],
            "incarnation": facts["incarnation"], "vmid": vmid, "ip": ip, "machine": machine, "desired": "running",
        });
        for part in ["state", "root"] {
            fs::create_dir_all(folder.join(part)).expect("a stage's folder can be written");
        }
        fs::write(folder.join("machine.json"), record.to_string()).expect("a stage's folder can be written");
        let mut settings = json!({
            "bind": ip, "port": 0, "state_dir": folder.join("state"), "local": { "machine": folder },
        });
        if let Some(inner) = self.hosts.iter().find(|one| one.node == name).filter(|_| is_host) {
            settings["pve"] = inner.settings();
        }
        let file = folder.join("agent.yaml");
        fs::write(&file, settings.to_string()).expect("a stage's folder can be written");
        let log = fs::File::options().append(true).create(true).open(folder.join("log"));
        Command::new(&binaries().agent)
            .args(["run", "--config"])
            .arg(&file)
            .env_clear()
            .envs(&self.environment)
            .envs(environment)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.expect("a stage's folder can be written"))
            .spawn()
            .expect("an agent can be started")
    }
}

/// What cloud-init would write for the agent of this guest.
pub fn injected(snippets: &Path, name: &str) -> BTreeMap<String, String> {
    let text = fs::read_to_string(snippets.join(format!("{name}-user.yaml"))).unwrap_or_default();
    let document: Value = serde_json::from_str(text.trim_start_matches("#cloud-config")).unwrap_or_default();
    let files = document["write_files"].as_array().cloned().unwrap_or_default();
    let file = files.iter().find(|file| file["path"] == format!("/{ENVIRONMENT}"));
    environment_in(file.and_then(|file| file["content"].as_str()).unwrap_or_default())
}

fn environment_in(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.to_owned(), value.trim_matches('"').to_owned()))
        .collect()
}

/// The facts in a guest's description.
pub fn described(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().filter_map(|line| line.split_once(": "));
    lines.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

/// What runs on the host `father`: its agent, joined with the daemon of a stage, on a fake host.
#[derive(Debug)]
pub struct HostAgent {
    child: Mutex<Child>,
    file: PathBuf,
    environment: Vec<(String, String)>,
}

impl HostAgent {
    /// Lets the agent of a host join, and waits until it has.
    pub fn join(stage: &Stage, host: &FakePve, environment: &[(&str, &str)]) -> Self {
        let told = stage.json(0, &["agents", "join", "-H", &host.node]);
        let folder = stage.folder().join(format!("host-{}", host.node));
        fs::create_dir_all(&folder).expect("a stage's folder can be written");
        let settings = json!({
            "name": host.node, "server": told["server"], "token": told["token"], "ca": told["ca"], "bind": "127.0.0.1",
            "port": 0, "state_dir": folder.join("state"), "provider": "pve", "pve": host.settings(),
        });
        let file = folder.join("agent.yaml");
        fs::write(&file, settings.to_string()).expect("a stage's folder can be written");
        let environment: Vec<(String, String)> =
            environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let agent = Self { child: Mutex::new(run(&file, &environment)), file, environment };
        crate::wait::until("the host's agent has joined", || {
            let agents = stage.json(0, &["agents"]);
            let joined = agents["agents"]
                .as_array()?
                .iter()
                .any(|agent| agent["path"] == host.node.as_str() && agent["connected"] == true);
            joined.then_some(())
        });
        agent
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        let mut child = self.child.lock().expect("nobody panics with it");
        child.try_wait().is_ok_and(|ended| ended.is_some())
    }

    /// Starts it again.
    pub fn start_again(&self) {
        *self.child.lock().expect("nobody panics with it") = run(&self.file, &self.environment);
    }

    /// kill -9.
    pub fn kill(&self) {
        end(&mut self.child.lock().expect("nobody panics with it"));
    }

    /// Its state folder.
    pub fn state(&self) -> PathBuf {
        self.file.with_file_name("state")
    }
}

impl Drop for HostAgent {
    fn drop(&mut self) {
        self.kill();
    }
}

fn run(file: &Path, environment: &[(String, String)]) -> Child {
    let log = fs::File::options().append(true).create(true).open(file.with_file_name("log"));
    Command::new(&binaries().agent)
        .args(["run", "--config"])
        .arg(file)
        .env_clear()
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log.expect("a stage's folder can be written"))
        .spawn()
        .expect("an agent can be started")
}
