//! Which manifest is meant: a name, a file, or the text itself.

use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args};

/// The ways to say which manifest is meant; exactly one is given.
#[derive(Debug, Clone, Args)]
#[command(group = ArgGroup::new("source").required(true).multiple(false))]
pub(crate) struct SourceArgs {
    /// The manifest: a name, or the path of a file
    ///
    /// A name is looked for in the site first, then in the built-in catalogue (`manifests list`). What holds a `/` or
    /// ends in `.yaml`, `.yml` or `.json` is a path.
    #[arg(value_name = "MANIFEST", group = "source")]
    positional: Option<String>,

    /// The same as MANIFEST
    #[arg(short = 'M', long = "manifest", value_name = "MANIFEST", group = "source")]
    named: Option<String>,

    /// The manifest's file
    #[arg(long, value_name = "FILE", group = "source")]
    manifest_file: Option<PathBuf>,

    /// The manifest itself, as JSON or YAML
    #[arg(long, value_name = "JSON", group = "source")]
    manifest_json: Option<String>,
}

/// Which manifest is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// One of the site's or the catalogue's.
    Name(String),
    /// A file's.
    File(PathBuf),
    /// This text.
    Text(String),
}

impl SourceArgs {
    /// What was given.
    pub(crate) fn source(&self) -> Source {
        if let Some(text) = &self.manifest_json {
            return Source::Text(text.clone());
        }
        if let Some(file) = &self.manifest_file {
            return Source::File(file.clone());
        }
        Source::guess(self.positional.as_ref().or(self.named.as_ref()).map_or("", String::as_str))
    }
}

impl Source {
    /// Takes a word for a name or a path by its looks alone, so that a file that happens to lie around never hides a
    /// manifest of that name.
    pub(crate) fn guess(word: &str) -> Self {
        let path = Path::new(word);
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
        if word.contains('/') || ["yaml", "yml", "json"].contains(&extension) {
            Source::File(path.to_owned())
        } else {
            Source::Name(word.to_owned())
        }
    }
}

/// Check manifests and show everything that is wrong with them
///
/// Each problem is shown with its code, place, source line and remedy. Needs no daemon and changes nothing. Exits with
/// 0 if all are valid, with 3 if one is not; warnings refuse nothing.
#[derive(Debug, Args)]
#[command(
    override_usage = "homestak-coord validate [OPTIONS] MANIFEST...",
    after_long_help = "\
Examples:
  homestak-coord validate my-tree.yaml
  homestak-coord validate manifests/*.yaml
  homestak-coord validate n2-tiered --json"
)]
#[command(group = ArgGroup::new("sources").required(true).multiple(true))]
pub(crate) struct Validate {
    /// Manifests: names, or paths of files
    #[arg(value_name = "MANIFEST", group = "sources")]
    manifests: Vec<String>,

    /// The same as MANIFEST
    #[arg(short = 'M', long = "manifest", value_name = "MANIFEST", group = "sources")]
    named: Vec<String>,

    /// A manifest's file
    #[arg(long, value_name = "FILE", group = "sources")]
    manifest_file: Vec<PathBuf>,

    /// A manifest itself, as JSON or YAML
    #[arg(long, value_name = "JSON", group = "sources")]
    manifest_json: Vec<String>,

    /// Accepted with the other verbs; a manifest is valid or not on every host alike
    #[arg(short = 'H', long, value_name = "HOST", hide = true)]
    host: Option<String>,
}

impl Validate {
    /// All that were given.
    pub(crate) fn sources(&self) -> Vec<Source> {
        let words = self.manifests.iter().chain(&self.named).map(|word| Source::guess(word));
        let files = self.manifest_file.iter().cloned().map(Source::File);
        words.chain(files).chain(self.manifest_json.iter().cloned().map(Source::Text)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_told_from_a_name_by_its_looks() {
        let file = |word: &str| Source::File(word.into());
        for word in ["./n2", "a/b", "n2.yaml", "n2.yml", "n2.json", "/n2", ".."] {
            let expected = if word == ".." { Source::Name(word.into()) } else { file(word) };
            assert_eq!(Source::guess(word), expected);
        }
        assert_eq!(Source::guess("n2-tiered"), Source::Name("n2-tiered".into()));
        assert_eq!(Source::guess("v1.2"), Source::Name("v1.2".into()));
    }
}
