//! Storages and what lies in them.

use std::collections::BTreeMap;

use homestak_protocol::ids::Vmid;
use serde::Deserialize;

use super::guests::truthy;
use super::{Api, CallError, Form, Upid, encoded};

/// A storage of a node.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Storage {
    /// Its name.
    pub(crate) storage: String,
    /// What may lie in it, separated by commas.
    #[serde(default)]
    pub(crate) content: String,
    /// Whether it can be used now.
    #[serde(default, deserialize_with = "truthy")]
    pub(crate) active: bool,
    /// Whether other nodes have it too, with the same in it.
    #[serde(default, deserialize_with = "truthy")]
    pub(crate) shared: bool,
}

impl Storage {
    /// Whether this kind of thing may lie in it.
    pub(crate) fn holds(&self, content: &str) -> bool {
        self.content.split(',').any(|one| one.trim() == content)
    }
}

/// Something that lies in a storage.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Volume {
    /// Its id, `local:iso/debian-12.img`.
    pub(crate) volid: String,
    /// When it came, in seconds since 1970.
    #[serde(default)]
    pub(crate) ctime: u64,
}

impl Volume {
    /// Its file's name.
    pub(crate) fn file(&self) -> &str {
        self.volid.rsplit(['/', ':']).next().unwrap_or(&self.volid)
    }
}

#[derive(Deserialize)]
struct Configured {
    storage: String,
    path: Option<String>,
}

#[derive(Deserialize)]
struct Located {
    path: String,
}

impl Api {
    /// `GET /nodes/{node}/storage`
    pub(crate) async fn storages(&self, node: &str) -> Result<Vec<Storage>, CallError> {
        self.get("listing the storages", &format!("/nodes/{node}/storage"), &Form::new()).await
    }

    /// `GET /nodes/{node}/storage/{storage}/content`
    pub(crate) async fn content(&self, node: &str, storage: &str, kind: &str) -> Result<Vec<Volume>, CallError> {
        let path = format!("/nodes/{node}/storage/{}/content", encoded(storage));
        self.get(&format!("listing the storage {storage}"), &path, &Form::new().with("content", kind)).await
    }

    /// Folders of storages that are folders, as configured. `GET /storage`
    pub(crate) async fn storage_paths(&self) -> Result<BTreeMap<String, String>, CallError> {
        let listed: Vec<Configured> = self.get("listing the storages", "/storage", &Form::new()).await?;
        Ok(listed.into_iter().filter_map(|one| Some((one.storage, one.path?))).collect())
    }

    /// The file that a volume is. `GET /nodes/{node}/storage/{storage}/content/{volume}`
    pub(crate) async fn volume_path(&self, node: &str, volid: &str) -> Result<String, CallError> {
        let storage = volid.split(':').next().unwrap_or_default();
        let path = format!("/nodes/{node}/storage/{}/content/{}", encoded(storage), encoded(volid));
        let about: Located = self.get(&format!("looking at {volid}"), &path, &Form::new()).await?;
        Ok(about.path)
    }

    /// What may lie in a storage. `PUT /storage/{storage}`
    pub(crate) async fn set_content(&self, storage: &str, content: &str) -> Result<(), CallError> {
        let form = Form::new().with("content", content);
        let doing = format!("changing what the storage {storage} takes");
        let _: serde_json::Value = self.put(&doing, &format!("/storage/{}", encoded(storage)), &form).await?;
        Ok(())
    }

    /// `POST /nodes/{node}/storage/{storage}/download-url`
    pub(crate) async fn download(&self, node: &str, storage: &str, form: &Form) -> Result<Upid, CallError> {
        let path = format!("/nodes/{node}/storage/{}/download-url", encoded(storage));
        self.post(&format!("fetching a file into {storage}"), &path, form).await
    }

    /// The lowest id that nobody has just now: a beginning, not a promise. `GET /cluster/nextid`
    pub(crate) async fn next_id(&self) -> Result<u32, CallError> {
        let next: serde_json::Value = self.get("asking for a free vmid", "/cluster/nextid", &Form::new()).await?;
        let number = next.as_str().and_then(|text| text.parse().ok()).or_else(|| u32::try_from(next.as_u64()?).ok());
        Ok(number.unwrap_or(Vmid::MIN))
    }

    /// Whether an id is free, also of guests that the token may not see. `GET /cluster/nextid?vmid=`
    pub(crate) async fn is_free(&self, vmid: Vmid) -> Result<bool, CallError> {
        let query = Form::new().with("vmid", vmid);
        match self.get::<serde_json::Value>("asking for a vmid", "/cluster/nextid", &query).await {
            Ok(_) => Ok(true),
            Err(error) if error.message.contains("already exists") => Ok(false),
            Err(error) => Err(error),
        }
    }
}
