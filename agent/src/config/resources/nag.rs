//! The window about a missing subscription that Proxmox VE shows at every log-in: the script that shows it does not get as
//! far.

use crate::config::command::Command;
use crate::config::resource::{Difference, Differences, Resource, Step};
use crate::config::system::{PUBLIC, Target};
use crate::config::trouble::Trouble;

/// The script of Proxmox VE's web interface, as the package proxmox-widget-toolkit has it.
const SCRIPT: &str = "/usr/share/javascript/proxmox-widget-toolkit/proxmoxlib.js";
/// The function that all are sent through who begin a session, look for updates or install them. It asks whether there is a
/// subscription; what they came for it does itself, or, where there is none, the window's callback does when it is closed.
/// PVE 9 writes it with the space.
const CHECKED: [&str; 2] = ["checked_command: function(orig_cmd) {", "checked_command: function (orig_cmd) {"];
/// What it does instead.
const AT_ONCE: &str = " orig_cmd(); return;";
const SHOW: &str = "Ext.Msg.show({";
const TITLE: &str = "title: gettext('No valid subscription')";
/// What an earlier version of this program wrote for [`SHOW`], and with it took away what they had come for.
const SWALLOWED: &str = "void ({";

/// That nobody is nagged. A machine without that script has nobody who nags.
pub(crate) struct NoNag;

/// The script without the window; none where it has none.
fn without_nag(text: &str) -> Option<String> {
    let whole = with_window(text);
    let text = whole.as_deref().unwrap_or(text);
    let after = CHECKED.iter().find_map(|function| Some(text.find(function)? + function.len()));
    let silent = after.and_then(|after| {
        let (before, rest) = (text.get(..after)?, text.get(after..)?);
        let nags = rest.contains(TITLE) && !rest.starts_with(AT_ONCE);
        nags.then(|| format!("{before}{AT_ONCE}{rest}"))
    });
    silent.or(whole)
}

/// The script as it came, where an earlier version of this program has changed it.
fn with_window(text: &str) -> Option<String> {
    let begins = text.get(..text.find(TITLE)?)?.rfind(SWALLOWED)?;
    let (before, rest) = (text.get(..begins)?, text.get(begins + SWALLOWED.len()..)?);
    rest.trim_start().starts_with(TITLE).then(|| format!("{before}{SHOW}{rest}"))
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

    /// The function as PVE 8 has it.
    const NAGS: &str = "Ext.define('Proxmox.Utils', {
    checked_command: function(orig_cmd) {
\tProxmox.Utils.API2Request({
\t    url: '/nodes/localhost/subscription',
\t    success: function(response, opts) {
\t\tlet res = response.result;
\t\tif (res === null || res.data.status.toLowerCase() !== 'active') {
\t\t    Ext.Msg.show({
\t\t\ttitle: gettext('No valid subscription'),
\t\t\tcallback: function(btn) {
\t\t\t    if (btn !== 'ok') {
\t\t\t\treturn;
\t\t\t    }
\t\t\t    orig_cmd();
\t\t\t},
\t\t    });
\t\t} else {
\t\t    orig_cmd();
\t\t}
\t    },
\t});
    },
});
";

    #[test]
    fn nobody_is_asked_and_everybody_gets_what_they_came_for() {
        let after = without_nag(NAGS).unwrap();
        let at_once = "checked_command: function(orig_cmd) { orig_cmd(); return;\n";
        assert_eq!(after, NAGS.replacen("checked_command: function(orig_cmd) {\n", at_once, 1));
        assert_eq!(without_nag(&after), None);
        let nine = NAGS.replacen("function(orig_cmd)", "function (orig_cmd)", 1);
        assert!(without_nag(&nine).unwrap().contains("function (orig_cmd) { orig_cmd(); return;\n"));
        assert_eq!(without_nag("nothing of the kind"), None);
    }

    #[test]
    fn what_an_earlier_version_did_is_undone() {
        let swallowed = NAGS.replacen("Ext.Msg.show({", "void ({", 1);
        assert_eq!(without_nag(&swallowed), without_nag(NAGS));
        let other = NAGS.replacen("Ext.Msg.show({", "void ({ a: 1 });\nExt.Msg.show({", 1);
        assert!(without_nag(&other).unwrap().contains("void ({ a: 1 });\nExt.Msg.show({"));
    }
}
