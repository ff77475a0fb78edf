//! A run as it is redrawn on a terminal: a line of what it is, a line for each node, a line of how far it has come.
//!
//! Where there are more nodes than rows, those that matter now are shown, and how many are not.

use std::cmp::Reverse;
use std::time::Duration;

use homestak_coord::documents::NodeDocument;
use homestak_protocol::event::{Action, Status};

use super::count;
use super::elapsed;
use super::mark;
use super::progress::{Followed, Progress};
use super::style::{Style, Tone, cut, one_line, pad, width};
use super::terminal::Size;

/// The longest word of a state.
const WORD: usize = 11;

/// Between columns.
const GAP: usize = 2;

/// What is too narrow to say anything in.
const NO_ROOM: usize = 8;

/// How long a node is in a phase before that is told beside how long it takes altogether.
const LONG: Duration = Duration::from_secs(5);

/// How often the mark of a node at work turns.
const BEAT: Duration = Duration::from_millis(100);

/// The lines of a run; each is narrower than the terminal, and all of them leave it a row for the cursor.
pub(crate) fn lines(progress: &Progress, now: Duration, size: Size, style: Style) -> Vec<String> {
    let columns = size.columns.saturating_sub(1);
    let room = size.rows.saturating_sub(3);
    let footer = footer(progress, now, columns, style);
    if room == 0 {
        return vec![footer];
    }
    let mut lines = vec![header(progress, columns, style)];
    let all: Vec<Shown<'_>> =
        progress.drawn().map(|(place, node)| Shown { label: label(place.lead(style), node), node }).collect();
    let shown = if all.len() <= room { all } else { most_telling(progress, room, style) };
    let hidden = progress.nodes().len().saturating_sub(shown.len());
    let longest = shown.iter().map(|row| width(&row.label)).max().unwrap_or_default();
    let time = shown.iter().map(|row| width(&row.time(now))).max().unwrap_or_default();
    let widths = Widths { columns, name: longest.min((columns / 3).max(NO_ROOM)), time };
    lines.extend(shown.iter().map(|row| row.line(widths, now, style).trim_end().to_owned()));
    if hidden > 0 && room > 1 {
        let rest = format!("  {} {hidden} more", style.pick("…", "..."));
        lines.push(style.paint(Tone::Dim, cut(&rest, columns, style)));
    }
    lines.push(footer);
    lines
}

/// `apply n2-tiered on local, run 3f9c21d04b7e`.
fn header(progress: &Progress, columns: usize, style: Style) -> String {
    let summary = &progress.summary;
    let simulated = if progress.simulated() { " (simulated)" } else { "" };
    let title = format!("{} {} on {}{simulated}", summary.verb.as_str(), summary.manifest, summary.host);
    let run = format!("run {}", summary.run);
    match columns.checked_sub(width(&title) + width(&run)).filter(|gap| *gap >= 2) {
        Some(gap) => {
            format!("{}{}{}", style.paint(Tone::Strong, title), " ".repeat(gap), style.paint(Tone::Dim, run))
        }
        None => style.paint(Tone::Strong, cut(&title, columns, style)),
    }
}

/// `2 nodes: 1 running, 1 pending                                  1.2 s`.
fn footer(progress: &Progress, now: Duration, columns: usize, style: Style) -> String {
    let nodes = progress.nodes();
    let counts = count::statuses(nodes.iter().map(|followed| followed.node.status));
    let text = format!("{}: {counts}", count::of(nodes.len(), "node"));
    let text = if progress.cancelling { format!("cancelling, Ctrl-C again leaves; {text}") } else { text };
    let time = elapsed::span(progress.elapsed(now));
    let room = columns.saturating_sub(width(&time) + 2);
    if room < NO_ROOM {
        return cut(&text, columns, style);
    }
    format!("{}  {time}", pad(&cut(&text, room, style), room))
}

/// How wide lines are, and what is in them.
#[derive(Clone, Copy)]
struct Widths {
    columns: usize,
    name: usize,
    time: usize,
}

/// A node and what it is called where it stands.
struct Shown<'p> {
    label: String,
    node: &'p Followed,
}

fn label(lead: String, followed: &Followed) -> String {
    format!("{lead}{}", followed.node.name)
}

/// The nodes that matter now, named by their paths as what carries them may not be shown.
fn most_telling(progress: &Progress, room: usize, style: Style) -> Vec<Shown<'_>> {
    let mut ranked: Vec<(usize, &Followed)> = progress.drawn().map(|(_, node)| node).enumerate().collect();
    ranked.sort_by_key(|(position, followed)| {
        let rank = match followed.node.status {
            Status::Running => 0,
            Status::Failed | Status::Unreachable => 1,
            Status::Pending => 3,
            _ => 2,
        };
        (rank, Reverse(followed.heard), *position)
    });
    ranked.truncate(room.saturating_sub(1).max(1));
    ranked.sort_by_key(|(position, _)| *position);
    ranked.into_iter().map(|(_, node)| Shown { label: short_path(&node.node, style), node }).collect()
}

/// A node's path without host and manifest, and with no more than the last of its carriers.
fn short_path(node: &NodeDocument, style: Style) -> String {
    let names: Vec<&str> = node.path.split('/').skip(2).collect();
    match names.as_slice() {
        [.., parent, name] if names.len() > 2 => format!("{}/{parent}/{name}", style.pick("…", "..")),
        _ => names.join("/"),
    }
}

impl Shown<'_> {
    fn time(&self, now: Duration) -> String {
        self.node.time(now).map(elapsed::span).unwrap_or_default()
    }

    /// Mark, name, state, what is being done or came of it, and how long that has taken; what does not fit is left out.
    fn line(&self, widths: Widths, now: Duration, style: Style) -> String {
        let Widths { columns, name, time } = widths;
        let status = self.node.node.status;
        let tone = mark::tone(status);
        let beat = usize::try_from(now.as_millis() / BEAT.as_millis()).unwrap_or_default();
        let mark = mark::mark(status, style, beat);
        let left = width("  x ") + name + GAP + WORD;
        let Some(rest) = columns.checked_sub(left) else {
            return cut(&format!("{mark} {} {status}", self.label), columns, style);
        };
        let head = format!("  {} {}", style.paint(tone, mark), pad(&cut(&self.label, name, style), name));
        let word = style.paint(tone, pad(status.as_str(), WORD));
        let head = format!("{head}{:GAP$}{word}", "");
        let took = self.time(now);
        match rest.checked_sub(time + 2 * GAP).filter(|room| *room >= NO_ROOM) {
            Some(room) => {
                format!("{head}{:GAP$}{}{:GAP$}{took:>time$}", "", pad(&cut(&self.detail(now), room, style), room), "")
            }
            None if rest > time => format!("{head}{took:>rest$}"),
            None => head,
        }
    }

    /// What is being done, or came of it.
    fn detail(&self, now: Duration) -> String {
        let node = &self.node.node;
        if let Some(error) = &node.error {
            return one_line(&error.message);
        }
        if let Some((layer, text)) = self.node.waits_for() {
            let time = self.node.waited(now).filter(|time| *time >= LONG).map(elapsed::whole);
            let time = time.map(|time| format!(" {time}")).unwrap_or_default();
            let text = text.map(|text| format!(": {}", one_line(text)));
            return format!("{layer}{time}{}", text.unwrap_or_default());
        }
        outcome(node)
    }
}

/// `created, vm 99011, 127.0.1.3`.
pub(crate) fn outcome(node: &NodeDocument) -> String {
    let action = (node.action != Action::None).then(|| node.action.as_str().to_owned());
    let exists = !node.status.is_gone() && node.destroyed != Some(true);
    let id = node.vm_id.filter(|_| exists).map(|id| format!("id {id}"));
    let ip = node.ip.clone().filter(|_| exists);
    let again = (node.destroyed == Some(true)).then(|| "destroyed again".to_owned());
    [action, id, ip, again].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::show::sample;
    use homestak_protocol::event::Phase;
    use homestak_protocol::path::NodePath;
    use insta::assert_snapshot;

    const STYLE: Style = Style { colour: false, unicode: true };

    fn size(columns: usize, rows: usize) -> Size {
        Size { columns, rows }
    }

    fn small() -> Progress {
        let root = "local/n2-tiered/root-pve";
        let nodes = vec![
            (sample::completed(root, 99011), Some(910)),
            (sample::failed("local/n2-tiered/mail"), Some(300_000)),
            (sample::running(&format!("{root}/edge"), Phase::Configure), Some(310)),
            (sample::node(&format!("{root}/a-node-with-a-name-of-remarkable-length")), None),
        ];
        let mut progress = Progress::new(sample::view(nodes), Duration::ZERO);
        let edge = NodePath::parse(&format!("{root}/edge")).unwrap();
        progress.tell(&edge, Phase::Configure, "applying spec\nbase".into(), Duration::from_millis(100));
        progress
    }

    fn large(count: u32) -> Progress {
        let node = |number: u32| {
            let path = format!("local/big/host/n{number}");
            match number % 4 {
                0 => (sample::completed(&path, 10_000 + number), Some(500)),
                1 if number == 41 => (sample::failed(&path), Some(700)),
                1 if number < 12 => (sample::running(&path, Phase::Boot), Some(900)),
                _ => (sample::node(&path), None),
            }
        };
        let nodes = std::iter::once((sample::completed("local/big/host", 9999), Some(400)));
        Progress::new(sample::view(nodes.chain((0..count).map(node)).collect()), Duration::ZERO)
    }

    #[test]
    fn a_run_is_drawn_as_the_tree_it_builds() {
        let now = Duration::from_millis(1_240);
        assert_snapshot!("tree_80", lines(&small(), now, size(80, 24), STYLE).join("\n"));
        assert_snapshot!("tree_40", lines(&small(), now, size(40, 24), STYLE).join("\n"));
        assert_snapshot!("tree_ascii", lines(&small(), now, size(80, 24), Style::default()).join("\n"));
    }

    #[test]
    fn more_nodes_than_rows_are_those_that_matter_now() {
        assert_snapshot!(lines(&large(200), Duration::from_secs(75), size(80, 12), STYLE).join("\n"));
    }

    #[test]
    fn no_frame_is_larger_than_the_terminal() {
        for progress in [small(), large(40)] {
            for (columns, rows) in (1..100).flat_map(|columns| (1..30).map(move |rows| (columns, rows))) {
                let drawn = lines(&progress, Duration::from_secs(5), size(columns, rows), STYLE);
                assert!(drawn.len() < rows.max(2), "{columns}x{rows}");
                for line in drawn {
                    assert!(width(&line) < columns.max(2), "{columns}x{rows}: {line:?}");
                }
            }
        }
    }

    #[test]
    fn what_is_at_work_is_seen_to_be_alive() {
        let at = |millis| lines(&small(), Duration::from_millis(millis), size(80, 24), STYLE);
        assert_ne!(at(1_000), at(1_100));
        let still =
            |lines: Vec<String>| lines.into_iter().filter(|line| line.contains("completed ")).collect::<Vec<_>>();
        assert_eq!(still(at(1_000))[..1], still(at(1_100))[..1]);
    }
}
