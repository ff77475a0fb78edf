//! How a guest looks from the outside while its agent is waited for: whether it runs, and what its guest agent says.
//!
//! A serial console cannot be read by the REST API; what a guest complains about there is for people to look at.

use homestak_protocol::fault::{Code, Fault};

use super::Host;
use super::api::{Class, GuestKind};
use crate::provider::{Identity, Sight};

impl Host {
    /// Looks at it; none where it is not there.
    pub(super) async fn sight(&self, machine: &Identity) -> Result<Option<Sight>, Fault> {
        let guest = match self.records.read(&machine.tag()) {
            Some(record) => self.guest_of(&record),
            None => {
                let seen = self.seen().await.map_err(|error| error.fault(Code::Boot))?;
                let Some(guest) = seen.machine(machine)?.cloned() else { return Ok(None) };
                guest
            }
        };
        let power = match self.api.power(&guest).await {
            Ok(power) => power,
            Err(error) if error.class == Class::Gone => return Ok(None),
            Err(error) => return Err(error.fault(Code::Boot)),
        };
        let (answers, addresses) = match self.api.addresses(&guest).await {
            _ if !power.is_running() => (None, Vec::new()),
            Ok(addresses) if guest.kind == GuestKind::Lxc => (None, addresses),
            Ok(addresses) => (Some(true), addresses),
            Err(error) if error.message.contains("guest agent") || error.message.contains("got timeout") => {
                (Some(false), Vec::new())
            }
            // The token may not ask the guest agent, or the guest has none.
            Err(_) => (None, Vec::new()),
        };
        let complaint = power.lock.as_ref().map(|lock| format!("it is locked ({lock})"));
        Ok(Some(Sight { noun: guest.noun(), power: power.name().to_owned(), answers, addresses, complaint }))
    }
}
