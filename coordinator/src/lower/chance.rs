//! Where random bits come from: the kernel, or in tests a counter.

use homestak_protocol::fault::{Code, Fault};

/// A source of random bits.
#[derive(Debug, Clone)]
pub enum Chance {
    /// The kernel's.
    Kernel,
    /// One number after the other, for tests with committed results.
    #[cfg(test)]
    Counted(std::sync::Arc<std::sync::atomic::AtomicU64>),
}

impl Chance {
    /// The next 128 bits.
    pub fn draw(&self) -> Result<u128, Fault> {
        match self {
            Chance::Kernel => Ok(u128::from_ne_bytes(random()?)),
            #[cfg(test)]
            Chance::Counted(next) => Ok(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed).into()),
        }
    }
}

/// Random bytes from the kernel.
pub fn random<const N: usize>() -> Result<[u8; N], Fault> {
    let mut bytes = [0; N];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        let got = rustix::rand::getrandom(rest, rustix::rand::GetRandomFlags::empty());
        filled += got.map_err(|source| Fault::new(Code::Internal, format!("no random numbers: {source}")))?;
    }
    Ok(bytes)
}
