//! A backup of a running daemon, a state folder that is lost, and the way back.

use std::fs;

use homestak_tests::document::{all, each, nodes};
use homestak_tests::stage::Stage;
use homestak_tests::wait;

/// A coordinator whose host is an agent of its own, in a state folder of its own, so that it survives the coordinator's.
struct Father {
    stage: Stage,
    agent: Option<homestak_tests::command::Running>,
}

impl Father {
    fn joined(name: &str) -> Self {
        let stage = Stage::set(name);
        let join = stage.json(0, &["agents", "join", "-H", "father"]);
        let home = stage.folder().join("father");
        let mut command = stage.command(&homestak_tests::binaries::binaries().agent);
        command.args(["run", "--state-dir"]).arg(&home);
        command.env_remove("HOMESTAK_STATE_DIR");
        let text = |key: &str| join[key].as_str().unwrap().to_owned();
        command.env("HOMESTAK_SERVER", text("server")).env("HOMESTAK_TOKEN", text("token"));
        command.env("HOMESTAK_CA", text("ca")).env("HOMESTAK_PROVIDER", "local");
        let agent = homestak_tests::command::start(&mut command);
        let father = Self { stage, agent: Some(agent) };
        father.is_there();
        father
    }

    fn is_there(&self) {
        wait::until("the host's agent has joined", || {
            let agents = self.stage.json(0, &["agents"]);
            let agents = agents["agents"].as_array().unwrap();
            agents.iter().any(|agent| agent["path"] == "father" && agent["connected"] == true).then_some(())
        });
    }
}

#[test]
fn a_tree_outlives_its_coordinators_state_folder_and_can_be_destroyed_after_a_restore() {
    let father = Father::joined("backup");
    let stage = &father.stage;
    stage.json(0, &["apply", "n2-tiered", "-H", "father"]);
    let file = stage.folder().join("backup");
    let file = file.to_str().unwrap();
    let backup = stage.json(0, &["server", "backup", file]);
    assert_eq!(backup["trees"], 1, "{backup:#}");
    // What the backup knows nothing of.
    stage.json(0, &["apply", "n1-push", "-H", "father"]);
    stage.json(0, &["apply", "n2-tiered", "-H", "father"]);
    let machines = homestak_tests::machine::below(&stage.folder().join("father"));
    assert_eq!(machines.len(), 3);

    let daemon = stage.daemon().unwrap();
    daemon.kill();
    wait::until("the daemon is gone", || (!daemon.is_alive()).then_some(()));
    fs::remove_dir_all(stage.state()).unwrap();
    stage.coord(&["server", "restore", file]).exits(0);
    father.is_there();
    let behind = stage.coord(&["apply", "n2-tiered", "-H", "father"]);
    assert!([3, 4].contains(&behind.code), "{behind}");
    behind.says("server adopt -H father");

    stage.coord(&["server", "adopt", "-H", "father"]).exits(0);
    let status = stage.json(0, &["status"]);
    let mut trees: Vec<_> =
        status["trees"].as_array().unwrap().iter().map(|tree| tree["manifest"].as_str().unwrap()).collect();
    trees.sort_unstable();
    assert_eq!(trees, ["n1-push", "n2-tiered"], "{status:#}");
    let tiered = stage.json(0, &["status", "n2-tiered", "-H", "father"]);
    assert_eq!(each(&tiered, "status"), [("edge", "completed"), ("root-pve", "completed")].into());
    all(&stage.json(0, &["apply", "n2-tiered", "-H", "father"]), "action", "unchanged");
    assert_eq!(homestak_tests::machine::below(&stage.folder().join("father")), machines);

    for tree in trees {
        let gone = stage.json(0, &["destroy", tree, "-H", "father", "--yes"]);
        assert!(!nodes(&gone).is_empty());
        all(&gone, "status", "destroyed");
    }
    assert_eq!(homestak_tests::machine::below(&stage.folder().join("father")), []);
}

#[test]
fn a_backup_is_refused_where_it_would_overwrite_and_a_restore_where_there_is_state() {
    let stage = Stage::set("backup-refused");
    stage.coord(&["server", "start"]).exits(0);
    let file = stage.file("there", "something of somebody's");
    let path = file.to_str().unwrap();
    let refused = stage.coord(&["server", "backup", path]);
    assert_ne!(refused.code, 0, "{refused}");
    assert_eq!(fs::read(&file).unwrap(), b"something of somebody's");
    let restored = stage.coord(&["server", "restore", path]);
    assert_ne!(restored.code, 0, "{restored}");
    stage.json(0, &["server", "status"]);
    stage.strike();
}

impl Drop for Father {
    fn drop(&mut self) {
        if let Some(agent) = self.agent.take() {
            homestak_tests::process::Process::of(agent.pid()).iter().for_each(homestak_tests::process::Process::kill);
            agent.finish(wait::PATIENCE);
        }
    }
}
