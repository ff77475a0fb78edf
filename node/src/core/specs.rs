//! What a child may pull when nobody above answers: the spec that its parent holds for it.
//!
//! The one case in which a parent opens a child's order. It does so only for whoever shows the token that it has itself
//! put into that child's machine, and takes nothing out of it but the spec that the child is to pull, which is what that
//! token stands for.

use homestak_protocol::fault::{Code, Fault};
use homestak_protocol::order::{Configuration, OpaqueOrder, Spec};
use homestak_protocol::path::NodePath;

use super::Core;
use super::record::PeerState;
use crate::link::KeyId;

impl Core {
    /// The child whose machine was given this token. Every token is compared, each in constant time.
    pub fn holder(&self, token: &str) -> Option<&PeerState> {
        let mut holder = None;
        for peer in self.peers.values() {
            if peer.token.matches(token) {
                holder = Some(peer);
            }
        }
        holder
    }

    /// The spec that the child with this token is to pull, if it calls itself by its name.
    pub fn held_spec(&self, identity: &str, token: &str) -> Result<Spec, Fault> {
        // Whose it is, and whether it is anybody's, only those above know.
        let unknown =
            || Fault::new(Code::Unreachable, "nobody who knows this token can be reached just now; try again");
        let peer = self.holder(token).ok_or_else(unknown)?;
        if peer.path.name() != identity {
            return Err(Fault::new(Code::TokenRefused, "the token is another node's"));
        }
        if peer.revoked {
            return Err(Fault::new(Code::TokenSpent, "the token was revoked"));
        }
        self.to_pull(&peer.path)
    }

    /// Whether the certificate with this key is the one of the child at this place, and was not taken away.
    pub fn knows(&self, path: &NodePath, key: KeyId) -> bool {
        self.peers.get(path).is_some_and(|peer| peer.key == Some(key) && !peer.revoked)
    }

    /// The spec that the child at this place is to pull.
    pub fn to_pull(&self, path: &NodePath) -> Result<Spec, Fault> {
        let missing = || Fault::new(Code::NotFound, format!("{} has no spec to pull", path.name()));
        let order = self.order_of(path).ok_or_else(missing)?;
        let order = order.open().map_err(|error| {
            Fault::new(Code::Unreachable, format!("the order of {path} is for its agent alone: {error}"))
        })?;
        match order.own.map(|own| own.configuration) {
            Some(Configuration::Pull(spec)) => Ok(spec),
            _ => Err(missing()),
        }
    }

    fn order_of(&self, path: &NodePath) -> Option<&OpaqueOrder> {
        self.trees.values().find_map(|tree| tree.operator.order_of(path))
    }
}
