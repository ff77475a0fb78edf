//! Files of the agent: YAML with its errors in the reader's words, and writes that are whole or absent.
//!
//! The only module of this crate that knows which YAML library there is.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Folders are for their owner alone.
pub const FOLDER_MODE: u32 = 0o700;
/// Files too.
pub const FILE_MODE: u32 = 0o600;

/// A file that cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{} cannot be {doing}", path.display())]
pub struct FileError {
    /// Which file.
    pub path: PathBuf,
    /// What was being done to it.
    pub doing: &'static str,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

impl FileError {
    /// Names the file and the deed that an error belongs to.
    pub fn of(path: &Path, doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self { path, doing, source }
    }
}

/// A text that is not the YAML that was expected.
#[derive(Debug)]
pub struct YamlError {
    /// What is wrong.
    pub message: String,
    /// Line and column, from 1, where known.
    pub place: Option<(usize, usize)>,
}

/// Parses YAML.
pub fn from_yaml<T: DeserializeOwned>(text: &str) -> Result<T, YamlError> {
    serde_yaml::from_str(text).map_err(|error| {
        let place = error.location().map(|at| (at.line(), at.column()));
        let mut message = error.to_string();
        if let Some((line, column)) = place {
            let tail = format!(" at line {line} column {column}");
            message = message.replacen(&tail, "", 1);
        }
        YamlError { message, place }
    })
}

/// Writes YAML.
pub fn to_yaml<T: Serialize>(value: &T) -> Result<String, String> {
    serde_yaml::to_string(value).map_err(|error| error.to_string())
}

/// Makes a folder for its owner alone, with the ones above it. One that is there already is closed to others.
pub fn private_folder(path: &Path) -> Result<(), FileError> {
    DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(path).map_err(FileError::of(path, "created"))?;
    let mode = fs::metadata(path).map_err(FileError::of(path, "looked at"))?.permissions().mode();
    if mode & 0o077 != 0 {
        fs::set_permissions(path, Permissions::from_mode(FOLDER_MODE))
            .map_err(FileError::of(path, "closed to others"))?;
    }
    Ok(())
}

/// Writes a file whole: whoever reads it, also after a crash at any point, finds the old text or the new.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let mut draft = path.as_os_str().to_owned();
    draft.push(".new");
    let draft = PathBuf::from(draft);
    let written = private_file(&draft).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_data()
    });
    written.map_err(FileError::of(&draft, "written"))?;
    fs::rename(&draft, path).map_err(FileError::of(path, "replaced"))
}

/// Opens a file to write it from its beginning, for its owner alone.
pub fn private_file(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(FILE_MODE).open(path)?;
    file.set_permissions(Permissions::from_mode(FILE_MODE))?;
    Ok(file)
}

/// The text of a file; none where there is none.
pub fn read_if_there(path: &Path) -> Result<Option<String>, FileError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(FileError::of(path, "read")(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("a/b");
        fs::create_dir(folder.path().join("a")).unwrap();
        fs::create_dir(&state).unwrap();
        fs::set_permissions(&state, Permissions::from_mode(0o755)).unwrap();
        private_folder(&state).unwrap();
        let file = state.join("f");
        fs::write(&file, "old").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
        write_whole(&file, b"new").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&state), mode(&file)), (0o700, 0o600));
    }

    #[test]
    fn a_yaml_error_knows_its_place() {
        #[derive(Debug, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Known {
            #[expect(dead_code, reason = "only its name matters here")]
            port: Option<u16>,
        }
        let error = from_yaml::<Known>("port: 1\nprot: 2\n").unwrap_err();
        assert_eq!(error.place, Some((2, 1)));
        assert!(!error.message.contains("line"), "{}", error.message);
        assert!(from_yaml::<Known>("port: 70000\n").unwrap_err().place.is_some());
    }
}
