//! What is known of a run that is followed. Holds no clock: `now` is always the time since following began.

use std::collections::HashMap;
use std::time::Duration;

use homestak_coord::api::{LiveNode, RunView};
use homestak_coord::documents::{NodeDocument, RunSummary};
use homestak_node::waiting::Layer;
use homestak_protocol::event::{Phase, PhaseStatus, Status};
use homestak_protocol::path::NodePath;

use super::outline::{self, Place};

/// A followed run.
#[derive(Debug)]
pub(crate) struct Progress {
    /// What it is.
    pub(crate) summary: RunSummary,
    /// How long it had been going on at `told`.
    elapsed: Duration,
    told: Duration,
    nodes: Vec<Followed>,
    by_path: HashMap<String, usize>,
    places: Vec<Place>,
    /// Whether it was asked to stop.
    pub(crate) cancelling: bool,
}

/// A node of it.
#[derive(Debug)]
pub(crate) struct Followed {
    /// As it was last told.
    pub(crate) node: NodeDocument,
    /// What long work last said of itself.
    text: Option<(Phase, String)>,
    elapsed: Option<Duration>,
    /// How long it had been in its phase when it was last told of.
    waited: Option<Duration>,
    /// When it was last told of.
    pub(crate) heard: Duration,
}

impl Progress {
    /// A run as it stands now.
    pub(crate) fn new(view: RunView, now: Duration) -> Self {
        let mut progress = Self {
            summary: view.summary,
            elapsed: Duration::from_millis(view.elapsed_ms),
            told: now,
            nodes: Vec::new(),
            by_path: HashMap::new(),
            places: Vec::new(),
            cancelling: false,
        };
        for node in view.nodes {
            progress.put(node, now);
        }
        progress.place();
        progress
    }

    /// The same run, told from its beginning again after the connection was lost.
    pub(crate) fn again(&mut self, view: RunView, now: Duration) {
        *self = Self { cancelling: self.cancelling, ..Self::new(view, now) };
    }

    /// A node stands differently.
    pub(crate) fn node(&mut self, live: LiveNode, now: Duration) {
        if self.put(live, now) {
            self.place();
        }
    }

    /// Long work tells how far it has come.
    pub(crate) fn tell(&mut self, path: &NodePath, phase: Phase, text: String, now: Duration) {
        if let Some(node) = self.by_path.get(path.as_str()).and_then(|index| self.nodes.get_mut(*index)) {
            node.text = Some((phase, text));
            node.elapsed = node.time(now);
            node.waited = node.waited(now);
            node.heard = now;
        }
    }

    /// Its nodes in creation order.
    pub(crate) fn nodes(&self) -> &[Followed] {
        &self.nodes
    }

    /// Its nodes in drawing order.
    pub(crate) fn drawn(&self) -> impl Iterator<Item = (&Place, &Followed)> {
        self.places.iter().filter_map(|place| Some((place, self.nodes.get(place.index)?)))
    }

    /// A node, by its path.
    pub(crate) fn find(&self, path: &str) -> Option<&Followed> {
        self.by_path.get(path).and_then(|index| self.nodes.get(*index))
    }

    /// How long the run has been going on.
    pub(crate) fn elapsed(&self, now: Duration) -> Duration {
        self.elapsed.saturating_add(now.saturating_sub(self.told))
    }

    /// Whether nothing real is made.
    pub(crate) fn simulated(&self) -> bool {
        self.nodes.iter().any(|followed| followed.node.simulated)
    }

    /// Adds or replaces a node; says whether it is a new one.
    fn put(&mut self, live: LiveNode, now: Duration) -> bool {
        let LiveNode { node, elapsed_ms, waited_ms, text } = live;
        let known = self.by_path.get(&node.path).and_then(|index| self.nodes.get_mut(*index));
        let (elapsed, waited) = (elapsed_ms.map(Duration::from_millis), waited_ms.map(Duration::from_millis));
        let said = at_work(&node).zip(text);
        match known {
            Some(followed) => {
                let kept = followed.text.take().filter(|(phase, _)| Some(*phase) == at_work(&node));
                *followed = Followed { node, text: kept.or(said), elapsed, waited, heard: now };
                false
            }
            None => {
                self.by_path.insert(node.path.clone(), self.nodes.len());
                self.nodes.push(Followed { node, text: said, elapsed, waited, heard: now });
                true
            }
        }
    }

    fn place(&mut self) {
        self.places = outline::places(self.nodes.iter().map(|followed| &followed.node));
    }
}

impl Followed {
    /// The phase that it is in.
    pub(crate) fn phase(&self) -> Option<Phase> {
        at_work(&self.node)
    }

    /// What long work last said of itself in this phase.
    pub(crate) fn text(&self) -> Option<&str> {
        self.text.as_ref().filter(|(phase, _)| Some(*phase) == self.phase()).map(|(_, text)| text.as_str())
    }

    /// What it waits for: the layer, and the last word about it.
    pub(crate) fn waits_for(&self) -> Option<(Layer, Option<&str>)> {
        self.phase().map(|phase| Layer::of(phase, self.text()))
    }

    /// How long it has been in its phase.
    pub(crate) fn waited(&self, now: Duration) -> Option<Duration> {
        self.waited
            .filter(|_| self.phase().is_some())
            .map(|waited| waited.saturating_add(now.saturating_sub(self.heard)))
    }

    /// How long it has been worked on, or was.
    pub(crate) fn time(&self, now: Duration) -> Option<Duration> {
        let since = if self.node.status == Status::Running { now.saturating_sub(self.heard) } else { Duration::ZERO };
        self.elapsed.map(|elapsed| elapsed.saturating_add(since))
    }
}

/// The phase that a node is in.
pub(crate) fn at_work(node: &NodeDocument) -> Option<Phase> {
    let last = node.phases.iter().rev().find(|phase| phase.status == PhaseStatus::Running);
    last.filter(|_| node.status == Status::Running).map(|phase| phase.name)
}
