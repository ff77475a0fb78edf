//! `secrets`: the site's secrets file. Needs no daemon: it is the user's own file, and the user's own identities open it.

use std::path::{Path, PathBuf};

use homestak_coord::api::{Exit, Refusal};
use homestak_coord::documents::{
    DecryptedDocument, DiagnosticDocument, ErrorDocument, SecretsCheckDocument, SecretsSections, SecretsWrittenDocument,
};
use homestak_coord::manifest::document;
use homestak_coord::settings::SiteChoice;
use homestak_coord::site::secrets::{self, Creation, Keys, Opened, RULES};
use homestak_manifests::diagnostic::Diagnostic;
use homestak_protocol::fault::{Code, Fault};

use super::Outcome;
use super::args::{Encrypt, Init, Secrets};
use super::context::Context;
use crate::show::{count, diagnostic};

/// Does one of them.
pub(super) fn run(context: &Context, given: &Secrets) -> Outcome {
    let dir = folder(context)?;
    match given {
        Secrets::Init(given) => init(context, dir, given),
        Secrets::Check(_) => check(context, dir),
        Secrets::Encrypt(given) => encrypt(context, dir, given),
        Secrets::Decrypt(_) => decrypt(context, dir),
    }
}

fn init(context: &Context, dir: &Path, given: &Init) -> Outcome {
    let creation = if given.encrypt || !given.recipient.is_empty() {
        Some(creation(context, dir, &given.recipient)?)
    } else {
        None
    };
    let file = secrets::init(dir, creation.as_ref(), &now()).map_err(refused)?;
    written(context, &file, creation.as_ref(), false, "has a fresh signing key and empty sections");
    if creation.is_none() && dir.join(RULES).exists() {
        let encrypt = context.commands.line(&["secrets", "encrypt", "--remove-plain"]);
        context.printer.note(&[format!("{RULES} says how to encrypt it: once it is filled in, {encrypt}")]);
    }
    Ok(Exit::Done)
}

fn encrypt(context: &Context, dir: &Path, given: &Encrypt) -> Outcome {
    let creation = creation(context, dir, &given.recipient)?;
    let file = secrets::encrypt(dir, &creation, &now()).map_err(refused)?;
    if given.remove_plain {
        secrets::remove_plain(dir).map_err(refused)?;
    }
    written(context, &file, Some(&creation), given.remove_plain, "is written");
    if !given.remove_plain {
        context.printer.note(&["the plain file is still there, and is what is read".to_owned()]);
    }
    Ok(Exit::Done)
}

fn written(context: &Context, file: &Path, creation: Option<&Creation>, removed_plain: bool, what: &str) {
    let recipients: Vec<String> =
        creation.iter().flat_map(|creation| creation.recipients()).map(str::to_owned).collect();
    let whom = match recipients.len() {
        0 => "plain, closed to others".to_owned(),
        n => format!("encrypted for {}", count::of(n, "recipient")),
    };
    context.printer.data(&[format!("{} {what}, {whom}", file.display())]);
    let encrypted = creation.is_some();
    context.printer.document(&SecretsWrittenDocument {
        file: file.display().to_string(),
        encrypted,
        recipients,
        removed_plain,
    });
}

fn decrypt(context: &Context, dir: &Path) -> Outcome {
    let (keys, odd) = identities();
    let plain = secrets::decrypt(dir, &keys).map_err(|problems| refused([problems, odd].concat()))?;
    if context.printer.out_columns().is_some() {
        context.printer.note(&["these are secrets, on a terminal: they stay in its scrollback".to_owned()]);
    }
    context.printer.raw(&plain);
    context.printer.document(&DecryptedDocument { content: plain.to_string() });
    Ok(Exit::Done)
}

/// Says all that is known. Locked or broken secrets are an error here, since it was asked.
fn check(context: &Context, dir: &Path) -> Outcome {
    let (keys, odd) = identities();
    let mut told =
        SecretsCheckDocument { site: dir.display().to_string(), identities: keys.len(), ..Default::default() };
    let mut problems = match secrets::open(dir, &keys) {
        Ok(opened) => describe(&mut told, opened),
        Err(problems) => problems,
    };
    // Without anything encrypted, identities are nobody's concern.
    if told.form.as_deref() != Some("plain") && told.file.is_some() || told.locked {
        problems.extend(odd);
    }
    told.valid = !problems.iter().any(Diagnostic::is_error);
    told.problems = problems.iter().map(document).collect();
    let printer = &context.printer;
    for problem in &told.problems {
        let mut lines = diagnostic::diagnostic(problem, printer.err_columns(), printer.err_style());
        lines.push(String::new());
        printer.complain(&lines);
    }
    printer.data(&lines(&told));
    printer.document(&told);
    Ok(if told.valid { Exit::Done } else { Exit::Configuration })
}

fn describe(document: &mut SecretsCheckDocument, opened: Opened) -> Vec<Diagnostic> {
    if let Some((file, form)) = &opened.file {
        document.file = Some(file.display().to_string());
        document.form = Some(form.as_str().into());
        document.mode = mode(file);
    }
    let mut problems = Vec::new();
    match opened.secrets() {
        Ok(secrets) => {
            document.sections = Some(SecretsSections {
                api_tokens: secrets.api_tokens.iter().map(|(name, _)| name.clone()).collect(),
                vm_root: secrets.passwords.vm_root.is_some(),
                ssh_keys: secrets.ssh_keys.iter().map(|(name, _)| name.clone()).collect(),
                signing_key: secrets.auth.signing_key.is_some(),
                previous_signing_key: secrets.auth.previous_signing_key.is_some(),
            });
        }
        Err(locked) => {
            document.locked = true;
            problems.push(locked.clone());
        }
    }
    problems.extend(opened.warnings);
    problems
}

fn lines(document: &SecretsCheckDocument) -> Vec<String> {
    let Some(file) = &document.file else {
        let nothing = if document.valid { "the site has no secrets" } else { "the site's secrets cannot be used" };
        return vec![nothing.to_owned()];
    };
    let form = document.form.as_deref().unwrap_or_default();
    let mode = document.mode.as_deref().map(|mode| format!(", mode {mode}")).unwrap_or_default();
    let mut lines = vec![format!("{file}: {form}{mode}")];
    let Some(sections) = &document.sections else {
        lines.push(if document.locked { "  locked".into() } else { "  not usable".to_owned() });
        return lines;
    };
    let listed = |names: &[String]| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    let there = |is: bool, without: &str| if is { "there".to_owned() } else { without.to_owned() };
    for (name, value) in [
        ("api_tokens", listed(&sections.api_tokens)),
        ("passwords.vm_root", there(sections.vm_root, "none: root has no password")),
        ("ssh_keys", listed(&sections.ssh_keys)),
        ("auth.signing_key", there(sections.signing_key, "none: the coordinator draws one")),
        ("auth.previous_signing_key", there(sections.previous_signing_key, "none")),
    ] {
        lines.push(format!("  {name:25} {value}"));
    }
    lines
}

fn mode(file: &Path) -> Option<String> {
    use std::os::unix::fs::PermissionsExt as _;
    let meta = file.metadata().ok()?;
    Some(format!("{:04o}", meta.permissions().mode() & 0o7777))
}

fn identities() -> (Keys, Vec<Diagnostic>) {
    Keys::of_user(|name| std::env::var_os(name))
}

/// For whom to encrypt: those who were named, else those of the site's creation rules.
fn creation(context: &Context, dir: &Path, recipients: &[String]) -> Result<Creation, Refusal> {
    if !recipients.is_empty() {
        return Creation::to(recipients).map_err(refused);
    }
    Creation::of_folder(dir).map_err(refused)?.ok_or_else(|| {
        let fault = Fault::new(
            Code::NotFound,
            format!("nobody is named to encrypt for: there is no {RULES} in {}", dir.display()),
        )
        .hint(format!("name one with {}", context.commands.line(&["secrets", "encrypt", "--recipient", "age1..."])));
        Refusal::new(Exit::Configuration, &fault)
    })
}

pub(super) fn folder(context: &Context) -> Result<&PathBuf, Refusal> {
    match &context.settings.site {
        SiteChoice::Folder(dir) => Ok(dir),
        SiteChoice::Demo => {
            let fault = Fault::new(Code::NotFound, "the built-in demo site has no secrets")
                .hint("name a site folder with --site or HOMESTAK_SITE_CONFIG");
            Err(Refusal::new(Exit::Configuration, &fault))
        }
    }
}

pub(super) fn refused(problems: Vec<Diagnostic>) -> Refusal {
    let diagnostics: Vec<DiagnosticDocument> = problems.iter().map(document).collect();
    let first = diagnostics.iter().find(|problem| problem.severity == "error").or(diagnostics.first());
    let error = first.map_or_else(
        || ErrorDocument {
            code: Code::Internal.as_str().into(),
            message: "it was not done".into(),
            hint: None,
            node: None,
        },
        |first| ErrorDocument {
            code: first.code.clone(),
            message: first.message.clone(),
            hint: first.hint.clone(),
            node: None,
        },
    );
    Refusal { exit: Exit::Configuration, error: Box::new(error), diagnostics }
}

/// Now, as SOPS writes it.
pub(super) fn now() -> String {
    format!("{:.0}", jiff::Timestamp::now())
}
