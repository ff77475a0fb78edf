//! What happened, as lines.

use homestak_protocol::event::{Action, Change, Event, PhaseStatus};
use homestak_protocol::ids::{Position, RunId};
use homestak_protocol::path::NodePath;
use tokio::sync::mpsc;

use homestak_node::runtime::Update;

use super::begin::summary;
use super::{Engine, Reach, clock, next_update, refuse, watch};
use crate::api::{Answer, Document, Exit, Refusal};
use crate::documents::{LogLine, LogsDocument};
use crate::store::Record;

impl<R: Record, C: Reach> Engine<R, C> {
    /// Sends a run's lines, of one node where one is named; with `follow`, until the run is over. Lines that were sent one
    /// by one are not in the document.
    pub async fn logs(
        &self,
        run: RunId,
        node: Option<&str>,
        follow: bool,
        sink: &mpsc::Sender<Answer>,
    ) -> Result<(), Refusal> {
        let mut updates = self.core().updates();
        let mut over = self.live().get(&run).map(|live| live.over.clone());
        let mut after = Position::default();
        loop {
            // Looked at before the last lines are read: what the run's end brought is among them.
            let ended = over.as_ref().is_none_or(|over| *over.borrow());
            loop {
                let page = self.store().events(run, after).await.map_err(|error| refuse(&error.fault()))?;
                let Some((last, _)) = page.last() else { break };
                after = *last;
                for (_, event) in page.iter().filter(|(_, event)| concerns(node, event)) {
                    if sink.send(Answer::Log(line(event))).await.is_err() {
                        return Ok(());
                    }
                }
            }
            if ended || !follow {
                break;
            }
            let worth = |update: &Update| matches!(update, Update::Event(event) if event.scope.run == run);
            let end = async {
                match &mut over {
                    Some(over) => over.changed().await.is_ok(),
                    None => true,
                }
            };
            tokio::select! {
                () = sink.closed() => return Ok(()),
                () = self.0.life.ending.cancelled() => return Ok(()),
                _ = next_update(&mut updates, worth) => {}
                _ = end => over = over.filter(|over| *over.borrow()),
            }
        }
        let row = self.store().run(run).await.map_err(|error| refuse(&error.fault()))?;
        let row = row.ok_or_else(|| watch::unknown(run))?;
        let document = Document::Logs(LogsDocument { run: summary(&row), lines: Vec::new() });
        let _ = sink.send(Answer::Done { exit: Exit::Done, document: Box::new(document) }).await;
        Ok(())
    }
}

/// The place that an event is about.
fn subject(event: &Event) -> &NodePath {
    match &event.change {
        Change::Node(node) => &node.path,
        Change::Phase(phase) => &phase.path,
        Change::Settled(settled) => &settled.path,
        Change::Gap(gap) => &gap.origin.path,
        Change::Drift(drift) => &drift.path,
    }
}

fn concerns(node: Option<&str>, event: &Event) -> bool {
    let place = subject(event);
    node.is_none_or(|node| place.as_str() == node || place.name() == node)
}

fn line(event: &Event) -> LogLine {
    let (kind, text, failure) = told(&event.change);
    LogLine {
        at: clock::shown(event.at_ms),
        path: subject(event).to_string(),
        origin: event.origin.to_string(),
        seq: event.seq.0,
        kind: kind.into(),
        text,
        failure,
    }
}

fn told(change: &Change) -> (&'static str, String, bool) {
    match change {
        Change::Node(node) => {
            let mut text = node.status.to_string();
            if let Some(action) = node.action.filter(|action| *action != Action::None && action.as_str() != text) {
                text = format!("{text}, {action}");
            }
            if let Some(vmid) = node.vmid {
                text = format!("{text}, vmid {vmid}");
            }
            if let Some(ip) = node.ip {
                text = format!("{text}, {ip}");
            }
            if node.simulated {
                text.push_str(", simulated");
            }
            if let Some(fault) = &node.fault {
                text = format!("{text}: {fault}");
            }
            ("node", text, node.status.is_failure())
        }
        Change::Phase(phase) => {
            let mut text = match phase.status {
                PhaseStatus::Running => format!("{} has begun", phase.phase),
                ended => format!("{} {ended} after {:.3} s", phase.phase, clock::seconds(phase.duration_ms)),
            };
            if let Some(note) = &phase.note {
                text = format!("{text}: {note}");
            }
            ("phase", text, phase.status == PhaseStatus::Failed)
        }
        Change::Settled(_) => ("settled", "has nothing more to do".into(), false),
        Change::Drift(drift) if drift.differences == 0 => ("drift", "is as its spec has it".into(), false),
        Change::Drift(drift) => {
            let unnamed = usize::try_from(drift.differences).unwrap_or(usize::MAX).saturating_sub(drift.lines.len());
            let more = if unnamed == 0 { String::new() } else { format!("; and {unnamed} more") };
            ("drift", format!("is not as its spec has it: {}{more}", drift.lines.join("; ")), true)
        }
        Change::Gap(gap) => ("gap", format!("what it told after number {} is lost with its machine", gap.after), true),
    }
}
