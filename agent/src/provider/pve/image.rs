//! Images: which volume a name stands for on this host.
//!
//! A disk comes by a volume's id, never by a file's path: PVE takes paths from root's own login only
//! (`PVE::Storage::check_volume_access`).

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use homestak_node::source::Stock;
use homestak_node::world::{Ensure, Task};
use homestak_protocol::extras::ImageSource;
use homestak_protocol::fault::{Code, Fault};
use homestak_protocol::name::SiteName;
use homestak_protocol::order::NodeKind;
use tokio::time::Instant;

use super::Host;
use super::api::{CallError, Storage};
use super::disk::Origin;

/// How long it is taken for granted that an image is where it was found.
const REMEMBERED: Duration = Duration::from_secs(30);

/// Images that were found.
#[derive(Default)]
pub(super) struct Images(Mutex<BTreeMap<String, (Instant, Found)>>);

/// An image that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// The volume.
    pub(super) volid: String,
    /// Whether PVE makes disks from it; it does not from what lies beside the ISO files.
    for_disks: bool,
}

impl Images {
    fn remembered(&self, name: &str) -> Option<Found> {
        let found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        found.get(name).filter(|(since, _)| since.elapsed() < REMEMBERED).map(|(_, image)| image.clone())
    }

    fn remember(&self, name: &str, image: &Found) {
        let mut found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        found.insert(name.to_owned(), (Instant::now(), image.clone()));
    }

    /// Forgets what was found: it is not there any more.
    pub(super) fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// Files that an image of this name may be, the best first. Those of the earlier system end in `-custom`; one that ends in `-custom`
/// or `-pve` is a whole name (F-114).
fn files(name: &str, endings: &[&str]) -> Vec<String> {
    let whole = name.ends_with("-custom") || name.ends_with("-pve");
    let stems = if whole { vec![name.to_owned()] } else { vec![format!("{name}-custom"), name.to_owned()] };
    let named = stems.iter().flat_map(|stem| endings.iter().map(move |ending| format!("{stem}.{ending}")));
    named.chain([name.to_owned()]).collect()
}

/// Where images of virtual machines may lie, the best place first, and what they end in there.
const PLACES: [(&str, &[&str]); 2] = [("import", &["qcow2", "raw", "vmdk"]), ("iso", &["img", "qcow2"])];

impl Host {
    /// What a machine's disk is made from: what is here, else what the parent has, else what is at the site's URL.
    pub(super) async fn image(
        &self,
        name: &SiteName,
        source: Option<&ImageSource>,
        task: &Task,
    ) -> Result<Origin, Fault> {
        if let Some(Found { volid, for_disks: true }) = self.find_image(name.as_str()).await? {
            return Ok(Origin::Volume(volid));
        }
        let stock = Stock::Image(name.clone());
        let gate = self.gates.of(&stock).lock_owned().await;
        let mut brought = false;
        if self.find_image(name.as_str()).await?.is_none() {
            brought = self.bring_from_parent(&stock, task).await?;
            if let Some(source) = source.filter(|_| !brought) {
                self.bring_from_url(name, source, task).await?;
                brought = true;
            }
        }
        match self.find_image(name.as_str()).await? {
            Some(Found { volid, for_disks: true }) => Ok(Origin::Volume(volid)),
            Some(Found { volid, for_disks: false }) => self.beside_isos(&volid, gate).await,
            None => Err(self.nowhere(name.as_str(), brought).await),
        }
    }

    /// The volume that an image is in on this host.
    pub(super) async fn find_image(&self, name: &str) -> Result<Option<Found>, Fault> {
        if let Some(image) = self.images.remembered(name) {
            return Ok(Some(image));
        }
        let storages = self.storages().await.map_err(|error| error.fault(Code::Provision))?;
        for (content, endings) in PLACES {
            let wanted = files(name, endings);
            for storage in storages.iter().filter(|storage| storage.holds(content)) {
                let listed = self.api.content(&self.settings.node(), &storage.storage, content).await;
                let listed = listed.map_err(|error| error.fault(Code::Provision))?;
                let found = wanted.iter().find_map(|file| listed.iter().find(|volume| volume.file() == file));
                if let Some(volume) = found {
                    let image = Found { volid: volume.volid.clone(), for_disks: content == "import" };
                    self.images.remember(name, &image);
                    return Ok(Some(image));
                }
            }
        }
        Ok(None)
    }

    /// That there is no such image, or that it is not found where it was put.
    async fn nowhere(&self, name: &str, brought: bool) -> Fault {
        let storages = self.storages().await.unwrap_or_default();
        let looked: Vec<&str> = storages.iter().map(|storage| storage.storage.as_str()).collect();
        let node = self.settings.node();
        let message = match brought {
            true => format!("the image {name} was put into a storage of {node}, and PVE does not list it there"),
            false => format!("there is no image {name} in any storage of {node} ({}), nor above", looked.join(", ")),
        };
        let file = files(name, &["qcow2"]).into_iter().next().unwrap_or_default();
        let hint = format!(
            "put {file} into a storage with the content type `import`, or {name}.img beside the ISO images, or say under `images:` in site.yaml where it is"
        );
        Fault::new(Code::Provision, message).hint(hint)
    }

    /// The template that a container is made from, brought from the parent where it is not here.
    async fn template(&self, name: Option<&SiteName>, task: &Task) -> Result<String, Fault> {
        if let Some(volid) = self.find_template(name).await? {
            return Ok(volid);
        }
        let stock = Stock::Template(name.cloned());
        let _gate = self.gates.of(&stock).lock_owned().await;
        if self.find_template(name).await?.is_none() {
            let _brought = self.bring_from_parent(&stock, task).await?;
        }
        self.find_template(name).await?.ok_or_else(|| {
            let hint = "`pveam update` and `pveam download local debian-12-standard_…` on that host, or one above it, bring one";
            Fault::new(Code::Provision, format!("there is no {stock} on {}, nor above", self.settings.node())).hint(hint)
        })
    }

    /// The template here that a container is made from: the one that is named, or the newest Debian.
    async fn find_template(&self, name: Option<&SiteName>) -> Result<Option<String>, Fault> {
        let failed = |error: CallError| error.fault(Code::Provision);
        let mut found = Vec::new();
        for storage in self.storages().await.map_err(failed)?.iter().filter(|storage| storage.holds("vztmpl")) {
            found.extend(self.api.content(&self.settings.node(), &storage.storage, "vztmpl").await.map_err(failed)?);
        }
        let wanted = name.map_or("debian-", SiteName::as_str);
        found.retain(|volume| volume.file().starts_with(wanted));
        let newest = found.into_iter().max_by_key(|volume| (version(volume.file()), volume.ctime));
        Ok(newest.map(|volume| volume.volid))
    }

    /// The volume that something is in on this host.
    pub(super) async fn find(&self, stock: &Stock) -> Result<Option<String>, Fault> {
        match stock {
            Stock::Image(name) => Ok(self.find_image(name.as_str()).await?.map(|found| found.volid)),
            Stock::Template(name) => self.find_template(name.as_ref()).await,
        }
    }

    /// Makes sure that there is something to make a machine of this kind from.
    pub(super) async fn source(&self, ask: &Ensure, task: &Task) -> Result<Option<Origin>, Fault> {
        match (ask.machine.kind, &ask.machine.image) {
            (NodeKind::Ct, name) => {
                let template = self.template(name.as_ref(), task).await?;
                Ok(Some(Origin::Volume(template)))
            }
            (_, Some(name)) => self.image(name, ask.extras.image.as_ref(), task).await.map(Some),
            (_, None) => Ok(None),
        }
    }

    /// The storage that disks go to: what the site says of this host, what the host's own settings say, or the first that
    /// takes them.
    pub(super) async fn disk_storage(&self, ordered: Option<&str>, content: &str) -> Result<String, Fault> {
        if let Some(storage) = ordered.or(self.settings.storage.as_deref()) {
            return Ok(storage.to_owned());
        }
        let storages = self.storages().await.map_err(|error| error.fault(Code::Provision))?;
        let first = storages.into_iter().find(|storage| storage.holds(content));
        first.map(|storage| storage.storage).ok_or_else(|| {
            let hint =
                "allow it for one (`pvesm set NAME --content …`), or name one in the agent's settings (`pve: storage`)";
            Fault::new(Code::Provision, format!("no storage of {} takes `{content}`", self.settings.node())).hint(hint)
        })
    }

    /// The storages that can be used now.
    pub(super) async fn storages(&self) -> Result<Vec<Storage>, CallError> {
        let mut storages = self.api.storages(&self.settings.node()).await?;
        storages.retain(|storage| storage.active);
        Ok(storages)
    }
}

/// The numbers in a template's name: `debian-12-standard_12.7-1` comes after `debian-9-turnkey`.
fn version(file: &str) -> Vec<u32> {
    file.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_looked_for_by_the_names_of_the_seed() {
        let wanted =
            ["debian-12-custom.img", "debian-12-custom.qcow2", "debian-12.img", "debian-12.qcow2", "debian-12"];
        assert_eq!(files("debian-12", &["img", "qcow2"]), wanted);
        assert_eq!(files("debian-13-pve", &["img"]), ["debian-13-pve.img", "debian-13-pve"]);
    }

    #[test]
    fn the_newest_template_is_the_one_with_the_highest_numbers() {
        assert!(version("debian-12-standard_12.7-1_amd64.tar.zst") > version("debian-9-turnkey_9.1_amd64.tar.gz"));
    }
}
