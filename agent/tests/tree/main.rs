//! A whole tree of real agents, from a root in this process down.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "what unwraps wrongly here fails the test")]

mod root;

use std::fs;
use std::path::Path;

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

    // A host of machines loses power: they go on, and find it again where it was.
    let host = path("local/m/root-pve");
    let inner = path("local/m/root-pve/inner");
    let (before, inside) = (root.record(&host).process.unwrap(), root.record(&inner).process.unwrap());
    kill_process(Pid::from_raw(before.pid).unwrap(), Signal::KILL).unwrap();
    until("its machine has found it again", async || {
        root.record(&host).process.filter(|mark| *mark != before)?;
        let sock = socket::ask(&root.folder(&host).join("state")).await.ok()??;
        let below = socket::ask(&root.folder(&inner).join("state")).await.ok()??;
        (sock["connected"] == true && below["connected"] == true).then_some(())
    })
    .await;
    assert_eq!(root.record(&inner).process.unwrap(), inside);

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

/// Processes that have this folder in their command line: every agent below it, and nobody else.
fn agents_below(top: &Path) -> usize {
    let all = fs::read_dir("/proc").unwrap().filter_map(|entry| fs::read(entry.unwrap().path().join("cmdline")).ok());
    let needle = top.to_str().unwrap();
    all.filter(|line| String::from_utf8_lossy(line).contains(needle)).count()
}

#[tokio::test]
async fn wherever_the_maker_dies_the_tree_becomes_what_it_was_to_be() {
    let nodes = [pve("root-pve", vec![vm("edge")]), vm("beside")];
    for point in ["machine.create", "machine.spawn"] {
        for side in ["before", "after"] {
            let top = tempfile::tempdir().unwrap();
            let plan = top.path().join("crash.plan");
            fs::write(&plan, format!("{point}:{side}@local\n")).unwrap();
            let root = Root::start(top.path(), &[("HOMESTAK_CRASH_AT", plan.to_str().unwrap())]).await;
            let (built, ()) = tokio::join!(root.apply(1, Policy::default(), &nodes), root.revive());
            for node in &built.nodes {
                assert_eq!((node.status, node.action), (Status::Completed, Action::Created), "{point}:{side} {node:?}");
            }
            assert_eq!(agents_below(top.path()), 4, "{point}:{side}: no machine twice, none lost");
            root.destroy(2).await;
            until("every machine is gone", async || (agents_below(top.path()) == 1).then_some(())).await;
            root.end().await;
        }
    }
    for (point, side) in [("machine.trash", "before"), ("machine.trash", "after"), ("machine.clear", "after")] {
        let top = tempfile::tempdir().unwrap();
        let plan = top.path().join("crash.plan");
        let root = Root::start(top.path(), &[("HOMESTAK_CRASH_AT", plan.to_str().unwrap())]).await;
        root.apply(1, Policy::default(), &nodes).await;
        fs::write(&plan, format!("{point}:{side}@local\n")).unwrap();
        let (gone, ()) = tokio::join!(root.destroy(2), root.revive());
        for node in &gone.nodes {
            assert_eq!(node.status, Status::Destroyed, "{point}:{side} {node:?}");
        }
        until("every machine is gone", async || (agents_below(top.path()) == 1).then_some(())).await;
        until("nothing is left of them", async || {
            (fs::read_dir(root.state.join("machines")).unwrap().count() == 0).then_some(())
        })
        .await;
        root.end().await;
    }
}
