//! How the edge of a process speaks with its core.

use homestak_protocol::event::{Drift, Presence};
use homestak_protocol::fault::{Code, Fault};
use homestak_protocol::ids::Generation;
use homestak_protocol::message::{Differing, Held, PveHost, Reply, Seen, Source, Surveyed, Wanted, Welcome};
use homestak_protocol::name::SiteName;
use homestak_protocol::order::{Directive, Spec};
use homestak_protocol::path::{NodePath, TreeId};
use homestak_protocol::secret::Secret;
use tokio::sync::{broadcast, mpsc, oneshot};

use super::Update;
use crate::core::TreeSnapshot;
use crate::core::question::Question;
use crate::core::step::{Local, RootOrder};
use crate::link::KeyId;

/// Speaks with a process's core. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    pub(super) calls: mpsc::Sender<Call>,
    pub(super) updates: broadcast::Sender<Update>,
}

/// A call to the shell.
pub(super) enum Call {
    /// Something for the core to decide.
    Ask(Local, oneshot::Sender<Reply>),
    /// One tree.
    Tree(TreeId, oneshot::Sender<Option<TreeSnapshot>>),
    /// All trees.
    Trees(oneshot::Sender<Vec<TreeSnapshot>>),
    /// Everybody below.
    Agents(oneshot::Sender<Vec<Presence>>),
    /// How we stand.
    Status(oneshot::Sender<Status>),
    /// What a child is to pull.
    HeldSpec(String, Secret, oneshot::Sender<Result<Spec, Fault>>),
    /// What the child at this place is to pull.
    ToPull(NodePath, oneshot::Sender<Result<Spec, Fault>>),
    /// Whether this key is the one of the child at this place.
    Knows(NodePath, KeyId, oneshot::Sender<bool>),
    /// Whether a child of ours was given this token.
    Gave(Secret, oneshot::Sender<bool>),
}

/// How a process stands.
#[derive(Debug, Clone)]
pub struct Status {
    /// Its place.
    pub place: NodePath,
    /// What its parent said when it welcomed us; none while there is no link.
    pub parent: Option<Welcome>,
    /// Its trees.
    pub trees: Vec<TreeSnapshot>,
    /// Children that may join, and whether they are there.
    pub children: Vec<(NodePath, bool)>,
}

fn gone() -> Fault {
    Fault::new(Code::Internal, "this process is ending")
}

impl Handle {
    async fn call<T>(&self, call: impl FnOnce(oneshot::Sender<T>) -> Call) -> Result<T, Fault> {
        let (answer, wait) = oneshot::channel();
        self.calls.send(call(answer)).await.map_err(|_| gone())?;
        wait.await.map_err(|_| gone())
    }

    async fn ask(&self, ask: Local) -> Result<Reply, Fault> {
        match self.call(|answer| Call::Ask(ask, answer)).await? {
            Reply::Refused(fault) => Err(fault),
            reply => Ok(reply),
        }
    }

    /// Lets a host's agent enrol with this token. Where one has enrolled, this is refused unless it is to be replaced.
    pub async fn expect(&self, host: NodePath, token: Secret, replace: bool) -> Result<(), Fault> {
        self.ask(Local::Expect { host, token, replace }).await.map(drop)
    }

    /// Begins a run on a whole tree. It is on disk once this returns.
    pub async fn order(&self, order: RootOrder) -> Result<(), Fault> {
        self.ask(Local::Order(Box::new(order))).await.map(drop)
    }

    /// Says a word to a whole tree. It is on disk once this returns.
    pub async fn directive(&self, directive: Directive) -> Result<(), Fault> {
        self.ask(Local::Directive(directive)).await.map(drop)
    }

    /// Takes an agent's certificate away, at whatever depth.
    pub async fn revoke(&self, path: NodePath) -> Result<(), Fault> {
        self.ask(Local::Revoke(path)).await.map(drop)
    }

    /// Asks a host what it has.
    pub async fn survey(&self, host: NodePath) -> Result<Vec<Surveyed>, Fault> {
        match self.ask(Local::Survey(host)).await? {
            Reply::Surveyed(trees) => Ok(trees),
            _ => Err(Fault::new(Code::Protocol, "a survey was answered with something else")),
        }
    }

    /// Asks a host which machines of a tree it really has.
    pub async fn look(&self, at: NodePath, tree: TreeId) -> Result<Vec<Seen>, Fault> {
        match self.question(at, Question::Look { tree }).await? {
            Reply::Seen(seen) => Ok(seen),
            _ => Err(Fault::new(Code::Protocol, "a look was answered with something else")),
        }
    }

    /// Asks a host which machines of any tree of any site it really has.
    pub async fn inventory(&self, at: NodePath) -> Result<Vec<Held>, Fault> {
        match self.question(at, Question::Inventory).await? {
            Reply::Inventory(held) => Ok(held),
            _ => Err(Fault::new(Code::Protocol, "a look was answered with something else")),
        }
    }

    /// Asks a host which of these images it has.
    pub async fn sources(&self, at: NodePath, images: Vec<SiteName>) -> Result<Vec<Source>, Fault> {
        match self.question(at, Question::Sources { images }).await? {
            Reply::Sources(sources) => Ok(sources),
            _ => Err(Fault::new(Code::Protocol, "a look was answered with something else")),
        }
    }

    /// Asks a host how machines of a tree are not as wanted; those that are, or are not there, are left out.
    pub async fn compare(&self, at: NodePath, tree: TreeId, wanted: Vec<Wanted>) -> Result<Vec<Differing>, Fault> {
        match self.question(at, Question::Compare { tree, wanted }).await? {
            Reply::Compared(differing) => Ok(differing),
            _ => Err(Fault::new(Code::Protocol, "a look was answered with something else")),
        }
    }

    /// Has a host destroy a machine that no tree names. It is gone once this returns.
    pub async fn discard(&self, at: NodePath, machine: Held) -> Result<(), Fault> {
        self.question(at, Question::Discard { machine }).await.map(drop)
    }

    /// Asks a host what it is, its API token included.
    pub async fn describe(&self, at: NodePath) -> Result<PveHost, Fault> {
        match self.question(at, Question::Describe).await? {
            Reply::Described(host) => Ok(host),
            _ => Err(Fault::new(Code::Protocol, "a question was answered with something else")),
        }
    }

    async fn question(&self, at: NodePath, question: Question) -> Result<Reply, Fault> {
        self.ask(Local::Question { at, question }).await
    }

    /// Takes what a host has for true.
    pub async fn adopt(&self, host: NodePath, surveyed: Vec<Surveyed>) -> Result<(), Fault> {
        self.ask(Local::Adopt { host, surveyed }).await.map(drop)
    }

    /// Tells upward how this machine is no longer what this generation of its tree made of it. Refused where there is a
    /// newer one, and while an earlier word is still on its way.
    pub async fn drifted(&self, tree: TreeId, generation: Generation, drift: Drift) -> Result<(), Fault> {
        self.ask(Local::Drift { tree, generation, drift }).await.map(drop)
    }

    /// Drops a tree that is gone from the record; its generation is kept.
    pub async fn forget(&self, tree: TreeId) -> Result<(), Fault> {
        self.ask(Local::Forget(tree)).await.map(drop)
    }

    /// A tree as it stands.
    pub async fn tree(&self, tree: TreeId) -> Result<Option<TreeSnapshot>, Fault> {
        self.call(|answer| Call::Tree(tree, answer)).await
    }

    /// Every tree on record.
    pub async fn trees(&self) -> Result<Vec<TreeSnapshot>, Fault> {
        self.call(Call::Trees).await
    }

    /// Every agent below, the latest word on each.
    pub async fn agents(&self) -> Result<Vec<Presence>, Fault> {
        self.call(Call::Agents).await
    }

    /// How this process stands.
    pub async fn status(&self) -> Result<Status, Fault> {
        self.call(Call::Status).await
    }

    /// The spec that the child with this token is to pull; see [`crate::core::Core::held_spec`].
    pub async fn held_spec(&self, identity: String, token: Secret) -> Result<Spec, Fault> {
        self.call(|answer| Call::HeldSpec(identity, token, answer)).await?
    }

    /// The spec that the child at this place is to pull.
    pub async fn to_pull(&self, path: NodePath) -> Result<Spec, Fault> {
        self.call(|answer| Call::ToPull(path, answer)).await?
    }

    /// Whether this key is the one of the child at this place, and was not revoked.
    pub async fn knows(&self, path: NodePath, key: KeyId) -> Result<bool, Fault> {
        self.call(|answer| Call::Knows(path, key, answer)).await
    }

    /// Whether the machine of a child was given this token, and may still show it.
    pub async fn gave(&self, token: Secret) -> Result<bool, Fault> {
        self.call(|answer| Call::Gave(token, answer)).await
    }

    /// What happens from here on. A listener that lags is told so, and should take a snapshot.
    pub fn updates(&self) -> broadcast::Receiver<Update> {
        self.updates.subscribe()
    }
}
