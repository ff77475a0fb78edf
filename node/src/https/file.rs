//! A file as it is sent: piece by piece, read by threads that may wait for the disk, at a pace that its reader sets.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::task::{JoinHandle, spawn_blocking};

/// Bytes that are read at once.
const PIECE: usize = 128 * 1024;

/// A part of a file from its beginning, with a place of its own: many may read one file.
#[derive(Debug)]
pub struct FileReader {
    file: Arc<File>,
    at: u64,
    length: u64,
    reading: Option<JoinHandle<io::Result<Vec<u8>>>>,
    piece: Vec<u8>,
    taken: usize,
}

impl FileReader {
    /// The first `length` bytes.
    pub fn new(file: Arc<File>, length: u64) -> Self {
        Self { file, at: 0, length, reading: None, piece: Vec::new(), taken: 0 }
    }

    /// The bytes from `from` on, up to `length`.
    pub fn from(file: Arc<File>, from: u64, length: u64) -> Self {
        Self { at: from, ..Self::new(file, length) }
    }

    fn begin(&self) -> Option<JoinHandle<io::Result<Vec<u8>>>> {
        let left = usize::try_from(self.length.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let (file, at, want) = (Arc::clone(&self.file), self.at, left.min(PIECE));
        (want > 0).then(|| {
            spawn_blocking(move || {
                let mut piece = vec![0; want];
                let read = file.read_at(&mut piece, at)?;
                piece.truncate(read);
                Ok(piece)
            })
        })
    }
}

impl AsyncRead for FileReader {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let rest = self.piece.get(self.taken..).unwrap_or_default();
            if !rest.is_empty() {
                let part = rest.get(..rest.len().min(buffer.remaining())).unwrap_or_default();
                buffer.put_slice(part);
                self.taken = self.taken.saturating_add(part.len());
                return Poll::Ready(Ok(()));
            }
            if self.reading.is_none() {
                self.reading = self.begin();
            }
            let Some(reading) = &mut self.reading else { return Poll::Ready(Ok(())) };
            let read = ready!(Pin::new(reading).poll(cx));
            self.reading = None;
            let piece = read.map_err(io::Error::other)??;
            if piece.is_empty() {
                // It has become shorter; whoever counts will notice.
                return Poll::Ready(Ok(()));
            }
            self.at = self.at.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
            (self.piece, self.taken) = (piece, 0);
        }
    }
}
