//! What the coordinator's endpoint answers machines with: specs of the site and agents' programs, to whoever shows a token
//! for them, or the certificate of a machine on record.
//!
//! A resolved document is kept until another site is in force, so that most answers cost one signature and no resolution.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};

use axum::body::Bytes;
use homestak_node::runtime::Handle;
use homestak_node::source::{Answering, Asker, Found, SpecSource, Stock, not_theirs};
use homestak_protocol::fault::{Code, Fault};
use homestak_protocol::message::Fetch;
use homestak_protocol::name::{HostName, ManifestName, NodeName, SiteName};
use homestak_protocol::path::NodePath;
use serde_json::json;

use super::programs::Programs;
use super::tokens::Tokens;
use crate::site::Site;
use crate::store::{Record as _, Store};

/// Documents that are kept: one for each node and spec, some 2 KiB each. Past this all are resolved again.
const MAX_KEPT: usize = 20_000;

/// How the site is had that is in force now.
pub(super) type SiteNow = Arc<dyn Fn() -> Arc<Site> + Send + Sync>;

/// The coordinator's source.
pub(super) struct Specs {
    pub(super) site: SiteNow,
    pub(super) tokens: Arc<Tokens>,
    pub(super) store: Store,
    pub(super) core: Handle,
    pub(super) programs: Programs,
    pub(super) kept: Cache,
}

/// Documents of one site, and how often they were of use.
#[derive(Default)]
pub(super) struct Cache {
    kept: RwLock<Kept>,
    hits: AtomicU64,
    misses: AtomicU64,
}

#[derive(Default)]
struct Kept {
    site: Option<Arc<Site>>,
    names: Bytes,
    /// By node and spec as tokens name them.
    documents: HashMap<(String, String), Bytes>,
}

impl Specs {
    async fn answer(&self, asker: Asker, what: Fetch) -> Result<Found, Fault> {
        match what {
            Fetch::Specs => Ok(Found::Document(self.kept.names(&(self.site)()))),
            Fetch::Spec { identity, token } => {
                let claims = self.tokens.check(&asker, token.expose(), Some(&identity))?;
                let site = (self.site)();
                // Whether there is anything to be had comes first: what cannot be fetched is not used up.
                let document = self.kept.document(&site, claims.node.clone(), claims.spec.clone())?;
                self.tokens.count(&site, token.expose(), &claims).await?;
                Ok(Found::Document(document))
            }
            Fetch::Program { token, arch } => {
                self.tokens.check(&asker, token.expose(), None)?;
                self.programs.open(&arch).await
            }
            // A coordinator has no images: those of a site are fetched by their URLs, by whoever needs them.
            Fetch::Image { name, .. } => Err(Stock::Image(name).absent()),
            Fetch::Template { name, .. } => Err(Stock::Template(name).absent()),
            Fetch::Own { path } => {
                let theirs = match asker {
                    Asker::Machine(place, key) => place == path && self.core.knows(place, key).await?,
                    Asker::Child(place) => path.is_within(&place),
                    Asker::Stranger(_) => false,
                };
                if !theirs {
                    return Err(not_theirs());
                }
                let spec = self.spec_of(&path).await?;
                self.kept.document(&(self.site)(), path.name().to_owned(), spec).map(Found::Document)
            }
        }
    }

    /// The spec that the machine at a place was ordered with.
    async fn spec_of(&self, path: &NodePath) -> Result<String, Fault> {
        let missing = || Fault::new(Code::NotFound, format!("no spec was ordered for {path}"));
        let names = path.manifest().map(ManifestName::parse).zip(Some(HostName::parse(path.host())));
        let Some((Ok(manifest), Ok(host))) = names else { return Err(missing()) };
        let tree = self.store.tree(host, manifest).await.map_err(|error| error.fault())?;
        let node = tree.and_then(|tree| tree.nodes.into_iter().find(|node| node.path == *path));
        let spec = node.and_then(|node| node.spec).ok_or_else(missing)?;
        Ok(spec.as_str().to_owned())
    }
}

impl Cache {
    /// How often a document was at hand, and how often not.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.hits.load(Ordering::Relaxed), self.misses.load(Ordering::Relaxed))
    }

    fn names(&self, site: &Arc<Site>) -> Bytes {
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        if kept.is_of(site) {
            return kept.names.clone();
        }
        drop(kept);
        self.renew(site).names.clone()
    }

    fn document(&self, site: &Arc<Site>, node: String, spec: String) -> Result<Bytes, Fault> {
        let key = (node, spec);
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(document) = kept.documents.get(&key).filter(|_| kept.is_of(site)) {
            self.hits.fetch_add(1, Ordering::Relaxed);
            return Ok(document.clone());
        }
        drop(kept);
        self.misses.fetch_add(1, Ordering::Relaxed);
        let document = resolve(site, &key.0, &key.1)?;
        let mut kept = self.renew(site);
        if kept.documents.len() >= MAX_KEPT {
            kept.documents.clear();
        }
        kept.documents.insert(key, document.clone());
        Ok(document)
    }

    /// What is kept, of this site.
    fn renew(&self, site: &Arc<Site>) -> RwLockWriteGuard<'_, Kept> {
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        if !kept.is_of(site) {
            let names: Vec<_> = site.specs().map(SiteName::as_str).collect();
            let names = Bytes::from(json!({ "specs": names }).to_string());
            *kept = Kept { site: Some(Arc::clone(site)), names, documents: HashMap::new() };
        }
        kept
    }
}

impl Kept {
    fn is_of(&self, site: &Arc<Site>) -> bool {
        self.site.as_ref().is_some_and(|kept| Arc::ptr_eq(kept, site))
    }
}

fn resolve(site: &Site, node: &str, spec: &str) -> Result<Bytes, Fault> {
    // A name that is none, with a slash in it perhaps, is no spec of any site.
    let missing = |_| Fault::new(Code::NotFound, format!("the site has no spec {spec:?}"));
    let spec = SiteName::parse(spec).map_err(missing)?;
    let nobody = |_| Fault::new(Code::TokenMalformed, "the token names a node that no machine can be called");
    let node = NodeName::parse(node).map_err(nobody)?;
    site.spec(&spec, &node).map(|spec| Bytes::from(spec.document))
}

impl SpecSource for Specs {
    fn fetch(&self, asker: Asker, what: Fetch) -> Answering<'_> {
        Box::pin(self.answer(asker, what))
    }
}
