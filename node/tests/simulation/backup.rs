//! A coordinator that is restored from a backup: it knows less than its hosts, orders nothing, and takes over what they
//! know before it goes on.

use homestak_node::core::record::Image;
use homestak_node::core::step::Local;
use homestak_protocol::fault::Code;
use homestak_protocol::message::Reply;
use homestak_protocol::path::NodePath;

use crate::errand::{Errand, Want, policy};
use crate::forest::Manifest;
use crate::promises::Heard;
use crate::schedule::SETTLES_WITHIN;
use crate::sim::{COORDINATOR, Sim};

/// What the coordinator had on its disk once.
#[derive(Clone)]
pub(crate) struct Backup {
    disk: Image,
    heard: Heard,
}

impl Backup {
    /// Of how things are.
    pub(crate) fn take(sim: &Sim) -> Self {
        Self { disk: sim.processes[COORDINATOR].disk.clone(), heard: sim.watch.heard.clone() }
    }

    /// The coordinator goes on from here, and learns from its hosts what it has missed. Everything is quiet.
    pub(crate) fn restore(self, sim: &mut Sim, hosts: &[&str], forest: &[Manifest]) {
        sim.trace(COORDINATOR, || "is restored from a backup".to_owned());
        sim.kill(COORDINATOR);
        sim.processes[COORDINATOR].disk = self.disk;
        sim.watch.heard = self.heard;
        sim.watch.restored = true;
        let life = sim.processes[COORDINATOR].life;
        sim.power(COORDINATOR, life);
        if !sim.calm_down(SETTLES_WITHIN) {
            return;
        }
        for manifest in forest {
            refuses_to_order(sim, manifest);
        }
        for host in hosts {
            let host = NodePath::parse(host).unwrap();
            let surveyed = match answer(sim, Local::Survey(host.clone())) {
                Some(Reply::Surveyed(surveyed)) => surveyed,
                other => return sim.broken("a host says what it has", COORDINATOR, format!("{other:?}")),
            };
            let adopted = answer(sim, Local::Adopt { host, surveyed });
            if adopted != Some(Reply::Done) {
                return sim.broken("what a host has can be adopted", COORDINATOR, format!("{adopted:?}"));
            }
        }
    }
}

/// As long as its host is ahead, the coordinator takes no order for a tree.
fn refuses_to_order(sim: &mut Sim, manifest: &Manifest) {
    let host = NodePath::host_root(&manifest.tree.host);
    let of = |pid: usize, sim: &Sim| sim.state(pid, &manifest.tree).map(|state| state.generation);
    if of(COORDINATOR, sim) >= of(sim.at[&host], sim) {
        return;
    }
    let want = Want::Apply(manifest.clone());
    let any = policy(homestak_protocol::order::OnError::Stop, true);
    let errand = Errand::new(sim, manifest.tree.clone(), want, any, true);
    match answer(sim, errand.order()) {
        Some(Reply::Refused(fault)) if fault.code == Code::Behind => {}
        other => sim.broken("whoever is behind orders nothing", COORDINATOR, format!("{other:?}")),
    }
}

/// Asks the coordinator, and waits for its answer.
fn answer(sim: &mut Sim, ask: Local) -> Option<Reply> {
    let ticket = sim.ask(ask);
    sim.run(SETTLES_WITHIN, |sim| !sim.answers.contains_key(&ticket));
    sim.answers.remove(&ticket)
}
