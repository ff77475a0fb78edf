//! How a guest looks from the outside while its agent is waited for: whether it runs, what its guest agent says, and of what
//! it complains on its console.

use homestak_protocol::fault::{Code, Fault};

use super::Host;
use super::api::{CallError, Class, GuestKind, Power};
use crate::provider::{Identity, Sight};

impl Host {
    /// Looks at it; none where it is not there.
    pub(super) async fn sight(&self, machine: &Identity) -> Result<Option<Sight>, Fault> {
        let failed = |error: CallError| error.fault(Code::Boot);
        let here = self.records.read(&machine.tag()).map(|record| self.guest_of(&record));
        let power = match &here {
            Some(guest) => Some(self.api.power(guest).await).filter(|power| !is_gone(power)),
            None => None,
        };
        // It may have been moved to another node since.
        let (guest, power) = match (here, power) {
            (Some(guest), Some(power)) => (guest, power.map_err(failed)?),
            _ => {
                let seen = self.seen().await.map_err(failed)?;
                let Some(guest) = seen.machine(machine)?.cloned() else { return Ok(None) };
                match self.api.power(&guest).await {
                    Err(error) if error.class == Class::Gone => return Ok(None),
                    power => (guest, power.map_err(failed)?),
                }
            }
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
        let locked = power.lock.as_ref().map(|lock| format!("it is locked ({lock})"));
        let complaint = locked.or_else(|| {
            let has_console = guest.kind == GuestKind::Qemu && power.is_running();
            let said = has_console.then(|| self.consoles.complaint(guest.vmid, &self.life)).flatten();
            said.map(|said| format!("its console says `{said}`"))
        });
        Ok(Some(Sight { noun: guest.noun(), power: power.name().to_owned(), answers, addresses, complaint }))
    }
}

fn is_gone(power: &Result<Power, CallError>) -> bool {
    power.as_ref().is_err_and(|error| error.class == Class::Gone)
}
