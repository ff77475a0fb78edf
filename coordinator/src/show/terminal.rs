//! What is known of the terminal: whether there is one, how large it is, and what it can show.

use std::env;
use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::os::fd::AsFd;

use super::style::Style;

/// The width that is assumed where there is no terminal, or one that does not tell.
const COLUMNS: u16 = 80;

/// The height that is assumed.
const ROWS: u16 = 24;

/// One of the two streams that people see.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terminal {
    /// Whether it is a terminal.
    pub(crate) is_terminal: bool,
    /// Whether lines on it can be redrawn.
    pub(crate) can_redraw: bool,
    /// What it can show.
    pub(crate) style: Style,
}

/// Columns and rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size {
    /// Columns.
    pub(crate) columns: usize,
    /// Rows.
    pub(crate) rows: usize,
}

impl Terminal {
    /// Looks at standard output.
    pub(crate) fn stdout() -> Self {
        Self::look(std::io::stdout().is_terminal(), |name| env::var_os(name))
    }

    /// Looks at standard error.
    pub(crate) fn stderr() -> Self {
        Self::look(std::io::stderr().is_terminal(), |name| env::var_os(name))
    }

    fn look(is_terminal: bool, variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let given = |name: &str| variable(name).filter(|value| !value.is_empty());
        let clever = given("TERM").is_some_and(|term| term != "dumb");
        let style =
            Style { colour: is_terminal && clever && given("NO_COLOR").is_none(), unicode: speaks_unicode(&given) };
        Self { is_terminal, can_redraw: is_terminal && clever, style }
    }
}

/// Whether the locale says UTF-8; the first of these variables that is set decides (POSIX, 8.2).
fn speaks_unicode(given: &impl Fn(&str) -> Option<OsString>) -> bool {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(|name| given(name)).unwrap_or_default();
    let locale = locale.to_string_lossy().to_ascii_lowercase();
    let console = given("TERM").is_some_and(|term| term == "linux");
    !console && (locale.contains("utf-8") || locale.contains("utf8"))
}

/// The size of the terminal behind a stream, as it is now.
pub(crate) fn size(stream: impl AsFd) -> Size {
    let known = rustix::termios::tcgetwinsize(stream).ok();
    let (columns, rows) = known.map_or((0, 0), |size| (size.ws_col, size.ws_row));
    let or = |value: u16, default: u16| usize::from(if value == 0 { default } else { value });
    Size { columns: or(columns, COLUMNS), rows: or(rows, ROWS) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(is_terminal: bool, variables: &[(&str, &str)]) -> Terminal {
        Terminal::look(is_terminal, |wanted| {
            variables.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value.into())
        })
    }

    #[test]
    fn colours_are_for_terminals_that_were_not_told_otherwise() {
        assert!(look(true, &[("TERM", "xterm")]).style.colour);
        assert!(look(true, &[("TERM", "xterm"), ("NO_COLOR", "")]).style.colour);
        assert!(!look(true, &[("TERM", "xterm"), ("NO_COLOR", "1")]).style.colour);
        assert!(!look(false, &[("TERM", "xterm")]).style.colour);
        let dumb = look(true, &[("TERM", "dumb")]);
        assert!(dumb.is_terminal && !dumb.style.colour && !dumb.can_redraw);
        assert!(!look(true, &[]).can_redraw);
    }

    #[test]
    fn characters_beyond_ascii_need_a_locale_that_has_them() {
        assert!(look(false, &[("LANG", "de_DE.UTF-8")]).style.unicode);
        assert!(look(false, &[("LC_ALL", ""), ("LC_CTYPE", "C.utf8")]).style.unicode);
        assert!(!look(false, &[("LC_ALL", "C"), ("LANG", "de_DE.UTF-8")]).style.unicode);
        assert!(!look(true, &[("TERM", "linux"), ("LANG", "de_DE.UTF-8")]).style.unicode);
        assert!(!look(true, &[]).style.unicode);
    }
}
