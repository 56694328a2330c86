//! Which names of a snapshot are one file.

use decube_backup_format::tree::TreeEntry;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Gives the link group of `entry` a label that only names of one kind, content and time of modification share. By itself it
/// may be that of two files, in a snapshot of an early build or of a host that lies: each of them then comes back as itself.
pub(crate) fn tell_apart(entry: &mut TreeEntry) {
    let TreeEntry { entry, content } = entry;
    let Some(group) = &mut entry.meta.link_group else { return };
    let mut hasher = DefaultHasher::new();
    (&entry.kind, entry.meta.mtime, content).hash(&mut hasher);
    let alike = format!("{:016x}", hasher.finish());
    // One whose path is as long as any may be stays as it is.
    if let Ok(label) = group.join(alike.as_bytes()) {
        *group = label;
    }
}
