//! `token mint`, `token inspect` and `token revoke`. For the first two the daemon is asked only where the site has no
//! signing key, so that its own is meant.

use homestak_coord::api::{Document, Exit, Refusal, Request};
use homestak_coord::tokens::{self, TokenDocument};
use homestak_protocol::fault::{Code, Fault};
use homestak_protocol::token::{SigningKey, TokenError};
use serde_json::json;

use super::Outcome;
use super::args::{Inspect, Mint, RevokeTokens, Token};
use super::context::{Context, beside_the_point};

/// Mints or inspects.
pub(super) fn run(context: &Context, given: &Token) -> Outcome {
    match given {
        Token::Mint(given) => mint(context, given),
        Token::Inspect(given) => inspect(context, given),
        Token::Revoke(given) => revoke(context, given),
    }
}

fn mint(context: &Context, given: &Mint) -> Outcome {
    let site = context.site()?;
    if !site.specs().any(|spec| *spec == given.spec) {
        context.printer.note(&[format!("note: the site has no spec {}", given.spec)]);
    }
    let (node, spec) = (given.node.as_str(), given.spec.as_str());
    let token = match site.signing_key().map_err(|fault| refused(&fault))? {
        Some(key) => tokens::mint(key, node, spec, given.iat).map_err(|error| unusable(&error))?,
        None => {
            let (node, spec) = (given.node.clone(), given.spec.clone());
            let request = Request::TokenMint { node, spec, issued_at: given.iat };
            let mut minted = None;
            context.block_on(async {
                minted = Some(context.ask(&request).await?);
                Ok(Exit::Done)
            })?;
            match minted {
                Some((_, Document::Text(token))) => token,
                _ => return Err(beside_the_point()),
            }
        }
    };
    context.printer.document(&json!({ "token": token }));
    context.printer.data(&[token]);
    Ok(Exit::Done)
}

fn revoke(context: &Context, given: &RevokeTokens) -> Outcome {
    context.block_on(async {
        context.ask(&Request::TokenRevoke { node: given.node.clone() }).await?;
        context.printer.document(&json!({ "node": given.node, "revoked": true }));
        context.printer.data(&[format!("every token that {} was given up to now is revoked", given.node)]);
        Ok(Exit::Done)
    })
}

fn inspect(context: &Context, given: &Inspect) -> Outcome {
    let token = given.token.trim();
    let document = match given.verify {
        false => TokenDocument::of(token, None).map_err(|error| unusable(&error))?,
        true => verified(context, token)?,
    };
    let printer = &context.printer;
    printer.document(&document);
    printer.data(&lines(&document));
    Ok(if document.signature.as_deref() == Some("invalid") { Exit::Configuration } else { Exit::Done })
}

/// With the site's keys, the present one and the one before, or else the coordinator's own.
fn verified(context: &Context, token: &str) -> Result<TokenDocument, Refusal> {
    // What is no token needs nobody's key.
    TokenDocument::of(token, None).map_err(|error| unusable(&error))?;
    let site = context.site()?;
    let of_site = [site.signing_key(), site.previous_signing_key()];
    let mut keys: Vec<SigningKey> = Vec::new();
    for key in of_site {
        keys.extend(key.map_err(|fault| refused(&fault))?.cloned());
    }
    if !keys.is_empty() {
        return TokenDocument::of(token, Some(&keys)).map_err(|error| unusable(&error));
    }
    let request = Request::TokenInspect { token: token.to_owned() };
    let mut answer = None;
    context.block_on(async {
        answer = Some(context.ask(&request).await?);
        Ok(Exit::Done)
    })?;
    match answer {
        Some((_, Document::Token(document))) => Ok(document),
        _ => Err(beside_the_point()),
    }
}

fn lines(document: &TokenDocument) -> Vec<String> {
    let mut lines = vec![
        format!("Version:   {}", document.version),
        format!("Node:      {}", document.node),
        format!("Spec:      {}", document.spec),
    ];
    let mut line = |name: &str, value: Option<String>| lines.extend(value.map(|value| format!("{name:<11}{value}")));
    let issued = document.issued_at.zip(document.issued.as_ref());
    line("Issued:", issued.map(|(seconds, time)| format!("{seconds} ({time})")));
    line("Path:", document.path.clone());
    line("Nonce:", document.nonce.clone());
    line("Expires:", document.expires.map(|seconds| seconds.to_string()));
    for (key, value) in &document.extra {
        line(&format!("{key}:"), Some(value.to_string()));
    }
    line("Signature:", document.signature.as_ref().map(|word| word.to_uppercase()));
    lines
}

fn refused(fault: &Fault) -> Refusal {
    Refusal::new(Exit::Configuration, fault)
}

fn unusable(error: &TokenError) -> Refusal {
    let hint =
        "a token is two parts of letters, digits, `-` and `_` with one dot between them, as `token mint` prints it";
    refused(&Fault::new(Code::TokenMalformed, error.to_string()).hint(hint))
}
