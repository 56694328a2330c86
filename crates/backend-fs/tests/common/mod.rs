//! What the tests of source and target share.
#![allow(dead_code)]

use decube_backup_backend_fs::source::{FsSource, SourceOptions};
use decube_backup_backend_fs::target::{FsTarget, TargetOptions};
use decube_backup_backend_fs::torture;
use decube_backup_core::entry::{Entry, EntryKind, Metadata};
use decube_backup_core::monitor::{Problem, ProblemKind};
use decube_backup_core::source::{Piece, Scan, ScanItem, Scanned, Source};
use decube_backup_core::target::{FileMode, Target};
use decube_backup_core::{EntryPath, Result, Timestamp};
use libtest_mimic::{Arguments, Completion, Trial};
use rustix::process::{Gid, Uid};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// An ordinary user's number.
pub const USER: u32 = 65_534;

/// What a test cannot do without.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    Nothing,
    Root,
    /// A program of this name.
    Program(&'static str),
}

/// Runs the tests of one file. One that needs root shows as ignored where there is none.
pub fn main(tests: &[(&'static str, Needs, fn())]) {
    let root = rustix::process::geteuid().is_root();
    let trials = tests.iter().map(|&(name, needs, test)| {
        Trial::ignorable_test(name, move || {
            if needs == Needs::Root && !root {
                return Ok(Completion::ignored_with("needs root"));
            }
            if let Needs::Program(program) = needs
                && std::process::Command::new(program).arg("--version").output().is_err()
            {
                return Ok(Completion::ignored_with(format!("needs {program}")));
            }
            test();
            Ok(Completion::Completed)
        })
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit();
}

/// A directory of one test, removed at its end whatever flags are in it.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap().keep().canonicalize().unwrap())
    }
    pub fn path(&self) -> &Path {
        &self.0
    }
    pub fn join(&self, path: impl AsRef<Path>) -> PathBuf {
        self.0.join(path)
    }
    /// A directory of that name in it.
    pub fn directory(&self, name: &str) -> PathBuf {
        let path = self.join(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    }
    /// A file of that name in it, with the directories above.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = torture::remove(&self.0);
    }
}

/// Runs `test` on a thread that is an ordinary user's.
pub fn as_user(test: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        let user = scope.spawn(|| {
            rustix::thread::set_thread_groups(&[]).unwrap();
            let (uid, gid) = (Uid::from_raw(USER), Gid::from_raw(USER));
            rustix::thread::set_thread_res_gid(gid, gid, gid).unwrap();
            rustix::thread::set_thread_res_uid(uid, uid, uid).unwrap();
            test();
        });
        user.join().unwrap();
    });
}

pub fn options(root: &Path) -> SourceOptions {
    SourceOptions::new(vec![root.to_owned()], "/")
}

pub fn source(root: &Path) -> FsSource {
    FsSource::new(options(root)).unwrap()
}

/// The same with ignore files of these names.
pub fn ignoring(root: &Path, names: &[&str]) -> FsSource {
    let mut options = options(root);
    options.exclude.ignore_files = names.iter().map(Into::into).collect();
    FsSource::new(options).unwrap()
}

pub fn target(root: &Path) -> FsTarget {
    FsTarget::create(root, TargetOptions::default()).unwrap()
}

pub fn path(text: impl AsRef<[u8]>) -> EntryPath {
    EntryPath::new(text.as_ref()).unwrap()
}

pub fn drain(scan: &mut dyn Scan) -> Vec<ScanItem> {
    let mut items = Vec::new();
    while let Some(batch) = futures::executor::block_on(scan.next()).unwrap() {
        assert!(!batch.is_empty() && batch.len() <= 1024, "{}", batch.len());
        items.extend(batch);
    }
    items
}

/// All items of a scan, ancestors of the roots included.
pub fn scan(source: &dyn Source) -> Vec<ScanItem> {
    drain(&mut *source.scan().unwrap())
}

pub fn path_of(item: &ScanItem) -> &[u8] {
    match item {
        ScanItem::Entry(scanned) => scanned.entry.path.as_bytes(),
        ScanItem::Problem(problem) => &problem.path,
    }
}

/// Entries at or below `root`, paths relative to it, and problems.
pub fn below(root: &Path, items: Vec<ScanItem>) -> (Vec<(EntryPath, Scanned)>, Vec<Problem>) {
    let root = path(root.to_str().unwrap().trim_start_matches('/'));
    let (mut entries, mut problems) = (Vec::new(), Vec::new());
    for item in items {
        match item {
            ScanItem::Entry(scanned) => entries.extend(scanned.entry.path.strip(&root).map(|p| (p, scanned))),
            ScanItem::Problem(problem) => problems.push(problem),
        }
    }
    (entries, problems)
}

/// Everything the content of a file is made of.
pub fn pieces(source: &dyn Source, scanned: &Scanned) -> Result<Vec<Piece>> {
    let mut content = source.open(scanned)?;
    let mut buffer = vec![0; 1 << 20];
    let mut pieces = Vec::new();
    loop {
        match content.read(&mut buffer)? {
            Piece::End => return Ok(pieces),
            piece => pieces.push(piece),
        }
    }
}

/// Copies the tree at `from` into `target` the way a restore does; what could not be kept.
pub fn copy(from: &Path, target: &dyn Target, mode: FileMode) -> Vec<Problem> {
    let source = source(from);
    let (entries, mut problems) = below(from, scan(&source));
    let mut firsts: HashMap<(u64, u64), EntryPath> = HashMap::new();
    let mut directories = Vec::new();
    for (relative, mut scanned) in entries {
        problems.extend(source.detail(&mut scanned.entry));
        let mut entry = scanned.entry.clone();
        entry.path = relative;
        if let Some(identity) = scanned.identity.filter(|i| i.links > 1 && entry.kind != EntryKind::Directory) {
            if let Some(first) = firsts.get(&(identity.dev, identity.inode)) {
                target.link(first, &entry.path).unwrap();
                continue;
            }
            firsts.insert((identity.dev, identity.inode), entry.path.clone());
        }
        match entry.kind {
            EntryKind::Directory => {
                target.create_directory(&entry.path).unwrap();
                directories.push(entry);
            }
            EntryKind::File { size } => {
                let mut content = match source.open(&scanned) {
                    Ok(content) => content,
                    Err(e) => {
                        problems.push(Problem::from_error(ProblemKind::Unreadable, entry.path.as_bytes(), &e));
                        continue;
                    }
                };
                let file = target.create_file(&entry.path, mode, 0).unwrap();
                let mut buffer = vec![0; 1 << 20];
                let mut offset = 0;
                loop {
                    match content.read(&mut buffer).unwrap() {
                        Piece::Data(len) => {
                            file.write_at(offset, &buffer[..len]).unwrap();
                            offset += len as u64;
                        }
                        Piece::Hole(len) => {
                            file.punch(offset, len).unwrap();
                            offset += len;
                        }
                        Piece::End => break,
                    }
                }
                content.finish(&mut entry.clone()).unwrap();
                file.set_len(size).unwrap();
                problems.extend(target.finish_file(file, &entry));
            }
            _ => match target.create_special(&entry) {
                Ok(attributes) => problems.extend(attributes),
                Err(e) => problems.push(Problem::from_error(ProblemKind::Unwritable, entry.path.as_bytes(), &e)),
            },
        }
    }
    for entry in directories.iter().rev() {
        problems.extend(target.finish_directory(entry));
    }
    problems
}

/// An entry that is this process's own, with a time of its own.
pub fn entry(name: &str, kind: EntryKind, mode: u32) -> Entry {
    let own = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let mtime = Timestamp { seconds: 1_000_000_000, nanoseconds: 123_456_789 };
    let meta = Metadata { mode, uid: own.0, gid: own.1, mtime, ..Metadata::default() };
    Entry { path: path(name), kind, meta }
}
