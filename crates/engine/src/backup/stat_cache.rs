//! What the last backup saw of each file: device, inode, ctime.
//!
//! One record per entry of one tree, in the tree's order, so it is read side by side with it and
//! holds no paths. Purely local: without it every file is read once more and nothing else is lost.
//!
//! A file whose inode changed within [`RACY_MARGIN_NS`] of being looked at may change again without a
//! new ctime (the kernel's clock ticks coarsely, those of some file systems by seconds); such a record says "unknown" and the file is read
//! next time. Source of the problem: git's "racy git" documentation.

use crate::repository::Temporary;
use decube_backup_core::entry::Identity;
use decube_backup_core::{Error, Result, Timestamp};
use decube_backup_format::ids::ChunkId;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;

const MAGIC: &[u8; 8] = b"DCSTAT01";
const HEADER_BYTES: usize = 48;
const RECORD_BYTES: usize = 28;
/// A change closer than this to the look may be followed by an invisible one, nanoseconds.
pub const RACY_MARGIN_NS: i64 = 50_000_000;
/// The same where the time of the change has whole seconds: ext4 with small inodes keeps no less, FAT keeps two.
pub const COARSE_MARGIN_NS: i64 = 2_100_000_000;

fn failed(path: &Path) -> impl Fn(std::io::Error) -> Error + '_ {
    move |e| Error::io("stat cache", "cannot write the stat cache", e).with("path", path.display())
}

/// Writes a new stat cache beside the old one; dropped unfinished it leaves nothing behind.
pub struct StatCacheWriter {
    out: BufWriter<File>,
    file: Temporary,
    records: u64,
}

impl StatCacheWriter {
    /// Starts one that will be at `path`.
    ///
    /// # Errors
    /// The cache directory cannot be written.
    pub fn create(path: &Path) -> Result<Self> {
        let file = Temporary::beside(path);
        let mut out = BufWriter::with_capacity(128 << 10, File::create(file.temp()).map_err(failed(path))?);
        out.write_all(&[0; HEADER_BYTES]).map_err(failed(path))?;
        Ok(Self { out, file, records: 0 })
    }

    /// The next entry's identity, `None` for "read it next time".
    ///
    /// # Errors
    /// The cache directory cannot be written.
    pub fn push(&mut self, identity: Option<Identity>, seen: Timestamp) -> Result<()> {
        let seen_ns = seen.seconds.saturating_mul(1_000_000_000).saturating_add(i64::from(seen.nanoseconds));
        let margin = |ctime_ns| if ctime_ns % 1_000_000_000 == 0 { COARSE_MARGIN_NS } else { RACY_MARGIN_NS };
        let identity = identity.filter(|i| i.ctime_ns < seen_ns.saturating_sub(margin(i.ctime_ns)));
        let mut record = [0; RECORD_BYTES];
        if let Some(identity) = identity {
            record[..8].copy_from_slice(&identity.dev.to_le_bytes());
            record[8..16].copy_from_slice(&identity.inode.to_le_bytes());
            record[16..24].copy_from_slice(&identity.ctime_ns.to_le_bytes());
            record[24..28].copy_from_slice(&identity.links.max(1).to_le_bytes());
        }
        self.records += 1;
        self.out.write_all(&record).map_err(failed(self.file.path()))
    }

    /// Makes it the cache for `tree`.
    ///
    /// # Errors
    /// The cache directory cannot be written.
    pub fn finish(self, tree: &ChunkId) -> Result<()> {
        let Self { out, file: temporary, records } = self;
        let path = temporary.path().to_owned();
        let mut file = out.into_inner().map_err(|e| failed(&path)(e.into_error()))?;
        let mut header = Vec::with_capacity(HEADER_BYTES);
        header.extend_from_slice(MAGIC);
        header.extend_from_slice(&tree.0);
        header.extend_from_slice(&records.to_le_bytes());
        file.seek(SeekFrom::Start(0)).and_then(|_| file.write_all(&header)).map_err(failed(&path))?;
        temporary.replace().map_err(failed(&path))
    }
}

/// Reads the stat cache of one tree, record by record.
pub struct StatCacheReader {
    input: BufReader<File>,
}

impl StatCacheReader {
    /// The cache at `path` if it belongs to `tree` and is whole.
    pub fn open(path: &Path, tree: &ChunkId, entries: u64) -> Option<Self> {
        let file = File::open(path).ok()?;
        let len = file.metadata().ok()?.len();
        let mut input = BufReader::with_capacity(128 << 10, file);
        let mut header = [0; HEADER_BYTES];
        input.read_exact(&mut header).ok()?;
        let sound = &header[..8] == MAGIC
            && header[8..40] == tree.0
            && header[40..48] == entries.to_le_bytes()
            && len == HEADER_BYTES as u64 + entries * RECORD_BYTES as u64;
        sound.then_some(Self { input })
    }

    /// The next record.
    pub fn record(&mut self) -> Option<Identity> {
        let mut record = [0; RECORD_BYTES];
        self.input.read_exact(&mut record).ok()?;
        let word = |at: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(record.get(at..at + 8).unwrap_or(&[0; 8]));
            u64::from_le_bytes(word)
        };
        let links = (word(20) >> 32) as u32;
        (links > 0).then(|| Identity { dev: word(0), inode: word(8), ctime_ns: word(16) as i64, links })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back_in_order_and_only_for_their_tree() {
        let dir = tempfile::tempdir().expect("temp");
        let path = dir.path().join("stat");
        let tree = ChunkId([4; 32]);
        let identity = |n| Identity { dev: 1, inode: n, ctime_ns: -5, links: 2 };
        let mut writer = StatCacheWriter::create(&path).expect("created");
        let later = Timestamp { seconds: 10, nanoseconds: 0 };
        writer.push(Some(identity(7)), later).expect("written");
        writer.push(None, later).expect("written");
        writer.push(Some(Identity { ctime_ns: 9_990_000_000, ..identity(8) }), later).expect("written");
        // Whole seconds: of a clock that may show nothing else.
        writer.push(Some(Identity { ctime_ns: 8_000_000_000, ..identity(8) }), later).expect("written");
        writer.push(Some(identity(9)), later).expect("written");
        writer.finish(&tree).expect("renamed");
        let mut reader = StatCacheReader::open(&path, &tree, 5).expect("sound");
        let all: Vec<_> = std::iter::from_fn(|| Some(reader.record())).take(6).collect();
        assert_eq!(all, [Some(identity(7)), None, None, None, Some(identity(9)), None]);
        assert!(StatCacheReader::open(&path, &ChunkId([5; 32]), 5).is_none());
        assert!(StatCacheReader::open(&path, &tree, 6).is_none());
    }
}
