//! The window about a missing subscription that Proxmox VE shows at every log-in: taken out of the script that shows it.

use crate::config::command::Command;
use crate::config::resource::{Difference, Differences, Resource, Step};
use crate::config::system::{PUBLIC, Target};
use crate::config::trouble::Trouble;

/// The script of Proxmox VE's web interface, as the package proxmox-widget-toolkit has it.
const SCRIPT: &str = "/usr/share/javascript/proxmox-widget-toolkit/proxmoxlib.js";
const SHOW: &str = "Ext.Msg.show({";
const TITLE: &str = "title: gettext('No valid subscription')";
/// What is evaluated instead of shown.
const HIDE: &str = "void ({";

/// That nobody is nagged. A machine without that script has nobody who nags.
pub(crate) struct NoNag;

/// The script without the window; none where it has none.
fn without_nag(text: &str) -> Option<String> {
    let title = text.find(TITLE)?;
    let show = text.get(..title)?.rfind(SHOW)?;
    // The window that the title belongs to begins right before it.
    let between = text.get(show + SHOW.len()..title)?;
    between.trim().is_empty().then(|| {
        let (before, after) = (text.get(..show).unwrap_or_default(), text.get(show + SHOW.len()..).unwrap_or_default());
        format!("{before}{HIDE}{after}")
    })
}

impl Resource for NoNag {
    fn name(&self) -> String {
        "pve subscription nag".to_owned()
    }

    fn needs(&self) -> Vec<String> {
        vec!["packages".to_owned()]
    }

    fn check<'a>(&'a self, target: &'a Target) -> Step<'a, Option<Difference>> {
        Box::pin(async move {
            let mut found = Differences::default();
            if target.read(SCRIPT)?.is_some_and(|text| without_nag(&text).is_some()) {
                found.add("is shown at every log-in");
            }
            Ok(found.whole())
        })
    }

    fn apply<'a>(&'a self, target: &'a Target) -> Step<'a, ()> {
        Box::pin(async move {
            let Some(text) = target.read(SCRIPT)?.and_then(|text| without_nag(&text)) else { return Ok(()) };
            target.write(SCRIPT, &text, PUBLIC)?;
            let restart = || Command::new("systemctl").args(["try-restart", "pveproxy.service"]);
            let done: Result<(), Trouble> =
                if target.simulated() { Ok(()) } else { target.run(restart()).await?.well().map(drop) };
            done
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_is_not_shown_and_the_script_is_otherwise_the_same() {
        let before = "a();\nExt.Msg.show({ title: 'other' });\nExt.Msg.show({\n  title: gettext('No valid subscription'),\n});\nb();";
        let after = without_nag(before).unwrap();
        assert_eq!(after, before.replacen("Ext.Msg.show({\n", "void ({\n", 1));
        assert_eq!(without_nag(&after), None);
        assert_eq!(without_nag("nothing of the kind"), None);
    }
}
