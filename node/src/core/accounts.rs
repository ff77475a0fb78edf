//! The last word on each node when a run is over: said by the root about nodes that nobody has said one about.
//!
//! Whoever is reached says what became of its own nodes. So a silence means something: the machine above was never made,
//! or was destroyed whole, or its agent is not reached.

use std::collections::BTreeMap;

use homestak_protocol::event::{Change, NodeChange, NodeView, Scope, Status};
use homestak_protocol::fault::{Code, Fault};
use homestak_protocol::order::Verb;
use homestak_protocol::path::{NodePath, TreeId};

use super::step::Moment;
use super::{Core, Gathered, view};

/// What the root knows of a run that is over.
struct Accounts<'a> {
    views: &'a BTreeMap<NodePath, NodeView>,
    scope: &'a Scope,
    word: Option<Verb>,
    /// The host is not reached.
    silent: bool,
}

impl Core {
    /// At the root, when a generation is settled: nodes that nobody has said a last word about get theirs.
    pub(super) fn close_accounts(&mut self, now: Moment, id: &TreeId, scope: &Scope, all: &mut Gathered) {
        let Some(tree) = self.trees.get(id) else { return };
        let (word, silent) = (tree.operator.state().word, tree.operator.is_unreachable());
        let accounts = Accounts { views: &tree.views, scope, word, silent };
        let words: Vec<_> = tree.views.values().filter_map(|view| accounts.last_word(view)).collect();
        for word in words {
            self.tell(now, scope, Change::Node(word), all);
        }
    }
}

impl Accounts<'_> {
    fn last_word(&self, view: &NodeView) -> Option<NodeChange> {
        let of_this_run = view.generation == self.scope.generation;
        let (status, why) = match view.status {
            status if self.word == Some(Verb::Destroy) => self.destroyed(view, status)?,
            Status::Pending if of_this_run => self.never_begun(view),
            Status::Running if of_this_run => {
                (Status::Unreachable, Some("its last word was lost with the machine that told it".to_owned()))
            }
            _ => return None,
        };
        let fault = why.map(|why| Fault::new(Code::Unreachable, why).at(&view.path));
        Some(NodeChange { status, fault, ..view::change(view) })
    }

    /// A destroy is over: what was not said to be left is gone.
    fn destroyed(&self, view: &NodeView, status: Status) -> Option<(Status, Option<String>)> {
        let unknown = |why: String| (!status.is_final()).then_some((Status::Unreachable, Some(why)));
        if status.is_gone() || self.is_left(view) {
            return None;
        }
        if self.silent {
            return unknown("its host is not reached".to_owned());
        }
        match self.above(view).find(|above| self.is_left(above)) {
            Some(above) => unknown(format!("{} could not be destroyed", above.path)),
            None => Some((Status::Destroyed, None)),
        }
    }

    /// Whether a node was said to be there still.
    fn is_left(&self, view: &NodeView) -> bool {
        view.generation == self.scope.generation
            && view.status == Status::Failed
            && view.fault.as_ref().is_some_and(|fault| fault.code == Code::Destroy)
    }

    /// Nobody has begun with it, because of what became of the machine above.
    fn never_begun(&self, view: &NodeView) -> (Status, Option<String>) {
        let silence = |who: &NodePath| format!("the agent of {who} is not reached");
        match self.above(view).find(|above| above.status != Status::Pending) {
            None if self.silent => (Status::Unreachable, Some("its host is not reached".to_owned())),
            None if self.word == Some(Verb::Cancel) => (Status::Cancelled, None),
            None => (Status::Skipped, None),
            Some(above) => match above.status {
                // It is there, and would have said what became of its own.
                Status::Completed | Status::Running | Status::Unreachable => {
                    (Status::Unreachable, Some(silence(&above.path)))
                }
                Status::Cancelled => (Status::Cancelled, None),
                _ => (Status::Skipped, None),
            },
        }
    }

    /// The nodes above one, from below.
    fn above<'a>(&'a self, view: &NodeView) -> impl Iterator<Item = &'a NodeView> {
        std::iter::successors(view.path.parent(), NodePath::parent).filter_map(|path| self.views.get(&path))
    }
}
