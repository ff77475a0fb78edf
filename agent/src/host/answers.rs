//! That PVE answers, and takes the token: the last step, after which machines can be made.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::config::command::Command;
use crate::config::resource::{Difference, Differences, Resource, Step};
use crate::config::system::Target;
use crate::config::trouble::Trouble;
use crate::provider::pve::{Api, Greeting};

/// How long PVE's services may take to come up after they were installed.
const COMING_UP: Duration = Duration::from_secs(120);
/// How often to ask. Nobody tells when they are there.
const AGAIN: Duration = Duration::from_secs(2);
/// The certificate that the API shows, made for the host's name.
const CERTIFICATE: &str = "/etc/pve/local/pve-ssl.pem";

/// That PVE's API answers.
pub(super) struct Answers(pub(super) Api);

impl Resource for Answers {
    fn name(&self) -> String {
        "api".to_owned()
    }

    fn check<'a>(&'a self, target: &'a Target) -> Step<'a, Option<Difference>> {
        Box::pin(async move {
            let mut found = Differences::default();
            match self.0.greet().await {
                Ok(Greeting::Version(version)) => {
                    (target.task.progress)(format!("Proxmox VE {version} answers"));
                }
                Ok(Greeting::Refused(why)) => found.add(format!("does not take the token: {why}")),
                Err(error) => found.add(format!("does not answer: {}", error.message)),
            }
            Ok(found.whole())
        })
    }

    fn apply<'a>(&'a self, target: &'a Target) -> Step<'a, ()> {
        Box::pin(async move {
            // A host that was given its name after PVE was installed has no certificate for it.
            if target.has("/etc/pve/nodes") && !target.has(CERTIFICATE) {
                let certificates = Command::new("pvecm").args(["updatecerts", "--force"]);
                target.run(certificates).await?.well()?;
                target.run(Command::new("systemctl").args(["try-restart", "pveproxy.service"])).await?.well()?;
            }
            let begun = Instant::now();
            loop {
                let why = match self.0.greet().await {
                    Ok(Greeting::Version(_)) => return Ok(()),
                    Ok(Greeting::Refused(why)) => why,
                    Err(error) => error.message,
                };
                if begun.elapsed() >= COMING_UP {
                    return Err(Trouble::Refused {
                        what: format!("PVE's API does not answer: {why}"),
                        hint: Some("look at `systemctl status pve-cluster pveproxy pvedaemon` on that machine"),
                    });
                }
                (target.task.progress)(format!("waiting for PVE's API ({} s)", begun.elapsed().as_secs()));
                tokio::select! {
                    () = target.task.cancel.cancelled() => return Err(Trouble::Cancelled),
                    () = sleep(AGAIN) => {}
                }
            }
        })
    }
}
