//! What nodes wait for: the layer and its time follow from how they stand, the word from the last progress, which is kept
//! here for as long as its phase lasts, in memory: it is said again soon by whoever works.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use homestak_node::runtime::Update;
use homestak_node::waiting::Layer;
use homestak_protocol::event::{Change, NodeView, Phase, PhaseStatus, Progress, Status};
use homestak_protocol::path::{NodePath, TreeId};

use super::clock;
use crate::documents::WaitingDocument;

/// The last word on each node that is worked on.
#[derive(Debug, Default)]
pub(super) struct Words(Mutex<BTreeMap<(TreeId, NodePath), (Phase, String)>>);

impl Words {
    /// Something happened.
    pub(super) fn hear(&self, update: &Update) {
        // Whoever panicked with it has changed one word or none.
        let mut words = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match update {
            Update::Progress(progress) => {
                let Progress { scope, path, phase, text } = &**progress;
                words.insert((scope.tree.clone(), path.clone()), (*phase, text.clone()));
            }
            Update::Event(event) => {
                let ended = match &event.change {
                    Change::Phase(change) if change.status != PhaseStatus::Running => {
                        Some((&change.path, Some(change.phase)))
                    }
                    Change::Node(change) if change.status.is_final() => Some((&change.path, None)),
                    _ => None,
                };
                let Some((path, phase)) = ended else { return };
                let key = (event.scope.tree.clone(), path.clone());
                if words.get(&key).is_some_and(|(of, _)| phase.is_none_or(|phase| phase == *of)) {
                    words.remove(&key);
                }
            }
            _ => {}
        }
    }

    fn word(&self, tree: &TreeId, path: &NodePath, phase: Phase) -> Option<String> {
        let words = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        words.get(&(tree.clone(), path.clone())).filter(|(of, _)| *of == phase).map(|(_, text)| text.clone())
    }

    /// What a node waits for; nothing where it is not worked on.
    pub(super) fn of(&self, tree: &TreeId, view: &NodeView) -> Option<WaitingDocument> {
        let phase = at_work(view)?;
        let word = self.word(tree, &view.path, phase);
        let (layer, text) = Layer::of(phase, word.as_deref());
        let text = text.map(str::to_owned);
        Some(WaitingDocument { layer, since: clock::shown(since(view)?), seconds: None, text })
    }
}

/// The phase that it is in.
fn at_work(view: &NodeView) -> Option<Phase> {
    let last = view.phases.iter().rev().find(|phase| phase.status == PhaseStatus::Running);
    last.filter(|_| view.status == Status::Running).map(|phase| phase.phase)
}

/// When the phase that it is in began: phases follow each other, so it is when those before it were over.
pub(super) fn since(view: &NodeView) -> Option<u64> {
    let over: u64 = view.phases.iter().map(|phase| phase.duration_ms).sum();
    view.started_ms.map(|started| started.saturating_add(over))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use homestak_node::core::unseen;
    use homestak_protocol::event::{Event, NodeChange, Origin, PhaseView, Scope};
    use homestak_protocol::ids::{Generation, JournalId, RunId, Seq, SiteId};
    use homestak_protocol::name::{HostName, ManifestName};
    use homestak_protocol::order::NodeKind;

    use super::*;

    fn scope() -> Scope {
        let tree = TreeId {
            site: SiteId::from_bits(1),
            host: HostName::parse("h").unwrap(),
            manifest: ManifestName::parse("m").unwrap(),
        };
        Scope { tree, run: RunId::from_bits(1), generation: Generation::default() }
    }

    fn booting(path: &NodePath) -> NodeView {
        let phase = |phase, status, duration_ms| PhaseView { phase, status, duration_ms, note: None };
        NodeView {
            status: Status::Running,
            started_ms: Some(10_000),
            phases: vec![
                phase(Phase::Provision, PhaseStatus::Passed, 2_500),
                phase(Phase::Boot, PhaseStatus::Running, 0),
            ],
            ..unseen(path, NodeKind::Vm, Generation::default())
        }
    }

    #[test]
    fn the_layer_its_beginning_and_the_last_word_are_told_until_the_phase_is_over() {
        let (words, scope) = (Words::default(), scope());
        let path = NodePath::parse("h/m/edge").unwrap();
        let say = |phase, text: &str| {
            let progress = Progress { scope: scope.clone(), path: path.clone(), phase, text: text.into() };
            words.hear(&Update::Progress(Arc::new(progress)));
        };
        let told = |view: &NodeView| words.of(&scope.tree, view);
        say(Phase::Provision, "PVE task qmcreate");
        let first = told(&booting(&path)).unwrap();
        assert_eq!((first.layer, first.text), (Layer::Boot, None), "a word of another phase says nothing");
        assert_eq!(first.since, clock::shown(12_500));
        say(Phase::Boot, "cloud-init: no address yet");
        let now = told(&booting(&path)).unwrap();
        assert_eq!((now.layer, now.text.as_deref()), (Layer::CloudInit, Some("no address yet")));
        let end = NodeChange {
            path: path.clone(),
            kind: NodeKind::Vm,
            status: Status::Failed,
            action: None,
            vmid: None,
            ip: None,
            simulated: false,
            fault: None,
        };
        let origin = Origin { path: path.clone(), journal: JournalId::from_bits(1) };
        let event = Event { origin, seq: Seq::default(), at_ms: 0, scope: scope.clone(), change: Change::Node(end) };
        words.hear(&Update::Event(Arc::new(event)));
        assert_eq!(told(&booting(&path)).unwrap().text, None, "a node that is final waits for nothing");
        assert_eq!(told(&NodeView { status: Status::Failed, ..booting(&path) }), None);
    }
}
