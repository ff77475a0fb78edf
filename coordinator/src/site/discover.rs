//! Where the site folder is, where nobody says: the places of old, in their order.

use std::path::{Path, PathBuf};

/// Beside the current folder; the machine's own; where the installer of old put it.
const PLACES: &[&str] = &["../site-config", "/usr/local/etc/homestak", "/opt/homestak/site-config"];

/// The first of the usual places that is a folder, as seen from `current`.
pub fn discover(current: &Path) -> Option<PathBuf> {
    first(PLACES.iter().map(|place| current.join(place)))
}

fn first(places: impl Iterator<Item = PathBuf>) -> Option<PathBuf> {
    places.filter(|place| place.is_dir()).find_map(|place| place.canonicalize().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_place_that_is_a_folder_is_the_site() {
        let parent = tempfile::tempdir().unwrap();
        let here = parent.path().join("here");
        std::fs::create_dir(&here).unwrap();
        let sibling = parent.path().join("site-config");
        assert_eq!(first([here.join("../site-config")].into_iter()), None);
        std::fs::write(&sibling, "a file is no site").unwrap();
        assert_eq!(first([here.join("../site-config"), here.clone()].into_iter()), here.canonicalize().ok());
        std::fs::remove_file(&sibling).unwrap();
        std::fs::create_dir(&sibling).unwrap();
        assert_eq!(discover(&here), sibling.canonicalize().ok());
        // Whoever stands in the site itself means it.
        assert_eq!(discover(&sibling), sibling.canonicalize().ok());
    }
}
