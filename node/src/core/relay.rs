//! Events on their way up: taken from a child, kept until the parent has them.

use homestak_protocol::event::{Change, Drift, Entry, Event, Gap, Phase, PhaseChange, PhaseStatus, Scope, Settled};
use homestak_protocol::fault::{Code, Fault};
use homestak_protocol::ids::{Generation, Position};
use homestak_protocol::message::{Reply, Report};
use homestak_protocol::path::{NodePath, TreeId};
use homestak_protocol::version::DRIFT;

use super::record::Record;
use super::step::{Answer, Effect, Moment, Output, Told};
use super::{Core, Gathered, view};
use crate::link::LinkId;

/// How many entries one report carries: enough to fill a packet train, small enough to be decoded at once.
const BATCH: usize = 256;
/// How many entries may be on their way without being acknowledged: a window, so that a slow parent holds us back.
const WINDOW: u64 = 1024;

impl Core {
    /// A child tells something.
    pub(super) fn reported(&mut self, now: Moment, path: &NodePath, link: LinkId, report: Report, all: &mut Gathered) {
        if self.links.get(path).is_none_or(|present| present.id != link) {
            return;
        }
        let result = match report {
            Report::Entries(entries) => self.take_over(now, path, link, entries, all),
            Report::Presence(list) if list.iter().any(|p| !p.path.is_within(path)) => Err(overstep(path, "presence")),
            Report::Presence(list) => {
                for presence in list {
                    self.announce(presence, all);
                }
                Ok(())
            }
            Report::Progress(list) if list.iter().any(|p| !p.path.is_within(path)) => Err(overstep(path, "progress")),
            Report::Progress(list) => {
                for progress in &list {
                    all.out.effects.push(Effect::Told(Told::Progress(Box::new(progress.clone()))));
                }
                if self.sent.is_some() {
                    all.out.effects.push(Effect::Report(Report::Progress(list)));
                }
                Ok(())
            }
        };
        if let Err(why) = result {
            all.out.effects.push(Effect::Close { path: path.clone(), link, why });
            self.left(now, path, link, all);
        }
    }

    /// Takes a child's entries over: what has been seen is passed over, what is new goes into our own outbox.
    fn take_over(
        &mut self,
        now: Moment,
        path: &NodePath,
        link: LinkId,
        entries: Vec<Entry>,
        all: &mut Gathered,
    ) -> Result<(), Fault> {
        if let Some(entry) = entries.iter().find(|entry| !concerns(path, &entry.event)) {
            return Err(overstep(path, &format!("an event of {}", entry.event.origin)));
        }
        let Some(last) = entries.last().map(|entry| entry.position) else { return Ok(()) };
        let Some(present) = self.links.get_mut(path) else { return Ok(()) };
        let (journal, mut told) = (present.journal, present.told.replace(last));
        let mut at = match self.seen.get(path) {
            Some((seen, position)) if *seen == journal => *position,
            _ => Position::default(),
        };
        for Entry { position, event } in entries {
            // What lies before the first entry of a link was acknowledged, by us or by whoever was here before us.
            if told.is_some_and(|told| position > told.next()) {
                let text = format!("position {position} of the journal of {path} came after {at}");
                return Err(Fault::new(Code::Protocol, text).at(path));
            }
            told = Some(position);
            if position <= at {
                continue;
            }
            at = position;
            let mark = self.marks.get(&event.origin).copied().unwrap_or_default();
            if event.seq <= mark {
                continue;
            }
            if event.seq > mark.next() {
                // What lies between died with a journal that had taken it over.
                let gap = Gap { origin: event.origin.clone(), after: mark };
                self.tell(now, &event.scope, Change::Gap(gap), all);
            }
            self.marks.insert(event.origin.clone(), event.seq);
            all.marks.insert(event.origin.clone());
            let tree = event.scope.tree.clone();
            self.pass_on(event.clone(), all);
            self.operate(now, &tree, all, |operator, cx| operator.child_told(path, &event, cx));
        }
        self.remember(Record::Seen(path.clone(), journal, at), all);
        all.out.effects.push(Effect::Ack { path: path.clone(), link, upto: at.max(last) });
        Ok(())
    }

    /// This machine was looked at again. Only the latest word counts, so there is one on its way at a time; and a word on
    /// what a generation made of the machine means nothing once there is a newer one.
    pub(super) fn drifted(
        &mut self,
        now: Moment,
        id: &TreeId,
        generation: Generation,
        drift: Drift,
        all: &mut Gathered,
    ) -> Result<(), Fault> {
        let state = self.trees.get(id).map(|tree| tree.operator.state());
        let Some(state) = state.filter(|state| state.generation == generation && state.settled) else {
            return Err(Fault::new(Code::Stale, format!("there is a newer order for {id}")));
        };
        let own = |entry: &Entry| entry.event.origin.path == self.me && matches!(entry.event.change, Change::Drift(_));
        if self.outbox.iter().any(own) {
            let fault = Fault::new(Code::Full, "the last word on drift is still on its way");
            return Err(Fault { retryable: true, ..fault });
        }
        let scope = Scope { tree: id.clone(), run: state.run, generation };
        self.tell(now, &scope, Change::Drift(drift), all);
        Ok(())
    }

    /// The uplink is there; the parent has everything up to here.
    pub(super) fn up(&mut self, now: Moment, seen: Position, protocol: u16, all: &mut Gathered) {
        self.protocol = protocol;
        self.sent = Some(seen.min(self.last_position));
        if seen < self.acked {
            self.tell_again(now, all);
        }
        self.acknowledged(seen);
    }

    /// The parent had more than it has now: it was restored, or has lost all that it remembered. What it has lost of our
    /// events is gone from here too; how things stand is not.
    fn tell_again(&mut self, now: Moment, all: &mut Gathered) {
        for id in self.trees.keys().cloned().collect::<Vec<_>>() {
            let Some(tree) = self.trees.get(&id) else { continue };
            let state = tree.operator.state();
            let scope = Scope { tree: id, run: state.run, generation: state.generation };
            let settled = state.settled.then_some(Settled { path: self.me.clone(), word: state.word });
            let nodes: Vec<_> = tree.views.values().map(|view| (view.generation, view::change(view))).collect();
            for (generation, node) in nodes {
                let scope = Scope { generation, ..scope.clone() };
                self.tell(now, &scope, Change::Node(node), all);
            }
            if let Some(settled) = settled {
                self.tell(now, &scope, Change::Settled(settled), all);
            }
        }
    }

    /// The parent has everything up to here.
    pub(super) fn acknowledged(&mut self, upto: Position) {
        let upto = upto.min(self.last_position);
        self.acked = self.acked.max(upto);
        while self.outbox.front().is_some_and(|entry| entry.position <= upto) {
            self.outbox.pop_front();
        }
    }

    /// Hands the uplink what it may have, and whoever waits for an empty outbox their answer.
    pub(super) fn pump(&mut self, out: &mut Output) {
        if let Some(mut sent) = self.sent {
            while sent < self.last_position && sent.0.saturating_sub(self.acked.0) < WINDOW {
                // Positions are contiguous, so how many to pass over is a difference.
                let Some(front) = self.outbox.front().map(|entry| entry.position) else { break };
                let passed = usize::try_from(sent.next().0.saturating_sub(front.0)).unwrap_or(usize::MAX);
                let batch = self.outbox.iter().skip(passed).take(BATCH).cloned();
                let batch: Vec<_> = batch.map(|entry| in_words_of(self.protocol, entry)).collect();
                let Some(last) = batch.last().map(|entry| entry.position) else { break };
                sent = last;
                out.effects.push(Effect::Report(Report::Entries(batch)));
            }
            self.sent = Some(sent);
        }
        if self.outbox.is_empty() {
            for ticket in std::mem::take(&mut self.draining) {
                out.effects.push(Effect::Answer { ticket, answer: Answer::Reply(Reply::Done) });
            }
        }
    }
}

/// Whether a child may tell this: it concerns its own place or one below.
fn concerns(path: &NodePath, event: &Event) -> bool {
    let about = match &event.change {
        Change::Node(_) | Change::Phase(_) => view::subject(&event.change).is_some_and(|place| place.is_within(path)),
        Change::Settled(settled) => settled.path.is_within(path),
        Change::Gap(gap) => gap.origin.path.is_within(path),
        Change::Drift(drift) => drift.path.is_within(path),
    };
    about && event.origin.path.is_within(path) && event.scope.tree.holds(path)
}

/// An entry as a parent of this protocol understands it. An older one hears of drift as of a check of the node: that is
/// what it was, and it changes nothing about how the node stands.
fn in_words_of(protocol: u16, mut entry: Entry) -> Entry {
    if let (true, Change::Drift(drift)) = (protocol < DRIFT, &entry.event.change) {
        let status = if drift.differences == 0 { PhaseStatus::Passed } else { PhaseStatus::Failed };
        let note = (drift.differences > 0).then(|| drift.lines.join("; "));
        let path = drift.path.clone();
        entry.event.change = Change::Phase(PhaseChange { path, phase: Phase::Verify, status, duration_ms: 0, note });
    }
    entry
}

fn overstep(path: &NodePath, what: &str) -> Fault {
    Fault::new(Code::Identity, format!("{path} tells {what} that is not its to tell")).at(path)
}

#[cfg(test)]
mod tests {
    use homestak_protocol::event::Origin;
    use homestak_protocol::ids::{JournalId, RunId, Seq, SiteId};
    use homestak_protocol::name::{HostName, ManifestName};
    use homestak_protocol::version::{LOOK, SUPPORTED};

    use super::*;

    #[test]
    fn an_older_parent_hears_of_drift_in_words_that_it_knows() {
        let path = NodePath::parse("local/harbour/quay").unwrap();
        let tree = TreeId {
            site: SiteId::from_bits(1),
            host: HostName::local(),
            manifest: ManifestName::parse("harbour").unwrap(),
        };
        let entry = |differences, lines: &[&str]| {
            let lines = lines.iter().map(|line| (*line).to_owned()).collect();
            let change = Drift { path: path.clone(), differences, lines, checked_ms: 7, mended: false };
            let origin = Origin { path: path.clone(), journal: JournalId::from_bits(2) };
            let scope = Scope { tree: tree.clone(), run: RunId::from_bits(3), generation: Generation(4) };
            let event = Event { origin, seq: Seq(5), at_ms: 6, scope, change: Change::Drift(change) };
            Entry { position: Position(8), event }
        };
        let drifted = entry(2, &["timezone differs", "sshd differs"]);
        assert_eq!(in_words_of(SUPPORTED.highest, drifted.clone()), drifted);
        for (entry, status, note) in [
            (drifted, PhaseStatus::Failed, Some("timezone differs; sshd differs")),
            (entry(0, &[]), PhaseStatus::Passed, None),
        ] {
            let told = in_words_of(LOOK, entry.clone());
            assert_eq!((told.position, told.event.seq), (entry.position, entry.event.seq));
            let Change::Phase(phase) = told.event.change else { panic!("{told:?}") };
            assert_eq!((phase.path, phase.phase, phase.status), (path.clone(), Phase::Verify, status));
            assert_eq!(phase.note.as_deref(), note);
        }
    }
}
