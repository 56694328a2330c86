//! `list`: a walk on the blocking pool, streamed through a bounded channel.
//!
//! The walk says when it is complete; a channel that closes without that word (the task died, the
//! runtime is shutting down) is an error, never a short listing.

use super::read::object_meta;
use super::{Store, fault};
use decube_backup_core::sink::ObjectMeta;
use decube_backup_core::{Error, ErrorKind, Key, Result};
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use rustix::io::Errno;
use std::fs::DirEntry;
use std::sync::Arc;
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// Objects the walk may be ahead of its reader.
const AHEAD_MAX: usize = 1024;

enum Step {
    Object(ObjectMeta),
    Failed(Error),
    Complete,
}

/// The reader went away: the walk ends.
struct Unheard;

/// Starts when first polled; stops soon after the stream is dropped.
pub(super) fn list(store: Arc<Store>, prefix: String) -> BoxStream<'static, Result<ObjectMeta>> {
    let start = async move {
        let (sender, receiver) = channel(AHEAD_MAX);
        tokio::task::spawn_blocking(move || {
            let end = match walk(&store, &prefix, &sender) {
                Ok(Ok(())) => Step::Complete,
                Ok(Err(error)) => Step::Failed(error),
                Err(Unheard) => return,
            };
            // Nobody listens any more: nobody has to be told.
            let _unheard = sender.blocking_send(end);
        });
        stream::unfold(Some(receiver), next)
    };
    stream::once(start).flatten().boxed()
}

async fn next(receiver: Option<Receiver<Step>>) -> Option<(Result<ObjectMeta>, Option<Receiver<Step>>)> {
    let mut receiver = receiver?;
    match receiver.recv().await {
        Some(Step::Object(meta)) => Some((Ok(meta), Some(receiver))),
        Some(Step::Failed(error)) => Some((Err(error), None)),
        Some(Step::Complete) => None,
        None => Some((Err(Error::new(ErrorKind::Internal, "list", "walk ended before it was complete")), None)),
    }
}

fn walk(store: &Store, prefix: &str, sender: &Sender<Step>) -> Result<Result<()>, Unheard> {
    // `a/b/c` → the folder `a/b/`, names that start with `c`.
    let (folder, start) = prefix.rsplit_once('/').map_or(("", prefix), |(folder, start)| (folder, start));
    if !folder.is_empty() && Key::new(folder).is_err() || folder.is_empty() && prefix.starts_with('/') {
        // No key has such a prefix; resolved as a path it could lead outside.
        return Ok(Ok(()));
    }
    let folder = if folder.is_empty() { String::new() } else { format!("{folder}/") };
    let mut folders = vec![(folder, start)];
    while let Some((folder, start)) = folders.pop() {
        let path = store.root.join(&folder);
        let failed = |e| fault::error("list", "cannot read directory", &path, e);
        let entries = match std::fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(e) if fault::is_absent(&e) => continue,
            Err(e) => return Ok(Err(failed(e))),
        };
        for entry in entries {
            match entry.map_err(&failed).and_then(|entry| look(&entry, &folder, start)) {
                Ok(Found::Nothing) => {}
                Ok(Found::Folder(key)) => folders.push((format!("{key}/"), "")),
                Ok(Found::Object(object)) => sender.blocking_send(Step::Object(object)).map_err(|_| Unheard)?,
                Err(error) => return Ok(Err(error)),
            }
        }
    }
    Ok(Ok(()))
}

enum Found {
    Object(ObjectMeta),
    Folder(Key),
    /// Foreign files, unfinished objects and what vanished meanwhile.
    Nothing,
}

/// What an entry is whose name starts with `start` and can be part of a key.
fn look(entry: &DirEntry, folder: &str, start: &str) -> Result<Found> {
    let name = entry.file_name();
    let name = name.to_str().filter(|name| name.starts_with(start));
    // Keys are bounded in length, which also ends a walk through links that lead in a circle.
    let Some(key) = name.and_then(|name| Key::new(format!("{folder}{name}")).ok()) else {
        return Ok(Found::Nothing);
    };
    let path = entry.path();
    // Follows links, as `get` does.
    match std::fs::metadata(&path) {
        Ok(metadata) if metadata.is_dir() => Ok(Found::Folder(key)),
        Ok(metadata) if metadata.is_file() => Ok(Found::Object(object_meta(key, &metadata))),
        Ok(_) => Ok(Found::Nothing),
        Err(e) if fault::is_absent(&e) => Ok(Found::Nothing),
        Err(e) => {
            let errno = Errno::from_io_error(&e);
            let error = fault::error("list", "cannot stat object", &path, e);
            match (entry.file_type(), errno) {
                // Reading it says what is the matter.
                (Ok(kind), _) if kind.is_dir() => Ok(Found::Folder(key)),
                // One object that cannot be looked at hides no other one.
                (Ok(kind), Some(Errno::IO | Errno::UCLEAN | Errno::BADMSG)) if kind.is_file() => Ok(unlooked(key)),
                (Ok(_), Some(Errno::LOOP)) => Ok(unlooked(key)),
                _ => Err(error),
            }
        }
    }
}

fn unlooked(key: Key) -> Found {
    Found::Object(ObjectMeta { key, len: 0, modified_ms: None })
}
