//! What hosts say that they really have, and what that changes in a plan which was made from the record.

use std::collections::{BTreeMap, BTreeSet};

use homestak_protocol::event::Action;
use homestak_protocol::ids::Vmid;
use homestak_protocol::message::{Differing, Seen};
use homestak_protocol::path::NodePath;

use super::{Comparison, Planned};

/// Machines that were looked for, host by host.
#[derive(Debug, Clone, Default)]
pub struct Sight {
    looked: BTreeSet<NodePath>,
    seen: BTreeMap<NodePath, Seen>,
    differing: BTreeMap<NodePath, Vec<String>>,
}

impl Sight {
    /// A host has looked, and this is all that it has.
    pub fn add(&mut self, at: NodePath, seen: Vec<Seen>) {
        let below = seen.into_iter().filter(|machine| at.carries(&machine.path));
        self.seen.extend(below.map(|machine| (machine.path.clone(), machine)));
        self.looked.insert(at);
    }

    /// Whether a machine is there, with the life that is on record.
    pub fn holds(&self, path: &NodePath) -> bool {
        self.seen.get(path).is_some_and(|machine| machine.known)
    }

    /// The id of a machine that is there.
    pub fn vmid(&self, path: &NodePath) -> Option<Vmid> {
        self.seen.get(path)?.vmid
    }

    /// A machine that is there is not as wanted.
    pub fn differs(&mut self, machine: Differing) {
        self.differing.insert(machine.path, machine.what);
    }

    /// Says of each node what an apply will really find.
    pub fn correct(&self, comparison: &mut Comparison) {
        let mut missing = BTreeSet::new();
        for planned in &mut comparison.nodes {
            let parent = planned.node.path.parent();
            if let Some(host) = parent.as_ref().filter(|host| missing.contains(*host)) {
                planned.lost(None);
                planned.known_after = (planned.action == Action::Created).then(|| host.clone());
            } else if parent.is_some_and(|host| self.looked.contains(&host)) {
                self.correct_one(planned);
            }
            let goes = !self.seen.contains_key(&planned.node.path);
            if goes && matches!(planned.action, Action::Created | Action::None) {
                missing.insert(planned.node.path.clone());
            }
        }
        comparison.count();
    }

    fn correct_one(&self, planned: &mut Planned) {
        let of_record = matches!(planned.action, Action::Unchanged | Action::Updated);
        match self.seen.get(&planned.node.path) {
            None => planned.lost(Some("it is on record, and is not there any more")),
            Some(machine) if !machine.known && (of_record || planned.action == Action::Created) => {
                planned.action = Action::Adopted;
                planned.reason = Some("it is there, and its host has it not on record".to_owned());
            }
            Some(machine) if of_record => {
                let found = self.differing.get(&planned.node.path).into_iter().flatten();
                let differing: Vec<String> = found.filter(|what| !planned.tells(what)).cloned().collect();
                if !differing.is_empty() {
                    planned.action = Action::Updated;
                    let told = planned.reason.take().into_iter();
                    planned.reason = Some(told.chain(differing).collect::<Vec<_>>().join(", "));
                } else if !machine.running {
                    planned.reason.get_or_insert_with(|| "it does not run, and will be started".to_owned());
                }
            }
            Some(_) => {}
        }
    }
}

impl Planned {
    /// Whether it is told already that this will be changed.
    fn tells(&self, what: &str) -> bool {
        let noun = what.split(' ').next().unwrap_or(what);
        self.reason.iter().flat_map(|reason| reason.split(", ")).any(|told| told.split(' ').next() == Some(noun))
    }

    /// What is on record as existing is not there.
    fn lost(&mut self, reason: Option<&str>) {
        self.action = match self.action {
            Action::Unchanged | Action::Updated | Action::Created => {
                if self.action != Action::Created {
                    self.reason = reason.map(str::to_owned);
                }
                Action::Created
            }
            _ => Action::None,
        };
    }
}

#[cfg(test)]
mod tests {
    use homestak_protocol::order::{Machine, NodeKind};

    use super::*;
    use crate::store::PlannedNode;

    fn planned(path: &str, action: Action) -> Planned {
        let machine = Machine {
            kind: NodeKind::Pve,
            image: None,
            cores: 1,
            memory_mib: 1,
            disk_gib: 1,
            vmid: None,
            bridge: None,
        };
        let path = NodePath::parse(path).unwrap();
        let kind = NodeKind::Pve;
        let node = PlannedNode { path, kind, machine, spec: None, spec_digest: None, pull: false, orphaned: false };
        Planned { node, action, reason: None, known_after: None }
    }

    fn seen(path: &str, running: bool, known: bool) -> Seen {
        Seen { path: NodePath::parse(path).unwrap(), vmid: Vmid::new(101), running, known }
    }

    #[test]
    fn a_plan_goes_by_what_hosts_have_and_by_the_record_where_nobody_looked() {
        let mut sight = Sight::default();
        let machines = [seen("h/m/there", true, true), seen("h/m/old", true, false), seen("h/m/off", false, true)];
        sight.add(NodePath::parse("h").unwrap(), machines.to_vec());
        let nodes = [
            ("h/m/there", Action::Unchanged),
            ("h/m/old", Action::Unchanged),
            ("h/m/off", Action::Unchanged),
            ("h/m/gone", Action::Unchanged),
            ("h/m/new", Action::Created),
            ("h/m/there/inner", Action::Unchanged),
            ("h/m/gone/inner", Action::Updated),
            ("h/m/lost", Action::Orphaned),
        ];
        let nodes = nodes.map(|(path, action)| planned(path, action)).to_vec();
        let mut comparison = Comparison { nodes, changes: 0 };
        sight.correct(&mut comparison);
        let actions: Vec<_> = comparison.nodes.iter().map(|planned| planned.action).collect();
        let due = [
            Action::Unchanged,
            Action::Adopted,
            Action::Unchanged,
            Action::Created,
            Action::Created,
            Action::Unchanged,
            Action::Created,
            Action::None,
        ];
        assert_eq!((actions.as_slice(), comparison.changes), (due.as_slice(), 4));
        let reasons = comparison.nodes.iter().map(|planned| planned.reason.is_some());
        assert_eq!(reasons.collect::<Vec<_>>(), [false, true, true, true, false, false, false, false]);
        assert_eq!(comparison.nodes[6].known_after, Some(NodePath::parse("h/m/gone").unwrap()));
    }
}
