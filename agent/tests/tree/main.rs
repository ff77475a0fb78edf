//! A whole tree of real agents, from a root in this process down.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "what unwraps wrongly here fails the test")]

mod root;

use std::fs;

use homestak_agent::socket;
use homestak_protocol::event::{Action, Status};
use homestak_protocol::order::Policy;
use rustix::process::{Pid, Signal, kill_process};

use self::root::{Root, path, pve, until, vm};

#[tokio::test]
async fn a_tree_is_built_found_unchanged_survives_a_power_cut_and_goes() {
    let top = tempfile::tempdir().unwrap();
    let root = Root::start(top.path(), &[]).await;
    let nodes = [pve("root-pve", vec![pve("inner", vec![vm("edge")])]), vm("beside")];
    let policy = Policy { verify: true, ..Policy::default() };
    let built = root.apply(1, policy, &nodes).await;
    for node in &built.nodes {
        assert_eq!((node.status, node.action), (Status::Completed, Action::Created), "{node:?}");
        assert!(node.simulated && node.vmid.is_some() && node.ip.is_some(), "{node:?}");
    }
    assert_eq!(built.nodes.len(), 4);
    let edge = path("local/m/root-pve/inner/edge");
    let folder = root.folder(&edge);
    assert_eq!(fs::read_to_string(folder.join("root/etc/hostname")).unwrap(), "edge\n");
    assert!(folder.join("state/config-complete.json").exists());
    assert!(!folder.join("state/ca").exists(), "a leaf serves nobody");
    let status = socket::ask(&root.folder(&path("local/m/root-pve")).join("state")).await.unwrap().unwrap();
    assert_eq!((&status["connected"], &status["path"]), (&true.into(), &"local/m/root-pve".into()));
    assert_eq!(status["trees"][0]["generation"], 1);
    assert_eq!(status["machines"][0]["path"], "local/m/root-pve/inner");

    let before = root.record(&edge).process.unwrap();
    let again = root.apply(2, policy, &nodes).await;
    for node in &again.nodes {
        assert_eq!((node.status, node.action), (Status::Completed, Action::Unchanged), "{node:?}");
    }
    assert_eq!(root.record(&edge).process.unwrap(), before);

    kill_process(Pid::from_raw(before.pid).unwrap(), Signal::KILL).unwrap();
    until("the same machine has joined again", async || {
        let now = root.record(&edge).process.filter(|mark| *mark != before)?;
        let sock = socket::ask(&folder.join("state")).await.ok()??;
        (sock["connected"] == true && now.is_alive()).then_some(())
    })
    .await;

    let processes: Vec<_> = built.nodes.iter().map(|node| root.record(&node.path).process.unwrap()).collect();
    let gone = root.destroy(3).await;
    for node in &gone.nodes {
        assert_eq!(node.status, Status::Destroyed, "{node:?}");
    }
    assert!(processes.iter().all(|process| !process.is_alive()));
    assert_eq!(fs::read_dir(root.state.join("machines")).unwrap().count(), 0);
    root.end().await;
}

#[tokio::test]
async fn what_a_test_asks_to_go_wrong_does_so_as_often_as_it_says() {
    let top = tempfile::tempdir().unwrap();
    let faults = "edge:provision:fail:1,edge:boot:fail:1,edge:configure:fail:2,other:configure:fail-permanent";
    let root = Root::start(top.path(), &[("HOMESTAK_LOCAL_FAULTS", faults)]).await;
    let policy = Policy { on_error: homestak_protocol::order::OnError::Continue, ..Policy::default() };
    let built = root.apply(1, policy, &[pve("root-pve", vec![vm("edge")]), vm("other")]).await;
    let status = |text: &str| {
        let node = built.nodes.iter().find(|node| node.path == path(text)).expect("the node is known");
        (node.status, node.fault.clone())
    };
    assert_eq!(status("local/m/root-pve/edge").0, Status::Completed);
    let (other, fault) = status("local/m/other");
    assert_eq!((other, fault.unwrap().code.as_str()), (Status::Failed, "E707"));
    root.destroy(2).await;
    root.end().await;
}
