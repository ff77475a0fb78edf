//! Whoever dies in mid-run is started again and goes on: the daemon by the next command, the host's agent by the daemon,
//! a machine by its host.

use homestak_tests::document::{all, each, is_contiguous};
use homestak_tests::stage::Stage;
use homestak_tests::wait;

/// A run that goes on for a while after its first machine is there.
fn busy(name: &str) -> Stage {
    let mut stage = Stage::set(name);
    stage.env("HOMESTAK_LOCAL_FAULTS", "leaf-pve:configure:delay=1500,edge:configure:delay=1000");
    stage
}

fn settled(stage: &Stage) {
    wait::until("the run is over", || {
        let runs = stage.json(0, &["runs"]);
        assert_ne!(runs["runs"][0]["state"], "failed", "{runs:#}");
        (runs["runs"][0]["state"] == "succeeded").then_some(())
    });
    let status = stage.json(0, &["status", "n3-deep"]);
    all(&status, "status", "completed");
    assert_eq!(stage.machines().len(), 3);
    assert!(stage.machines().iter().all(|machine| machine.process().is_some()));
    is_contiguous(stage);
    all(&stage.json(0, &["apply", "n3-deep"]), "action", "unchanged");
}

#[test]
fn a_killed_daemon_is_started_by_the_next_command_and_knows_how_the_run_ended() {
    let stage = busy("daemon-dies");
    let run = stage.start(&["apply", "n3-deep"]);
    wait::until("the first machine is there", || (!stage.machines().is_empty()).then_some(()));
    stage.daemon().unwrap().kill();
    // Who follows the run starts it again, too.
    run.finish(wait::PATIENCE).exits(0).says("the daemon went away");
    settled(&stage);
    stage.strike();
}

#[test]
fn a_killed_host_agent_is_started_again_and_the_run_goes_on() {
    let stage = busy("host-dies");
    let run = stage.start(&["apply", "n3-deep", "--json"]);
    wait::until("the first machine is there", || (!stage.machines().is_empty()).then_some(()));
    stage.host_agent().unwrap().kill();
    let built = run.finish(wait::PATIENCE).exits(0).json();
    assert_eq!(each(&built, "action"), [("edge", "created"), ("leaf-pve", "created"), ("root-pve", "created")].into());
    settled(&stage);
    stage.strike();
}

#[test]
fn a_killed_machine_is_the_same_machine_when_it_runs_again() {
    for victim in ["local/n3-deep/root-pve", "local/n3-deep/root-pve/leaf-pve", "local/n3-deep/root-pve/leaf-pve/edge"]
    {
        let stage = busy("machine-dies");
        let run = stage.start(&["apply", "n3-deep", "--json"]);
        let machine = wait::until("the machine runs", || {
            stage.machines().into_iter().find(|machine| machine.path == victim && machine.process().is_some())
        });
        machine.process().unwrap().kill();
        run.finish(wait::PATIENCE).exits(0);
        settled(&stage);
        let after = stage.machine(victim);
        assert_eq!((&after.incarnation, after.ip, after.vmid), (&machine.incarnation, machine.ip, machine.vmid));
        assert_ne!(after.pid, machine.pid);
        stage.strike();
    }
}

#[test]
fn machines_outlive_the_daemon_and_the_hosts_agent_and_are_found_again() {
    let stage = Stage::set("outlive");
    stage.json(0, &["apply", "n2-tiered"]);
    let before = stage.machines();
    let agent = stage.host_agent().unwrap();
    stage.daemon().unwrap().kill();
    agent.kill();
    wait::until("both are gone", || (!agent.is_alive()).then_some(()));
    all(&stage.json(0, &["apply", "n2-tiered"]), "action", "unchanged");
    assert_eq!(stage.machines(), before);
    stage.coord(&["server", "stop"]).exits(0);
    assert!(stage.machines().iter().all(|machine| machine.process().is_some()));
    all(&stage.json(0, &["destroy", "n2-tiered", "--yes"]), "status", "destroyed");
    is_contiguous(&stage);
    stage.strike();
}
