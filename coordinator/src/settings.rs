//! What a user has settled before any command is understood: the state folder, the site, the port. Flags beat environment,
//! environment beats defaults; the caller has read both and hands them over.

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use homestak_protocol::fault::{Code, Fault};
use homestak_protocol::secret::Secret;

use crate::api::{Exit, Refusal};
use crate::site::discover::discover;

/// The state folder of root.
const SYSTEM_STATE: &str = "/var/lib/homestak";

/// The port where none is chosen (TCP for HTTPS, UDP for QUIC).
pub const DEFAULT_PORT: u16 = 44_443;

/// The variable that holds the repo server's token.
pub const REPO_TOKEN: &str = "HOMESTAK_REPO_TOKEN";

/// How the built-in site is called in greetings and documents, and by `--site`.
const DEMO: &str = "demo";

/// The variable that names the site.
const SITE: &str = "HOMESTAK_SITE_CONFIG";

/// Where the operator's configuration comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SiteChoice {
    /// Built in.
    Demo,
    /// A folder, by its absolute path.
    Folder(PathBuf),
}

impl SiteChoice {
    /// As greetings and documents call it.
    pub fn label(&self) -> String {
        match self {
            SiteChoice::Demo => DEMO.into(),
            SiteChoice::Folder(path) => path.display().to_string(),
        }
    }

    /// As `--site` takes it.
    pub fn flag(&self) -> OsString {
        match self {
            SiteChoice::Demo => DEMO.into(),
            SiteChoice::Folder(path) => path.clone().into(),
        }
    }
}

/// Everything that is settled before a command runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The state folder, absolute.
    pub state_dir: PathBuf,
    /// Whether somebody chose it: then a port of its own is picked and everything of the machine `local` lies under it.
    pub state_given: bool,
    /// The site.
    pub site: SiteChoice,
    /// `--port` or `HOMESTAK_PORT`; 0 picks a free one.
    pub port: Option<u16>,
    /// `--bind`; all addresses where none.
    pub bind: Option<IpAddr>,
    /// `--log`; `coord.log` in the state folder where none and the daemon is in the background.
    pub log: Option<PathBuf>,
    /// What only the daemon itself has a use for.
    pub serving: Serving,
}

/// How the daemon serves HTTPS.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Serving {
    /// `--repos`: the folder whose git work trees are served, absolute.
    pub repos: Option<PathBuf>,
    /// `--repo-token` or `HOMESTAK_REPO_TOKEN`; drawn where none. Never empty.
    pub repo_token: Option<Secret>,
    /// `--cert` and `--key`, absolute: the operator's own certificate, in PEM.
    pub certificate: Option<(PathBuf, PathBuf)>,
}

impl Settings {
    /// Settles state folder, site and port from flags and environment. Relative paths are taken from the current folder.
    pub fn settle(
        state_dir: Option<PathBuf>,
        site: Option<PathBuf>,
        port: Option<u16>,
        env: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, Refusal> {
        let set = |name: &str| env(name).filter(|value| !value.is_empty());
        let chosen = state_dir.or_else(|| set("HOMESTAK_STATE_DIR").map(PathBuf::from));
        let state_given = chosen.is_some();
        let state_dir = match chosen {
            Some(dir) => dir,
            None if rustix::process::geteuid().is_root() => SYSTEM_STATE.into(),
            None => match (set("XDG_STATE_HOME"), set("HOME")) {
                (Some(base), _) => Path::new(&base).join("homestak"),
                (None, Some(home)) => Path::new(&home).join(".local/state/homestak"),
                (None, None) => {
                    let fault = Fault::new(Code::NotFound, "there is no place to keep state: HOME is not set")
                        .hint("choose one with --state-dir or HOMESTAK_STATE_DIR");
                    return Err(Refusal::new(Exit::Usage, &fault));
                }
            },
        };
        let port = match (port, set("HOMESTAK_PORT")) {
            (Some(port), _) => Some(port),
            (None, None) => None,
            (None, Some(text)) => Some(text.to_str().and_then(|t| t.trim().parse().ok()).ok_or_else(|| {
                let fault = Fault::new(Code::NotFound, format!("HOMESTAK_PORT is no port: {}", text.display()))
                    .hint("a number from 0 to 65535; 0 picks a free one");
                Refusal::new(Exit::Usage, &fault)
            })?),
        };
        let site = match (site, set(SITE).map(PathBuf::from)) {
            (Some(path), _) => chosen_site(&path, &format!("the site folder {}", path.display()))?,
            (None, Some(path)) => chosen_site(&path, &format!("{SITE}={}", path.display()))?,
            (None, None) => {
                let here = std::env::current_dir().ok();
                here.and_then(|here| discover(&here)).map_or(SiteChoice::Demo, SiteChoice::Folder)
            }
        };
        let state_dir = std::path::absolute(&state_dir).unwrap_or(state_dir);
        Ok(Self { state_dir, state_given, site, port, bind: None, log: None, serving: Serving::default() })
    }

    /// The unix socket.
    pub fn socket(&self) -> PathBuf {
        self.state_dir.join(crate::client::SOCKET)
    }

    /// The log of a daemon in the background.
    pub fn log_file(&self) -> PathBuf {
        self.log.clone().unwrap_or_else(|| self.state_dir.join("coord.log"))
    }

    /// The flags that give another process of this program the same settings.
    pub(crate) fn flags(&self) -> Vec<OsString> {
        let mut flags = Vec::new();
        let mut flag = |name: &str, value: OsString| flags.extend([OsString::from(name), value]);
        if self.state_given {
            flag("--state-dir", self.state_dir.clone().into());
        }
        // Said in any case: the other process may stand elsewhere, and find another.
        flag("--site", self.site.flag());
        if let Some(port) = self.port {
            flag("--port", port.to_string().into());
        }
        if let Some(bind) = self.bind {
            flag("--bind", bind.to_string().into());
        }
        if let Some(log) = &self.log {
            flag("--log", log.clone().into());
        }
        if let Some(repos) = &self.serving.repos {
            flag("--repos", repos.clone().into());
        }
        if let Some((certificate, key)) = &self.serving.certificate {
            flag("--cert", certificate.clone().into());
            flag("--key", key.clone().into());
        }
        flags
    }
}

/// A site that somebody named: the word for the built-in one, or a folder that is there. There is no other to fall back on.
fn chosen_site(path: &Path, named: &str) -> Result<SiteChoice, Refusal> {
    if path == Path::new(DEMO) {
        return Ok(SiteChoice::Demo);
    }
    let refused = |why: String| {
        let fault = Fault::new(Code::NotFound, format!("{named} {why}")).hint(
            "name a folder that is there, or `demo` for the built-in site; without either the usual places are tried",
        );
        Refusal::new(Exit::Configuration, &fault)
    };
    let found = path.canonicalize().map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => refused("does not exist".into()),
        _ => refused(format!("cannot be opened: {source}")),
    })?;
    if found.is_dir() { Ok(SiteChoice::Folder(found)) } else { Err(refused("is no folder".into())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settle(flag: Option<&str>, vars: &[(&str, &str)]) -> Result<Settings, Refusal> {
        let env = |name: &str| vars.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value));
        Settings::settle(flag.map(PathBuf::from), None, None, env)
    }

    #[test]
    fn a_flag_beats_the_environment_and_that_beats_the_default() {
        let vars = [("HOMESTAK_STATE_DIR", "/e"), ("HOMESTAK_PORT", "0")];
        let flagged = settle(Some("/f"), &vars).unwrap();
        assert_eq!((flagged.state_dir, flagged.port), ("/f".into(), Some(0)));
        assert_eq!(settle(None, &vars).unwrap().state_dir, Path::new("/e"));
        let plain = settle(None, &[("HOME", "/h"), ("HOMESTAK_STATE_DIR", "")]).unwrap();
        assert!(!plain.state_given && plain.port.is_none());
    }

    #[test]
    fn a_site_that_is_named_is_taken_or_refused_and_no_other_in_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_str().unwrap();
        let named = settle(Some("/f"), &[("HOMESTAK_SITE_CONFIG", path)]).unwrap();
        assert_eq!(named.site, SiteChoice::Folder(folder.path().canonicalize().unwrap()));
        let demo = settle(Some("/f"), &[("HOMESTAK_SITE_CONFIG", "demo")]).unwrap();
        assert_eq!(demo.site, SiteChoice::Demo);
        let nowhere = settle(Some("/f"), &[("HOMESTAK_SITE_CONFIG", "/nowhere/at/all")]).unwrap_err();
        assert_eq!(nowhere.error.message, "HOMESTAK_SITE_CONFIG=/nowhere/at/all does not exist");
    }

    #[test]
    fn a_port_that_is_none_and_a_site_that_is_nowhere_are_refused() {
        assert_eq!(settle(Some("/f"), &[("HOMESTAK_PORT", "many")]).unwrap_err().exit, Exit::Usage);
        let nowhere = settle(Some("/f"), &[("HOMESTAK_SITE_CONFIG", "/nowhere/at/all")]).unwrap_err();
        assert_eq!(nowhere.exit, Exit::Configuration);
    }

    #[test]
    fn another_process_is_given_only_what_was_chosen() {
        let mut settings = settle(None, &[("HOME", "/h")]).unwrap();
        settings.site = SiteChoice::Demo;
        assert_eq!(settings.flags(), ["--site", "demo"]);
        settings.port = Some(7);
        assert_eq!(settings.flags(), ["--site", "demo", "--port", "7"]);
    }
}
