//! Where the answers of an endpoint come from, whoever asks: a machine over HTTPS ([`crate::https`]), or a child over its
//! link on behalf of a machine below it ([`crate::transport`]).
//!
//! The coordinator's source knows the site ([`SpecSource`] is implemented there); an agent's is [`crate::https::Relay`],
//! which asks its own parent, and gives images from its host's own [`Shelf`]. Errors are [`Fault`]s with the codes of `interfaces.md`; [`Code::Unreachable`] says that
//! nobody who could know has answered.

use std::fmt;
use std::net::IpAddr;
use std::pin::Pin;

use axum::body::Bytes;
use homestak_protocol::fault::{Code, Fault};
use homestak_protocol::message::{Fetch, Part};
use homestak_protocol::name::SiteName;
use homestak_protocol::path::NodePath;
use homestak_protocol::version::{IMAGES, TEMPLATES};
use tokio::io::AsyncRead;

use crate::link::KeyId;

/// The largest document that is carried. A spec with a hundred users has some 30 KiB.
pub const MAX_DOCUMENT: u64 = 1024 * 1024;

/// The largest program that is carried: some ten times what an agent has today.
pub const MAX_PROGRAM: u64 = 128 * 1024 * 1024;

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asker {
    /// Somebody over HTTPS, known by nothing but what is shown.
    Stranger(IpAddr),
    /// A machine over HTTPS that has shown the certificate of this place, for this key. Whether it still counts is for
    /// the source to see to.
    Machine(NodePath, KeyId),
    /// The child at this place, over its link, for itself or for somebody below it.
    Child(NodePath),
}

/// What was asked for.
pub enum Found {
    /// A JSON document.
    Document(Bytes),
    /// The agent's program.
    Program(Program),
    /// A disk image.
    Image(Image),
}

impl fmt::Debug for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Found::Document(bytes) => write!(f, "Document({} bytes)", bytes.len()),
            Found::Program(program) => write!(f, "Program({} bytes)", program.length),
            Found::Image(image) => write!(f, "Image({}, {} bytes)", image.file, image.length),
        }
    }
}

/// A program, read as it is sent.
pub struct Program {
    /// Its bytes.
    pub length: u64,
    /// SHA-256 of all of them.
    pub sha256: [u8; 32],
    /// The bytes themselves.
    pub bytes: Box<dyn AsyncRead + Send + Unpin>,
}

/// Something that hosts have in their storages, and give to those below.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stock {
    /// The disk image of this name.
    Image(SiteName),
    /// The container template whose file begins so; none for the newest of Debian.
    Template(Option<SiteName>),
}

impl Stock {
    /// The question for it, after what the asker has of such things.
    pub fn question(self, have: Vec<Part>) -> Fetch {
        match self {
            Stock::Image(name) => Fetch::Image { name, have },
            Stock::Template(name) => Fetch::Template { name, have },
        }
    }

    /// What is asked for, if it is something of that kind, and the first protocol number that has such questions.
    pub fn asked(what: &Fetch) -> Option<(Self, u16)> {
        match what {
            Fetch::Image { name, .. } => Some((Stock::Image(name.clone()), IMAGES)),
            Fetch::Template { name, .. } => Some((Stock::Template(name.clone()), TEMPLATES)),
            _ => None,
        }
    }

    /// That there is none, here or above.
    pub fn absent(&self) -> Fault {
        Fault::new(Code::NotFound, format!("there is no {self}"))
    }
}

impl fmt::Display for Stock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stock::Image(name) => write!(f, "image {name}"),
            Stock::Template(Some(name)) => write!(f, "container template {name}"),
            Stock::Template(None) => f.write_str("container template of Debian"),
        }
    }
}

/// A disk image or container template, read as it is sent.
pub struct Image {
    /// What its file is called.
    pub file: String,
    /// Bytes of the whole file.
    pub length: u64,
    /// SHA-256 of all of them.
    pub sha256: [u8; 32],
    /// The first that is read.
    pub from: u64,
    /// The bytes from there on.
    pub bytes: Box<dyn AsyncRead + Send + Unpin>,
}

/// Whoever has images and templates to give.
pub trait Shelf: Send + Sync + 'static {
    /// Gives one, after what the asker has of it. Where it is still on its way to us, [`Code::Busy`], which passes.
    fn give(&self, stock: Stock, have: Vec<Part>) -> Answering<'_>;
}

/// An answer on its way.
pub type Answering<'a> = Pin<Box<dyn Future<Output = Result<Found, Fault>> + Send + 'a>>;

/// Answers what an endpoint is asked.
pub trait SpecSource: Send + Sync + 'static {
    /// Answers, or says why not. Dropping the future gives the question up.
    fn fetch(&self, asker: Asker, what: Fetch) -> Answering<'_>;
}

/// Nobody who could know has answered.
pub fn nobody_answers() -> Fault {
    Fault::new(Code::Unreachable, "nobody who could answer this can be reached just now; try again")
}

/// A certificate that is not, or no longer, the one of the place that is asked for.
pub fn not_theirs() -> Fault {
    Fault::new(Code::TokenRefused, "the certificate is not one of this machine")
}
