//! Provisioning tokens as they are shown: whether one is good, for whom, and how often.
//!
//! A token whose posture asks for it (`auth.one_time`) counts until its node has said that it is configured. Which ones
//! were shown and which are used up is on disk in the ledger before anybody acts on it, and in memory for the answer.
//!
//! One task (`spend`) hears which nodes are configured.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use homestak_node::lifecycle::Lifecycle;
use homestak_node::runtime::{Handle, Update};
use homestak_node::source::Asker;
use homestak_protocol::event::{Change, NodeView, Phase, PhaseStatus};
use homestak_protocol::fault::{Code, Fault};
use homestak_protocol::name::{HostName, ManifestName, SiteName};
use homestak_protocol::path::{NodePath, TreeId};
use homestak_protocol::token::{self, Claims, SigningKey, TokenError};
use sha2::{Digest as _, Sha256};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::sleep;

use crate::runs::clock;
use crate::site::Site;
use crate::store::{Record as _, Shown, Store};

/// How the keys are had that are in force now: what tokens are signed with, and what older ones were, for as long as the
/// operator leaves it there.
pub(super) type KeysNow = Arc<dyn Fn() -> Result<(SigningKey, Option<SigningKey>), Fault> + Send + Sync>;

/// Judges tokens.
pub(super) struct Tokens {
    keys: KeysNow,
    store: Store,
    core: Handle,
    ledger: Mutex<Ledger>,
}

/// What is known of tokens, as it is on disk.
#[derive(Default)]
struct Ledger {
    /// By their digests.
    shown: HashMap<String, Shown>,
    /// Up to when tokens of a node count no more, in seconds since 1970.
    revoked: HashMap<String, u64>,
}

impl Tokens {
    /// With what the ledger says.
    pub(super) async fn open(keys: KeysNow, store: Store, core: Handle) -> Result<Arc<Self>, Fault> {
        let shown = store.shown().await.map_err(|error| error.fault())?;
        let revoked = store.revocations().await.map_err(|error| error.fault())?;
        let shown = shown.into_iter().map(|shown| (shown.id.clone(), shown)).collect();
        let ledger = Mutex::new(Ledger { shown, revoked: revoked.into_iter().collect() });
        Ok(Arc::new(Self { keys, store, core, ledger }))
    }

    /// What a token says, if it is good for this asker and, where one is given, this identity.
    ///
    /// In this order: shape, signature (over the bytes as they came, in constant time), claims, identity, end, whether it
    /// was revoked. What is not signed is never read.
    pub(super) fn check(&self, asker: &Asker, shown: &str, identity: Option<&str>) -> Result<Claims, Fault> {
        let claims = self.verify(shown)?;
        if identity.is_some_and(|identity| identity != claims.node) {
            return Err(Fault::new(Code::TokenRefused, "the token is another node's"));
        }
        if let (Asker::Child(place), Some(path)) = (asker, &claims.path)
            && !path.is_within(place)
        {
            return Err(Fault::new(Code::TokenRefused, "the token is for a machine elsewhere"));
        }
        if claims.expires.is_some_and(|end| end <= clock::now_ms() / 1000) {
            return Err(Fault::new(Code::TokenRefused, "the token has expired"));
        }
        let ledger = self.ledger();
        let names = [Some(claims.node.as_str()), claims.path.as_ref().map(NodePath::as_str)];
        let upto = names.into_iter().flatten().filter_map(|name| ledger.revoked.get(name)).max();
        match upto {
            Some(upto) if claims.issued_at.is_none_or(|issued| issued <= *upto) => {
                Err(Fault::new(Code::TokenSpent, "the token was revoked"))
            }
            _ => Ok(claims),
        }
    }

    /// Counts a token that is about to be answered with a spec, where it counts once; refused if it is used up.
    pub(super) async fn count(&self, site: &Site, shown: &str, claims: &Claims) -> Result<(), Fault> {
        let posture = SiteName::parse(&claims.spec).ok().and_then(|spec| site.posture_of(&spec).cloned());
        if !posture.is_some_and(|posture| site.one_time(&posture)) {
            return Ok(());
        }
        let id = hex(&Sha256::digest(shown.as_bytes()));
        let spent = || Err(Fault::new(Code::TokenSpent, "the token is used up: its node has been configured with it"));
        match self.ledger().shown.get(&id) {
            Some(shown) if shown.spent => return spent(),
            Some(_) => return Ok(()),
            None => {}
        }
        // A node that was configured without fetching has used its token up as well.
        let configured = match &claims.path {
            Some(path) => self.is_configured(path).await?,
            None => false,
        };
        let path = claims.path.as_ref().map(|path| path.as_str().to_owned());
        self.write(Shown { id, node: claims.node.clone(), path, spent: configured }).await?;
        if configured { spent() } else { Ok(()) }
    }

    /// Revokes every token that this node was given up to now, by its name or by its place.
    pub(super) async fn revoke(&self, node: String) -> Result<(), Fault> {
        let now_ms = clock::now_ms();
        let upto = now_ms / 1000;
        self.store.revoke_tokens(node.clone(), upto).await.map_err(|error| error.fault())?;
        self.ledger().revoked.insert(node, upto);
        // Tokens tell the second in which they were minted: one that is minted after this returns is a later one.
        sleep(Duration::from_millis(1000 - now_ms % 1000)).await;
        Ok(())
    }

    /// Hears which nodes are configured, and spends their tokens.
    pub(super) fn spend(self: &Arc<Self>, life: &Lifecycle) {
        let (tokens, ending, mut updates) = (Arc::clone(self), life.ending.clone(), self.core.updates());
        life.tracker.spawn(async move {
            tokens.catch_up().await;
            loop {
                let update = tokio::select! {
                    () = ending.cancelled() => return,
                    update = updates.recv() => update,
                };
                match update {
                    Ok(Update::Event(event)) => match &event.change {
                        Change::Phase(phase)
                            if phase.phase == Phase::Configure && phase.status == PhaseStatus::Passed =>
                        {
                            tokens.configured(&phase.path).await;
                        }
                        _ => {}
                    },
                    Ok(_) => {}
                    Err(RecvError::Lagged(_)) => tokens.catch_up().await,
                    Err(RecvError::Closed) => return,
                }
            }
        });
    }

    /// What was missed.
    async fn catch_up(&self) {
        let open: Vec<NodePath> = {
            let ledger = self.ledger();
            let open = ledger.shown.values().filter(|shown| !shown.spent);
            open.filter_map(|shown| NodePath::parse(shown.path.as_deref()?).ok()).collect()
        };
        for path in open {
            if self.is_configured(&path).await.unwrap_or(false) {
                self.configured(&path).await;
            }
        }
    }

    async fn configured(&self, path: &NodePath) {
        let of_it = |shown: &&Shown| match &shown.path {
            Some(place) => place == path.as_str(),
            None => shown.node == path.name(),
        };
        let spent: Vec<Shown> =
            self.ledger().shown.values().filter(|shown| !shown.spent).filter(of_it).cloned().collect();
        for shown in spent {
            tracing::info!(%path, "a token is used up");
            if let Err(fault) = self.write(Shown { spent: true, ..shown }).await {
                tracing::error!(%path, %fault, "that a token is used up cannot be kept");
            }
        }
    }

    async fn is_configured(&self, path: &NodePath) -> Result<bool, Fault> {
        let names = path.manifest().map(ManifestName::parse).zip(Some(HostName::parse(path.host())));
        let Some((Ok(manifest), Ok(host))) = names else { return Ok(false) };
        let tree = self.core.tree(TreeId { site: self.store.site(), host, manifest }).await?;
        let passed = |view: &NodeView| {
            view.phases.iter().any(|phase| phase.phase == Phase::Configure && phase.status == PhaseStatus::Passed)
        };
        Ok(tree.is_some_and(|tree| tree.nodes.iter().any(|view| view.path == *path && passed(view))))
    }

    async fn write(&self, shown: Shown) -> Result<(), Fault> {
        self.store.put_shown(shown.clone(), clock::now_ms()).await.map_err(|error| error.fault())?;
        let mut ledger = self.ledger();
        let spent = ledger.shown.get(&shown.id).is_some_and(|before| before.spent);
        ledger.shown.insert(shown.id.clone(), Shown { spent: shown.spent || spent, ..shown });
        Ok(())
    }

    fn verify(&self, shown: &str) -> Result<Claims, Fault> {
        let (current, previous) = (self.keys)()?;
        let by_previous = |error| match (&previous, error) {
            (Some(previous), TokenError::Signature) => token::verify(previous, shown),
            (_, error) => Err(error),
        };
        token::verify(&current, shown).or_else(by_previous).map_err(|error| {
            let code = match error {
                TokenError::Malformed | TokenError::Version => Code::TokenMalformed,
                TokenError::Signature => Code::TokenRefused,
                TokenError::Key => Code::Internal,
            };
            Fault::new(code, error.to_string())
        })
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}
