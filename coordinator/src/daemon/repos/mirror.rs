//! A repository of our own that follows a work tree of somebody else: its branches and tags, and as `_working` what lies in
//! it now, uncommitted changes included.
//!
//! The work tree and its repository are only ever read: objects go into our own repository, the index that they are
//! gathered with is our own, and no filter, hook or configuration of theirs is run.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use homestak_node::trust::files::private_folder;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::git::{Git, GitError, done, maybe};

/// The branch with the work tree.
pub(super) const WORKING: &str = "_working";
const WORKING_REF: &str = "refs/heads/_working";
/// Who commits it.
const NAME: &str = "homestak-server";
const EMAIL: &str = "server@localhost";
const MESSAGE: &str = "Working tree snapshot for server";
/// The mode of another repository within an index.
const GITLINK: &[u8] = b"160000 ";

/// Why a work tree cannot be followed.
#[derive(Debug, thiserror::Error)]
pub(super) enum MirrorError {
    /// git says no.
    #[error(transparent)]
    Git(#[from] GitError),
    /// A file of our own.
    #[error("the copy of a repository cannot be kept")]
    Io(#[from] io::Error),
    /// It is none.
    #[error("{0}")]
    NotATree(String),
}

/// One work tree and our repository that follows it.
#[derive(Debug)]
pub(super) struct Mirror {
    tree: PathBuf,
    bare: PathBuf,
    state: Mutex<State>,
}

/// What was last seen.
#[derive(Debug, Default)]
struct State {
    /// When the last look that came to an end began.
    looked: Option<Instant>,
    place: Option<Place>,
    refs: Vec<u8>,
    /// What was checked out, and the tree that it has.
    head: Option<(String, String)>,
    /// By which a change of the user's own index is noticed.
    index: Option<(u64, i64, i64)>,
    /// The last snapshot: its tree, and the commit that it became.
    snapshot: Option<(String, String)>,
}

/// Where the user's repository is.
#[derive(Debug, Clone)]
struct Place {
    git_dir: PathBuf,
    common_dir: PathBuf,
    shallow: bool,
    format: String,
}

impl Mirror {
    pub(super) fn new(tree: PathBuf, bare: PathBuf) -> Arc<Self> {
        Arc::new(Self { tree, bare, state: Mutex::default() })
    }

    pub(super) fn tree(&self) -> &Path {
        &self.tree
    }

    pub(super) fn bare(&self) -> &Path {
        &self.bare
    }

    /// Looks at the work tree, and takes over what has changed. Those who ask while somebody looks share the next look.
    pub(super) async fn follow(&self, git: &Git) -> Result<(), MirrorError> {
        let asked = Instant::now();
        let mut state = self.state.lock().await;
        if state.looked.is_some_and(|looked| looked >= asked) {
            return Ok(());
        }
        let begun = Instant::now();
        self.look(git, &mut state).await?;
        state.looked = Some(begun);
        Ok(())
    }

    async fn look(&self, git: &Git, state: &mut State) -> Result<(), MirrorError> {
        let place = match &state.place {
            Some(place) => place.clone(),
            None => {
                let place = self.find(git).await?;
                self.make(git, &place).await?;
                state.place.insert(place).clone()
            }
        };
        let refs = maybe(git.of(&self.tree, &["show-ref", "--head", "--heads", "--tags"]), None).await?;
        let refs = refs.unwrap_or_default();
        let moved = refs != state.refs;
        if moved {
            self.take_refs(git, state, &place, &refs).await?;
            state.refs = refs;
        }
        let commit = self.gather(git, state, &place, moved).await?;
        if state.snapshot.as_ref().is_none_or(|(_, last)| *last != commit.1) || moved {
            self.own(git, &["update-ref", WORKING_REF, &commit.1], None).await?;
            self.own(git, &["update-server-info"], None).await?;
        }
        state.snapshot = Some(commit);
        Ok(())
    }

    /// Where the repository of the work tree is; a linked work tree or a submodule has it elsewhere.
    async fn find(&self, git: &Git) -> Result<Place, MirrorError> {
        let asked = ["rev-parse", "--path-format=absolute", "--show-toplevel", "--git-dir", "--git-common-dir"];
        let asked = [&asked[..], &["--is-shallow-repository", "--show-object-format"]].concat();
        let told = text(&done(git.of(&self.tree, &asked), None).await?);
        let mut lines = told.lines();
        let mut next = || lines.next().unwrap_or_default();
        let (top, git_dir, common_dir, shallow, format) = (next(), next(), next(), next(), next());
        if Path::new(top) != self.tree {
            return Err(MirrorError::NotATree(format!("{} is part of the work tree {top}", self.tree.display())));
        }
        Ok(Place {
            git_dir: git_dir.into(),
            common_dir: common_dir.into(),
            shallow: shallow == "true",
            format: format.to_owned(),
        })
    }

    async fn make(&self, git: &Git, place: &Place) -> Result<(), MirrorError> {
        private_folder(&self.bare).map_err(io::Error::other)?;
        let format = format!("--object-format={}", place.format);
        let bare = self.bare.to_string_lossy();
        done(git.of(&self.tree, &["init", "--quiet", "--bare", "--template=", &format, &bare]), None).await?;
        self.own(git, &["symbolic-ref", "HEAD", WORKING_REF], None).await?;
        fs::create_dir_all(self.bare.join("info"))?;
        Ok(())
    }

    /// Takes branches and tags over, and what is checked out.
    async fn take_refs(&self, git: &Git, state: &mut State, place: &Place, refs: &[u8]) -> Result<(), MirrorError> {
        let told = text(refs);
        let head = told.lines().find_map(|line| line.strip_suffix(" HEAD")).map(str::to_owned);
        // What a shallow clone has no history of cannot be served as history.
        if !place.shallow && !refs.is_empty() {
            let from = self.tree.to_string_lossy().into_owned();
            let exclude = format!("^{WORKING_REF}");
            let mut call = vec!["fetch", "--quiet", "--no-write-fetch-head", "--no-auto-maintenance", "--prune", &from];
            call.extend(["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*", &exclude]);
            call.extend(head.as_ref().map(|_| "HEAD"));
            self.own(git, &call, None).await?;
        }
        match head {
            Some(head) if place.shallow => {
                // Only its tree, packed by the one repository and unpacked by the other.
                let tree = text(&done(git.of(&self.tree, &["rev-parse", &format!("{head}^{{tree}}")]), None).await?);
                let list = format!("{}\n", tree.trim()).into_bytes();
                let pack = done(git.of(&self.tree, &["pack-objects", "--revs", "--stdout", "-q"]), Some(list)).await?;
                self.own(git, &["unpack-objects", "-q"], Some(pack)).await?;
                self.own(git, &["read-tree", tree.trim()], None).await?;
                state.head = None;
            }
            Some(head) => {
                let tree = text(&self.own(git, &["rev-parse", &format!("{head}^{{tree}}")], None).await?);
                self.own(git, &["read-tree", &head], None).await?;
                state.head = Some((head, tree.trim().to_owned()));
            }
            None => {
                self.own(git, &["read-tree", "--empty"], None).await?;
                state.head = None;
            }
        }
        Ok(())
    }

    /// What lies in the work tree, as a commit: the one that is checked out if nothing has changed.
    async fn gather(
        &self,
        git: &Git,
        state: &mut State,
        place: &Place,
        moved: bool,
    ) -> Result<(String, String), MirrorError> {
        let theirs = fs::read(place.common_dir.join("info/exclude")).unwrap_or_default();
        let ours = self.bare.join("info/exclude");
        if fs::read(&ours).unwrap_or_default() != theirs {
            fs::write(&ours, theirs)?;
        }
        self.own(git, &["add", "--all", "."], None).await?;
        let index = fs::metadata(place.git_dir.join("index"));
        let index = index.map(|meta| (meta.size(), meta.mtime(), meta.mtime_nsec())).ok();
        if moved || index != state.index {
            // What they have added although it is ignored. Other repositories within are in our index by now.
            let staged = done(git.of(&self.tree, &["ls-files", "--stage", "-z"]), None).await?;
            let files = staged.split(|byte| *byte == 0).filter(|entry| !entry.starts_with(GITLINK));
            let paths = files.filter_map(|entry| entry.splitn(2, |byte| *byte == b'\t').nth(1));
            let list: Vec<u8> = paths.flat_map(|path| path.iter().copied().chain([0])).collect();
            self.own(git, &["update-index", "--add", "--remove", "-z", "--stdin"], Some(list)).await?;
            state.index = index;
        }
        let tree = text(&self.own(git, &["write-tree"], None).await?).trim().to_owned();
        if let Some((head, _)) = state.head.as_ref().filter(|(_, of_head)| *of_head == tree) {
            return Ok((tree, head.clone()));
        }
        if let Some(last) = state.snapshot.as_ref().filter(|(last, _)| *last == tree && !moved) {
            return Ok(last.clone());
        }
        let parent = state.head.as_ref().map(|(head, _)| ["-p", head.as_str()]);
        let call =
            ["commit-tree", "-m", MESSAGE].into_iter().chain(parent.into_iter().flatten()).chain([tree.as_str()]);
        let mut command = git.on(&self.bare, &self.tree, &call.collect::<Vec<_>>());
        for role in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{role}_NAME"), NAME).env(format!("GIT_{role}_EMAIL"), EMAIL);
        }
        let commit = text(&done(command, None).await?).trim().to_owned();
        Ok((tree, commit))
    }

    async fn own(&self, git: &Git, call: &[&str], input: Option<Vec<u8>>) -> Result<Vec<u8>, GitError> {
        done(git.on(&self.bare, &self.tree, call), input).await
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
