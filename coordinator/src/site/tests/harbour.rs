//! A site folder in a folder of its own, to be spoilt.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::settings::SiteChoice;
use crate::site::secrets::Keys;
use crate::site::{Broken, Checked, Site, check};

/// The site that `tests/harbour` holds, copied.
pub(crate) struct Harbour(TempDir);

impl Harbour {
    pub(crate) fn new() -> Self {
        let copy = tempfile::tempdir().unwrap();
        let original = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/harbour");
        copy_folder(&original, copy.path());
        fs::set_permissions(copy.path().join("secrets.yaml"), fs::Permissions::from_mode(0o600)).unwrap();
        Self(copy)
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.0.path().to_owned()
    }

    pub(crate) fn choice(&self) -> SiteChoice {
        SiteChoice::Folder(self.path())
    }

    pub(crate) fn write(&self, file: &str, text: &str) {
        fs::write(self.0.path().join(file), text).unwrap();
    }

    pub(crate) fn remove(&self, file: &str) {
        fs::remove_file(self.0.path().join(file)).unwrap();
    }

    pub(crate) fn open(&self) -> Result<Site, Broken> {
        Site::open(&self.choice(), &Keys::default())
    }

    /// It, sound as it must be.
    pub(crate) fn site(&self) -> Site {
        self.open().unwrap_or_else(|broken| panic!("{}: {:#?}", broken.message(), broken.problems()))
    }

    pub(crate) fn check(&self) -> Checked {
        check(&self.choice(), &Keys::default())
    }

    /// The text, with this folder as `HARBOUR`.
    pub(crate) fn shown(&self, text: &str) -> String {
        text.replace(self.0.path().to_str().unwrap(), "HARBOUR")
    }
}

fn copy_folder(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir(&target).unwrap();
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
