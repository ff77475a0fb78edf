//! A folder of golden files: what is in it is compared, what is missing can be written, what is there is never touched.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::path::PathBuf;

use homestak_protocol::codec;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// How the files that are missing come to be.
const HOW: &str = "HOMESTAK_GOLDEN=new cargo test -p homestak-protocol --test wire";

/// Bytes in a line of a file.
const LINE: usize = 32;

/// A folder in `tests/golden`. Collects what is wrong, so that one run tells everything.
pub(crate) struct Folder {
    path: PathBuf,
    writes: bool,
    checked: BTreeSet<String>,
    wrong: Vec<String>,
}

impl Folder {
    pub(crate) fn open(name: &str) -> Self {
        let path = [env!("CARGO_MANIFEST_DIR"), "tests", "golden", name].iter().collect();
        let writes = std::env::var_os("HOMESTAK_GOLDEN").is_some_and(|how| how == "new");
        Self { path, writes, checked: BTreeSet::new(), wrong: Vec::new() }
    }

    /// The value has the committed bytes, and they are read as the value.
    pub(crate) fn message<T: Serialize + DeserializeOwned + PartialEq + Debug>(&mut self, name: &str, value: &T) {
        let bytes = codec::encode(value).unwrap();
        let Some(text) = self.take(&format!("{name}.hex"), || hex_lines(&bytes)) else { return };
        let released = from_hex(&text);
        if released != bytes {
            self.wrong.push(format!("{name}: now written as\n{}", hex_lines(&bytes)));
        }
        match codec::decode::<T>(&released) {
            Ok(read) if read == *value => {}
            Ok(read) => self.wrong.push(format!("{name}: now read as {read:?}")),
            Err(error) => self.wrong.push(format!("{name}: no longer read: {error}")),
        }
    }

    /// Each word has the number that its line in the committed file says: number, name, and the text that users see.
    pub(crate) fn words<T>(&mut self, name: &str, all: &[T], text: fn(T) -> &'static str)
    where
        T: Serialize + DeserializeOwned + PartialEq + Debug + Copy,
    {
        let lines: Vec<String> = all
            .iter()
            .map(|word| {
                let bytes = codec::encode(word).unwrap();
                assert!(codec::decode::<T>(&bytes).is_ok_and(|read| read == *word));
                format!("{} {word:?} {}\n", hex(&bytes), text(*word))
            })
            .collect();
        let file = format!("{name}.txt");
        let Some(text) = self.take(&file, || lines.concat()) else { return };
        let released: Vec<&str> = text.split_inclusive('\n').collect();
        let (kept, added) = lines.split_at(released.len().min(lines.len()));
        if kept != released {
            self.wrong.push(format!("{file}: was\n{text}now\n{}", lines.concat()));
        } else if !added.is_empty() {
            if self.writes {
                std::fs::write(self.path.join(&file), lines.concat()).unwrap();
            } else {
                self.wrong.push(format!("{file}: lines are missing; to add them: {HOW}"));
            }
        }
    }

    /// Everything matched, and there is no file that nothing asked for.
    pub(crate) fn finish(mut self) {
        for entry in std::fs::read_dir(&self.path).into_iter().flatten() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if !self.checked.contains(&name) {
                self.wrong.push(format!("{name}: nothing is checked against it; a released message cannot go away"));
            }
        }
        assert!(self.wrong.is_empty(), "the wire format has changed:\n{}", self.wrong.join("\n"));
    }

    /// The text of a file; where it is missing it is written if that was asked for.
    fn take(&mut self, file: &str, new: impl FnOnce() -> String) -> Option<String> {
        assert!(self.checked.insert(file.to_owned()), "{file} is used twice");
        let path = self.path.join(file);
        if !path.exists() {
            if !self.writes {
                self.wrong.push(format!("{file}: missing; to write it: {HOW}"));
                return None;
            }
            std::fs::create_dir_all(&self.path).unwrap();
            std::fs::write(&path, new()).unwrap();
        }
        Some(std::fs::read_to_string(&path).unwrap())
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn hex_lines(bytes: &[u8]) -> String {
    bytes.chunks(LINE).map(|line| hex(line) + "\n").collect()
}

fn from_hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    assert!(digits.len().is_multiple_of(2), "half a byte");
    digits.chunks_exact(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}
