//! The characters that the YAML parser gets to see: a text with an end put to it where the parser reads too far without
//! yielding anything, and with a document mark put in front of JSON.
//!
//! The parser keeps every token of a bracketed collection that may turn out to be a key until it knows. So a file of four
//! megabytes of `[1,1,1,…` would make it hold a hundred times that. A collection that follows a document mark cannot be a
//! key and streams; hence the mark, without which JSON of any size would be one such collection.

use std::cell::Cell;
use std::iter::Chain;
use std::str::Chars;

/// The most characters that the parser may read without yielding a value: the tokens of this many are held at once at
/// worst, some tens of megabytes. No list in brackets, block of text or comment of a real file comes near it.
pub const MAX_STRETCH: usize = 256 * 1024;

/// The mark put in front of JSON. It shifts the columns of the line that it is put on.
const MARK: &str = "--- ";

/// What a text's characters have come to, shared between the parser that takes them and the reader that watches.
#[derive(Debug, Default)]
pub(super) struct Meter {
    taken: Cell<usize>,
    overrun: Cell<bool>,
}

impl Meter {
    /// The parser has yielded something.
    pub(super) fn yielded(&self) {
        self.taken.set(0);
    }

    /// Whether an end was put to the text.
    pub(super) fn overrun(&self) -> bool {
        self.overrun.get()
    }
}

/// The characters of a text, metered.
pub(super) struct Stretch<'t> {
    characters: Chain<Chain<Chars<'t>, Chars<'static>>, Chars<'t>>,
    meter: &'t Meter,
}

impl<'t> Stretch<'t> {
    /// The text's characters. With them, the line that the mark was put on, if one was.
    pub(super) fn new(text: &'t str, meter: &'t Meter) -> (Self, Option<usize>) {
        let body = text.trim_start_matches([' ', '\t', '\n', '\r']);
        let json = body.starts_with(['{', '[']);
        let space = text.len() - body.len();
        let blank = text.get(..space).unwrap_or_default();
        let line_start = if json { blank.rfind(['\n', '\r']).map_or(0, |at| at + 1) } else { 0 };
        let (before, after) = text.split_at_checked(line_start).unwrap_or(("", text));
        let mark = if json { MARK } else { "" };
        let line = json.then(|| 1 + before.replace("\r\n", "\n").matches(['\n', '\r']).count());
        (Self { characters: before.chars().chain(mark.chars()).chain(after.chars()), meter }, line)
    }

    /// How many columns the mark takes.
    pub(super) const fn shift() -> usize {
        MARK.len()
    }
}

impl Iterator for Stretch<'_> {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        let taken = self.meter.taken.get();
        if taken >= MAX_STRETCH {
            self.meter.overrun.set(true);
            return None;
        }
        self.meter.taken.set(taken + 1);
        self.characters.next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> (String, Option<usize>) {
        let meter = Meter::default();
        let (stretch, line) = Stretch::new(text, &meter);
        (stretch.collect(), line)
    }

    #[test]
    fn json_gets_a_document_mark_on_its_first_line_and_yaml_none() {
        assert_eq!(all("{}"), ("--- {}".into(), Some(1)));
        assert_eq!(all("\r\n\n  [1]"), ("\r\n\n---   [1]".into(), Some(3)));
        assert_eq!(all("a: {}"), ("a: {}".into(), None));
        assert_eq!(all("# {\n{}"), ("# {\n{}".into(), None));
        assert_eq!(all(""), (String::new(), None));
    }

    #[test]
    fn the_text_ends_where_nothing_was_yielded_for_too_long() {
        let text = "x".repeat(3 * MAX_STRETCH);
        let meter = Meter::default();
        let (mut stretch, _) = Stretch::new(&text, &meter);
        assert_eq!(stretch.by_ref().take(MAX_STRETCH).count(), MAX_STRETCH);
        meter.yielded();
        assert_eq!(stretch.by_ref().count(), MAX_STRETCH);
        assert!(meter.overrun());
    }
}
