//! What a process tells of itself while it works: events of `tracing`, to stderr, as lines for people or JSON for programs.
//!
//! Not for what a command prints: data goes to stdout and is none of this module's business.

use std::io::{self, IsTerminal};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

/// How events are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// A line for people, in colours on a terminal.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// How much is told where nothing else was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verbosity {
    /// Nothing.
    Quiet,
    /// What somebody has to look at. For commands that end.
    Warnings,
    /// What happens. For daemons.
    Usual,
    /// What is decided, and why.
    Detailed,
    /// Everything.
    Everything,
}

impl Verbosity {
    /// `-q` and `-v`, counted, on top of what is usual for the command.
    #[must_use]
    pub fn with_flags(self, quiet: bool, verbose: u8) -> Self {
        match (quiet, verbose, self) {
            (true, ..) => Verbosity::Quiet,
            (false, 0, usual) => usual,
            (false, 1, Verbosity::Quiet | Verbosity::Warnings) => Verbosity::Usual,
            (false, 1, _) | (false, 2, Verbosity::Quiet | Verbosity::Warnings) => Verbosity::Detailed,
            _ => Verbosity::Everything,
        }
    }

    fn targets(self) -> Targets {
        let (ours, others) = match self {
            Verbosity::Quiet => (LevelFilter::OFF, LevelFilter::OFF),
            Verbosity::Warnings => (LevelFilter::WARN, LevelFilter::ERROR),
            Verbosity::Usual => (LevelFilter::INFO, LevelFilter::WARN),
            Verbosity::Detailed => (LevelFilter::DEBUG, LevelFilter::INFO),
            Verbosity::Everything => (LevelFilter::TRACE, LevelFilter::DEBUG),
        };
        Targets::new().with_default(others).with_target("homestak", ours)
    }
}

/// Begins to tell. `HOMESTAK_LOG` (such as `debug` or `homestak_node=trace,info`) says how much in more detail than a
/// verbosity can, and beats it unless that is [`Verbosity::Quiet`]. A second call changes nothing.
pub fn begin(verbosity: Verbosity, format: Format) {
    let asked = std::env::var("HOMESTAK_LOG").ok().filter(|text| !text.is_empty() && verbosity != Verbosity::Quiet);
    let (targets, misread) = match asked.as_deref().map(str::parse::<Targets>) {
        Some(Ok(targets)) => (targets, None),
        Some(Err(error)) => (verbosity.targets(), Some(error)),
        None => (verbosity.targets(), None),
    };
    let colours = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let lines = fmt::layer().with_writer(io::stderr).with_ansi(colours);
    let layer = match format {
        Format::Text => lines.with_target(false).boxed(),
        Format::Json => lines.json().flatten_event(true).boxed(),
    };
    // Who has begun already stays: tests of several parts in one process, for one.
    let _ = tracing_subscriber::registry().with(layer.with_filter(targets)).try_init();
    if let Some(error) = misread {
        tracing::warn!(%error, "HOMESTAK_LOG cannot be read and counts for nothing");
    }
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn flags_say_more_or_nothing() {
        assert_eq!(Verbosity::Warnings.with_flags(false, 0), Verbosity::Warnings);
        assert_eq!(Verbosity::Warnings.with_flags(false, 1), Verbosity::Usual);
        assert_eq!(Verbosity::Usual.with_flags(false, 1), Verbosity::Detailed);
        assert_eq!(Verbosity::Usual.with_flags(false, 9), Verbosity::Everything);
        assert_eq!(Verbosity::Usual.with_flags(true, 2), Verbosity::Quiet);
    }

    #[test]
    fn our_own_words_are_heard_before_those_of_libraries() {
        let usual = Verbosity::Usual.targets();
        assert!(usual.would_enable("homestak_node::runtime", &Level::INFO));
        assert!(usual.would_enable("homestak_agent", &Level::INFO));
        assert!(!usual.would_enable("quinn", &Level::INFO) && usual.would_enable("quinn", &Level::WARN));
        assert!(!Verbosity::Quiet.targets().would_enable("homestak_node", &Level::ERROR));
    }
}
