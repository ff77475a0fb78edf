//! Bugs put in on purpose, from outside: what the core wants remembered, or has remembered, is altered. The simulation must
//! find each of them, or it would not find one of ours.

use homestak_node::core::record::{Image, Record};
use homestak_node::core::step::{Effect, Output, Work};

/// A bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Planted {
    /// The life of a machine and its token are not written down before the machine is made. A crash in between, and the
    /// next start draws another life: the machine is there, ours, and taken for somebody else's.
    LifeForgotten,
    /// A child's events are acknowledged before they are on disk. A crash in between, and nobody has them any more.
    EarlyAcknowledgement,
    /// After a restart every machine counts as made by the present run, so that rollback destroys what it has found.
    EverythingIsOurs,
}

impl Planted {
    /// What a turn came to, before it is written and done.
    pub(crate) fn on_turn(self, all: &mut Output) {
        if self != Self::LifeForgotten {
            return;
        }
        let makes = |effect: &Effect| matches!(effect, Effect::Work { work: Work::Ensure { .. }, .. });
        if all.effects.iter().any(makes) {
            all.records.retain(|record| !matches!(record, Record::Peer(_) | Record::Child(..)));
        }
    }

    /// What a process remembers when it starts.
    pub(crate) fn on_waking(self, image: &mut Image) {
        if self != Self::EverythingIsOurs {
            return;
        }
        for tree in image.trees.values_mut() {
            let Some(state) = &tree.state else { continue };
            for child in tree.children.values_mut().filter(|child| child.made_in.is_some()) {
                child.made_in = Some(state.generation);
            }
        }
    }

    /// Whether acknowledgements go out even where the process dies before it has written what they are for.
    pub(crate) fn acknowledges_early(self) -> bool {
        self == Self::EarlyAcknowledgement
    }
}
