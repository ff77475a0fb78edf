//! A run where lines cannot be redrawn: one line for each change of a node.

use std::time::Duration;

use homestak_coord::api::LiveNode;
use homestak_protocol::event::{Phase, Status};

use super::elapsed;
use super::progress::{self, Followed, Progress};
use super::style::{Style, Tone, one_line};
use super::{count, mark, tree};

/// The first line.
pub(crate) fn opening(progress: &Progress, style: Style) -> String {
    let summary = &progress.summary;
    let simulated = if progress.simulated() { " (simulated)" } else { "" };
    let nodes = count::of(progress.nodes().len(), "node");
    let title = format!("{} {} on {}{simulated}", summary.verb.as_str(), summary.manifest, summary.host);
    format!("{}: run {}, {nodes}", style.paint(Tone::Strong, title), summary.run)
}

/// A change, if people are to see it: another state, or the beginning of another phase.
pub(crate) fn change(known: &Progress, new: &LiveNode, now: Duration, style: Style) -> Option<String> {
    let old = known.find(&new.node.path);
    let phase = progress::at_work(&new.node);
    if old.is_some_and(|old| old.node.status == new.node.status && (phase.is_none() || old.phase() == phase)) {
        return None;
    }
    Some(line(new, phase, known.elapsed(now), style))
}

fn line(new: &LiveNode, phase: Option<Phase>, elapsed: Duration, style: Style) -> String {
    let node = &new.node;
    let detail = match (&node.error, phase) {
        (Some(error), _) => {
            let hint = error.hint.as_deref().map(|hint| format!("; hint: {hint}")).unwrap_or_default();
            format!("[{}] {}{hint}", error.code, error.message)
        }
        (None, Some(phase)) => phase.as_str().to_owned(),
        (None, None) => tree::outcome(node),
    };
    let detail = one_line(&detail);
    let separator = if detail.is_empty() { "" } else { ": " };
    let state = style.paint(mark::tone(node.status), node.status);
    format!("{:>10}  {}  {state}{separator}{detail}", elapsed::span(elapsed), node.path)
}

/// A sign of life when nothing has changed for long.
pub(crate) fn heartbeat(progress: &Progress, now: Duration) -> String {
    let busy: Vec<&Followed> =
        progress.nodes().iter().filter(|followed| followed.node.status == Status::Running).collect();
    let time = elapsed::span(progress.elapsed(now));
    match busy.as_slice() {
        [] => format!("{time:>10}  still waiting: {}", summary(progress)),
        [first, rest @ ..] => {
            let waiting = first.waits_for().map(|(layer, text)| {
                let waited = first.waited(now).map(|waited| format!(" for {}", elapsed::whole(waited)));
                let text = text.map(|text| format!(": {}", one_line(text)));
                format!(" ({layer}{}{})", waited.unwrap_or_default(), text.unwrap_or_default())
            });
            let more = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
            format!("{time:>10}  still at {}{}{more}", first.node.path, waiting.unwrap_or_default())
        }
    }
}

fn summary(progress: &Progress) -> String {
    count::statuses(progress.nodes().iter().map(|followed| followed.node.status))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::show::sample;
    use homestak_protocol::path::NodePath;
    use insta::assert_snapshot;

    #[test]
    fn there_is_one_line_for_each_change_and_none_without_one() {
        let path = "local/n2-tiered/root-pve";
        let mut progress = Progress::new(sample::view(vec![(sample::node(path), None)]), Duration::ZERO);
        let mut lines = vec![opening(&progress, Style::default())];
        let steps = [
            sample::running(path, Phase::Provision),
            sample::running(path, Phase::Provision),
            sample::running(path, Phase::Boot),
            sample::completed(path, 99011),
            sample::completed(path, 99011),
            sample::failed(path),
        ];
        for (step, node) in (1..).zip(steps) {
            let now = Duration::from_millis(step * 700);
            let live = LiveNode { elapsed_ms: Some(1), ..sample::live(node) };
            lines.extend(change(&progress, &live, now, Style::default()));
            progress.node(live, now);
        }
        assert_snapshot!(lines.join("\n"));
    }

    #[test]
    fn silence_is_told_from_standstill() {
        let nodes = vec![
            (sample::running("local/n2-tiered/root-pve", Phase::Boot), Some(0)),
            (sample::running("local/n2-tiered/other", Phase::Boot), Some(0)),
            (sample::node("local/n2-tiered/root-pve/edge"), None),
        ];
        let mut progress = Progress::new(sample::view(nodes), Duration::ZERO);
        let line = heartbeat(&progress, Duration::from_secs(95));
        assert_eq!(line, "1 min 35 s  still at local/n2-tiered/root-pve (boot) and 1 more");
        let path = NodePath::parse("local/n2-tiered/root-pve").unwrap();
        let mut root = sample::live(sample::running(path.as_str(), Phase::Boot));
        root.waited_ms = Some(3_000);
        progress.node(root, Duration::from_secs(5));
        progress.tell(&path, Phase::Boot, "cloud-init: no address yet".into(), Duration::from_secs(7));
        let line = heartbeat(&progress, Duration::from_secs(40));
        let wanted = "    40.0 s  still at local/n2-tiered/root-pve (cloud-init for 38 s: no address yet) and 1 more";
        assert_eq!(line, wanted);
    }
}
