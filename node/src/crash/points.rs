//! Which crash points a process comes by: what a test of crashes has to try, and must find.
//!
//! A list for each kind of process and each verb, on a tree of two levels (a host in the host, a machine in that one).
//! There are more points than are listed: those that only some runs come by, such as the end of a child's revocation.

use serde::Serialize;

use super::Side;

/// A kind of process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The coordinator's.
    Daemon,
    /// The agent of the host that carries the tree.
    HostAgent,
    /// The agent of a host inside it.
    InnerAgent,
    /// The agent of a machine that carries none.
    LeafAgent,
}

/// What is being done to the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Deed {
    /// It is built.
    Apply,
    /// It is destroyed.
    Destroy,
}

/// A point, and who comes by it when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Point {
    /// Who.
    pub kind: Kind,
    /// When.
    pub verb: Deed,
    /// Its name.
    pub point: &'static str,
    /// Which side of it.
    pub side: Side,
}

/// What a program prints when it is asked for its points.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Points {
    /// All of them.
    pub points: Vec<Point>,
}

impl Points {
    /// Those of these kinds of processes.
    pub fn of(kinds: &[Kind]) -> Self {
        let listed = LISTED.iter().filter(|list| kinds.contains(&list.kind));
        let points = listed.flat_map(|list| {
            let sides = [Side::Before, Side::After].into_iter();
            sides.flat_map(|side| list.points.iter().map(move |point| (*point, side))).map(|(point, side)| Point {
                kind: list.kind,
                verb: list.verb,
                point,
                side,
            })
        });
        Self { points: points.collect() }
    }
}

struct List {
    kind: Kind,
    verb: Deed,
    points: &'static [&'static str],
}

const LISTED: [List; 8] = [
    List {
        kind: Kind::Daemon,
        verb: Deed::Apply,
        points: &[
            "journal.order",
            "journal.tree",
            "journal.child",
            "journal.view",
            "journal.entry",
            "journal.mark",
            "journal.seen",
            "effect.send-order",
            "effect.ack",
            "effect.answer",
        ],
    },
    List {
        kind: Kind::Daemon,
        verb: Deed::Destroy,
        points: &[
            "journal.tree",
            "journal.child",
            "journal.view",
            "journal.entry",
            "journal.mark",
            "journal.seen",
            "journal.view-gone",
            "effect.send-directive",
            "effect.ack",
            "effect.answer",
        ],
    },
    List {
        kind: Kind::HostAgent,
        verb: Deed::Apply,
        points: &[
            "journal.order",
            "journal.tree",
            "journal.child",
            "journal.peer",
            "journal.view",
            "journal.entry",
            "journal.mark",
            "journal.seen",
            "effect.ensure",
            "effect.send-order",
            "effect.ack",
            "effect.answer",
            "effect.report",
            "machine.create",
            "machine.spawn",
        ],
    },
    List {
        kind: Kind::HostAgent,
        verb: Deed::Destroy,
        points: &[
            "journal.tree",
            "journal.child",
            "journal.child-gone",
            "journal.peer-gone",
            "journal.marks-gone",
            "journal.view-gone",
            "journal.entry",
            "journal.mark",
            "journal.seen",
            "effect.send-directive",
            "effect.send-drain",
            "effect.remove",
            "effect.ack",
            "effect.answer",
            "effect.report",
            "machine.trash",
        ],
    },
    List {
        kind: Kind::InnerAgent,
        verb: Deed::Apply,
        points: &[
            "journal.order",
            "journal.tree",
            "journal.child",
            "journal.peer",
            "journal.view",
            "journal.entry",
            "journal.mark",
            "journal.seen",
            "effect.host",
            "effect.configure",
            "effect.ensure",
            "effect.send-order",
            "effect.ack",
            "effect.answer",
            "effect.report",
            "machine.create",
            "machine.spawn",
        ],
    },
    List {
        kind: Kind::InnerAgent,
        verb: Deed::Destroy,
        points: &[
            "journal.tree",
            "journal.child",
            "journal.child-gone",
            "journal.peer-gone",
            "journal.marks-gone",
            "journal.view-gone",
            "journal.entry",
            "journal.mark",
            "journal.seen",
            "effect.send-directive",
            "effect.send-drain",
            "effect.remove",
            "effect.ack",
            "effect.answer",
            "effect.report",
            "machine.trash",
        ],
    },
    List {
        kind: Kind::LeafAgent,
        verb: Deed::Apply,
        points: &[
            "journal.order",
            "journal.tree",
            "journal.view",
            "journal.entry",
            "effect.configure",
            "effect.answer",
            "effect.report",
        ],
    },
    List {
        kind: Kind::LeafAgent,
        verb: Deed::Destroy,
        points: &["journal.tree", "journal.entry", "effect.answer", "effect.report"],
    },
];
