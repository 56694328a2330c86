//! Key files: a slot's secret as a small text file.

use crate::hash::Key32;
use decube_backup_core::world::Entropy;
use decube_backup_core::{Error, ErrorKind, Result};
use zeroize::Zeroizing;

/// A key file: 32 random bytes as text, for machines that unlock without a password.
///
/// Three lines: `decube-backup-key-1`, the key as 64 hex digits, and the first 8 bytes of the BLAKE3 of the two
/// lines before as 16 hex digits, so that a cut or mistyped file is named as such and not as a wrong key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyFile(pub(super) Key32);

const KEY_FILE_MAGIC: &str = "decube-backup-key-1";

impl KeyFile {
    /// Makes a new key.
    ///
    /// # Errors
    /// No entropy.
    pub fn generate(entropy: &dyn Entropy) -> Result<Self> {
        let mut key = Key32::default();
        entropy.fill(&mut key.0)?;
        Ok(Self(key))
    }

    /// The file's text.
    pub fn to_text(&self) -> Zeroizing<String> {
        let key = Zeroizing::new(crate::ids::hex(&self.0.0));
        let mut text = Zeroizing::new(String::with_capacity(128));
        for part in [KEY_FILE_MAGIC, "\n", key.as_str(), "\n"] {
            text.push_str(part);
        }
        let check = key_file_check(&text);
        text.push_str(&check);
        text.push('\n');
        text
    }

    /// Reads a file's text; line ends may be CR LF and a last one missing.
    ///
    /// # Errors
    /// `Invalid` if it is not a whole key file.
    pub fn parse(text: &[u8]) -> Result<Self> {
        let invalid = || {
            Error::new(ErrorKind::Invalid, "open", "not a whole key file")
                .with_hint("a key file has three lines, the first is decube-backup-key-1")
        };
        let text = std::str::from_utf8(text).map_err(|_| invalid())?;
        let mut lines = text.lines();
        let (Some(KEY_FILE_MAGIC), Some(key), Some(check), None) =
            (lines.next(), lines.next(), lines.next(), lines.next())
        else {
            return Err(invalid());
        };
        let file = Self(Key32(crate::ids::ChunkId::from_hex(key).map_err(|_| invalid())?.0));
        let whole = Zeroizing::new(format!("{KEY_FILE_MAGIC}\n{key}\n"));
        if key_file_check(&whole) == check { Ok(file) } else { Err(invalid()) }
    }
}

fn key_file_check(lines: &str) -> String {
    let hash = blake3::hash(lines.as_bytes());
    crate::ids::hex(hash.as_bytes().first_chunk::<8>().unwrap_or(&[0; 8]))
}
