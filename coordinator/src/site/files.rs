//! The files of a site folder as text, within bounds, and a stamp by which it is seen that one of them has changed.
//!
//! Only YAML files are read. Their names say what they describe; a name that is none is a problem of that file alone.

use std::fs::{self, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use homestak_manifests::diagnostic::{Code, Diagnostic, Report, Source, Span};
use homestak_manifests::yaml;

/// The most files that are read: ten times a site of 1,000 specs.
const MAX_FILES: usize = 10_000;

/// The most bytes of all files together: eight of the longest that is read of one.
const MAX_TOTAL: u64 = 64 * 1024 * 1024;

/// What a file describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Site,
    Host,
    Node,
    Preset,
    Posture,
    Spec,
    Env,
    Manifest,
}

impl Kind {
    /// Those that have a folder each.
    pub(super) const FOLDERS: &[Kind] =
        &[Kind::Host, Kind::Node, Kind::Preset, Kind::Posture, Kind::Spec, Kind::Env, Kind::Manifest];

    /// The folder that such files lie in, and the word for what they describe.
    pub(super) const fn names(self) -> (&'static str, &'static str) {
        match self {
            Kind::Site => ("", "site"),
            Kind::Host => ("hosts", "host"),
            Kind::Node => ("nodes", "node"),
            Kind::Preset => ("presets", "preset"),
            Kind::Posture => ("postures", "posture"),
            Kind::Spec => ("specs", "spec"),
            Kind::Env => ("envs", "environment"),
            Kind::Manifest => ("manifests", "manifest"),
        }
    }
}

/// A file that was read.
#[derive(Debug)]
pub(super) struct File {
    pub(super) kind: Kind,
    /// Its name up to the ending.
    pub(super) stem: String,
    /// As messages call it.
    pub(super) path: String,
    pub(super) text: String,
}

/// Everything that was read, by kind and name, and what could not be.
#[derive(Debug, Default)]
pub(super) struct Files {
    pub(super) files: Vec<File>,
    pub(super) problems: Vec<Diagnostic>,
}

/// What a folder looked like when it was read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stamp(Vec<(PathBuf, u64, i64, i64, u64)>);

impl Stamp {
    /// Looks at the folder, and reads nothing.
    pub fn of(folder: &Path) -> Self {
        let mut seen = Vec::new();
        let mut look = |path: PathBuf| {
            if let Ok(meta) = fs::metadata(&path) {
                seen.push((path, meta.len(), meta.mtime(), meta.mtime_nsec(), meta.ino()));
            }
        };
        for entry in list(folder).unwrap_or_default() {
            look(entry);
        }
        for kind in Kind::FOLDERS {
            for entry in list(&folder.join(kind.names().0)).unwrap_or_default() {
                look(entry);
            }
        }
        Self(seen)
    }
}

impl Files {
    /// Reads the folder.
    pub(super) fn read(folder: &Path) -> Self {
        let mut files = Self::default();
        let mut left = MAX_TOTAL;
        let own = folder.join("site.yaml");
        if own.exists() {
            files.take(Kind::Site, &own, &mut left);
        }
        for kind in Kind::FOLDERS {
            let inner = folder.join(kind.names().0);
            let entries = match list(&inner) {
                Ok(entries) => entries,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => {
                    files.unreadable(&inner, &error);
                    continue;
                }
            };
            for entry in entries {
                if files.files.len() >= MAX_FILES {
                    let message = format!("the site has more than {MAX_FILES} files; those from here on are not read");
                    files.problem(Code::TooManyFiles, &entry, message, "move what is not used out of the folder");
                    return files;
                }
                files.consider(*kind, &entry, &mut left);
            }
        }
        files
    }

    /// Takes a file that ends as one of ours does; warns about one that nearly does; leaves all else alone.
    fn consider(&mut self, kind: Kind, path: &Path, left: &mut u64) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        match path.extension().and_then(|ending| ending.to_str()) {
            _ if name.starts_with('.') || path.is_dir() => {}
            Some("yaml") => self.take(kind, path, left),
            Some("yml" | "json") => {
                let (folder, what) = kind.names();
                let message = format!("this file is not read: a {what} is a file {folder}/NAME.yaml");
                self.warning(Code::FileIgnored, path, message, "rename it so that it ends in .yaml, or move it away");
            }
            _ => {}
        }
    }

    fn take(&mut self, kind: Kind, path: &Path, left: &mut u64) {
        let bytes = match bytes(path) {
            Ok(bytes) => bytes,
            Err(error) => return self.unreadable(path, &error),
        };
        match left.checked_sub(u64::try_from(bytes.len()).unwrap_or(u64::MAX)) {
            Some(rest) => *left = rest,
            None => {
                let message =
                    format!("the site's files have more than {MAX_TOTAL} bytes together; this one is not read");
                return self.problem(Code::TooManyFiles, path, message, "move what is not used out of the folder");
            }
        }
        let name = path.display().to_string();
        match yaml::text(&name, &bytes) {
            Ok(text) => self.files.push(File {
                kind,
                stem: path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
                path: name,
                text: text.to_owned(),
            }),
            Err(problem) => self.problems.push(*problem),
        }
    }

    fn unreadable(&mut self, path: &Path, error: &io::Error) {
        let message = format!("this cannot be read: {error}");
        self.problem(Code::Unreadable, path, message, "see who owns it and what its mode is");
    }

    fn problem(&mut self, code: Code, path: &Path, message: String, hint: &str) {
        self.problems.extend(whole(&path.display().to_string(), |report| {
            report.error(code, Span::START, message).hint(hint);
        }));
    }

    fn warning(&mut self, code: Code, path: &Path, message: String, hint: &str) {
        self.problems.extend(whole(&path.display().to_string(), |report| {
            report.warning(code, Span::START, message).hint(hint);
        }));
    }
}

/// What is to be said about a file as a whole, without a line of it.
pub(super) fn whole(file: &str, say: impl FnOnce(&mut Report<'_>)) -> Vec<Diagnostic> {
    let mut report = Report::new(Source::secret(file, ""));
    say(&mut report);
    report.into_diagnostics()
}

/// What lies in a folder, by name.
fn list(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

/// A file's bytes, at most one more than is read of one. Pipes and devices are not waited for.
fn bytes(path: &Path) -> io::Result<Vec<u8>> {
    if !fs::metadata(path).as_ref().is_ok_and(Metadata::is_file) {
        fs::metadata(path)?;
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no file"));
    }
    let mut bytes = Vec::new();
    let most = u64::try_from(yaml::MAX_BYTES).unwrap_or(u64::MAX).saturating_add(1);
    fs::File::open(path)?.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}
