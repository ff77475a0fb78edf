//! What is asked of a process: by its parent, and by its own edge.

use std::collections::BTreeSet;

use homestak_protocol::event::Status;
use homestak_protocol::fault::{Code, Fault};
use homestak_protocol::ids::RunId;
use homestak_protocol::message::{Reply, Request, Surveyed};
use homestak_protocol::order::{Directive, OpaqueOrder, OrderError, Policy, Verb};
use homestak_protocol::path::{NodePath, TreeId};

use super::question::Question;
use super::record::Record;
use super::step::{Answer, Effect, Local, Moment, RootOrder, Sent, Ticket};
use super::{Core, Gathered, Tree};
use crate::operator::Operator;

/// How many trees one process holds: each costs memory for ever, since its generation must be remembered.
const MAX_TREES: usize = 4096;
/// How many events may wait for the parent before no further order is taken. An order brings some ten for each node.
const MAX_OUTBOX: usize = 200_000;

impl Core {
    /// The parent asks something.
    pub(super) fn requested(&mut self, now: Moment, ticket: Ticket, request: Request, all: &mut Gathered) {
        let result = match request {
            Request::Order { order, word } => self.take_order(now, order, word, all),
            Request::Directive(directive) => self.take_directive(now, &directive, all),
            Request::Drain => return self.draining.push(ticket),
            Request::Revoke(path) => match self.revoke(now, ticket, path, all) {
                Some(result) => result,
                None => return,
            },
            Request::Survey => {
                let answer = Answer::Reply(Reply::Surveyed(self.surveyed()));
                return all.out.effects.push(Effect::Answer { ticket, answer });
            }
            Request::Look { at, tree } => return self.question(ticket, at, Question::Look { tree }, all),
            Request::Inventory { at } => return self.question(ticket, at, Question::Inventory, all),
            Request::Sources { at, images } => return self.question(ticket, at, Question::Sources { images }, all),
            Request::Compare { at, tree, wanted } => {
                return self.question(ticket, at, Question::Compare { tree, wanted }, all);
            }
            Request::Discard { at, machine } => return self.question(ticket, at, Question::Discard { machine }, all),
            Request::Describe { at } => return self.question(ticket, at, Question::Describe, all),
        };
        answer(ticket, result, all);
    }

    /// The edge of this process asks something.
    pub(super) fn asked(&mut self, now: Moment, ticket: Ticket, ask: Local, all: &mut Gathered) {
        let result = match ask {
            Local::Expect { host, token, replace } => self.expect(now, &host, token, replace, all),
            Local::Order(root) => self.order_tree(now, *root, all),
            Local::Directive(directive) => self.direct_tree(now, &directive, all),
            Local::Revoke(path) => match self.revoke(now, ticket, path, all) {
                Some(result) => result,
                None => return,
            },
            Local::Survey(host) => match self.links.get(&host).map(|link| link.id) {
                Some(link) => {
                    let sent = Sent::For(ticket);
                    return all.out.effects.push(Effect::Send { path: host, link, request: Request::Survey, sent });
                }
                None => Err(absent(&host)),
            },
            Local::Question { at, question } => return self.question(ticket, at, question, all),
            Local::Adopt { host, surveyed } => self.adopt(&host, surveyed, all),
            Local::Forget(tree) => self.forget(&tree, all),
            Local::Drift { tree, generation, drift } => self.drifted(now, &tree, generation, drift, all),
        };
        answer(ticket, result, all);
    }

    fn take_order(
        &mut self,
        now: Moment,
        opaque: OpaqueOrder,
        word: Option<Verb>,
        all: &mut Gathered,
    ) -> Result<(), Fault> {
        let (order, extras) = opaque.open_with().map_err(|error| match error {
            OrderError::Version(_) => Fault::new(Code::Version, error.to_string())
                .hint("this machine's agent is older than the coordinator: update the agent in its image"),
            OrderError::Codec(_) | OrderError::Extras(_) => Fault::new(Code::Protocol, error.to_string()),
        })?;
        if order.path != self.me || !order.tree.holds(&self.me) {
            return Err(Fault::new(Code::Protocol, format!("this is {}, not {}", self.me, order.path)));
        }
        if self.outbox.len() >= MAX_OUTBOX {
            let text =
                format!("{} events wait for their way up; no more orders until they are gone", self.outbox.len());
            return Err(Fault::new(Code::Full, text));
        }
        let tree = order.tree.clone();
        self.hold(&tree, order.run, order.policy)?;
        let Some(held) = self.trees.get(&tree) else { return Ok(()) };
        held.operator.admits(&tree, order.generation)?;
        if held.operator.generation() == order.generation {
            if held.operator.state().run != order.run {
                let text = format!("generation {} of {tree} is another run's", order.generation);
                return Err(Fault::new(Code::Stale, text));
            }
            if let Some(verb) = word {
                let (run, generation, policy) = (order.run, order.generation, order.policy);
                let directive = Directive { tree: tree.clone(), run, generation, verb, policy, recorded: Vec::new() };
                self.operate(now, &tree, all, |operator, cx| operator.directed(&directive, cx));
            }
            return Ok(());
        }
        self.operate(now, &tree, all, |operator, cx| operator.ordered(opaque, (order, extras), word, cx));
        Ok(())
    }

    fn take_directive(&mut self, now: Moment, directive: &Directive, all: &mut Gathered) -> Result<(), Fault> {
        let tree = &directive.tree;
        if !tree.holds(&self.me) {
            return Err(Fault::new(Code::Protocol, format!("this is {}, which is not in {tree}", self.me)));
        }
        self.hold(tree, directive.run, directive.policy)?;
        let Some(held) = self.trees.get(tree) else { return Ok(()) };
        held.operator.admits(tree, directive.generation)?;
        self.operate(now, tree, all, |operator, cx| operator.directed(directive, cx));
        Ok(())
    }

    /// Makes sure that there is an operator for a tree.
    fn hold(&mut self, tree: &TreeId, run: RunId, policy: Policy) -> Result<(), Fault> {
        if self.trees.contains_key(tree) {
            return Ok(());
        }
        if self.trees.len() >= MAX_TREES {
            return Err(Fault::new(Code::Full, format!("{MAX_TREES} trees are on record here, which is the limit")));
        }
        let operator = Operator::unheard_of(tree.clone(), run, policy);
        self.trees.insert(tree.clone(), Tree { operator, views: Default::default() });
        Ok(())
    }

    /// Begins a run on a whole tree.
    fn order_tree(&mut self, now: Moment, root: RootOrder, all: &mut Gathered) -> Result<(), Fault> {
        let tree = root.tree.clone();
        self.reachable(&NodePath::host_root(&tree.host))?;
        self.hold(&tree, root.run, root.policy)?;
        if let Some(held) = self.trees.get_mut(&tree) {
            if root.generation <= held.operator.generation() {
                let text = format!("generation {} of {tree} was given out before", root.generation);
                return Err(Fault::new(Code::Stale, text));
            }
            // A node that an earlier run named and never began with, and that nobody names now.
            let named: BTreeSet<_> = root.nodes.iter().map(|view| &view.path).collect();
            let never: Vec<_> = held.views.values().filter(|view| view.status == Status::Pending).collect();
            let never: Vec<_> =
                never.into_iter().map(|view| view.path.clone()).filter(|path| !named.contains(path)).collect();
            for path in never {
                held.views.remove(&path);
                all.out.records.push(Record::ViewGone(tree.clone(), path));
            }
            for mut view in root.nodes.iter().cloned() {
                if let Some(known) = held.views.get(&view.path).filter(|known| !known.status.is_gone()) {
                    view.vmid = known.vmid;
                    view.ip = known.ip;
                    view.simulated = known.simulated;
                }
                all.views.insert((tree.clone(), view.path.clone()));
                held.views.insert(view.path.clone(), view);
            }
        }
        self.operate(now, &tree, all, |operator, cx| operator.ordered_at_root(root, cx));
        Ok(())
    }

    fn direct_tree(&mut self, now: Moment, directive: &Directive, all: &mut Gathered) -> Result<(), Fault> {
        let host = NodePath::host_root(&directive.tree.host);
        if directive.verb == Verb::Destroy {
            self.reachable(&host)?;
        }
        self.hold(&directive.tree, directive.run, directive.policy)?;
        let Some(held) = self.trees.get(&directive.tree) else { return Ok(()) };
        held.operator.admits(&directive.tree, directive.generation)?;
        self.operate(now, &directive.tree, all, |operator, cx| {
            operator.know_host(&host, cx);
            operator.directed(directive, cx);
        });
        Ok(())
    }

    fn reachable(&self, host: &NodePath) -> Result<(), Fault> {
        if self.ahead.contains(host) {
            return Err(Fault::new(
                Code::Behind,
                format!("{host} has seen newer orders than this coordinator has on record"),
            )
            .hint(format!("this state was restored from a backup? homestak-coord server adopt -H {host}")));
        }
        if self.links.contains_key(host) { Ok(()) } else { Err(absent(host)) }
    }

    /// Takes a certificate away, or hands the word on; then the answer comes later.
    fn revoke(&mut self, now: Moment, ticket: Ticket, path: NodePath, all: &mut Gathered) -> Option<Result<(), Fault>> {
        if self.me.carries(&path) {
            return Some(self.revoke_child(now, &path, all));
        }
        let Some(step) = self.me.step_towards(&path) else {
            return Some(Err(Fault::new(Code::NotFound, format!("{path} is not below {}", self.me))));
        };
        let Some(link) = self.links.get(&step).map(|link| link.id) else { return Some(Err(absent(&step))) };
        let (request, sent) = (Request::Revoke(path), Sent::For(ticket));
        all.out.effects.push(Effect::Send { path: step, link, request, sent });
        None
    }

    fn surveyed(&self) -> Vec<Surveyed> {
        let of = |(id, tree): (&TreeId, &Tree)| Surveyed {
            tree: id.clone(),
            generation: tree.operator.generation(),
            nodes: tree.views.values().filter(|view| !view.status.is_gone()).cloned().collect(),
        };
        self.trees.iter().map(of).collect()
    }

    /// Takes what a host has for true: after this, generations go on from where it is.
    fn adopt(&mut self, host: &NodePath, surveyed: Vec<Surveyed>, all: &mut Gathered) -> Result<(), Fault> {
        for Surveyed { tree, generation, nodes } in surveyed {
            if tree.host.as_str() != host.as_str() || nodes.iter().any(|view| !tree.holds(&view.path)) {
                return Err(Fault::new(Code::Protocol, format!("{host} says that it has {tree}")));
            }
            self.hold(&tree, RunId::from_bits(0), Policy::default())?;
            let Some(held) = self.trees.get_mut(&tree) else { continue };
            if generation < held.operator.generation() {
                continue;
            }
            held.operator.adopt(generation);
            all.out.records.push(Record::Tree(tree.clone(), held.operator.state().clone()));
            let gone: Vec<_> =
                held.views.keys().filter(|path| !nodes.iter().any(|n| n.path == **path)).cloned().collect();
            for path in gone {
                held.views.remove(&path);
                all.out.records.push(Record::ViewGone(tree.clone(), path));
            }
            for view in nodes {
                all.views.insert((tree.clone(), view.path.clone()));
                held.views.insert(view.path.clone(), view);
            }
        }
        self.ahead.remove(host);
        Ok(())
    }

    /// Drops a tree's nodes from the record. Its generation stays, so that nobody can pull it backwards.
    fn forget(&mut self, id: &TreeId, all: &mut Gathered) -> Result<(), Fault> {
        let Some(tree) = self.trees.get_mut(id) else { return Ok(()) };
        let gone = tree.views.values().all(|view| view.status.is_gone());
        if !gone || !tree.operator.bare(&mut all.out.records) {
            return Err(Fault::new(Code::Busy, format!("{id} is not gone yet")));
        }
        for path in std::mem::take(&mut tree.views).into_keys() {
            all.out.records.push(Record::ViewGone(id.clone(), path));
        }
        Ok(())
    }
}

pub(super) fn answer(ticket: Ticket, result: Result<(), Fault>, all: &mut Gathered) {
    let reply = match result {
        Ok(()) => Reply::Done,
        Err(fault) => Reply::Refused(fault),
    };
    all.out.effects.push(Effect::Answer { ticket, answer: Answer::Reply(reply) });
}

pub(super) fn absent(path: &NodePath) -> Fault {
    Fault::new(Code::Unreachable, format!("there is no link to the agent of {path}")).at(path)
}
