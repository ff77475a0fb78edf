//! What to show of a broken promise: the fewest strokes of fate that still break it, and what happened around it then.

use std::collections::BTreeSet;

use homestak_protocol::path::NodePath;

use crate::promises::Broken;
use crate::schedule::Play;
use crate::sim::Sim;

/// How many replays a report may cost.
const TRIES: u32 = 400;
/// How many lines of what happened are shown.
const LINES: usize = 80;

/// A schedule that breaks a promise, made as small as it can be made at little cost, and told.
pub(crate) fn of(play: &Play, broken: &Broken) -> String {
    let (least, last) = least(play, broken);
    let sim = Play { traced: true, ..least.clone() }.run();
    let place = &last.place;
    let shown = lines(&sim, place);
    let strokes = least.only_first.map_or(sim.fate.strokes, |first| first.min(sim.fate.strokes));
    format!(
        "promise broken: {}\n  at {place}: {}\n  HOMESTAK_SIM_SEED={} plays it; {} strokes of fate are enough\n{}\n",
        last.promise,
        last.what,
        play.seed,
        strokes as usize - least.spared.len(),
        shown.join("\n"),
    )
}

/// The last of what happened at a place, and of what was said of it.
pub(crate) fn lines(sim: &Sim, place: &NodePath) -> Vec<String> {
    let of_it = |(at, who, text): &(u64, NodePath, String)| {
        let parts: Vec<_> = text.split("; ").filter(|part| who == place || part.contains(place.as_str())).collect();
        (!parts.is_empty()).then(|| format!("{at:>8} {who}: {}", parts.join("; ")))
    };
    let all: Vec<_> = sim.lines.iter().flatten().filter_map(of_it).collect();
    all[all.len().saturating_sub(LINES)..].to_vec()
}

/// The same play with as few strokes of fate as still break a promise.
fn least(play: &Play, broken: &Broken) -> (Play, Broken) {
    let mut least = (play.clone(), broken.clone());
    let mut tries = 0;
    let mut attempt = |play: Play, least: &mut (Play, Broken)| {
        tries += 1;
        match play.breaks().filter(|_| tries <= TRIES) {
            Some(broken) => *least = (play, broken),
            None => return false,
        }
        true
    };
    let (mut enough, mut few) = (play.run().fate.strokes, 0);
    while few < enough {
        let first = few + (enough - few) / 2;
        if attempt(Play { only_first: Some(first), ..play.clone() }, &mut least) {
            enough = first;
        } else {
            few = first + 1;
        }
    }
    for stroke in (0..enough).rev() {
        let mut spared: BTreeSet<u32> = least.0.spared.clone();
        spared.insert(stroke);
        attempt(Play { spared, ..least.0.clone() }, &mut least);
    }
    least
}
