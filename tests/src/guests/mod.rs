//! Guests: what a fake Proxmox VE host only says to run, runs. For each guest that is running there is an agent, told what the
//! guest's own cloud-init would tell it; it is killed when the guest is stopped, as by a power cut. One whose configuration
//! names no snippets, or that has no drive from which cloud-init would read them, comes up without an agent.
//!
//! Each guest's agent is set up as a machine of the provider `local` is, with what arrived at the fake as its size: so what it
//! says of itself is what was made, and its configuration goes into a folder.

mod host;
mod pct;
mod told;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::{Value, json};

pub use self::host::HostAgent;
pub use self::pct::{pct, pct_stand_in};
pub use self::told::{described, injected, user_data};
use self::told::{in_container, in_drive};
use crate::binaries::binaries;
use crate::fakepve::FakePve;
use crate::stage::Stage;

/// How often the hosts are looked at.
const GLANCE: Duration = Duration::from_millis(25);

/// Runs the guests of some hosts until it is dropped.
#[derive(Debug)]
pub struct Guests {
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

struct Keeper {
    folder: PathBuf,
    hosts: Vec<Arc<FakePve>>,
    /// Since when each runs, and its agent, if it has come up with one.
    running: BTreeMap<(String, u64), (Value, Option<Child>)>,
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
            keeper.running.values_mut().filter_map(|(_, child)| child.as_mut()).for_each(end);
        });
        Self { ended, thread: Some(thread) }
    }

    /// The state folder of a guest's agent.
    #[track_caller]
    pub fn state(stage: &Stage, host: &FakePve, name: &str) -> PathBuf {
        folder(&stage.folder().join("guests"), host, &host.guest(name)).join("state")
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
            let runs = there.get(key).is_some_and(|guest| guest["started"] == *since);
            let Some(child) = child else { return runs };
            let runs = runs && child.try_wait().is_ok_and(|ended| ended.is_none());
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

    fn boot(&self, host: &FakePve, guest: &Value) -> Option<Child> {
        let name = guest["name"].as_str().expect("a guest has a name");
        let facts = described(guest["config"]["description"].as_str().unwrap_or_default());
        let folder = folder(&self.folder, host, guest);
        for part in ["state", "root"] {
            fs::create_dir_all(folder.join(part)).expect("a stage's folder can be written");
        }
        let vmid = guest["vmid"].as_u64().unwrap_or_default();
        let is_container = guest["kind"] == "lxc";
        let environment = match is_container {
            true => in_container(&self.folder.with_file_name("containers").join(vmid.to_string())),
            false => in_drive(host, &guest["config"], &folder),
        }?;
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
        let child = Command::new(&binaries().agent)
            .args(["run", "--config"])
            .arg(&file)
            .env_clear()
            .envs(&self.environment)
            .envs(environment)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.expect("a stage's folder can be written"))
            .spawn();
        Some(child.expect("an agent can be started"))
    }
}

/// A guest's folder. One that is made anew has another disk, and so another folder.
fn folder(guests: &Path, host: &FakePve, guest: &Value) -> PathBuf {
    let name = guest["name"].as_str().expect("a guest has a name");
    let facts = described(guest["config"]["description"].as_str().unwrap_or_default());
    let disk = guest["config"]["vmgenid"].as_str().unwrap_or(&facts["incarnation"]);
    guests.join(&host.node).join(format!("{name}-{disk}"))
}

/// As by a power cut.
fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}
