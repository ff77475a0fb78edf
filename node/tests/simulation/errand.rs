//! A run, as whoever drives the coordinator sees it: ordered, perhaps interrupted by a word, and over when the root has
//! settled. The coordinator may die at any time; whoever drives it asks again until it is sure.

use std::collections::BTreeMap;
use std::sync::Arc;

use homestak_node::core::step::{Local, Ticket};
use homestak_protocol::ids::{Generation, RunId};
use homestak_protocol::order::{Directive, Limits, Millis, OnError, Policy, Verb};
use homestak_protocol::path::{NodePath, TreeId};

use crate::chance::Chance;
use crate::clock::Happening;
use crate::forest::Manifest;
use crate::sim::{COORDINATOR, Sim};
use crate::world::MachineId;

/// The pause before the coordinator is asked again, in milliseconds.
const ASK_AGAIN: u64 = 400;

/// The limits of every run: short, since time costs nothing here, and far above what undisturbed work takes.
const LIMITS: Limits = Limits {
    provision: Millis(60_000),
    boot: Millis(180_000),
    host: Millis(120_000),
    configure: Millis(60_000),
    verify: Millis(60_000),
    destroy: Millis(60_000),
    answer: Millis(20_000),
    grace: Millis(40_000),
};

/// What is wanted of a tree.
#[derive(Debug, Clone)]
pub(crate) enum Want {
    Apply(Manifest),
    Destroy,
}

/// One run.
#[derive(Debug, Clone)]
pub(crate) struct Errand {
    pub(crate) tree: TreeId,
    pub(crate) want: Want,
    pub(crate) policy: Policy,
    pub(crate) run: RunId,
    pub(crate) generation: Generation,
    /// A word that is said in the middle: so long after the order was taken.
    pub(crate) word: Option<(u64, Verb)>,
    /// The machines that there were when it began.
    pub(crate) found: BTreeMap<NodePath, MachineId>,
    /// Whether everything was quiet when it began.
    pub(crate) clean: bool,
    asked: Option<(Ticket, u32)>,
    taken_at: Option<u64>,
    /// The word was taken.
    said: bool,
    ask_at: u64,
}

/// A policy that people would take.
pub(crate) const fn policy(on_error: OnError, prune: bool) -> Policy {
    Policy { on_error, prune, verify: true, parallel: 4, attempts: 3, limits: LIMITS }
}

/// Any policy.
pub(crate) fn any_policy(chance: &mut Chance) -> Policy {
    let on_error = *chance.pick(&[OnError::Stop, OnError::Rollback, OnError::Continue]);
    Policy {
        on_error,
        prune: chance.mille(300),
        verify: chance.mille(300),
        parallel: u16::try_from(chance.between(1, 8)).unwrap(),
        attempts: u8::try_from(chance.between(1, 4)).unwrap(),
        limits: LIMITS,
    }
}

impl Errand {
    /// A run that has not been asked for.
    pub(crate) fn new(sim: &mut Sim, tree: TreeId, want: Want, policy: Policy, clean: bool) -> Self {
        let latest = sim.generations.entry(tree.clone()).or_default();
        *latest = latest.next();
        let generation = *latest;
        let key = (tree.clone(), generation);
        match &want {
            Want::Apply(manifest) => {
                let named = manifest.paths().into_iter().collect();
                sim.ordered.insert(key, Arc::new(named));
            }
            Want::Destroy => {
                sim.destroying.insert(key);
            }
        }
        sim.world.injured.clear();
        // A machine that nobody was told of is whoever's that is the first to be told.
        let found = sim.world.of_tree(&tree).filter(|(_, machine)| machine.reported_in.is_some());
        let found = found.map(|(place, machine)| (place.clone(), machine.id)).collect();
        let run = RunId::from_bits(sim.chance.below(u64::MAX));
        Self {
            tree,
            want,
            policy,
            run,
            generation,
            word: None,
            found,
            clean,
            asked: None,
            taken_at: None,
            said: false,
            ask_at: 0,
        }
    }

    /// Whether the run is on or over.
    pub(crate) fn is_taken(&self) -> bool {
        self.taken_at.is_some()
    }

    /// Whether the word has been said.
    pub(crate) fn was_interrupted(&self) -> bool {
        self.word.is_some_and(|_| self.said)
    }

    /// Does what is to be done now. True once the run is over.
    pub(crate) fn pursue(&mut self, sim: &mut Sim) -> bool {
        let now = sim.clock.now;
        let state = sim.state(COORDINATOR, &self.tree);
        let Some(state) = state.filter(|state| state.generation == self.generation) else {
            self.ask(sim, now, Self::order);
            return false;
        };
        if state.settled {
            return true;
        }
        let (said, taken) = (state.word, *self.taken_at.get_or_insert(now));
        if let Some((after, verb)) = self.word {
            if said >= Some(verb) {
                self.said = true;
            } else if now >= taken + after {
                self.ask(sim, now, |errand| errand.directive(verb));
            } else {
                self.wake(sim, taken + after);
            }
        }
        false
    }

    /// What the coordinator is asked for.
    pub(crate) fn order(&self) -> Local {
        match &self.want {
            Want::Apply(manifest) => Local::Order(Box::new(manifest.order(self.run, self.generation, self.policy))),
            Want::Destroy => self.directive(Verb::Destroy),
        }
    }

    fn ask(&mut self, sim: &mut Sim, now: u64, what: impl FnOnce(&Self) -> Local) {
        let life = sim.processes[COORDINATOR].life;
        let waits = match self.asked {
            Some((ticket, asked_of)) => asked_of == life && !sim.answers.contains_key(&ticket),
            None => false,
        };
        if waits {
            return;
        }
        if now < self.ask_at || sim.processes[COORDINATOR].core.is_none() {
            let at = self.ask_at.max(now + ASK_AGAIN);
            return self.wake(sim, at);
        }
        let ask = what(self);
        let ticket = sim.ask(ask);
        self.asked = Some((ticket, life));
        self.ask_at = now + ASK_AGAIN;
        self.wake(sim, now + ASK_AGAIN);
    }

    /// Makes sure to be asked again at a time; once is enough.
    fn wake(&self, sim: &mut Sim, at: u64) {
        if sim.wakes_at <= sim.clock.now || sim.wakes_at > at {
            sim.wakes_at = at.max(sim.clock.now + 1);
            let pause = sim.wakes_at - sim.clock.now;
            sim.clock.after(pause, Happening::Wake);
        }
    }

    fn directive(&self, verb: Verb) -> Local {
        Local::Directive(Directive {
            tree: self.tree.clone(),
            run: self.run,
            generation: self.generation,
            verb,
            policy: self.policy,
            recorded: Vec::new(),
        })
    }
}
