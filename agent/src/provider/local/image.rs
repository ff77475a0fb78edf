//! What machines of `local` start from: folders, put in place whole.
//!
//! ```text
//! <state>/images/<name>/    what the root folder of such a machine holds at first
//! ```

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use homestak_protocol::name::SiteName;

use crate::files::{FOLDER_MODE, FileError, write_whole};

/// How often an emptying folder may be found filled again by somebody who is about to end.
const REMOVE_ATTEMPTS: u32 = 20;

/// Makes sure that the image is there. Nothing is downloaded: a simulated image knows its name and no more.
pub(super) fn ensure(images: &Path, name: &SiteName) -> Result<(), FileError> {
    let image = images.join(name.as_str());
    if image.is_dir() {
        return Ok(());
    }
    // No image's name begins with a dot, so this is nobody else's.
    let draft = images.join(format!(".new-{name}"));
    remove_folder(&draft)?;
    make_folder(&draft.join("etc"))?;
    let release = format!("NAME=homestak-local\nIMAGE_ID={name}\nPRETTY_NAME=\"{name} (simulated)\"\n");
    write_whole(&draft.join("etc/os-release"), release.as_bytes())?;
    fs::rename(&draft, &image).map_err(FileError::of(&image, "put in place"))
}

/// Fills a root folder from an image.
pub(super) fn copy(images: &Path, name: &SiteName, root: &Path) -> Result<(), FileError> {
    copy_folder(&images.join(name.as_str()), root)
}

fn copy_folder(from: &Path, to: &Path) -> Result<(), FileError> {
    make_folder(to)?;
    let mut entries = fs::read_dir(from).map_err(FileError::of(from, "read"))?;
    entries.try_for_each(|entry| {
        let entry = entry.map_err(FileError::of(from, "read"))?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().map_err(FileError::of(&source, "looked at"))?;
        if kind.is_dir() {
            copy_folder(&source, &target)
        } else {
            fs::copy(&source, &target).map(drop).map_err(FileError::of(&target, "copied"))
        }
    })
}

/// Makes a folder for its owner alone, with those above it.
pub(super) fn make_folder(path: &Path) -> Result<(), FileError> {
    DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(path).map_err(FileError::of(path, "created"))
}

/// Removes a folder with everything in it. That it is not there is fine; that somebody still writes into it, for a while.
pub(super) fn remove_folder(path: &Path) -> Result<(), FileError> {
    let mut attempts = 0;
    loop {
        match fs::remove_dir_all(path) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound && !path.exists() => return Ok(()),
            Err(error) => {
                attempts += 1;
                let busy = matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::NotFound);
                if !busy || attempts == REMOVE_ATTEMPTS {
                    return Err(FileError::of(path, "removed")(error));
                }
            }
        }
    }
}

/// What lies directly in a folder, by name; nothing where there is no folder.
pub(super) fn entries(folder: &Path) -> Result<Vec<(String, PathBuf)>, FileError> {
    let read = match fs::read_dir(folder) {
        Ok(read) => read,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(FileError::of(folder, "read")(error)),
    };
    let named = read.map(|entry| {
        let entry = entry.map_err(FileError::of(folder, "read"))?;
        Ok((entry.file_name().to_string_lossy().into_owned(), entry.path()))
    });
    named.collect()
}
