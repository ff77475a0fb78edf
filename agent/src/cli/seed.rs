//! `cloud-init`: what a machine's cloud-init reads, as files; for images of one's own, and for tests.

use std::path::{Path, PathBuf};

use clap::Args;
use homestak_node::trust::ca::pem;
use homestak_node::world::Boot;
use homestak_protocol::order::CloudInit;
use sha2::{Digest, Sha256};

use super::printer::Printer;
use crate::cloud_init::{Program, meta_data, network_config, user_data};
use crate::failure::{Exit, Failure, SETTINGS};
use crate::files::{private_folder, write_whole};
use crate::settings::Settings;

/// Write what cloud-init reads (NoCloud) so that a machine starts this agent with these settings
#[derive(Debug, Args)]
pub(super) struct Seed {
    /// Folder to write user-data, meta-data and network-config into
    #[arg(long, value_name = "DIR")]
    seed: PathBuf,
    /// The image has no agent: fetch this very program from the parent with this CA certificate (DER)
    #[arg(long, value_name = "FILE")]
    fetched_from: Option<PathBuf>,
}

/// Writes it.
pub(super) fn write(seed: &Seed, settings: &Settings, printer: &Printer) -> Result<(), Failure> {
    let missing = |what: &str| {
        let hint = "a machine needs its parent's address and pin, its token and its name";
        Failure::new(Exit::Configuration, SETTINGS, format!("{what} is not known"), hint)
    };
    let name = settings.name.as_ref().ok_or_else(|| missing("the machine's name"))?.as_str();
    let boot = Boot {
        servers: settings.servers.as_slice().to_vec(),
        ca: settings.ca.ok_or_else(|| missing("the pin of the parent's CA"))?.to_string(),
        ca_pem: None,
        token: settings.token.clone().ok_or_else(|| missing("the token"))?,
    };
    let program = match &seed.fetched_from {
        None => Program::InImage,
        Some(file) => fetched(file)?,
    };
    let told = CloudInit::default();
    let texts = [
        ("user-data", user_data(&told, &boot, name, &program, settings.provider)),
        ("meta-data", meta_data(name, name)),
        ("network-config", network_config(&told, None)),
    ];
    let written = private_folder(&seed.seed)
        .and_then(|()| texts.iter().try_for_each(|(file, text)| write_whole(&seed.seed.join(file), text.as_bytes())));
    written.map_err(|error| Failure::machine("writing the seed", error))?;
    printer.text(seed.seed.display());
    Ok(())
}

/// That the machine fetches the program that runs here.
fn fetched(ca: &Path) -> Result<Program, Failure> {
    let read =
        |path: &Path| std::fs::read(path).map_err(|error| Failure::machine("reading a file for the seed", error));
    let own = std::env::current_exe().map_err(|error| Failure::machine("finding this program", error))?;
    let digest = Sha256::digest(read(&own)?);
    let digest = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Program::Fetched { ca_pem: pem(&read(ca)?), digest })
}
