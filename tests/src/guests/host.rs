//! The agent of a host that trees stand on.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

use serde_json::json;

use super::end;
use crate::binaries::binaries;
use crate::fakepve::FakePve;
use crate::stage::Stage;

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
