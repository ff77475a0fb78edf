//! What a process must not forget: the records that every step of the core writes before anything else happens, and the
//! image that they add up to.
//!
//! A step's records are one atomic append. Records say how things are now, not what to do about it, so that an image
//! from an older program can be read by a newer one's operator.

use std::collections::BTreeMap;

use homestak_protocol::event::{Entry, NodeView, Origin};
use homestak_protocol::ids::{Generation, Incarnation, JournalId, Position, RunId, Seq};
use homestak_protocol::order::{OpaqueOrder, Policy, Verb};
use homestak_protocol::path::{NodePath, TreeId};
use homestak_protocol::secret::Secret;
use serde::{Deserialize, Serialize};

use crate::link::KeyId;
use crate::operator::{ChildState, OwnState};

/// One thing to remember.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Record {
    /// The journal itself, once, when it is first made.
    Journal(JournalId),
    /// A subtree was accepted.
    Order(TreeId, OpaqueOrder),
    /// How a tree stands.
    Tree(TreeId, TreeState),
    /// How a child of a tree stands.
    Child(TreeId, ChildState),
    /// A child is no longer on record.
    ChildGone(TreeId, NodePath),
    /// A child's identity.
    Peer(PeerState),
    /// An identity is no longer on record.
    PeerGone(NodePath),
    /// An event is to be told upward.
    Entry(Entry),
    /// Events up to here are on the parent's disk.
    Acked(Position),
    /// A child's journal was read up to here.
    Seen(NodePath, JournalId, Position),
    /// The last number seen of an origin below.
    Mark(Origin, Seq),
    /// Origins at and below a place are no longer on record.
    MarksGone(NodePath),
    /// What is known of a node.
    View(TreeId, NodeView),
    /// A node is no longer on record.
    ViewGone(TreeId, NodePath),
}

impl Record {
    /// A short name, for crash points and logs.
    pub const fn name(&self) -> &'static str {
        match self {
            Record::Journal(_) => "journal",
            Record::Order(..) => "order",
            Record::Tree(..) => "tree",
            Record::Child(..) => "child",
            Record::ChildGone(..) => "child-gone",
            Record::Peer(_) => "peer",
            Record::PeerGone(_) => "peer-gone",
            Record::Entry(_) => "entry",
            Record::Acked(_) => "acked",
            Record::Seen(..) => "seen",
            Record::Mark(..) => "mark",
            Record::MarksGone(_) => "marks-gone",
            Record::View(..) => "view",
            Record::ViewGone(..) => "view-gone",
        }
    }
}

/// How a tree stands at this level.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeState {
    /// The run that it serves.
    pub run: RunId,
    /// The highest generation accepted.
    pub generation: Generation,
    /// How the run behaves.
    pub policy: Policy,
    /// The strongest word given.
    pub word: Option<Verb>,
    /// What is done here to this machine itself.
    pub own: Option<OwnState>,
    /// Whether everything here is final and has been told so.
    pub settled: bool,
}

/// A child's identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerState {
    /// Its place.
    pub path: NodePath,
    /// The life of its machine.
    pub incarnation: Incarnation,
    /// The token that was injected into it.
    pub token: Secret,
    /// The first key that showed it.
    pub key: Option<KeyId>,
    /// Whether its certificate was taken away.
    pub revoked: bool,
}

/// A tree in an image.
#[derive(Debug, Clone, Default)]
pub struct TreeImage {
    /// The order last accepted.
    pub order: Option<OpaqueOrder>,
    /// How it stands.
    pub state: Option<TreeState>,
    /// Its children, by place.
    pub children: BTreeMap<NodePath, ChildState>,
    /// What is known of its nodes.
    pub views: BTreeMap<NodePath, NodeView>,
}

/// What records add up to.
#[derive(Debug, Clone, Default)]
pub struct Image {
    /// The journal's id; none where there is no journal yet.
    pub journal: Option<JournalId>,
    /// Trees.
    pub trees: BTreeMap<TreeId, TreeImage>,
    /// Identities of children.
    pub peers: BTreeMap<NodePath, PeerState>,
    /// Events not yet acknowledged above, in order.
    pub outbox: BTreeMap<Position, Entry>,
    /// The last position given out.
    pub last_position: Position,
    /// The last number given to an event of our own.
    pub last_seq: Seq,
    /// The last position acknowledged above.
    pub acked: Position,
    /// How far each child's journal was read.
    pub seen: BTreeMap<NodePath, (JournalId, Position)>,
    /// The last number seen of each origin below.
    pub marks: BTreeMap<Origin, Seq>,
}

impl Image {
    /// Adds a record.
    pub fn apply(&mut self, record: Record) {
        match record {
            Record::Journal(id) => self.journal = Some(id),
            Record::Order(tree, order) => self.trees.entry(tree).or_default().order = Some(order),
            Record::Tree(tree, state) => self.trees.entry(tree).or_default().state = Some(state),
            Record::Child(tree, child) => {
                self.trees.entry(tree).or_default().children.insert(child.path.clone(), child);
            }
            Record::ChildGone(tree, path) => {
                self.trees.entry(tree).or_default().children.remove(&path);
            }
            Record::Peer(peer) => {
                self.peers.insert(peer.path.clone(), peer);
            }
            Record::PeerGone(path) => {
                self.peers.remove(&path);
                self.seen.remove(&path);
            }
            Record::Entry(entry) => {
                self.last_position = self.last_position.max(entry.position);
                if Some(entry.event.origin.journal) == self.journal {
                    self.last_seq = self.last_seq.max(entry.event.seq);
                }
                if entry.position > self.acked {
                    self.outbox.insert(entry.position, entry);
                }
            }
            Record::Acked(position) => {
                self.acked = self.acked.max(position);
                self.last_position = self.last_position.max(position);
                self.outbox = self.outbox.split_off(&position.next());
            }
            Record::Seen(path, journal, position) => {
                self.seen.insert(path, (journal, position));
            }
            Record::Mark(origin, seq) => {
                if Some(origin.journal) == self.journal {
                    self.last_seq = self.last_seq.max(seq);
                } else {
                    self.marks.insert(origin, seq);
                }
            }
            Record::MarksGone(place) => self.marks.retain(|origin, _| !origin.path.is_within(&place)),
            Record::View(tree, view) => {
                self.trees.entry(tree).or_default().views.insert(view.path.clone(), view);
            }
            Record::ViewGone(tree, path) => {
                self.trees.entry(tree).or_default().views.remove(&path);
            }
        }
    }

    /// The fewest records that add up to this image, for compaction. `me` is the place whose own numbers are kept.
    pub fn into_records(self, me: &NodePath) -> Vec<Record> {
        let mut records = Vec::new();
        if let Some(id) = self.journal {
            records.push(Record::Journal(id));
            records.push(Record::Mark(Origin { path: me.clone(), journal: id }, self.last_seq));
        }
        records.push(Record::Acked(self.acked));
        records.extend(self.peers.into_values().map(Record::Peer));
        records.extend(self.seen.into_iter().map(|(path, (journal, position))| Record::Seen(path, journal, position)));
        records.extend(self.marks.into_iter().map(|(origin, seq)| Record::Mark(origin, seq)));
        for (tree, image) in self.trees {
            records.extend(image.order.map(|order| Record::Order(tree.clone(), order)));
            records.extend(image.state.map(|state| Record::Tree(tree.clone(), state)));
            records.extend(image.children.into_values().map(|child| Record::Child(tree.clone(), child)));
            records.extend(image.views.into_values().map(|view| Record::View(tree.clone(), view)));
        }
        records.extend(self.outbox.into_values().map(Record::Entry));
        records
    }
}
