//! Cutting the lines that are shown out of a file, in one pass over it however many there are.

use std::str::CharIndices;

use super::{Excerpt, Span};

/// The longest part of a line that is shown: one line of a wide terminal. A file may be a single line of megabytes.
pub(super) const MAX_EXCERPT: usize = 160;

/// How much of a long line is shown in front of the place.
const LEAD: usize = 60;

/// Walks a file forwards; places must be asked for in the order of the file.
pub(super) struct Cutter<'t> {
    text: &'t str,
    rest: CharIndices<'t>,
    line: u32,
    column: u32,
    /// The bytes at which the last `LEAD` characters of this line start, oldest first.
    recent: std::collections::VecDeque<usize>,
}

impl<'t> Cutter<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        let recent = std::collections::VecDeque::with_capacity(LEAD + 1);
        Self { text, rest: text.char_indices(), line: 1, column: 1, recent }
    }

    /// The line at `span`, cut to [`MAX_EXCERPT`] characters around it.
    pub(super) fn cut(&mut self, span: Span) -> Excerpt {
        self.walk_to(span);
        let here = self.rest.offset();
        let cut_before = usize::try_from(self.column).unwrap_or(usize::MAX) > self.recent.len() + 1;
        let start = self.recent.front().copied().unwrap_or(here);
        let mut text = String::new();
        let mut before = self.recent.len();
        if cut_before {
            text.push('…');
            before += 1;
        }
        let shown = self.text.get(start..).unwrap_or_default();
        let line_end = |c: char| matches!(c, '\n' | '\r');
        let mut characters = shown.chars().take_while(|&c| !line_end(c));
        text.extend(characters.by_ref().take(MAX_EXCERPT).map(printable));
        let length = text.chars().count();
        if characters.next().is_some() {
            text.push('…');
        }
        let room = length.saturating_sub(before).max(1);
        let width = usize::try_from(span.width).unwrap_or(usize::MAX).clamp(1, room);
        Excerpt { text, before, width }
    }

    /// Stops at the place, or at the end of its line where the place lies behind it.
    fn walk_to(&mut self, span: Span) {
        while (self.line, self.column) < (span.line, span.column) {
            let Some(found) = self.rest.clone().next().map(|(_, c)| c) else { return };
            let breaks = match found {
                '\n' => true,
                '\r' => !self.rest.as_str().starts_with("\r\n"),
                _ => false,
            };
            if breaks && self.line == span.line {
                return;
            }
            let at = self.rest.offset();
            self.rest.next();
            if breaks {
                self.line = self.line.saturating_add(1);
                self.column = 1;
                self.recent.clear();
            } else if found != '\u{feff}' || at > 0 {
                self.column = self.column.saturating_add(1);
                if self.recent.len() == LEAD {
                    self.recent.pop_front();
                }
                self.recent.push_back(at);
            }
        }
    }
}

/// A character that moves the cursor, rings or hides becomes one that does not.
fn printable(c: char) -> char {
    match c {
        '\t' => ' ',
        c if c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') =>
        {
            '\u{fffd}'
        }
        c => c,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(line: u32, column: u32, width: u32) -> Span {
        Span { line, column, width }
    }

    #[test]
    fn each_line_is_shown_with_its_place() {
        let mut cutter = Cutter::new("a: 1\r\nbb: 2\n\nd\u{1b}[31m: ä\n");
        assert_eq!(cutter.cut(span(1, 4, 1)), Excerpt { text: "a: 1".into(), before: 3, width: 1 });
        assert_eq!(cutter.cut(span(2, 1, 2)), Excerpt { text: "bb: 2".into(), before: 0, width: 2 });
        assert_eq!(cutter.cut(span(2, 5, 9)), Excerpt { text: "bb: 2".into(), before: 4, width: 1 });
        assert_eq!(cutter.cut(span(3, 1, 1)), Excerpt { text: String::new(), before: 0, width: 1 });
        assert_eq!(cutter.cut(span(4, 8, 1)), Excerpt { text: "d\u{fffd}[31m: ä".into(), before: 7, width: 1 });
        assert_eq!(cutter.cut(span(9, 1, 1)).text, "");
    }

    #[test]
    fn a_line_of_any_length_is_cut_around_its_places_in_one_pass() {
        let text = "x".repeat(1_000_000);
        let mut cutter = Cutter::new(&text);
        for column in (1..1_000_000).step_by(500) {
            let excerpt = cutter.cut(span(1, column, 3));
            assert!(excerpt.text.chars().count() <= MAX_EXCERPT + 2);
            assert_eq!(excerpt.text.chars().nth(excerpt.before), Some('x'));
        }
    }
}
