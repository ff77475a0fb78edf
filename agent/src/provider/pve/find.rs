//! Looking: which guest is a machine's, and who has what a machine is to get.

use homestak_protocol::fault::{Code, Fault};
use homestak_protocol::ids::Vmid;

use super::Host;
use super::api::{CallError, Class, Guest};
use super::owner::{Ownership, has_tag, is_owned};
use crate::provider::{Identity, Tag};

/// Every guest of the cluster, looked at once.
pub(super) struct Seen(Vec<Guest>);

impl Seen {
    /// The guest that is this machine; two are one too many.
    pub(super) fn machine(&self, identity: &Identity) -> Result<Option<&Guest>, Fault> {
        let tag = identity.tag();
        let ours: Vec<&Guest> = self.0.iter().filter(|guest| has_tag(guest, &tag)).collect();
        match ours.as_slice() {
            [] => Ok(None),
            [one] => Ok(Some(one)),
            several => {
                let ids: Vec<String> =
                    several.iter().map(|guest| format!("{} on {}", guest.noun(), guest.node)).collect();
                let message = format!("{} have the tag {tag} of this machine", ids.join(" and "));
                let hint = "somebody has made a copy; take the tag off the one that is not it";
                Err(Fault::new(Code::Conflict, message).hint(hint).at(&identity.path))
            }
        }
    }

    /// The guest with this id.
    pub(super) fn by_id(&self, vmid: Vmid) -> Option<&Guest> {
        self.0.iter().find(|guest| guest.vmid == vmid)
    }

    /// Whether a guest with this tag is there.
    pub(super) fn has(&self, tag: &Tag) -> bool {
        self.0.iter().any(|guest| has_tag(guest, tag))
    }

    /// A guest of another machine of any tree that has this name.
    pub(super) fn namesake(&self, name: &str, tag: &Tag) -> Option<&Guest> {
        self.0.iter().find(|guest| guest.name == name && is_owned(guest) && !has_tag(guest, tag))
    }

    /// Those that belong to trees.
    pub(super) fn owned(&self) -> impl Iterator<Item = &Guest> {
        self.0.iter().filter(|guest| is_owned(guest))
    }

    /// Every id that is taken.
    pub(super) fn ids(&self) -> std::collections::BTreeSet<Vmid> {
        self.0.iter().map(|guest| guest.vmid).collect()
    }
}

impl Host {
    /// Looks at every guest.
    pub(super) async fn seen(&self) -> Result<Seen, CallError> {
        self.api.guests().await.map(Seen)
    }

    /// Whose a guest is, for people: a machine of a tree, or something that homestak knows nothing of.
    async fn owner(&self, guest: &Guest) -> String {
        let by_record = self.records.all().into_iter().find(|record| has_tag(guest, &record.identity().tag()));
        if let Some(record) = by_record {
            return record.identity().to_string();
        }
        if !is_owned(guest) {
            return format!("\"{}\", which homestak has not made", guest.name);
        }
        let config = self.api.config(guest).await.ok();
        match config.and_then(|config| Ownership::of(guest, &config)) {
            Some(ownership) => ownership.identity.to_string(),
            None => format!("\"{}\", a machine of another tree", guest.name),
        }
    }

    /// That somebody else has what a machine is to get.
    pub(super) async fn taken(&self, identity: &Identity, what: &str, by: Option<&Guest>) -> Fault {
        let whose = match by {
            Some(guest) => format!("{} on {}: {}", guest.noun(), guest.node, self.owner(guest).await),
            None => "a guest that the API token may not see".to_owned(),
        };
        let hint = "give the node another one in its manifest, or remove what has it; nothing was touched";
        Fault::new(Code::Conflict, format!("{what} is taken by {whose}")).hint(hint).at(&identity.path)
    }
}

/// Whether this says that what was asked for was the case already.
pub(super) fn already(error: &CallError, words: &str) -> bool {
    error.class == Class::Gone || (error.class == Class::Conflict && error.message.contains(words))
}
