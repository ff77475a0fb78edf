//! The promises about a run's end: what the root says, what the world is, and how the two agree.

use std::collections::BTreeSet;

use homestak_protocol::event::{Action, NodeView, Status};
use homestak_protocol::fault::Code;
use homestak_protocol::order::Verb;
use homestak_protocol::path::{NodePath, TreeId};

use crate::errand::{Errand, Want};
use crate::promises::is_wrong;
use crate::sim::{COORDINATOR, Sim};
use crate::world::{MEANT, Standing};

impl Sim {
    /// A tree's nodes as the root has them on disk.
    pub(crate) fn views(&self, tree: &TreeId) -> impl Iterator<Item = &NodeView> {
        self.processes[COORDINATOR].disk.trees.get(tree).into_iter().flat_map(|image| image.views.values())
    }

    fn view(&self, tree: &TreeId, place: &NodePath) -> Option<&NodeView> {
        self.processes[COORDINATOR].disk.trees.get(tree)?.views.get(place)
    }

    fn fails(&mut self, promise: &'static str, what: String) {
        self.broken(promise, COORDINATOR, what);
    }

    /// A run is over.
    pub(crate) fn judge_end(&mut self, errand: &Errand) {
        let (of_it, all) = (errand.generation, matches!(errand.want, Want::Destroy));
        let open = self.views(&errand.tree).filter(|view| all || view.generation == of_it);
        let open: Vec<_> = open.filter(|view| !view.status.is_final()).map(shown).collect();
        if !open.is_empty() {
            return self.fails("a run that is over leaves no node without a last word", open.join(", "));
        }
        let disturbed = !self.watch.stolen.is_empty() || !self.watch.forgotten.is_empty();
        if !errand.clean || disturbed {
            return;
        }
        let Want::Apply(manifest) = &errand.want else { return };
        let named: BTreeSet<_> = manifest.paths().into_iter().collect();
        self.judge_found(errand, &named);
        self.judge_failures(errand);
        let word = self.state(COORDINATOR, &errand.tree).and_then(|state| state.word);
        if word == Some(Verb::Rollback) {
            self.judge_rollback(errand);
        } else if !errand.was_interrupted() {
            self.judge_completion(errand, &named);
        }
    }

    /// What a run finds, it leaves, unless it is to prune it.
    fn judge_found(&mut self, errand: &Errand, named: &BTreeSet<NodePath>) {
        let missing = errand.found.iter().find(|(place, id)| {
            let stays = !errand.policy.prune || is_named(place, named);
            stays && self.world.machine(place).map(|machine| machine.id) != Some(**id)
        });
        if let Some((place, _)) = missing {
            let what = place.to_string();
            self.fails("what a run has found stays", what);
        }
    }

    /// Whatever failed was meant to fail, or ran out of time because of it.
    fn judge_failures(&mut self, errand: &Errand) {
        let generation = errand.generation;
        // What is no longer named keeps the status that it had.
        let failed = self.views(&errand.tree).filter(|view| {
            view.generation == generation && view.status == Status::Failed && view.action != Action::Orphaned
        });
        let mut unexplained = Vec::new();
        for view in failed {
            let Some(fault) = &view.fault else {
                unexplained.push(shown(view));
                continue;
            };
            let explained = match fault.code {
                Code::Unreachable | Code::Boot => true,
                Code::Timeout | Code::Destroy if self.world.injured.contains_key(&view.path) => true,
                _ => fault.message.contains(MEANT),
            };
            if !explained {
                unexplained.push(shown(view));
            }
        }
        if !unexplained.is_empty() {
            self.fails("nothing fails without a cause", unexplained.join(", "));
        }
    }

    /// Rollback leaves nothing of what the run made, wherever it could reach and remove.
    fn judge_rollback(&mut self, errand: &Errand) {
        let hindered = self.views(&errand.tree).any(|view| view.status == Status::Unreachable)
            || self.world.injured.values().any(|what| what.contains(&"remove"));
        if hindered {
            return;
        }
        let left = self.world.of_tree(&errand.tree).find(|(_, machine)| {
            machine.made_in == errand.generation || machine.reported_in == Some(errand.generation)
        });
        if let Some((place, machine)) = left {
            let what = format!("{place} {machine:?}");
            self.fails("rollback removes what the run made", what);
        }
    }

    /// What does not depend on a failure is completed; without a failure everything is.
    fn judge_completion(&mut self, errand: &Errand, named: &BTreeSet<NodePath>) {
        let generation = errand.generation;
        let wrong: BTreeSet<_> = self
            .views(&errand.tree)
            .filter(|view| view.generation == generation && is_wrong(view.status))
            .map(|view| view.path.clone())
            .collect();
        let goes_on = errand.policy.on_error == homestak_protocol::order::OnError::Continue;
        let troubled = self.watch.troubled.contains(&(errand.tree.clone(), generation));
        if troubled && !goes_on {
            return;
        }
        let mut lost = Vec::new();
        for place in named {
            let status = self.view(&errand.tree, place).map(|view| view.status);
            let depends = wrong.iter().any(|above| place.is_within(above));
            if status != Some(Status::Completed) && !depends {
                lost.push(format!("{place} {status:?}"));
            }
        }
        if !lost.is_empty() {
            self.fails("what does not depend on a failure is completed", lost.join(", "));
        }
    }

    /// Nothing is left to happen: everybody is up, has settled and has told everything, and the root knows what there is.
    pub(crate) fn judge_quiet(&mut self, trees: &[TreeId]) {
        if !self.world.is_idle() {
            return self.fails("work ends", "work is still in flight".to_owned());
        }
        for pid in 0..self.processes.len() {
            let process = &self.processes[pid];
            if process.dead || self.watch.is_disturbed(&process.place) {
                continue;
            }
            let open = self.unsettled_at(pid);
            let parent = process.place.parent().unwrap_or_else(NodePath::coordinator);
            let parent = self.at.get(&parent).map(|&parent| &self.processes[parent].disk);
            // A machine that was to be given another life, and was not, waits for the next order.
            let life = parent.and_then(|disk| disk.peers.get(&process.place)).map(|peer| peer.incarnation);
            let shut_out = self.world.machine(&process.place).is_some_and(|m| life.is_some_and(|l| l != m.incarnation));
            if shut_out && process.core.is_some() {
                continue;
            }
            let alone = process.uplink.is_none() && pid != COORDINATOR;
            let told = parent.and_then(|disk| disk.seen.get(&process.place));
            let told = told.filter(|(journal, _)| Some(*journal) == process.disk.journal);
            let told = told.map(|(_, position)| *position).unwrap_or_default();
            let restored = self.watch.restored && process.place.is_host();
            let untold = pid != COORDINATOR && told != process.disk.last_position && !restored;
            if let Some(open) = open {
                return self.broken("every operator settles", pid, open);
            }
            if process.core.is_none() || alone {
                return self.broken("everybody finds back to their parent", pid, String::new());
            }
            if untold {
                return self.broken("everything is told", pid, format!("{told} of {}", process.disk.last_position));
            }
        }
        for tree in trees {
            self.judge_agreement(tree);
        }
    }

    fn unsettled_at(&self, pid: crate::process::Pid) -> Option<String> {
        let process = &self.processes[pid];
        let open = process.disk.trees.iter().find(|(_, image)| image.state.as_ref().is_some_and(|s| !s.settled));
        let (_, image) = open?;
        let state = image.state.as_ref()?;
        let children: Vec<_> = image
            .children
            .values()
            .map(|child| format!("{} {:?} {:?} settled {:?}", child.path, child.goal, child.stage, child.settled))
            .collect();
        let own = state.own.as_ref().map(|own| own.stage);
        let (word, generation) = (state.word, state.generation);
        Some(format!("{} g{generation} {word:?} own {own:?} [{}]", process.place, children.join(", ")))
    }

    /// Who has not settled.
    pub(crate) fn unsettled(&self) -> Vec<String> {
        (0..self.processes.len())
            .filter(|&pid| !self.processes[pid].dead)
            .filter_map(|pid| self.unsettled_at(pid))
            .collect()
    }

    /// What the root says of a tree is so.
    pub(crate) fn judge_agreement(&mut self, tree: &TreeId) {
        let mut lies = Vec::new();
        for view in self.views(tree).filter(|view| !self.watch.is_disturbed(&view.path)) {
            let machine = self.world.machine(&view.path);
            let agrees = match (view.status, machine) {
                (status, Some(_)) if status.is_gone() => false,
                (Status::Completed, None) | (Status::Pending | Status::Running, _) => false,
                (Status::Completed, Some(machine)) => {
                    view.vmid == Some(machine.vmid) && machine.standing == Standing::Running
                }
                (_, Some(machine)) => {
                    machine.reported_in.is_none() || view.vmid.is_none_or(|vmid| vmid == machine.vmid)
                }
                (_, None) => true,
            };
            if !agrees {
                lies.push(format!("{} but {machine:?}", shown(view)));
            }
        }
        for (place, _) in self.world.of_tree(tree).filter(|(place, _)| !self.watch.is_disturbed(place)) {
            if self.view(tree, place).is_none() {
                lies.push(format!("{place} is not known"));
            }
        }
        if !lies.is_empty() {
            self.fails("what the root says is so", lies.join("; "));
        }
    }

    /// An apply in which nothing went wrong.
    pub(crate) fn judge_built(&mut self, errand: &Errand, was_forgotten: bool) {
        let Want::Apply(manifest) = &errand.want else { return };
        let named: BTreeSet<_> = manifest.paths().into_iter().collect();
        let there: BTreeSet<_> = self.world.of_tree(&errand.tree).map(|(place, _)| place.clone()).collect();
        let extra = there.difference(&named).count() > 0 && !was_forgotten;
        if extra || named.difference(&there).count() > 0 {
            return self.fails("in the end there is what the manifest names", format!("{there:?} for {named:?}"));
        }
        let bad: Vec<_> = named
            .iter()
            .filter(|place| self.view(&errand.tree, place).is_none_or(|view| view.status != Status::Completed))
            .map(|place| self.view(&errand.tree, place).map_or_else(|| place.to_string(), shown))
            .collect();
        if !bad.is_empty() {
            self.fails("in the end everything is completed", bad.join(", "));
        }
    }

    /// A second apply of the same, in which nothing went wrong.
    pub(crate) fn judge_unchanged(&mut self, errand: &Errand, before: (u32, u32, u32)) {
        if before != (self.world.made, self.world.unmade, self.world.reconfigured) {
            return self.fails("a second apply touches nothing", format!("{before:?}"));
        }
        let Want::Apply(manifest) = &errand.want else { return };
        let changed: Vec<_> = manifest
            .paths()
            .iter()
            .filter_map(|place| self.view(&errand.tree, place))
            .filter(|view| view.action != Action::Unchanged)
            .map(shown)
            .collect();
        if !changed.is_empty() {
            self.fails("a second apply finds everything unchanged", changed.join(", "));
        }
    }

    /// A destroy in which nothing went wrong.
    pub(crate) fn judge_destroyed(&mut self, errand: &Errand) {
        let left: Vec<_> = self.world.of_tree(&errand.tree).map(|(place, _)| place.to_string()).collect();
        if !left.is_empty() {
            return self.fails("destroy leaves nothing", left.join(", "));
        }
        let not: Vec<_> = self.views(&errand.tree).filter(|view| !view.status.is_gone()).map(shown).collect();
        if !not.is_empty() {
            self.fails("destroy says that nothing is left", not.join(", "));
        }
    }
}

/// Whether a place or one above it is still named: what a named machine carries is not pruned with its host.
fn is_named(place: &NodePath, named: &BTreeSet<NodePath>) -> bool {
    named.contains(place)
}

fn shown(view: &NodeView) -> String {
    let fault = view.fault.as_ref().map(|fault| format!(" ({fault})")).unwrap_or_default();
    format!("{} g{} {}/{}{fault}", view.path, view.generation, view.status, view.action)
}
