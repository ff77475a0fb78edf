//! Names the build: the version and a hash of the sources that the API between command line and daemon depends on.

use std::fs;
use std::hash::{DefaultHasher, Hasher as _};
use std::io;
use std::path::{Path, PathBuf};

fn main() -> io::Result<()> {
    let mut hasher = DefaultHasher::new();
    for folder in ["src", "../node/src", "../protocol/src", "../manifests/src", "../manifests/catalog"] {
        println!("cargo::rerun-if-changed={folder}");
        hash(Path::new(folder), &mut hasher)?;
    }
    println!("cargo::rustc-env=HOMESTAK_BUILD={}+{:016x}", env!("CARGO_PKG_VERSION"), hasher.finish());
    Ok(())
}

/// Adds the names and contents of all files below a folder, in the order of their names. A folder that is not there adds
/// nothing.
fn hash(folder: &Path, hasher: &mut DefaultHasher) -> io::Result<()> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<PathBuf>>>()?;
    paths.sort();
    for path in paths {
        if path.is_dir() {
            hash(&path, hasher)?;
        } else {
            hasher.write(path.as_os_str().as_encoded_bytes());
            hasher.write(&fs::read(&path)?);
        }
    }
    Ok(())
}
