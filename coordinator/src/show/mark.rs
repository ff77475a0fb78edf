//! The mark, tone and word of each state.

use homestak_protocol::event::{Action, Status};

use super::style::{Style, Tone};

/// How a state is set off.
pub(crate) const fn tone(status: Status) -> Tone {
    match status {
        Status::Completed => Tone::Good,
        Status::Failed | Status::Unreachable => Tone::Bad,
        Status::Skipped | Status::Cancelled | Status::RolledBack => Tone::Warn,
        Status::Running => Tone::Active,
        Status::Pending | Status::Destroyed => Tone::Dim,
    }
}

/// The mark of a state. One at work turns with `beat`.
pub(crate) fn mark(status: Status, style: Style, beat: usize) -> &'static str {
    const TURNING: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];
    const TURNING_ASCII: [&str; 4] = ["|", "/", "-", "\\"];
    let turn = |marks: &[&'static str]| marks.get(beat % marks.len().max(1)).copied().unwrap_or_default();
    match status {
        Status::Running if style.unicode => turn(&TURNING),
        Status::Running => turn(&TURNING_ASCII),
        Status::Completed => style.pick("✓", "+"),
        Status::Failed => style.pick("✗", "x"),
        Status::Unreachable => "?",
        Status::Cancelled => style.pick("⊘", "o"),
        Status::Skipped => style.pick("↷", ">"),
        Status::RolledBack => style.pick("↺", "<"),
        Status::Destroyed => style.pick("∅", "0"),
        Status::Pending => style.pick("·", "."),
    }
}

/// The mark and tone of what a plan would do.
pub(crate) fn action_mark(action: Action, style: Style) -> (&'static str, Tone) {
    match action {
        Action::Created => ("+", Tone::Good),
        Action::Adopted => (style.pick("⇐", "<"), Tone::Warn),
        Action::Updated => ("~", Tone::Warn),
        Action::Destroyed => ("-", Tone::Bad),
        Action::Orphaned => ("?", Tone::Warn),
        Action::Unchanged | Action::None => ("=", Tone::Dim),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_state_can_be_told_by_its_mark_alone() {
        for unicode in [true, false] {
            let style = Style { colour: false, unicode };
            let marks: BTreeSet<_> = Status::ALL.iter().map(|status| mark(*status, style, 0)).collect();
            assert_eq!(marks.len(), Status::ALL.len());
        }
    }
}
