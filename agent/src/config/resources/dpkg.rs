//! What dpkg has on record: read from its own file, which takes a few milliseconds where asking it takes a program.

use std::collections::{HashMap, HashSet};

/// dpkg's record.
const STATUS: &str = "/var/lib/dpkg/status";
/// Where dpkg keeps what it has not yet written into its record: not empty after it was killed.
const UPDATES: &str = "/var/lib/dpkg/updates";

use crate::config::system::Target;
use crate::config::trouble::Trouble;

/// The packages of a machine.
#[derive(Debug, Default)]
pub(crate) struct Packages {
    /// Version by name, and by `name:architecture`.
    installed: HashMap<String, String>,
    provided: HashSet<String>,
    /// Begun and not ended, each with how it stands.
    pub(crate) broken: Vec<String>,
}

impl Packages {
    /// Reads the record of this machine.
    pub(crate) fn read(target: &Target) -> Result<Self, Trouble> {
        let mut packages = Self::parse(&target.read(STATUS)?.unwrap_or_default());
        let begun = std::fs::read_dir(target.path(UPDATES)).is_ok_and(|mut updates| updates.next().is_some());
        if begun {
            packages.broken.push("dpkg itself: its last change was interrupted".to_owned());
        }
        Ok(packages)
    }

    fn parse(text: &str) -> Self {
        let mut all = Self::default();
        for paragraph in text.split("\n\n") {
            let field = |name: &str| {
                let lines = paragraph.lines().filter_map(|line| line.strip_prefix(name));
                lines.filter_map(|rest| rest.strip_prefix(':')).map(str::trim).next()
            };
            let (Some(name), Some(status)) = (field("Package"), field("Status")) else { continue };
            match status.rsplit(' ').next().unwrap_or_default() {
                "installed" => {
                    let version = field("Version").unwrap_or_default().to_owned();
                    if let Some(architecture) = field("Architecture") {
                        all.installed.insert(format!("{name}:{architecture}"), version.clone());
                    }
                    all.installed.insert(name.to_owned(), version);
                    let provided = field("Provides").unwrap_or_default().split(',');
                    let names = provided.filter_map(|one| one.split_whitespace().next());
                    all.provided.extend(names.map(str::to_owned));
                }
                "not-installed" | "config-files" => {}
                state => all.broken.push(format!("{name} is {state}")),
            }
        }
        all
    }

    /// Which version of a package is there.
    pub(crate) fn version(&self, name: &str) -> Option<&str> {
        self.installed.get(name).map(String::as_str)
    }

    /// Whether a package is there, as apt-get(8) would have it named: with an architecture or a version perhaps.
    pub(crate) fn has(&self, wanted: &str) -> bool {
        match wanted.split_once('=') {
            Some((name, version)) => self.installed.get(name).is_some_and(|is| is == version),
            None => self.installed.contains_key(wanted) || self.provided.contains(wanted),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dpkgs_record_says_what_is_there_and_what_was_begun() {
        let packages = Packages::parse(
            "Package: htop\nStatus: install ok installed\nArchitecture: amd64\nVersion: 3.2.2-2\nDescription: x\n \
             Package: fake\n\nPackage: mawk\nStatus: install ok installed\nProvides: awk (= 1), other\nVersion: 1\n\n\
             Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n\n\
             Package: half\nStatus: install ok half-configured\nVersion: 1\n",
        );
        for there in ["htop", "htop:amd64", "htop=3.2.2-2", "awk", "other"] {
            assert!(packages.has(there), "{there}");
        }
        for missing in ["fake", "gone", "half", "htop=1", "htop:arm64", "nothing", "(="] {
            assert!(!packages.has(missing), "{missing}");
        }
        assert_eq!(packages.broken, ["half is half-configured"]);
    }
}
