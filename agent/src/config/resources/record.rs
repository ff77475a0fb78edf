//! What cannot be done to a folder, and is put on record instead: `simulated.json` of the state folder.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::resource::{Difference, Resource, Step};
use crate::config::system::Target;
use crate::files::{FileError, read_if_there, write_whole};

/// What cannot be done to a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Simulated {
    /// Packages that are installed.
    Packages,
    /// Services that start at boot.
    Enabled,
    /// Services that do not.
    Disabled,
}

/// Names that are to be on record.
pub(crate) struct Recorded {
    /// As what.
    pub(crate) what: Simulated,
    /// Which.
    pub(crate) names: BTreeSet<String>,
}

#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct OnRecord {
    packages: BTreeSet<String>,
    services_enabled: BTreeSet<String>,
    services_disabled: BTreeSet<String>,
}

impl OnRecord {
    fn read(state: &Path) -> Result<Self, FileError> {
        let text = read_if_there(&Self::path(state))?;
        // One that cannot be read is as good as none: all of it is put on record again.
        Ok(text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default())
    }

    fn path(state: &Path) -> PathBuf {
        state.join("simulated.json")
    }

    fn of(&mut self, what: Simulated) -> &mut BTreeSet<String> {
        match what {
            Simulated::Packages => &mut self.packages,
            Simulated::Enabled => &mut self.services_enabled,
            Simulated::Disabled => &mut self.services_disabled,
        }
    }
}

impl Resource for Recorded {
    fn name(&self) -> String {
        match self.what {
            Simulated::Packages => "packages",
            Simulated::Enabled => "services at boot",
            Simulated::Disabled => "services not at boot",
        }
        .to_owned()
    }

    fn check<'a>(&'a self, target: &'a Target) -> Step<'a, Option<Difference>> {
        Box::pin(async move {
            let mut record = OnRecord::read(&target.state)?;
            let missing: Vec<&str> = self.names.difference(record.of(self.what)).map(String::as_str).collect();
            Ok((!missing.is_empty()).then(|| Difference { what: format!("lack {}", missing.join(", ")), diff: None }))
        })
    }

    fn apply<'a>(&'a self, target: &'a Target) -> Step<'a, ()> {
        Box::pin(async move {
            let mut record = OnRecord::read(&target.state)?;
            let opposite = match self.what {
                Simulated::Packages => None,
                Simulated::Enabled => Some(Simulated::Disabled),
                Simulated::Disabled => Some(Simulated::Enabled),
            };
            if let Some(opposite) = opposite {
                record.of(opposite).retain(|name| !self.names.contains(name));
            }
            record.of(self.what).extend(self.names.iter().cloned());
            let path = OnRecord::path(&target.state);
            let text =
                serde_json::to_vec_pretty(&record).map_err(io::Error::from).map_err(FileError::of(&path, "written"))?;
            Ok(write_whole(&path, &text)?)
        })
    }
}
