//! How text is set off: colours where they are wanted, and what stands for a character that a terminal lacks.
//!
//! A colour never says anything that a word or a mark beside it does not.

use std::fmt::Display;

use anstyle::{AnsiColor, Style as Ansi};
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// What a terminal, or whatever stands in its place, can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Style {
    /// Colours and weights are shown.
    pub(crate) colour: bool,
    /// Characters beyond ASCII are shown.
    pub(crate) unicode: bool,
}

/// Why a text is set off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    /// As it should be.
    Good,
    /// Wrong.
    Bad,
    /// Worth a look.
    Warn,
    /// At work.
    Active,
    /// Of less weight than the rest.
    Dim,
    /// Of more weight than the rest.
    Strong,
}

impl Style {
    /// The text in a tone.
    pub(crate) fn paint(self, tone: Tone, text: impl Display) -> String {
        if !self.colour {
            return text.to_string();
        }
        let ansi = match tone {
            Tone::Good => AnsiColor::Green.on_default(),
            Tone::Bad => AnsiColor::Red.on_default().bold(),
            Tone::Warn => AnsiColor::Yellow.on_default(),
            Tone::Active => AnsiColor::Cyan.on_default(),
            Tone::Dim => Ansi::new().dimmed(),
            Tone::Strong => Ansi::new().bold(),
        };
        format!("{ansi}{text}{ansi:#}")
    }

    /// The first where it can be shown, else the second.
    pub(crate) fn pick<'t>(self, unicode: &'t str, ascii: &'t str) -> &'t str {
        if self.unicode { unicode } else { ascii }
    }
}

/// How many columns a text without colours takes.
pub(crate) fn width(text: &str) -> usize {
    text.width()
}

/// A text that moves no cursor, rings no bell and takes one line: control characters become spaces.
pub(crate) fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for word in text.split(|c: char| c.is_control() || c.is_whitespace()).filter(|word| !word.is_empty()) {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    line
}

/// A text without characters that move cursors or hide, its line breaks kept.
pub(crate) fn printable(text: &str) -> String {
    text.chars().filter(|&c| c == '\n' || !c.is_control()).collect()
}

/// The text in at most `columns`, its end replaced by a mark where it is longer.
pub(crate) fn cut(text: &str, columns: usize, style: Style) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    let mark = style.pick("…", "~");
    let Some(room) = columns.checked_sub(mark.width()) else { return String::new() };
    let mut used = 0;
    let mut short = String::new();
    for c in text.chars() {
        used += c.width().unwrap_or_default();
        if used > room {
            break;
        }
        short.push(c);
    }
    let mut short = short.trim_end().to_owned();
    short.push_str(mark);
    short
}

/// The text with spaces up to `columns`.
pub(crate) fn pad(text: &str, columns: usize) -> String {
    format!("{text}{}", " ".repeat(columns.saturating_sub(text.width())))
}

/// The text in lines of at most `columns`, broken between words where that is possible.
pub(crate) fn wrap(text: &str, columns: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        for word in paragraph.split_whitespace() {
            if !line.is_empty() && line.width() + 1 + word.width() > columns {
                lines.push(std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_text_never_takes_more_columns_than_it_may() {
        let style = Style { unicode: true, colour: false };
        for text in ["", "a", "root-pve", "zażółć gęślą jaźń", "日本語テキスト"] {
            for columns in 0..12 {
                assert!(width(&cut(text, columns, style)) <= columns, "{text} in {columns}");
            }
        }
        assert_eq!(cut("root-pve", 5, style), "root…");
        assert_eq!(cut("root-pve", 5, Style::default()), "root~");
    }

    #[test]
    fn what_others_say_cannot_move_the_cursor() {
        assert_eq!(one_line("a\u{1b}[2J b\r\n\tc\u{7}"), "a [2J b c");
        assert_eq!(printable("a\u{1b}[2J\nb\r"), "a[2J\nb");
    }

    #[test]
    fn words_are_kept_whole_where_lines_are_broken() {
        assert_eq!(wrap("the host father cannot be reached", 12), ["the host", "father", "cannot be", "reached"]);
        assert_eq!(wrap("a\n\nb", 12), ["a", "", "b"]);
    }
}
