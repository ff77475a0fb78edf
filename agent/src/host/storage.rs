//! That the storage of snippets takes them, and images that disks are imported from.
//!
//! What it takes already is PVE's to say: what stands in `/etc/pve/storage.cfg` is not all. A PVE that was installed on a
//! Debian has no such file until something writes one, and a storage `local` all the same, which takes disks too; and an
//! entry without a line `content` takes what its kind takes by itself (pve-storage, `PVE::Storage::Plugin::parse_config`).

use std::path::PathBuf;

use serde::Deserialize;

use super::release::installed;
use super::tools::{ask, tell};
use crate::config::resource::{Difference, Differences, Resource, Step};
use crate::config::system::Target;
use crate::config::trouble::Trouble;

/// The first version whose storages of a folder know the content type `import`. From 8.4 on one can be fetched into it.
const KNOWS_IMPORT: (u32, u32) = (8, 3);

/// What a storage is to take.
pub(super) struct Contents {
    pub(super) storage: String,
    /// The folder of its snippets.
    pub(super) folder: PathBuf,
}

/// A storage as PVE has it, `GET /storage/{storage}`.
#[derive(Deserialize)]
struct Configured {
    /// What it takes, separated by commas, in no order.
    #[serde(default)]
    content: String,
}

impl Configured {
    fn takes(&self) -> impl Iterator<Item = &str> {
        self.content.split(',').map(str::trim).filter(|content| !matches!(*content, "" | "none"))
    }

    /// What it lacks on a host of this version.
    fn lacks(&self, version: (u32, u32)) -> Vec<&'static str> {
        let wanted = ["snippets"].into_iter().chain((version >= KNOWS_IMPORT).then_some("import"));
        wanted.filter(|content| !self.takes().any(|has| has == *content)).collect()
    }

    /// All that it takes, and this besides.
    fn with(&self, more: &[&str]) -> String {
        self.takes().chain(more.iter().copied()).collect::<Vec<_>>().join(",")
    }
}

impl Contents {
    /// The storage, and what it lacks.
    async fn look(&self, target: &Target) -> Result<(Configured, Vec<&'static str>), Trouble> {
        let storage: Configured = ask(target, "pvesh", &["get", &format!("/storage/{}", self.storage)]).await?;
        let lacks = storage.lacks(installed(target)?);
        Ok((storage, lacks))
    }
}

impl Resource for Contents {
    fn name(&self) -> String {
        format!("storage {}", self.storage)
    }

    fn check<'a>(&'a self, target: &'a Target) -> Step<'a, Option<Difference>> {
        Box::pin(async move {
            let mut found = Differences::default();
            let (_, lacks) = self.look(target).await?;
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
            let (storage, lacks) = self.look(target).await?;
            if !lacks.is_empty() {
                tell(target, "pvesm", &["set", &self.storage, "--content", &storage.with(&lacks)]).await?;
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
    fn a_storage_keeps_all_that_it_takes() {
        let of = |content: &str| -> Configured {
            let told =
                format!(r#"{{"content":"{content}","content-dirs":"snippets=s","path":"/var/lib/vz","type":"dir"}}"#);
            serde_json::from_str(&told).unwrap()
        };
        // What a PVE on a Debian makes up for `local`.
        let own = of("vztmpl,images,rootdir,backup,iso,snippets");
        assert_eq!(own.lacks((8, 4)), ["import"]);
        assert_eq!(own.with(&["import"]), "vztmpl,images,rootdir,backup,iso,snippets,import");
        assert!(own.lacks((8, 2)).is_empty(), "8.2 knows no import");
        assert_eq!(of("images,rootdir").lacks((9, 0)), ["snippets", "import"]);
        assert_eq!(of("none").with(&["snippets"]), "snippets");
    }
}
