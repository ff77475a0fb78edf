//! What this host is to whoever would use it: what a site says of one in `nodes/NAME.yaml` and its secrets.
//!
//! The token is told because the agent's parent has asked for it, over a link on which both are known; it is in no log.

use homestak_protocol::fault::{Code, Fault};
use homestak_protocol::message::PveHost;

use super::Host;
use super::bridge::links::Links;
use crate::config::system::Target;
use crate::config::trouble::Trouble;
use crate::provider::pve::{Api, Greeting, token_of};
use crate::settings::Endpoint;

impl Host {
    /// Looks. What cannot be found out is left out, except whether this is a host at all.
    pub(crate) async fn describe(&self, target: &Target) -> Result<PveHost, Fault> {
        let api = Api::new(self.pve.clone(), &self.life);
        let node = self.pve.node();
        let version = match api.greet().await {
            Ok(Greeting::Version(version)) => version,
            Ok(Greeting::Refused(why)) => {
                let text = format!("PVE on {node} does not take its agent's token: {why}");
                return Err(Fault::new(Code::Host, text).hint("`homestak-coord preflight` prints how to make one"));
            }
            Err(error) => return Err(Fault { retryable: true, ..error.fault(Code::Host) }),
        };
        let storages = api.storages(&node).await.map_err(|error| error.fault(Code::Host))?;
        let usable: Vec<_> = storages.into_iter().filter(|storage| storage.active).collect();
        let disks = usable.iter().find(|storage| storage.holds("images")).map(|storage| storage.storage.clone());
        let links = Links::read(target)
            .await
            .map_err(|trouble: Trouble| Fault::new(Code::Host, trouble.to_string()).hint(trouble.hint()))?;
        let address = links.primary().ok();
        let bridges = links.bridges();
        let endpoint = match address {
            Some(address) if self.pve.endpoint.is_local() => {
                Endpoint { host: address.to_string(), port: self.pve.endpoint.port }
            }
            _ => self.pve.endpoint.clone(),
        };
        Ok(PveHost {
            node,
            version,
            api_endpoint: endpoint.to_string(),
            api_token: token_of(&self.pve.token).ok(),
            datastore: self.pve.storage.clone().or(disks),
            storages: usable.into_iter().map(|storage| storage.storage).collect(),
            bridges,
            address,
        })
    }
}
