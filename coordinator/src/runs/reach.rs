//! What runs need of the process that they live in: the core of the coordinator and, through it, everybody below.

use homestak_node::runtime::{Handle, RootOrder, TreeSnapshot, Update};
use homestak_protocol::event::Presence;
use homestak_protocol::fault::Fault;
use homestak_protocol::message::{Differing, Held, PveHost, Seen, Source, Surveyed, Wanted};
use homestak_protocol::name::SiteName;
use homestak_protocol::order::Directive;
use homestak_protocol::path::{NodePath, TreeId};
use homestak_protocol::secret::Secret;
use tokio::sync::broadcast;

/// The core, as runs see it. Cheap to clone. See [`Handle`] for what each call means.
pub trait Reach: Clone + Send + Sync + 'static {
    /// Begins a run on a whole tree; on disk once this returns.
    fn order(&self, order: RootOrder) -> impl Future<Output = Result<(), Fault>> + Send;
    /// Says a word to a whole tree; on disk once this returns.
    fn directive(&self, directive: Directive) -> impl Future<Output = Result<(), Fault>> + Send;
    /// A tree as it stands.
    fn tree(&self, tree: TreeId) -> impl Future<Output = Result<Option<TreeSnapshot>, Fault>> + Send;
    /// Every tree on record.
    fn trees(&self) -> impl Future<Output = Result<Vec<TreeSnapshot>, Fault>> + Send;
    /// Hosts whose agents may join, and whether they are there.
    fn hosts(&self) -> impl Future<Output = Result<Vec<(NodePath, bool)>, Fault>> + Send;
    /// Every agent below, the latest word on each.
    fn agents(&self) -> impl Future<Output = Result<Vec<Presence>, Fault>> + Send;
    /// Lets a host's agent enrol.
    fn expect(&self, host: NodePath, token: Secret, replace: bool) -> impl Future<Output = Result<(), Fault>> + Send;
    /// Takes an agent's certificate away.
    fn revoke(&self, path: NodePath) -> impl Future<Output = Result<(), Fault>> + Send;
    /// Asks a host what it has.
    fn survey(&self, host: NodePath) -> impl Future<Output = Result<Vec<Surveyed>, Fault>> + Send;
    /// Asks a host which machines of a tree it really has.
    fn look(&self, at: NodePath, tree: TreeId) -> impl Future<Output = Result<Vec<Seen>, Fault>> + Send;
    /// Asks a host which machines of any tree of any site it really has.
    fn inventory(&self, at: NodePath) -> impl Future<Output = Result<Vec<Held>, Fault>> + Send;
    /// Asks a host which of these images it has.
    fn sources(&self, at: NodePath, images: Vec<SiteName>) -> impl Future<Output = Result<Vec<Source>, Fault>> + Send;
    /// Asks a host how machines of a tree are not as wanted.
    fn compare(
        &self,
        at: NodePath,
        tree: TreeId,
        wanted: Vec<Wanted>,
    ) -> impl Future<Output = Result<Vec<Differing>, Fault>> + Send;
    /// Has a host destroy a machine that no tree names; it is gone once this returns.
    fn discard(&self, at: NodePath, machine: Held) -> impl Future<Output = Result<(), Fault>> + Send;
    /// Asks a host what it is, its API token included.
    fn describe(&self, at: NodePath) -> impl Future<Output = Result<PveHost, Fault>> + Send;
    /// Takes what a host has for true.
    fn adopt(&self, host: NodePath, surveyed: Vec<Surveyed>) -> impl Future<Output = Result<(), Fault>> + Send;
    /// Drops a tree that is gone.
    fn forget(&self, tree: TreeId) -> impl Future<Output = Result<(), Fault>> + Send;
    /// What happens from here on.
    fn updates(&self) -> broadcast::Receiver<Update>;
}

impl Reach for Handle {
    async fn order(&self, order: RootOrder) -> Result<(), Fault> {
        Handle::order(self, order).await
    }
    async fn directive(&self, directive: Directive) -> Result<(), Fault> {
        Handle::directive(self, directive).await
    }
    async fn tree(&self, tree: TreeId) -> Result<Option<TreeSnapshot>, Fault> {
        Handle::tree(self, tree).await
    }
    async fn trees(&self) -> Result<Vec<TreeSnapshot>, Fault> {
        Handle::trees(self).await
    }
    async fn hosts(&self) -> Result<Vec<(NodePath, bool)>, Fault> {
        Ok(self.status().await?.children)
    }
    async fn agents(&self) -> Result<Vec<Presence>, Fault> {
        Handle::agents(self).await
    }
    async fn expect(&self, host: NodePath, token: Secret, replace: bool) -> Result<(), Fault> {
        Handle::expect(self, host, token, replace).await
    }
    async fn revoke(&self, path: NodePath) -> Result<(), Fault> {
        Handle::revoke(self, path).await
    }
    async fn survey(&self, host: NodePath) -> Result<Vec<Surveyed>, Fault> {
        Handle::survey(self, host).await
    }
    async fn look(&self, at: NodePath, tree: TreeId) -> Result<Vec<Seen>, Fault> {
        Handle::look(self, at, tree).await
    }
    async fn inventory(&self, at: NodePath) -> Result<Vec<Held>, Fault> {
        Handle::inventory(self, at).await
    }
    async fn sources(&self, at: NodePath, images: Vec<SiteName>) -> Result<Vec<Source>, Fault> {
        Handle::sources(self, at, images).await
    }

    async fn compare(&self, at: NodePath, tree: TreeId, wanted: Vec<Wanted>) -> Result<Vec<Differing>, Fault> {
        Handle::compare(self, at, tree, wanted).await
    }
    async fn discard(&self, at: NodePath, machine: Held) -> Result<(), Fault> {
        Handle::discard(self, at, machine).await
    }
    async fn describe(&self, at: NodePath) -> Result<PveHost, Fault> {
        Handle::describe(self, at).await
    }
    async fn adopt(&self, host: NodePath, surveyed: Vec<Surveyed>) -> Result<(), Fault> {
        Handle::adopt(self, host, surveyed).await
    }
    async fn forget(&self, tree: TreeId) -> Result<(), Fault> {
        Handle::forget(self, tree).await
    }
    fn updates(&self) -> broadcast::Receiver<Update> {
        Handle::updates(self)
    }
}
