//! What the host at a place is asked: it finds the answer itself, and everybody between hands the question on towards it and
//! the answer back.

use homestak_protocol::fault::{Code, Fault};
use homestak_protocol::message::{Held, Request, Wanted};
use homestak_protocol::name::SiteName;
use homestak_protocol::path::{NodePath, TreeId};
use homestak_protocol::version::{COMPARE, DESCRIBE, IMAGES, INVENTORY, LOOK};

use super::requests::{absent, answer};
use super::step::{Effect, Inquiry, Sent, Ticket};
use super::{Core, Gathered};

/// A question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// Which machines of a tree it really has.
    Look {
        /// The tree.
        tree: TreeId,
    },
    /// Which machines of any tree it really has.
    Inventory,
    /// Which of these images it has.
    Sources {
        /// As manifests name them.
        images: Vec<SiteName>,
    },
    /// How machines of a tree are not as wanted.
    Compare {
        /// The tree.
        tree: TreeId,
        /// The machines.
        wanted: Vec<Wanted>,
    },
    /// That it destroy a machine that no tree names.
    Discard {
        /// The machine, as it has told of it.
        machine: Held,
    },
    /// What it is, its API token included.
    Describe,
}

impl Question {
    /// The first protocol number whose children understand it.
    const fn since(&self) -> u16 {
        match self {
            Question::Look { .. } => LOOK,
            Question::Inventory | Question::Discard { .. } => INVENTORY,
            Question::Sources { .. } => IMAGES,
            Question::Compare { .. } => COMPARE,
            Question::Describe => DESCRIBE,
        }
    }

    /// As it travels.
    fn request(self, at: NodePath) -> Request {
        match self {
            Question::Look { tree } => Request::Look { at, tree },
            Question::Inventory => Request::Inventory { at },
            Question::Sources { images } => Request::Sources { at, images },
            Question::Compare { tree, wanted } => Request::Compare { at, tree, wanted },
            Question::Discard { machine } => Request::Discard { at, machine },
            Question::Describe => Request::Describe { at },
        }
    }
}

impl Core {
    /// Has it answered here, or hands it on; the answer comes later.
    pub(super) fn question(&self, ticket: Ticket, at: NodePath, question: Question, all: &mut Gathered) {
        let asked = if at == self.me { self.put(ticket, question) } else { self.hand_on(ticket, at, question) };
        match asked {
            Ok(effect) => all.out.effects.push(effect),
            Err(fault) => answer(ticket, Err(fault), all),
        }
    }

    /// Puts it to this process's edge.
    fn put(&self, ticket: Ticket, question: Question) -> Result<Effect, Fault> {
        let inquiry = match question {
            Question::Look { tree } => {
                let lives = self.trees.get(&tree).map(|held| held.operator.lives()).unwrap_or_default();
                Inquiry::Look { tree, lives }
            }
            Question::Inventory => Inquiry::Inventory,
            Question::Sources { images } => Inquiry::Sources(images),
            Question::Compare { tree, wanted } => Inquiry::Compare { tree, wanted },
            Question::Discard { machine } => {
                let held = self.trees.get(&machine.tree).map(|held| &held.operator);
                if held.is_some_and(|tree| !tree.state().settled && tree.has_child(&machine.path)) {
                    let text = format!("{} is being worked on: its tree is not settled", machine.path);
                    return Err(Fault::new(Code::Busy, text).at(&machine.path));
                }
                Inquiry::Discard(machine)
            }
            Question::Describe => Inquiry::Describe,
        };
        Ok(Effect::Inquire { ticket, inquiry })
    }

    /// Hands it on to the child that its place is at or below, if that one knows it.
    fn hand_on(&self, ticket: Ticket, at: NodePath, question: Question) -> Result<Effect, Fault> {
        let step = self.me.step_towards(&at);
        let step = step.ok_or_else(|| Fault::new(Code::NotFound, format!("{at} is not below {}", self.me)))?;
        let link = self.links.get(&step).map(|link| link.id).ok_or_else(|| absent(&step))?;
        if self.presences.get(&step).is_none_or(|presence| presence.protocol < question.since()) {
            let text = format!("the agent of {step} is too old to be asked this");
            return Err(Fault::new(Code::Version, text).at(&step));
        }
        Ok(Effect::Send { path: step, link, request: question.request(at), sent: Sent::For(ticket) })
    }
}
