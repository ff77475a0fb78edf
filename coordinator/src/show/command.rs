//! Commands that are proposed to people, ready to be pasted.

use homestak_coord::settings::Settings;

use super::style::width;

/// Writes commands that reach the same daemon and site as the one that proposes them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Commands {
    flags: Vec<String>,
}

impl Commands {
    /// With the flags that were given; what the environment says, it says to the next command too.
    pub(crate) fn new(settings: &Settings, state_flag: bool, site_flag: bool) -> Self {
        let mut flags = Vec::new();
        if state_flag {
            flags.extend(["--state-dir".to_owned(), settings.state_dir.display().to_string()]);
        }
        if site_flag {
            flags.extend(["--site".to_owned(), settings.site.label()]);
        }
        Self { flags }
    }

    /// `homestak-coord …`.
    pub(crate) fn line(&self, words: &[&str]) -> String {
        let words = words.iter().copied().chain(self.flags.iter().map(String::as_str));
        std::iter::once("homestak-coord".to_owned()).chain(words.map(quote)).collect::<Vec<_>>().join(" ")
    }

    /// `homestak-coord VERB MANIFEST [-H HOST]`.
    pub(crate) fn on_tree(&self, verb: &str, manifest: &str, host: &str) -> String {
        if host == "local" { self.line(&[verb, manifest]) } else { self.line(&[verb, manifest, "-H", host]) }
    }
}

/// A word as a shell takes it.
fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:@%+=,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// Lines of a command and what it is for, the second column aligned; it is left out where the terminal has no room for it,
/// so that commands stay in one piece.
pub(crate) fn listed(commands: &[(String, &str)], columns: usize) -> Vec<String> {
    let longest = commands.iter().map(|(command, _)| width(command)).max().unwrap_or_default();
    let line = |command: &str, what: &str| format!("  {command:longest$}   {what}");
    let fits = commands.iter().all(|(command, what)| width(&line(command, what)) < columns);
    commands.iter().map(|(command, what)| if fits { line(command, what) } else { format!("  {command}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_command_is_for_gives_way_to_the_command() {
        let commands = [("homestak-coord runs".to_owned(), "what has run")];
        assert_eq!(listed(&commands, 80), ["  homestak-coord runs   what has run"]);
        assert_eq!(listed(&commands, 30), ["  homestak-coord runs"]);
    }

    #[test]
    fn a_proposed_command_reaches_the_same_daemon() {
        let plain = Commands::default();
        assert_eq!(plain.on_tree("status", "n2", "local"), "homestak-coord status n2");
        assert_eq!(plain.on_tree("status", "n2", "father"), "homestak-coord status n2 -H father");
        let elsewhere = Commands { flags: vec!["--state-dir".into(), "/tmp/it's here".into()] };
        assert_eq!(elsewhere.line(&["runs"]), r"homestak-coord runs --state-dir '/tmp/it'\''s here'");
    }
}
