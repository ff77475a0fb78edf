//! The commands about the site's secrets.

use clap::{Args, Subcommand};

/// Make, check, encrypt and show the site's secrets
///
/// They lie in the site folder: plain in `secrets.yaml`, or encrypted in `secrets.yaml.enc` (SOPS with age recipients) or
/// `secrets.yaml.age` (age). Encrypted ones are decrypted in memory, with the age identities in SOPS_AGE_KEY, in the file
/// SOPS_AGE_KEY_FILE, and in ~/.config/sops/age/keys.txt.
#[derive(Debug, Subcommand)]
#[command(
    subcommand_required = true,
    after_long_help = "\
Examples:
  homestak-coord secrets init --site /usr/local/etc/homestak
  homestak-coord secrets check
  homestak-coord secrets encrypt --remove-plain"
)]
pub(crate) enum Secrets {
    Init(Init),
    Check(Check),
    Encrypt(Encrypt),
    Decrypt(Decrypt),
}

/// Make a secrets file with a fresh signing key and empty sections
///
/// Nothing is overwritten: where there are secrets, plain or encrypted, it refuses.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  homestak-coord secrets init
  homestak-coord secrets init --encrypt
  homestak-coord secrets init --recipient age1qyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqs3290gq")]
pub(crate) struct Init {
    /// Encrypt it before it is written, for whom the site's `.sops.yaml` names
    #[arg(long)]
    pub(crate) encrypt: bool,

    /// Encrypt it for this age recipient instead; may be given more than once
    #[arg(long, value_name = "RECIPIENT")]
    pub(crate) recipient: Vec<String>,
}

/// Say what there is, whether it can be read, and what is odd; never a value
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  homestak-coord secrets check
  homestak-coord secrets check --json")]
pub(crate) struct Check {}

/// Encrypt `secrets.yaml` to `secrets.yaml.enc`
///
/// As the site's `.sops.yaml` says: the first creation rule that fits `secrets.yaml` names the recipients and what is
/// encrypted. SOPS and what reads its files open the result. Comments are left out.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  homestak-coord secrets encrypt
  homestak-coord secrets encrypt --remove-plain
  homestak-coord secrets encrypt --recipient age1qyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqs3290gq")]
pub(crate) struct Encrypt {
    /// Encrypt for this age recipient, and not as `.sops.yaml` says; may be given more than once
    #[arg(long, value_name = "RECIPIENT")]
    pub(crate) recipient: Vec<String>,

    /// Remove the plain file once the encrypted one is written
    #[arg(long)]
    pub(crate) remove_plain: bool,
}

/// Print the secrets, decrypted, to stdout
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  homestak-coord secrets decrypt | less
  (umask 077; homestak-coord secrets decrypt > secrets.yaml)")]
pub(crate) struct Decrypt {}
