//! Where PVE's packages come from: the repository that takes no subscription is there, with its key, and those that want
//! one are off, without which apt fails at every turn.
//!
//! What is there decides how it is written: beside `.sources` files as one (deb822), else as a line of a `.list`.

mod sources;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use self::sources::{Form, Source, without_enterprise};
use super::release::Debian;
use crate::config::command::Command;
use crate::config::resource::{Difference, Differences, Resource, Step};
use crate::config::resources::packages::update;
use crate::config::system::{PUBLIC, Target};
use crate::config::trouble::Trouble;
use crate::settings::{RepositoryKey, RepositorySettings};

/// Where apt looks for sources.
const LIST: &str = "/etc/apt/sources.list";
const FOLDER: &str = "/etc/apt/sources.list.d";
/// What our own file there is called, without its ending.
const OWN: &str = "homestak-pve";
/// Where PVE's own packages keep the key too.
const KEYRING: &str = "/usr/share/keyrings/homestak-pve.gpg";
/// How long fetching the key may take.
const FETCHING: Duration = Duration::from_secs(120);

/// Where Proxmox publishes the key of each Debian's repository, and what it is: SHA-256 of the file.
const fn key_of(debian: Debian) -> (&'static str, &'static str) {
    match debian {
        Debian::Bookworm => (
            "https://enterprise.proxmox.com/debian/proxmox-release-bookworm.gpg",
            "13a87cec79f2d05f40f125629e4b509080a5c0286608bea273e36be9809ecaba",
        ),
        Debian::Trixie => (
            "https://enterprise.proxmox.com/debian/proxmox-archive-keyring-trixie.gpg",
            "136673be77aba35dcce385b28737689ad64fd785a797e57897589aed08db6e45",
        ),
    }
}

/// The files that name sources, as paths below the machine's root, with their texts.
fn files(target: &Target) -> Result<Vec<(String, Form, String)>, Trouble> {
    let mut names = vec![LIST.to_owned()];
    let folder = fs::read_dir(target.path(FOLDER)).into_iter().flatten().flatten();
    let mut below: Vec<String> =
        folder.map(|file| format!("{FOLDER}/{}", file.file_name().to_string_lossy())).collect();
    below.sort();
    names.append(&mut below);
    let mut found = Vec::new();
    for name in names {
        let form = match Path::new(&name).extension().and_then(|end| end.to_str()) {
            Some("list") => Form::Lines,
            Some("sources") => Form::Stanzas,
            _ => continue,
        };
        if let Some(text) = target.read(&name)? {
            found.push((name, form, text));
        }
    }
    Ok(found)
}

/// Turns off what wants a subscription, and says in which files something was on.
fn turn_off(target: &Target, really: bool) -> Result<Vec<String>, Trouble> {
    let mut on = Vec::new();
    for (name, form, text) in files(target)? {
        if let Some(off) = without_enterprise(form, &text) {
            if really {
                target.write(&name, &off, PUBLIC)?;
            }
            on.push(name);
        }
    }
    Ok(on)
}

/// That packages of PVE can be had.
pub(super) struct Repositories(pub(super) RepositorySettings);

impl Repositories {
    fn source(&self, debian: Debian) -> Source {
        Source { url: self.0.url.clone(), suite: debian.codename() }
    }

    /// What says who signs it, as apt has it; none where nobody has to.
    fn keyring(&self) -> Option<PathBuf> {
        match &self.0.key {
            RepositoryKey::Published => Some(KEYRING.into()),
            RepositoryKey::File(file) => Some(file.clone()),
            RepositoryKey::Trusted => None,
        }
    }

    fn has(&self, target: &Target, debian: Debian) -> Result<bool, Trouble> {
        let source = self.source(debian);
        Ok(files(target)?.iter().any(|(_, form, text)| source.is_in(*form, text)))
    }

    /// Fetches the key that Proxmox publishes. apt's own program does it, which goes by apt's settings for proxies, and
    /// looks whether it is the one that this program knows.
    async fn fetch_key(&self, target: &Target, debian: Debian) -> Result<(), Trouble> {
        let (url, digest) = key_of(debian);
        (target.task.progress)(format!("fetching {url}"));
        let draft = format!("{KEYRING}.new");
        let fetch =
            Command::new("/usr/lib/apt/apt-helper").args(["download-file", url, &draft, &format!("SHA256:{digest}")]);
        target.run(fetch.limit(FETCHING)).await?.well()?;
        fs::rename(target.path(&draft), target.path(KEYRING))
            .map_err(|error| crate::files::FileError::of(Path::new(KEYRING), "replaced")(error).into())
    }
}

impl Resource for Repositories {
    fn name(&self) -> String {
        "repositories".to_owned()
    }

    fn check<'a>(&'a self, target: &'a Target) -> Step<'a, Option<Difference>> {
        Box::pin(async move {
            let mut found = Differences::default();
            if !self.has(target, Debian::of(target)?)? {
                found.add(format!("lack {}", self.0.url));
            }
            for file in turn_off(target, false)? {
                found.add(format!("{file} wants a subscription"));
            }
            Ok(found.whole())
        })
    }

    fn apply<'a>(&'a self, target: &'a Target) -> Step<'a, ()> {
        Box::pin(async move {
            let debian = Debian::of(target)?;
            turn_off(target, true)?;
            if self.has(target, debian)? {
                return Ok(());
            }
            if self.0.key == RepositoryKey::Published && !target.has(KEYRING) {
                self.fetch_key(target, debian).await?;
            }
            let form = match files(target)?.iter().any(|(_, form, _)| *form == Form::Stanzas) {
                true => Form::Stanzas,
                false => Form::Lines,
            };
            let text = self.source(debian).text(form, self.keyring().as_deref());
            target.write(&format!("{FOLDER}/{OWN}.{}", form.ending()), &text, PUBLIC)?;
            update(target).await
        })
    }
}

/// That what PVE's own packages have brought is off again.
pub(super) struct NoEnterprise;

impl Resource for NoEnterprise {
    fn name(&self) -> String {
        "repositories of packages".to_owned()
    }

    fn check<'a>(&'a self, target: &'a Target) -> Step<'a, Option<Difference>> {
        Box::pin(async move {
            let mut found = Differences::default();
            turn_off(target, false)?.iter().for_each(|file| found.add(format!("{file} wants a subscription")));
            Ok(found.whole())
        })
    }

    fn apply<'a>(&'a self, target: &'a Target) -> Step<'a, ()> {
        Box::pin(async move { turn_off(target, true).map(drop) })
    }
}
