//! Files that only their owner may read, written whole or not at all.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use super::TrustError;

/// Mode of a folder.
const FOLDER: u32 = 0o700;
/// Mode of a file.
const FILE: u32 = 0o600;

fn failed<'a>(path: &'a Path, doing: &'static str) -> impl FnOnce(io::Error) -> TrustError + 'a {
    move |source| TrustError::File { path: path.to_owned(), doing, source }
}

/// Makes a folder, and those above it, for its owner alone, and lasting. One that exists is closed to others.
pub fn private_folder(path: &Path) -> Result<(), TrustError> {
    let missing: Vec<&Path> = path.ancestors().take_while(|folder| !folder.exists()).collect();
    DirBuilder::new().recursive(true).mode(FOLDER).create(path).map_err(failed(path, "made"))?;
    fs::set_permissions(path, fs::Permissions::from_mode(FOLDER)).map_err(failed(path, "closed to others"))?;
    missing.into_iter().try_for_each(sync_entry)
}

/// Makes the entry of a file or folder in the folder above it last.
fn sync_entry(path: &Path) -> Result<(), TrustError> {
    let above = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(above).and_then(|folder| folder.sync_all()).map_err(failed(above, "written"))
}

/// Replaces a file: readers, and whoever comes back after a power cut, see the old or the new bytes, never a mixture.
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<(), TrustError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    let tmp = path.with_file_name(name);
    // One that a crash has left behind might have other permissions.
    match fs::remove_file(&tmp) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(&tmp, "removed")(error)),
        _ => {}
    }
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(FILE).open(&tmp).map_err(failed(&tmp, "made"))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(failed(&tmp, "written"))?;
    fs::rename(&tmp, path).map_err(failed(path, "replaced"))?;
    sync_entry(path)
}

/// Reads a file; none where there is none.
pub fn read_private(path: &Path) -> Result<Option<zeroize::Zeroizing<Vec<u8>>>, TrustError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes.into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(path, "read")(error)),
    }
}
