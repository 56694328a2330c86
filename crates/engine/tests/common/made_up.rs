//! A source that exists only in memory and misbehaves as told.

use super::noise;
use decube_backup_core::entry::{Entry, EntryKind, EntryPath, Identity, Metadata, Xattr};
use decube_backup_core::monitor::{Problem, ProblemKind};
use decube_backup_core::source::{Content, ContentEnd, Piece, Scan, ScanItem, Scanned, Source, SourceInfo, Stability};
use decube_backup_core::{Error, ErrorKind, Result, Timestamp};
use std::sync::atomic::{AtomicU64, Ordering};

/// How a made-up file behaves when it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    Fine,
    /// Opening fails.
    Unreadable,
    /// It is gone when it is opened.
    Vanished,
    /// Reading fails half-way.
    Breaks,
    /// It ends earlier than the scan said.
    Shrinks,
    /// It says that it changed.
    Changes,
    /// An attribute cannot be read.
    Shy,
    /// It has more attributes than a tree holds of one entry.
    Overloaded,
    /// Not even listed.
    Unlisted,
    /// It is an empty directory.
    Folder,
}

#[derive(Clone, Debug)]
pub struct MadeUpFile {
    pub path: EntryPath,
    pub seed: u64,
    pub len: u64,
    pub behaviour: Behaviour,
}

/// Files in path order; the directories above them are made up too.
pub struct MadeUp {
    pub files: Vec<MadeUpFile>,
    pub opened: AtomicU64,
    /// Files of one seed are names of one inode.
    pub linked: bool,
    /// What it says that it covers.
    pub roots: Vec<EntryPath>,
}

impl MadeUp {
    pub fn new(files: Vec<MadeUpFile>) -> Self {
        Self { files, opened: AtomicU64::new(0), linked: false, roots: Vec::new() }
    }

    /// Contents opened since the last call.
    pub fn take_opened(&self) -> u64 {
        self.opened.swap(0, Ordering::SeqCst)
    }
}

fn entry(path: EntryPath, kind: EntryKind, seed: u64, links: u32) -> Scanned {
    let mode = if kind == EntryKind::Directory { 0o755 } else { 0o644 };
    let mtime = Timestamp { seconds: 1_000_000 + seed as i64, nanoseconds: 0 };
    let identity = Identity { dev: 1, inode: seed + 2, ctime_ns: 1_000_000 + seed as i64, links };
    let identity = (kind != EntryKind::Directory).then_some(identity);
    Scanned { entry: Entry { path, kind, meta: Metadata { mode, mtime, ..Metadata::default() } }, identity }
}

struct MadeUpScan {
    items: std::vec::IntoIter<ScanItem>,
}

#[async_trait::async_trait]
impl Scan for MadeUpScan {
    async fn next(&mut self) -> Result<Option<Vec<ScanItem>>> {
        let batch: Vec<ScanItem> = self.items.by_ref().take(1000).collect();
        Ok((!batch.is_empty()).then_some(batch))
    }
}

fn detail(behaviour: Behaviour, entry: &mut Entry) -> Vec<Problem> {
    match behaviour {
        Behaviour::Overloaded => {
            let xattr = |n: u8| Xattr { name: vec![b'a' + n / 26, b'a' + n % 26], value: vec![0; 64 << 10] };
            entry.meta.xattrs = (0..65).map(xattr).collect();
            Vec::new()
        }
        Behaviour::Shy => {
            vec![Problem::new(ProblemKind::Attribute, entry.path.as_bytes().to_vec(), "no attributes today")]
        }
        _ => Vec::new(),
    }
}

struct MadeUpContent {
    bytes: Vec<u8>,
    at: usize,
    behaviour: Behaviour,
}

impl Content for MadeUpContent {
    fn read(&mut self, buf: &mut [u8]) -> Result<Piece> {
        let end = match self.behaviour {
            Behaviour::Shrinks | Behaviour::Breaks => self.bytes.len() / 2,
            _ => self.bytes.len(),
        };
        let n = (end - self.at).min(buf.len());
        if n == 0 && self.behaviour == Behaviour::Breaks {
            return Err(Error::new(ErrorKind::Io, "read", "the medium is broken"));
        }
        buf[..n].copy_from_slice(&self.bytes[self.at..self.at + n]);
        self.at += n;
        Ok(if n == 0 { Piece::End } else { Piece::Data(n) })
    }
    fn finish(self: Box<Self>, entry: &mut Entry) -> Result<ContentEnd> {
        let stable = if self.behaviour == Behaviour::Changes { Stability::Changed } else { Stability::Unchanged };
        Ok(ContentEnd { stable, identity: None, problems: detail(self.behaviour, entry) })
    }
}

impl Source for MadeUp {
    fn describe(&self) -> SourceInfo {
        SourceInfo { paths: vec!["made up".into()], roots: self.roots.clone() }
    }

    fn scan(&self) -> Result<Box<dyn Scan>> {
        let mut items = vec![ScanItem::Entry(entry(EntryPath::root(), EntryKind::Directory, 0, 1))];
        let mut made = std::collections::HashSet::from([EntryPath::root()]);
        for file in &self.files {
            let mut missing = Vec::new();
            let mut folder = file.path.parent();
            while let Some(path) = folder.filter(|path| !made.contains(path)) {
                folder = path.parent();
                missing.push(path);
            }
            for path in missing.into_iter().rev() {
                made.insert(path.clone());
                items.push(ScanItem::Entry(entry(path, EntryKind::Directory, 0, 1)));
            }
            items.push(match file.behaviour {
                Behaviour::Unlisted => ScanItem::Problem(Problem::new(
                    ProblemKind::Unreadable,
                    file.path.as_bytes().to_vec(),
                    "cannot be listed",
                )),
                Behaviour::Folder => ScanItem::Entry(entry(file.path.clone(), EntryKind::Directory, file.seed, 1)),
                _ => {
                    let same = |f: &&MadeUpFile| f.seed == file.seed;
                    let names = if self.linked { self.files.iter().filter(same).count() as u32 } else { 1 };
                    ScanItem::Entry(entry(file.path.clone(), EntryKind::File { size: file.len }, file.seed, names))
                }
            });
        }
        Ok(Box::new(MadeUpScan { items: items.into_iter() }))
    }

    fn detail(&self, entry: &mut Entry) -> Vec<Problem> {
        let found = self.files.binary_search_by(|f| f.path.cmp(&entry.path));
        found.map_or(Vec::new(), |at| detail(self.files[at].behaviour, entry))
    }

    fn open(&self, scanned: &Scanned) -> Result<Box<dyn Content>> {
        self.opened.fetch_add(1, Ordering::SeqCst);
        let at = self.files.binary_search_by(|f| f.path.cmp(&scanned.entry.path)).expect("one of ours");
        let file = &self.files[at];
        match file.behaviour {
            Behaviour::Unreadable => Err(Error::new(ErrorKind::PermissionDenied, "open", "no")),
            Behaviour::Vanished => Err(Error::new(ErrorKind::NotFound, "open", "gone")),
            behaviour => {
                let bytes = noise(file.seed, file.len as usize);
                Ok(Box::new(MadeUpContent { bytes, at: 0, behaviour }))
            }
        }
    }
}
