//! The time zone.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::config::resource::{Difference, Differences, Resource, Step};
use crate::config::system::{PUBLIC, Target};
use crate::config::trouble::Trouble;
use crate::files::FileError;

const TIMEZONE: &str = "/etc/timezone";
const LOCALTIME: &str = "/etc/localtime";
/// Where the tz database lies.
const ZONES: &str = "/usr/share/zoneinfo";

/// The time zone, a name of the tz database.
pub(crate) struct Timezone(pub(crate) String);

impl Timezone {
    fn zone(&self) -> PathBuf {
        Path::new(ZONES).join(&self.0)
    }
}

impl Resource for Timezone {
    fn name(&self) -> String {
        "timezone".to_owned()
    }

    fn check<'a>(&'a self, target: &'a Target) -> Step<'a, Option<Difference>> {
        Box::pin(async move {
            let mut found = Differences::default();
            found.text(TIMEZONE, target.read(TIMEZONE)?.as_deref(), &format!("{}\n", self.0));
            // The link may be relative, or lead by another name of the same zone.
            let is = fs::read_link(target.path(LOCALTIME)).ok();
            if is.as_deref().is_none_or(|is| !is.ends_with(self.zone().strip_prefix("/usr").unwrap_or(is))) {
                found.add(format!("{LOCALTIME} does not lead to {}", self.0));
            }
            Ok(found.whole())
        })
    }

    fn apply<'a>(&'a self, target: &'a Target) -> Step<'a, ()> {
        Box::pin(async move {
            if !target.simulated() && !self.zone().is_file() {
                let what = format!("the tz database of this machine has no zone {}", self.0);
                return Err(Trouble::refused(what));
            }
            target.write(TIMEZONE, &format!("{}\n", self.0), PUBLIC)?;
            let (link, draft) = (target.path(LOCALTIME), target.path("/etc/.localtime.homestak-new"));
            let _gone = fs::remove_file(&draft);
            let linked = symlink(self.zone(), &draft).and_then(|()| fs::rename(&draft, &link));
            Ok(linked.map_err(FileError::of(&link, "written"))?)
        })
    }
}
