//! What the coordinator's endpoint answers machines with: specs of the site, to whoever shows a token for them.
//!
//! A resolved document is kept until another site is in force, so that most answers cost one signature and no resolution.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use axum::body::Bytes;
use homestak_node::source::{Answering, Asker, Found, SpecSource};
use homestak_protocol::fault::{Code, Fault};
use homestak_protocol::message::Fetch;
use homestak_protocol::name::{NodeName, SiteName};
use homestak_protocol::token::Claims;
use serde_json::json;

use super::tokens::Tokens;
use crate::site::Site;

/// Documents that are kept: one for each node and spec. Past this the oldest site's are dropped with the rest and read again.
const MAX_KEPT: usize = 20_000;

/// How a site is had that is in force now.
pub(super) type SiteNow = Arc<dyn Fn() -> Arc<Site> + Send + Sync>;

/// The coordinator's source.
pub(super) struct Specs {
    site: SiteNow,
    tokens: Arc<Tokens>,
    kept: RwLock<Kept>,
}

/// Documents of one site.
#[derive(Default)]
struct Kept {
    site: Option<Arc<Site>>,
    names: Bytes,
    /// By node and spec as tokens name them.
    documents: HashMap<(String, String), Bytes>,
}

impl Specs {
    pub(super) fn new(site: SiteNow, tokens: Arc<Tokens>) -> Self {
        Self { site, tokens, kept: RwLock::default() }
    }

    fn answer(&self, asker: &Asker, what: Fetch) -> Result<Found, Fault> {
        match what {
            Fetch::Specs => Ok(Found::Document(self.names())),
            Fetch::Spec { identity, token } => {
                let claims = self.tokens.check(asker, token.expose(), Some(&identity))?;
                self.document(claims).map(Found::Document)
            }
            Fetch::Program { token, arch } => {
                self.tokens.check(asker, token.expose(), None)?;
                Err(Fault::new(Code::NotFound, format!("there is no agent for {arch}")))
            }
        }
    }

    fn names(&self) -> Bytes {
        let site = (self.site)();
        let read = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        if read.is_of(&site) {
            return read.names.clone();
        }
        drop(read);
        self.renew(&site).names.clone()
    }

    fn document(&self, claims: Claims) -> Result<Bytes, Fault> {
        let site = (self.site)();
        let key = (claims.node, claims.spec);
        let read = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(document) = read.documents.get(&key).filter(|_| read.is_of(&site)) {
            return Ok(document.clone());
        }
        drop(read);
        let document = resolve(&site, &key.0, &key.1)?;
        let mut kept = self.renew(&site);
        if kept.documents.len() >= MAX_KEPT {
            kept.documents.clear();
        }
        kept.documents.insert(key, document.clone());
        Ok(document)
    }

    /// What is kept, of this site.
    fn renew(&self, site: &Arc<Site>) -> std::sync::RwLockWriteGuard<'_, Kept> {
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        if !kept.is_of(site) {
            let names: Vec<_> = site.known().specs.iter().map(|name| name.as_str().to_owned()).collect();
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
        Box::pin(std::future::ready(self.answer(&asker, what)))
    }
}
