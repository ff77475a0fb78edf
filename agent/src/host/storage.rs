//! That the storage of snippets takes them, and images that disks are imported from.

use std::path::PathBuf;

use super::release::installed;
use crate::config::command::Command;
use crate::config::resource::{Difference, Differences, Resource, Step};
use crate::config::system::Target;
use crate::config::trouble::Trouble;

/// The storages of a cluster (pve-storage, `PVE::Storage::Plugin`): `KIND: NAME`, then indented `KEY VALUE` lines.
const STORAGES: &str = "/etc/pve/storage.cfg";
/// What a storage of a directory takes where its entry does not say.
const UNSAID: [&str; 3] = ["iso", "vztmpl", "backup"];
/// The first version that knows the content type `import`.
const KNOWS_IMPORT: (u32, u32) = (8, 2);

/// What a storage is to take.
pub(super) struct Contents {
    pub(super) storage: String,
    /// The folder of its snippets.
    pub(super) folder: PathBuf,
}

impl Contents {
    /// What it takes, and what it lacks.
    fn look(&self, target: &Target) -> Result<(Vec<String>, Vec<&'static str>), Trouble> {
        let text = target.read(STORAGES)?.unwrap_or_default();
        let takes = taken(&text, &self.storage);
        let mut wanted = vec!["snippets"];
        if installed(target)? >= KNOWS_IMPORT {
            wanted.push("import");
        }
        wanted.retain(|content| !takes.iter().any(|has| has == content));
        Ok((takes, wanted))
    }
}

/// What a storage takes, as the file has it.
fn taken(text: &str, storage: &str) -> Vec<String> {
    let is_head = |line: &str| !line.starts_with([' ', '\t', '#']) && line.contains(':');
    let named = |line: &&str| is_head(line) && line.split_once(':').is_some_and(|(_, name)| name.trim() == storage);
    let entry = text.lines().skip_while(|line| !named(line)).skip(1).take_while(|line| !is_head(line));
    let content = entry.filter_map(|line| line.trim().strip_prefix("content")).next();
    match content {
        Some(list) => list.split([',', ' ', '\t']).filter(|word| !word.is_empty()).map(str::to_owned).collect(),
        None => UNSAID.map(str::to_owned).to_vec(),
    }
}

impl Resource for Contents {
    fn name(&self) -> String {
        format!("storage {}", self.storage)
    }

    fn check<'a>(&'a self, target: &'a Target) -> Step<'a, Option<Difference>> {
        Box::pin(async move {
            let mut found = Differences::default();
            let (_, lacks) = self.look(target)?;
            if !lacks.is_empty() {
                found.add(format!("does not take {}", lacks.join(", ")));
            }
            if !target.path(&self.folder.to_string_lossy()).is_dir() {
                found.add(format!("has no folder {}", self.folder.display()));
            }
            Ok(found.whole())
        })
    }

    fn apply<'a>(&'a self, target: &'a Target) -> Step<'a, ()> {
        Box::pin(async move {
            let (takes, lacks) = self.look(target)?;
            if !lacks.is_empty() {
                let all: Vec<&str> = takes.iter().map(String::as_str).chain(lacks).collect();
                let set = Command::new("pvesm").args(["set", &self.storage, "--content", &all.join(",")]);
                target.run(set).await?.well()?;
            }
            target.folder(&self.folder)?;
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_storage_takes_is_what_its_own_entry_says() {
        let text = "dir: local\n\tpath /var/lib/vz\n\tcontent iso,vztmpl,backup\n\nzfspool: local-zfs\n\tpool rpool/data\n\
                    \tcontent images,rootdir\n\ndir: bare\n\tpath /srv\n";
        assert_eq!(taken(text, "local"), ["iso", "vztmpl", "backup"]);
        assert_eq!(taken(text, "local-zfs"), ["images", "rootdir"]);
        assert_eq!(taken(text, "bare"), UNSAID);
        assert_eq!(taken("", "local"), UNSAID);
    }
}
