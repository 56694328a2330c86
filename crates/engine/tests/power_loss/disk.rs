//! A disk that forgets whatever was not synced.
//!
//! Content is kept as of the last `fsync` of its file, names as of the last `fsync` of their folder. What came later may
//! be there or not: every change of a name by itself, all of them, none; a file not synced is empty, half garbage, or by
//! luck whole. An `fsync` covers what had ended when it began.

use crate::recorder::{Call, Event};
use bytes::Bytes;
use decube_backup_core::Key;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

pub type Objects = BTreeMap<Key, Bytes>;

/// What a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Node {
    Folder,
    File(usize),
}

#[derive(Clone, Debug, Default)]
struct File {
    written: Vec<u8>,
    /// Writes of the record, by the line at which they ended.
    writes: Vec<(usize, usize, Vec<u8>)>,
    synced: Option<Vec<u8>>,
}

/// A change of one name in a folder that was not synced since.
#[derive(Clone, Debug)]
struct Change {
    done: usize,
    path: PathBuf,
    to: Option<Node>,
}

/// What a file that was not synced holds after the crash.
#[derive(Clone, Copy, Debug)]
enum Unsynced {
    Empty,
    HalfGarbage,
    Lucky,
}

pub struct Disk {
    root: PathBuf,
    files: Vec<File>,
    /// As the program sees it.
    now: BTreeMap<PathBuf, Node>,
    /// As it is after the crash, whatever happens.
    durable: BTreeMap<PathBuf, Node>,
    pending: Vec<Change>,
}

/// What may be on the disk after a crash.
pub struct Image {
    pub objects: Objects,
    /// Whether the program had told its user that it was done.
    pub reported: bool,
    pub context: String,
}

/// Each different image that a crash after any of `events` may leave of what was on `disk` before.
pub fn images(mut disk: Disk, events: &[Event]) -> Vec<Image> {
    let (mut seen, mut images, mut reported) = (BTreeSet::new(), Vec::new(), false);
    let mut collect = |disk: &Disk, reported: bool, after: &str| {
        for (how, objects) in disk.crash() {
            let hashes = objects.iter().map(|(key, bytes)| (key.clone(), *blake3::hash(bytes).as_bytes()));
            if seen.insert((reported, hashes.collect::<Vec<_>>())) {
                images.push(Image { objects, reported, context: format!("crash {after}, {how}") });
            }
        }
    };
    collect(&disk, false, "at the start");
    for (number, event) in events.iter().enumerate() {
        match &event.call {
            Call::Said(text) => reported |= String::from_utf8_lossy(text).contains(super::REPORTED),
            _ => disk.apply(event),
        }
        collect(&disk, reported, &format!("after call {number} of {}", events.len()));
    }
    assert!(reported, "the program said nothing");
    images
}

impl Disk {
    /// The store in `root` as it is now, all of it synced.
    pub fn new(root: &Path) -> Self {
        let objects = if root.exists() { crate::common::objects_in(root) } else { Objects::new() };
        let mut disk = Self {
            root: root.to_owned(),
            files: Vec::new(),
            now: BTreeMap::new(),
            durable: BTreeMap::new(),
            pending: Vec::new(),
        };
        disk.now.extend(folders(root).into_iter().map(|folder| (folder, Node::Folder)));
        for (key, bytes) in objects {
            disk.now.insert(root.join(key.as_str()), Node::File(disk.files.len()));
            disk.files.push(File { written: bytes.to_vec(), synced: Some(bytes.to_vec()), ..File::default() });
        }
        disk.durable = disk.now.clone();
        disk
    }

    fn file(&mut self, path: &Path) -> &mut File {
        match self.now.get(path) {
            Some(Node::File(at)) => &mut self.files[*at],
            other => panic!("{} is {other:?}", path.display()),
        }
    }

    fn change(&mut self, done: usize, path: &Path, to: Option<Node>) {
        match to {
            Some(node) => self.now.insert(path.to_owned(), node),
            None => self.now.remove(path),
        };
        self.pending.push(Change { done, path: path.to_owned(), to });
    }

    fn apply(&mut self, event: &Event) {
        let done = event.done;
        match &event.call {
            Call::Create(path) => {
                // Opened with O_CREAT it may have been there.
                if !self.now.contains_key(path) {
                    self.files.push(File::default());
                    self.change(done, path, Some(Node::File(self.files.len() - 1)));
                }
            }
            Call::Write { path, offset, bytes } => {
                let file = self.file(path);
                write(&mut file.written, *offset, bytes);
                file.writes.push((done, *offset, bytes.clone()));
            }
            Call::Sync(path) => self.sync(path, event.begun),
            Call::Link { from, to } => {
                let node = self.now[from];
                self.change(done, to, Some(node));
            }
            Call::Rename { from, to } => {
                let node = self.now[from];
                self.change(done, to, Some(node));
                self.change(done, from, None);
            }
            Call::Unlink(path) | Call::RemoveFolder(path) => self.change(done, path, None),
            Call::MakeFolder(path) => self.change(done, path, Some(Node::Folder)),
            Call::Said(_) => {}
        }
    }

    /// What had ended before line `begun` is durable.
    fn sync(&mut self, path: &Path, begun: usize) {
        if let Some(Node::File(at)) = self.now.get(path) {
            let file = &mut self.files[*at];
            let synced = file.synced.get_or_insert_default();
            for (_, offset, bytes) in file.writes.extract_if(.., |(done, ..)| *done < begun) {
                write(synced, offset, &bytes);
            }
            return;
        }
        let covered = |change: &mut Change| change.done < begun && change.path.parent() == Some(path);
        for change in self.pending.extract_if(.., covered).collect::<Vec<_>>() {
            enact(&mut self.durable, &change);
        }
    }

    /// What may be there after a crash now, each with how it came about.
    fn crash(&self) -> Vec<(String, Objects)> {
        let mut choices: Vec<(String, Vec<&Change>)> = vec![("nothing unsynced kept".into(), Vec::new())];
        choices.push(("all names kept".into(), self.pending.iter().collect()));
        // A change in `.tmp` is nothing to see.
        let visible = |change: &&Change| self.key(&change.path).is_some();
        for change in self.pending.iter().filter(visible) {
            let verb = if change.to.is_some() { "made" } else { "removed" };
            choices.push((format!("only {} {verb}", change.path.display()), vec![change]));
        }
        let mut images = Vec::new();
        for (how, changes) in choices {
            let mut names = self.durable.clone();
            changes.into_iter().for_each(|change| enact(&mut names, change));
            for content in [Unsynced::Empty, Unsynced::HalfGarbage, Unsynced::Lucky] {
                images.push((format!("{how}, files not synced {content:?}"), self.objects(&names, content)));
            }
        }
        images
    }

    fn key(&self, path: &Path) -> Option<Key> {
        Key::new(path.strip_prefix(&self.root).ok()?.to_str()?).ok()
    }

    /// The objects that can be reached by `names`.
    fn objects(&self, names: &BTreeMap<PathBuf, Node>, unsynced: Unsynced) -> Objects {
        let mut objects = Objects::new();
        for (path, node) in names {
            let Node::File(at) = node else { continue };
            let mut above = path.ancestors().skip(1).take_while(|folder| folder.starts_with(&self.root));
            let (Some(key), true) = (self.key(path), above.all(|folder| names.get(folder) == Some(&Node::Folder)))
            else {
                continue;
            };
            objects.insert(key, self.files[*at].after(unsynced).into());
        }
        objects
    }
}

impl File {
    fn after(&self, unsynced: Unsynced) -> Vec<u8> {
        match (&self.synced, unsynced) {
            (Some(synced), _) if *synced == self.written => synced.clone(),
            (synced, Unsynced::Empty) => synced.clone().unwrap_or_default(),
            (_, Unsynced::HalfGarbage) => {
                let mut bytes = self.written.clone();
                let half = bytes.len() / 2;
                bytes[half..].fill(0xa5);
                bytes
            }
            (_, Unsynced::Lucky) => self.written.clone(),
        }
    }
}

/// `root` if it is there, and all folders in it.
fn folders(root: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = root.exists().then(|| root.to_owned()).into_iter().collect();
    let mut next = 0;
    while let Some(folder) = found.get(next) {
        let below = std::fs::read_dir(folder).expect("a folder").flatten().map(|entry| entry.path());
        found.extend(below.filter(|path| path.is_dir()).collect::<Vec<_>>());
        next += 1;
    }
    found
}

fn write(bytes: &mut Vec<u8>, offset: usize, piece: &[u8]) {
    bytes.resize(bytes.len().max(offset + piece.len()), 0);
    bytes[offset..offset + piece.len()].copy_from_slice(piece);
}

fn enact(names: &mut BTreeMap<PathBuf, Node>, change: &Change) {
    match change.to {
        Some(node) => names.insert(change.path.clone(), node),
        None => names.remove(&change.path),
    };
}
