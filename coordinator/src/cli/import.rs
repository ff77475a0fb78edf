//! `site import-node`: what a host's agent knows of it, written into the site. The daemon asks; the files are the user's, and
//! so are the identities that open them.

use homestak_coord::api::{Document, Exit, Refusal, Request};
use homestak_coord::documents::{ImportedNodeDocument, ImportedTokenDocument};
use homestak_coord::site::import::NodeFile;
use homestak_coord::site::secrets::{Kept, keep_token, look_at_token};
use homestak_protocol::fault::Fault;

use super::Outcome;
use super::args::ImportNode;
use super::context::{Context, beside_the_point};
use super::secrets::{folder, now, refused};

/// Asks, looks whether everything can be written, and writes it: the secret first, which nothing refers to until the node's
/// file does.
pub(super) async fn run(context: &Context, given: &ImportNode) -> Outcome {
    let dir = folder(context)?;
    let (exit, document) = context.ask(&Request::Describe { at: given.node.clone() }).await?;
    let Document::PveHost(host) = document else { return Err(beside_the_point()) };
    let name = given.node.name().to_owned();
    let cannot = |fault: Fault| Refusal::new(Exit::Configuration, &fault);
    let file = NodeFile::of(dir, &given.node, &host, given.force).map_err(cannot)?;
    let keys = context.keys();
    let token = host.api_token.as_ref();
    if let Some(token) = token {
        look_at_token(dir, &keys, &name, token, given.force).map_err(refused)?;
    }
    let kept =
        token.map(|token| keep_token(dir, &keys, &name, token, given.force, &now()).map_err(refused)).transpose()?;
    file.write().map_err(cannot)?;
    let document = ImportedNodeDocument {
        node: name.clone(),
        version: host.version,
        file: file.path.display().to_string(),
        action: match file.there {
            None => "created",
            Some(false) => "replaced",
            Some(true) => "unchanged",
        }
        .to_owned(),
        secrets: kept.map(|kept| ImportedTokenDocument {
            file: kept.file.display().to_string(),
            form: kept.form.as_str().to_owned(),
            api_token: name,
            action: match kept.kept {
                Kept::Added => "created",
                Kept::Replaced => "replaced",
                Kept::Unchanged => "unchanged",
            }
            .to_owned(),
        }),
    };
    let printer = &context.printer;
    let mut lines = vec![format!("{} is {} (Proxmox VE {})", document.file, document.action, document.version)];
    match &document.secrets {
        Some(token) => {
            lines.push(format!("{}: api_tokens.{} is {} ({})", token.file, token.api_token, token.action, token.form));
        }
        None => printer
            .note(&["its agent has no API token yet: `homestak-coord preflight` says how to make one".to_owned()]),
    }
    printer.data(&lines);
    printer.document(&document);
    Ok(exit)
}
