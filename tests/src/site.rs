//! The built-in site as a folder, to be changed.

use std::fs;
use std::path::{Path, PathBuf};

use crate::binaries::workspace;
use crate::stage::Stage;

/// Copies it into a stage, with this in place of its secrets. Gives the folder.
pub fn demo(stage: &Stage, secrets: &str) -> PathBuf {
    let folder = stage.folder().join("site");
    copy(&workspace().join("coordinator/src/site/demo"), &folder);
    fs::write(folder.join("secrets.yaml"), secrets).expect("a stage's folder can be written");
    folder
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a stage's folder can be written");
    for entry in fs::read_dir(from).expect("the built-in site is there").flatten() {
        let place = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy(&entry.path(), &place),
            false => drop(fs::copy(entry.path(), place).expect("a file can be copied")),
        }
    }
}
