//! Who may join: identities of direct children, first contact, renewal, links that come and go.

use std::net::SocketAddr;

use homestak_protocol::event::{Change, Gap, Origin, Presence, Scope};
use homestak_protocol::fault::{Code, Fault};
use homestak_protocol::ids::{Incarnation, Position};
use homestak_protocol::message::{Hello, Report};
use homestak_protocol::path::NodePath;
use homestak_protocol::secret::Secret;

use super::record::{PeerState, Record};
use super::step::{Answer, Effect, Moment, Ticket, Told};
use super::{Core, Gathered};
use crate::link::{Grant, KeyId, LinkId};
use crate::operator::Link;

/// A child at the door.
pub(super) struct Joining {
    pub(super) ticket: Ticket,
    pub(super) link: LinkId,
    pub(super) key: KeyId,
    pub(super) address: SocketAddr,
    pub(super) protocol: u16,
    pub(super) hello: Hello,
}

impl Core {
    /// First contact: the token finds the machine, and the first key that shows it is bound to it.
    pub(super) fn enrol(&mut self, now: Moment, ticket: Ticket, token: &Secret, key: KeyId, all: &mut Gathered) {
        // Every token is compared, each in constant time, so that how long it takes says nothing about which was close.
        let mut holder = None;
        for peer in self.peers.values() {
            if peer.token.matches(token.expose()) {
                holder = Some(peer.clone());
            }
        }
        let result = match holder {
            None => Err(Fault::new(Code::TokenRefused, "no machine of ours was given this token")),
            Some(peer) if peer.revoked => Err(revoked(&peer.path)),
            Some(peer) if peer.key.is_some_and(|bound| bound != key) => {
                self.for_child(now, &peer.path, all, |operator, path, cx| operator.child_spurned(path, cx));
                Err(Fault::new(Code::TokenSpent, "another key has shown this token before").at(&peer.path))
            }
            // A captured machine that has got hold of a sibling's token before the sibling showed it.
            Some(peer) if self.peers.values().any(|other| other.path != peer.path && other.key == Some(key)) => {
                Err(Fault::new(Code::Identity, "the key that shows this token is another machine's").at(&peer.path))
            }
            Some(peer) => {
                let grant = Grant { path: peer.path.clone(), incarnation: peer.incarnation };
                if peer.key.is_none() {
                    self.remember(Record::Peer(PeerState { key: Some(key), ..peer }), all);
                }
                self.for_child(now, &grant.path, all, |operator, path, cx| operator.child_enrolled(path, cx));
                Ok(grant)
            }
        };
        all.out.effects.push(Effect::Answer { ticket, answer: Answer::Grant(result) });
    }

    /// A certificate for a key that is on record.
    pub(super) fn renew(&mut self, ticket: Ticket, path: &NodePath, key: KeyId, all: &mut Gathered) {
        let result = match self.peers.get(path) {
            Some(peer) if peer.revoked => Err(revoked(path)),
            Some(peer) if peer.key == Some(key) => Ok(Grant { path: path.clone(), incarnation: peer.incarnation }),
            _ => Err(unknown(path)),
        };
        all.out.effects.push(Effect::Answer { ticket, answer: Answer::Grant(result) });
    }

    /// A child with a certificate says Hello.
    pub(super) fn join(&mut self, now: Moment, joining: Joining, all: &mut Gathered) {
        let Joining { ticket, link, key, address, protocol, hello } = joining;
        // A socket for both families shows IPv4 peers as mapped addresses.
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        let path = hello.path.clone();
        let refused = match self.peers.get(&path) {
            Some(peer) if peer.revoked => Some(revoked(&path)),
            Some(peer) if peer.key != Some(key) => Some(unknown(&path)),
            Some(peer) if peer.incarnation != hello.incarnation => {
                Some(Fault::new(Code::Identity, format!("{path} has another life by now")).at(&path))
            }
            Some(_) => None,
            None => Some(unknown(&path)),
        };
        if let Some(fault) = refused {
            let answer = Answer::Joined(Err(fault));
            return all.out.effects.push(Effect::Answer { ticket, answer });
        }
        let seen = match self.seen.get(&path).copied() {
            Some((journal, position)) if journal == hello.journal => position,
            Some((journal, _)) => {
                self.lost_journal(now, &path, journal, all);
                Position::default()
            }
            None => Position::default(),
        };
        if self.me.is_coordinator() {
            let ahead = hello.generations.iter().any(|(tree, generation)| {
                *generation > self.trees.get(tree).map_or_else(Default::default, |held| held.operator.generation())
            });
            if ahead {
                self.ahead.insert(path.clone());
            } else {
                self.ahead.remove(&path);
            }
        }
        let generations = hello.generations.into_iter().collect();
        let order_version = hello.order_version;
        let ip = Some(address.ip());
        let present = Link { id: link, journal: hello.journal, told: None, generations, order_version, ip };
        let before = self.links.insert(path.clone(), present);
        if let Some(before) = before {
            let why = Fault::new(Code::Identity, "a newer link of the same agent has taken its place");
            all.out.effects.push(Effect::Close { path: path.clone(), link: before.id, why });
        }
        all.out.effects.push(Effect::Answer { ticket, answer: Answer::Joined(Ok(seen)) });
        let presence = Presence {
            path: path.clone(),
            incarnation: hello.incarnation,
            connected: true,
            since_ms: now.wall_ms,
            seen_ms: now.wall_ms,
            software: hello.software,
            protocol,
            address: address.to_string(),
            facts: hello.facts,
        };
        self.announce(presence, all);
        self.for_child(now, &path, all, |operator, path, cx| operator.child_joined(path, cx));
    }

    /// A link is gone. An older one than the present one says nothing.
    pub(super) fn left(&mut self, now: Moment, path: &NodePath, link: LinkId, all: &mut Gathered) {
        if self.links.get(path).is_none_or(|present| present.id != link) {
            return;
        }
        self.links.remove(path);
        let below: Vec<_> =
            self.presences.values().filter(|p| p.connected && p.path.is_within(path)).cloned().collect();
        for presence in below {
            let left = Presence { connected: false, since_ms: now.wall_ms, seen_ms: now.wall_ms, ..presence };
            self.announce(left, all);
        }
        self.for_child(now, path, all, |operator, path, cx| operator.child_left(path, cx));
    }

    /// Lets a host's agent in under the coordinator.
    pub(super) fn expect(
        &mut self,
        now: Moment,
        host: &NodePath,
        token: Secret,
        replace: bool,
        all: &mut Gathered,
    ) -> Result<(), Fault> {
        if !self.me.carries(host) {
            return Err(Fault::new(Code::Protocol, format!("{host} is not directly below {}", self.me)));
        }
        let bound = self.peers.get(host).is_some_and(|peer| peer.key.is_some());
        if bound && !replace {
            return Err(Fault::new(Code::Busy, format!("an agent of {host} has joined before"))
                .hint("if that one is lost, ask for another in its place: --replace"));
        }
        let incarnation = Incarnation::from_bits(now.random);
        if let Some(link) = self.links.get(host).map(|link| link.id) {
            let why = Fault::new(Code::Identity, "another agent was expected in this one's place");
            all.out.effects.push(Effect::Close { path: host.clone(), link, why });
            self.left(now, host, link, all);
        }
        let peer = PeerState { path: host.clone(), incarnation, token, key: None, revoked: false };
        self.remember(Record::Peer(peer), all);
        Ok(())
    }

    /// Takes a direct child's certificate away.
    pub(super) fn revoke_child(&mut self, now: Moment, path: &NodePath, all: &mut Gathered) -> Result<(), Fault> {
        let Some(peer) = self.peers.get(path).cloned() else { return Err(unknown(path)) };
        self.remember(Record::Peer(PeerState { revoked: true, ..peer }), all);
        if let Some(link) = self.links.get(path).map(|link| link.id) {
            all.out.effects.push(Effect::Close { path: path.clone(), link, why: revoked(path) });
            self.left(now, path, link, all);
        }
        Ok(())
    }

    /// Tells this process and the parent who is there.
    pub(super) fn announce(&mut self, presence: Presence, all: &mut Gathered) {
        all.out.effects.push(Effect::Told(Told::Presence(Box::new(presence.clone()))));
        if self.sent.is_some() {
            all.out.effects.push(Effect::Report(Report::Presence(vec![presence.clone()])));
        }
        self.presences.insert(presence.path.clone(), presence);
    }

    /// Everything that a journal had not told yet is lost with it.
    fn lost_journal(
        &mut self,
        now: Moment,
        path: &NodePath,
        journal: homestak_protocol::ids::JournalId,
        all: &mut Gathered,
    ) {
        let origin = Origin { path: path.clone(), journal };
        let Some(after) = self.marks.get(&origin).copied() else { return };
        let scope = self.trees.iter().find(|(_, tree)| tree.operator.has_child(path)).map(|(id, tree)| Scope {
            tree: id.clone(),
            run: tree.operator.state().run,
            generation: tree.operator.generation(),
        });
        if let Some(scope) = scope {
            self.tell(now, &scope, Change::Gap(Gap { origin, after }), all);
        }
    }

    /// Tells every operator that has this child.
    fn for_child(
        &mut self,
        now: Moment,
        path: &NodePath,
        all: &mut Gathered,
        work: impl Fn(&mut crate::operator::Operator, &NodePath, &mut crate::operator::Cx<'_>),
    ) {
        let holders: Vec<_> =
            self.trees.iter().filter(|(_, tree)| tree.operator.has_child(path)).map(|(id, _)| id.clone()).collect();
        for id in holders {
            self.operate(now, &id, all, |operator, cx| work(operator, path, cx));
        }
    }
}

fn revoked(path: &NodePath) -> Fault {
    Fault::new(Code::Identity, format!("the identity of {path} was revoked")).at(path)
}

fn unknown(path: &NodePath) -> Fault {
    Fault::new(Code::Identity, format!("no machine at {path} has this key")).at(path)
}

#[cfg(test)]
mod tests {
    use homestak_protocol::ids::JournalId;

    use super::*;
    use crate::core::record::Image;
    use crate::core::step::{Input, Local};

    fn enrol(core: &mut Core, token: &str, key: u8) -> Result<Grant, Fault> {
        let now = Moment { wall_ms: 0, random: u128::from(key) };
        let (token, key) = (Secret::new(token.into()), KeyId([key; 32]));
        let output = core.step(now, Input::Enrol { ticket: Ticket(1), token, key });
        let answers = output.effects.into_iter().find_map(|effect| match effect {
            Effect::Answer { answer: Answer::Grant(grant), .. } => Some(grant),
            _ => None,
        });
        answers.unwrap()
    }

    #[test]
    fn a_token_is_good_for_the_first_key_and_never_for_a_siblings() {
        let mut core = Core::restore(NodePath::coordinator(), true, JournalId::from_bits(1), Image::default()).unwrap();
        for (n, host) in ["one", "two"].into_iter().enumerate() {
            let ask = Local::Expect {
                host: NodePath::parse(host).unwrap(),
                token: Secret::new(format!("token of {host}")),
                replace: false,
            };
            core.step(Moment { wall_ms: 0, random: n as u128 }, Input::Local { ticket: Ticket(0), ask });
        }
        assert_eq!(enrol(&mut core, "token of one", 1).unwrap().path.as_str(), "one");
        assert_eq!(enrol(&mut core, "token of one", 1).unwrap().path.as_str(), "one", "its answer may have been lost");
        assert_eq!(enrol(&mut core, "token of one", 2).unwrap_err().code, Code::TokenSpent);
        assert_eq!(enrol(&mut core, "token of two", 1).unwrap_err().code, Code::Identity);
        assert_eq!(enrol(&mut core, "token of two", 2).unwrap().path.as_str(), "two");
        assert_eq!(enrol(&mut core, "token of three", 3).unwrap_err().code, Code::TokenRefused);
    }
}
