//! What makes a machine's agent start: its environment, its unit, and a script that fetches its program.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use homestak_node::world::Boot;

use crate::settings::ProviderKind;

/// The agent's unit.
pub const UNIT: &str = include_str!("../../systemd/homestak-agent.service");
/// Where the unit lies.
pub(crate) const UNIT_PATH: &str = "/etc/systemd/system/homestak-agent.service";
/// Where the unit of an agent that was fetched lies: one that the image has goes before it.
pub(super) const UNIT_BESIDE: &str = "/usr/local/lib/systemd/system/homestak-agent.service";
/// Where the unit looks for the program.
pub(crate) const PROGRAM: &str = "/usr/local/bin/homestak-agent";
/// What the agent is told. For root alone: it holds the token.
pub(crate) const ENVIRONMENT: &str = "/etc/homestak/agent.env";
/// The script that fetches the program.
pub(super) const FETCH: &str = "/usr/local/sbin/homestak-get-agent";

/// `agent.env`, for systemd and for a shell.
pub(crate) fn environment(boot: &Boot, name: &str, provider: Option<ProviderKind>) -> String {
    let servers: Vec<String> = boot.servers.iter().map(|server| format!("https://{server}")).collect();
    let mut text = String::new();
    let provider = provider.map(|provider| ("HOMESTAK_PROVIDER", provider.as_str()));
    for (key, value) in [
        ("HOMESTAK_SERVER", servers.join(",").as_str()),
        ("HOMESTAK_TOKEN", boot.token.expose()),
        ("HOMESTAK_CA", &boot.ca),
        ("HOMESTAK_NAME", name),
    ]
    .into_iter()
    .chain(provider)
    {
        let _infallible = writeln!(text, "{key}={}", quoted(value));
    }
    text
}

/// A value in double quotes, as systemd.exec(5) and sh read it alike. What neither takes inside is left out.
fn quoted(value: &str) -> String {
    let mut text = String::from("\"");
    for char in value.chars().filter(|char| !char.is_control()) {
        if matches!(char, '"' | '\\' | '`' | '$') {
            text.push('\\');
        }
        text.push(char);
    }
    text.push('"');
    text
}

/// What such a file says.
pub(crate) fn variables(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split_once('=')).map(|(key, value)| (key.to_owned(), unquoted(value))).collect()
}

/// A value without its quotes.
fn unquoted(value: &str) -> String {
    let Some(inside) = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else { return value.to_owned() };
    let mut escaped = false;
    let mut kept = |char: &char| {
        escaped = *char == '\\' && !escaped;
        !escaped
    };
    inside.chars().filter(|char| kept(char)).collect()
}

/// Fetches the program from whichever of the parent's addresses answers, and keeps it only if it is the one that is
/// wanted. The token goes to a server under the parent's CA only, and is in nobody's list of processes.
pub(super) fn fetch_script(boot: &Boot, digest: &str) -> String {
    let digest: String = digest.chars().filter(char::is_ascii_hexdigit).collect();
    let urls: Vec<String> = boot.servers.iter().map(|server| quoted(&format!("https://{server}"))).collect();
    format!(
        r#"#!/bin/sh
# Fetches homestak-agent from this machine's parent, unless there is one in this machine's image.
set -u
program={PROGRAM}
wanted={digest}
is_wanted() {{ echo "$wanted  $1" | sha256sum --check --status; }}
[ -x "$program" ] && exit 0
. {ENVIRONMENT}
umask 077
for attempt in 0 1 2 5 10 20 40 80; do
  sleep "$attempt"
  for server in {urls}; do
    printf 'header = "Authorization: Bearer %s"\n' "$HOMESTAK_TOKEN" |
      curl --config - --silent --show-error --fail --noproxy '*' --max-time 600 --max-filesize 268435456 \
        --cacert /etc/homestak/ca.pem --output "$program.new" "$server/agent/$(uname -m)" || continue
    if is_wanted "$program.new"; then
      chmod 0755 "$program.new" && mv "$program.new" "$program" && exit 0
    fi
    echo "$server: not the program that was promised" >&2
    rm -f "$program.new"
  done
done
echo "no server of this machine's parent gave it its agent" >&2
exit 1
"#,
        urls = urls.join(" "),
    )
}
