//! The repo server: each git work tree directly beneath one folder, by git's dumb HTTP protocol and file by file.
//!
//! - `git`: how git is run. - `mirror`: our copy of a work tree, and how it follows it. - `path`: what is asked for.
//! - `serve`: the answers.
//!
//! One task looks at every work tree once at the start and when the daemon is told to read everything again; after that,
//! whoever asks for refs or a file has the work tree looked at first.

mod git;
mod mirror;
mod path;
mod serve;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use homestak_node::lifecycle::Lifecycle;
use homestak_node::trust::files::private_folder;
use homestak_protocol::fault::{Code, Fault};
use homestak_protocol::secret::Secret;
use tokio::sync::Semaphore;

use self::git::Git;
use self::mirror::Mirror;
pub(super) use self::serve::fallback;

/// Calls of git for files at once: each is a process.
const READERS: usize = 8;

/// The repo server.
pub(super) struct Repos {
    folder: PathBuf,
    copies: PathBuf,
    token: Secret,
    git: Git,
    mirrors: RwLock<BTreeMap<String, Arc<Mirror>>>,
    /// Why a work tree is not served, by its name.
    troubles: RwLock<BTreeMap<String, String>>,
    readers: Semaphore,
}

impl Repos {
    /// Finds the work trees beneath `folder`. Copies of them are made in `copies`, anew.
    pub(super) async fn open(folder: &Path, copies: &Path, token: Secret) -> Result<Arc<Self>, Fault> {
        let unusable = |what: &Path, why: &dyn std::fmt::Display| {
            Fault::new(Code::NotFound, format!("{}: {why}", what.display()))
                .hint("--repos names a folder that has git work trees directly in it")
        };
        let folder = folder.canonicalize().map_err(|error| unusable(folder, &error))?;
        if copies.exists() {
            fs::remove_dir_all(copies).map_err(|error| unusable(copies, &error))?;
        }
        private_folder(copies).map_err(|error| unusable(copies, &error))?;
        let git = Git::find(copies).await?;
        let repos = Self {
            folder: folder.clone(),
            copies: copies.to_owned(),
            token,
            git,
            mirrors: RwLock::default(),
            troubles: RwLock::default(),
            readers: Semaphore::new(READERS),
        };
        repos.scan().map_err(|error| unusable(&folder, &error))?;
        if repos.names().is_empty() {
            return Err(unusable(&folder, &"there is no git work tree in it"));
        }
        Ok(Arc::new(repos))
    }

    pub(super) fn token(&self) -> &Secret {
        &self.token
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.mirrors.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// What is wrong, one line each.
    pub(super) fn troubles(&self) -> Vec<String> {
        let troubles = self.troubles.read().unwrap_or_else(PoisonError::into_inner);
        troubles.iter().map(|(name, why)| format!("the repository {name} is not served: {why}")).collect()
    }

    fn mirror(&self, name: &str) -> Option<Arc<Mirror>> {
        self.mirrors.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// Looks which work trees there are. Those that were there keep their copies.
    fn scan(&self) -> std::io::Result<()> {
        let mut found = BTreeMap::new();
        for entry in fs::read_dir(&self.folder)?.flatten() {
            let Ok(name) = entry.file_name().into_string() else { continue };
            // A link could lead anywhere.
            let folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            let git = fs::symlink_metadata(entry.path().join(".git"));
            let tree = git.is_ok_and(|meta| meta.is_dir() || meta.is_file());
            if folder && tree && path::is_name(&name) {
                let copy = self.copies.join(format!("{name}.git"));
                let mirror = self.mirror(&name).unwrap_or_else(|| Mirror::new(entry.path(), copy));
                found.insert(name, mirror);
            }
        }
        *self.mirrors.write().unwrap_or_else(PoisonError::into_inner) = found;
        Ok(())
    }

    /// Looks which work trees there are, and at each of them, in a task of its own.
    pub(super) fn look_again(self: &Arc<Self>, life: &Lifecycle) {
        if let Err(error) = self.scan() {
            tracing::warn!(folder = %self.folder.display(), %error, "the folder of repositories cannot be read");
        }
        let (repos, ending) = (Arc::clone(self), life.ending.clone());
        life.tracker.spawn(async move {
            for name in repos.names() {
                tokio::select! {
                    () = ending.cancelled() => return,
                    looked = repos.follow(&name) => drop(looked),
                }
            }
        });
    }

    /// Brings the copy of a work tree up to date.
    async fn follow(&self, name: &str) -> Result<Arc<Mirror>, Fault> {
        let missing = || Fault::new(Code::NotFound, format!("there is no repository {name}"));
        let mirror = self.mirror(name).ok_or_else(missing)?;
        let looked = mirror.follow(&self.git).await;
        let mut troubles = self.troubles.write().unwrap_or_else(PoisonError::into_inner);
        match looked {
            Ok(()) => {
                troubles.remove(name);
                Ok(Arc::clone(&mirror))
            }
            Err(error) => {
                let why = super::chain(&error);
                tracing::warn!(tree = %mirror.tree().display(), why, "a work tree cannot be served");
                troubles.insert(name.to_owned(), why);
                Err(Fault::new(Code::Internal, format!("the work tree of {name} cannot be read")))
            }
        }
    }
}
