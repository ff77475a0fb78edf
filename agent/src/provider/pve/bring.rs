//! Bringing an image or container template to this host that it does not have: from the parent over the link, else from the site's URL.
//!
//! Whoever needs one holds its gate, so that it is brought once for all who wait. What has come is on disk as it comes
//! ([`Part`]): a break, a kill or somebody who no longer wants it costs nothing that was there.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use homestak_node::source::{Found, Image, Stock};
use homestak_node::world::Task;
use homestak_protocol::extras::ImageSource;
use homestak_protocol::fault::{Code, Fault};
use homestak_protocol::name::SiteName;
use tokio::io::AsyncReadExt as _;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout};

use super::Host;
use super::api::{CallError, Class, Form};
use super::part::{Part, PartError, parts};
use super::task::{Undone, pause};

/// Bytes that are written at once.
const PIECE: usize = 1024 * 1024;
/// How long the link may bring nothing before it counts as broken: a little less than QUIC takes to say so.
const STALL: Duration = Duration::from_secs(15);
/// How long nothing at all may come, from nobody, before it is given up; the next attempt goes on from there.
const PATIENCE: Duration = Duration::from_secs(120);
/// How soon it is asked again, where the parent still has to look, or is not there.
const AGAIN: Duration = Duration::from_secs(1);
/// How often an image that came to another checksum is fetched: once more, as a disk may have lied.
const WRONG: u32 = 2;
/// How often it is told how far it has come.
const TELL: Duration = Duration::from_secs(1);
/// Room that is left on the disk.
const MARGIN: u64 = 64 * 1024 * 1024;

/// Where images that are brought are to lie.
struct Place {
    storage: String,
    /// The folder.
    folder: PathBuf,
    /// `import`, or `iso` where no storage takes that.
    content: &'static str,
}

impl Host {
    /// Brings an image or template from the parent; false where it has none.
    pub(super) async fn bring_from_parent(&self, stock: &Stock, task: &Task) -> Result<bool, Fault> {
        let Some(above) = &self.above else { return Ok(false) };
        let place = self.place(stock).await?;
        let (mut progressed, mut wrong) = (Instant::now(), 0);
        loop {
            let folder = place.folder.clone();
            let have = blocking(move || parts(&folder)).await?;
            let had: u64 = have.iter().map(|part| part.length).sum();
            let why = match above.fetch(stock.clone().question(have)).await {
                Err(fault) if fault.code == Code::NotFound => return Ok(false),
                Err(fault) if matches!(fault.code, Code::Busy | Code::Unreachable) => fault.message,
                Err(fault) => return Err(fault),
                Ok(Found::Image(image)) => match self.take(stock, image, &place, task).await {
                    Ok(()) => return Ok(true),
                    Err(Broken::Fault(fault)) => return Err(fault),
                    Err(Broken::Wrong) => {
                        wrong += 1;
                        if wrong >= WRONG {
                            return Err(not_it(stock));
                        }
                        "it was not what it should be".to_owned()
                    }
                    Err(Broken::Off(why)) => why,
                },
                Ok(_) => {
                    return Err(Fault::new(Code::Protocol, "a question for an image was answered with something else"));
                }
            };
            let folder = place.folder.clone();
            let has: u64 = blocking(move || parts(&folder)).await?.iter().map(|part| part.length).sum();
            if has > had {
                progressed = Instant::now();
            }
            if progressed.elapsed() >= PATIENCE {
                let text = format!("the {stock} does not come from the parent: {why}");
                let hint = "what has come is kept, and the next attempt goes on from there";
                return Err(Fault { retryable: true, ..Fault::new(Code::ProvisionTransient, text).hint(hint) });
            }
            (task.progress)(format!("waiting for the {stock} from the parent: {why}"));
            pause(task, AGAIN).await.map_err(|undone| undone.fault(Code::Provision))?;
        }
    }

    /// Takes what comes, from where it was broken off.
    async fn take(&self, stock: &Stock, image: Image, place: &Place, task: &Task) -> Result<(), Broken> {
        let Image { file, length, sha256, from, mut bytes } = image;
        let folder = place.folder.clone();
        let mut part = disk(stock, blocking(move || Part::open(&folder, sha256)).await?)?;
        if part.length() != from {
            if from != 0 {
                return Err(Broken::Off(format!("it begins at {from}, and {} bytes are there", part.length())));
            }
            disk(stock, part.restart())?;
        }
        has_room(stock, &place.folder, length.saturating_sub(from))?;
        let (mut told, mut piece) = (None::<Instant>, Vec::with_capacity(PIECE));
        while part.length() < length {
            if told.is_none_or(|told| told.elapsed() >= TELL) {
                told = Some(Instant::now());
                let percent = part.length().saturating_mul(100) / length.max(1);
                let mib = length / 1024 / 1024;
                (task.progress)(format!("fetching the {stock} ({file}) from the parent: {percent} % of {mib} MiB"));
            }
            let left = length.saturating_sub(part.length());
            let want = usize::try_from(left).unwrap_or(usize::MAX).min(PIECE);
            let (read, broken) = fill(&mut bytes, &mut piece, want).await;
            if read > 0 {
                let taken = std::mem::take(&mut piece);
                let (back, buffer, written) = blocking(move || {
                    let written = part.write(&taken);
                    (part, taken, written)
                })
                .await?;
                (part, piece) = (back, buffer);
                disk(stock, written)?;
            }
            if let Some(why) = broken {
                return Err(Broken::Off(why));
            }
        }
        let to = place.folder.join(name_of(stock, &file, place.content, part.is_qcow2()));
        match blocking(move || part.finish(length, &to)).await? {
            Ok(()) => Ok(()),
            Err(PartError::Checksum) => Err(Broken::Wrong),
            Err(PartError::Short { have, of }) => Err(Broken::Off(format!("only {have} of {of} bytes have come"))),
            Err(PartError::Disk(error)) => disk(stock, Err(error)),
        }
    }

    /// Has PVE fetch an image from where the site says.
    pub(super) async fn bring_from_url(&self, name: &SiteName, source: &ImageSource, task: &Task) -> Result<(), Fault> {
        let place = self.place(&Stock::Image(name.clone())).await?;
        let ending = if place.content == "iso" { "img" } else { ending_of(&source.url) };
        let form = Form::new()
            .with("content", place.content)
            .with("filename", format_args!("{name}.{ending}"))
            .with("url", &source.url)
            .with("checksum", source.checksum.hex())
            .with("checksum-algorithm", source.checksum.algorithm());
        (task.progress)(format!("fetching the image {name} from {}", source.url));
        let fetched = async {
            let node = self.settings.node();
            let ask = || async { self.api.download(&node, &place.storage, &form).await.map_err(not_again) };
            let upid = self.patiently(task, ask).await?;
            self.wait(&upid, "download", task).await
        };
        fetched.await.map_err(|undone| match undone {
            Undone::Call(error) => of_url(name, source, &error),
            other => other.fault(Code::Provision),
        })
    }

    /// The first storage that takes it; for images one for ISO files where none takes those.
    async fn place(&self, stock: &Stock) -> Result<Place, Fault> {
        let places: &[(&'static str, &str)] = match stock {
            Stock::Image(_) => &[("import", "import"), ("iso", "template/iso")],
            Stock::Template(_) => &[("vztmpl", "template/cache")],
        };
        for (content, below) in places {
            if let Some((storage, folder)) = self.folder_for(content, below).await? {
                return Ok(Place { storage, folder, content });
            }
        }
        let hint = "allow it for one that is a folder: `pvesm set local --content iso,vztmpl,backup,snippets,import`";
        let text = format!("no storage of {} that is a folder takes the {stock}", self.settings.node());
        Err(Fault::new(Code::Provision, text).hint(hint))
    }

    /// The first storage that is a folder and takes images to import, with where they lie.
    pub(super) async fn import_folder(&self) -> Result<Option<(String, PathBuf)>, Fault> {
        self.folder_for("import", "import").await
    }

    async fn folder_for(&self, content: &str, below: &str) -> Result<Option<(String, PathBuf)>, Fault> {
        let failed = |error: CallError| error.fault(Code::Provision);
        let here = self.storages().await.map_err(failed)?;
        let paths = self.api.storage_paths().await.map_err(failed)?;
        for storage in here.into_iter().filter(|storage| storage.holds(content)) {
            if let Some(path) = paths.get(&storage.storage) {
                let folder = Path::new(path).join(below);
                std::fs::create_dir_all(&folder).map_err(|error| no_folder(&folder, &error))?;
                return Ok(Some((storage.storage, folder)));
            }
        }
        Ok(None)
    }
}

/// What the file is to be called. A container template keeps its name, by which PVE knows what is in it.
fn name_of(stock: &Stock, file: &str, content: &str, is_qcow2: bool) -> String {
    let safe = |text: &str| SiteName::parse(text).is_ok();
    match stock {
        Stock::Template(_) if safe(file) => file.to_owned(),
        Stock::Template(name) => format!("{}.tar.zst", name.as_ref().map_or("debian", SiteName::as_str)),
        Stock::Image(name) => {
            let ending = match (content, is_qcow2) {
                ("iso", _) => "img",
                (_, true) => "qcow2",
                (_, false) => "raw",
            };
            let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
            format!("{}.{ending}", if safe(stem) { stem } else { name.as_str() })
        }
    }
}

/// Why an image has not come.
enum Broken {
    /// It broke off: the next attempt goes on from there.
    Off(String),
    /// It was another one.
    Wrong,
    /// There is no point in going on.
    Fault(Fault),
}

impl From<Fault> for Broken {
    fn from(fault: Fault) -> Self {
        Broken::Fault(fault)
    }
}

/// Reads until there is enough, or no more, and says why then.
async fn fill(
    bytes: &mut (impl tokio::io::AsyncRead + Unpin),
    piece: &mut Vec<u8>,
    want: usize,
) -> (usize, Option<String>) {
    piece.clear();
    while piece.len() < want {
        let mut rest = (&mut *bytes).take(u64::try_from(want.saturating_sub(piece.len())).unwrap_or(u64::MAX));
        match timeout(STALL, rest.read_buf(piece)).await {
            Ok(Ok(0)) => return (piece.len(), Some("the link broke".to_owned())),
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return (piece.len(), Some(error.to_string())),
            Err(_) => return (piece.len(), Some(format!("nothing came for {} s", STALL.as_secs()))),
        }
    }
    (piece.len(), None)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Fault> {
    spawn_blocking(work).await.map_err(|error| Fault::new(Code::Internal, error.to_string()))
}

fn disk<T>(stock: &Stock, done: std::io::Result<T>) -> Result<T, Broken> {
    done.map_err(|error| {
        let text = format!("the {stock} cannot be put on disk: {error}");
        let hint =
            "make room on the storage for images; what has come is kept, and the next attempt goes on from there";
        Broken::Fault(Fault::new(Code::Storage, text).hint(hint))
    })
}

/// Says so before a disk is filled up.
fn has_room(stock: &Stock, folder: &Path, more: u64) -> Result<(), Broken> {
    let Ok(stat) = rustix::fs::statvfs(folder) else { return Ok(()) };
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let wanted = more.saturating_add(MARGIN);
    if free >= wanted {
        return Ok(());
    }
    let mib = |bytes: u64| bytes / 1024 / 1024;
    let text = format!("the {stock} needs {} MiB in {}, and there are {}", mib(wanted), folder.display(), mib(free));
    Err(Broken::Fault(Fault::new(Code::Storage, text).hint("make room on that storage")))
}

fn no_folder(folder: &Path, error: &std::io::Error) -> Fault {
    let text = format!("the folder {} for images cannot be made: {error}", folder.display());
    Fault::new(Code::Provision, text).hint("the agent of a PVE host runs as root")
}

fn not_it(stock: &Stock) -> Fault {
    let text = format!("what the parent gives as the {stock} does not come to the checksum that it tells");
    Fault::new(Code::Provision, text)
        .hint("look at the parent's disk: the file changes while it is read, or is damaged")
}

/// How the file at a URL ends, where PVE takes that: it looks whether what it has fetched is what its name says.
fn ending_of(url: &str) -> &'static str {
    let path = url.split(['?', '#']).next().unwrap_or(url);
    let ending = path.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase()).unwrap_or_default();
    ["raw", "vmdk"].into_iter().find(|known| *known == ending).unwrap_or("qcow2")
}

/// What came to another checksum would do so again: gigabytes are not fetched in vain.
fn not_again(error: CallError) -> CallError {
    let class = if is_mismatch(&error) { Class::Fatal } else { error.class };
    CallError { class, ..error }
}

fn is_mismatch(error: &CallError) -> bool {
    error.message.to_lowercase().contains("checksum mismatch")
}

/// What went wrong with a download, with what to look at.
fn of_url(name: &SiteName, source: &ImageSource, error: &CallError) -> Fault {
    let text = format!("the image {name} cannot be fetched from {}: {}", source.url, error.message);
    if is_mismatch(error) {
        let hint =
            format!("`images: {name}` in site.yaml: is the {} the one of that file?", source.checksum.algorithm());
        return Fault::new(Code::Provision, text).hint(hint);
    }
    let fault = error.fault(Code::Provision);
    Fault { message: text, ..fault }
}

/// The gates of what can be brought: whoever brings one holds its gate.
#[derive(Default)]
pub(super) struct Gates(std::sync::Mutex<std::collections::BTreeMap<Stock, Arc<tokio::sync::Mutex<()>>>>);

impl Gates {
    pub(super) fn of(&self, stock: &Stock) -> Arc<tokio::sync::Mutex<()>> {
        let mut gates = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        Arc::clone(gates.entry(stock.clone()).or_default())
    }
}
