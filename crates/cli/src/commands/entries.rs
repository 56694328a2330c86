//! Entries as lines and as JSON.

use crate::output::{put_bytes, put_path};
use crate::units;
use decube_backup_core::display::{display_bytes, display_line};
use decube_backup_core::{Entry, EntryKind};
use serde_json::{Map, Value, json};

/// How an entry is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// The path alone.
    Short,
    /// As `ls -l`.
    Long,
}

impl Style {
    pub(super) fn of(long: bool) -> Self {
        if long { Self::Long } else { Self::Short }
    }

    /// The entry's line.
    pub(super) fn line(self, entry: &Entry) -> String {
        match self {
            Self::Short => format!("/{}", entry.path),
            Self::Long => long(entry),
        }
    }
}

fn long(entry: &Entry) -> String {
    let meta = &entry.meta;
    let owner = |name: &str, id: u32| if name.is_empty() { id.to_string() } else { display_line(name).to_string() };
    let arrow = match &entry.kind {
        EntryKind::Symlink { target } => format!(" -> {}", display_bytes(target)),
        _ => String::new(),
    };
    let size = match &entry.kind {
        EntryKind::CharDevice { major, minor } | EntryKind::BlockDevice { major, minor } => format!("{major},{minor}"),
        kind => kind.size().to_string(),
    };
    format!(
        "{}{} {:>8} {:>8} {:>12} {} /{}{arrow}",
        entry.kind.letter(),
        mode_text(meta.mode),
        owner(&meta.user, meta.uid),
        owner(&meta.group, meta.gid),
        size,
        units::time(meta.mtime),
        entry.path,
    )
}

/// Permission bits as `ls` writes them.
fn mode_text(mode: u32) -> String {
    let mut text = String::with_capacity(9);
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = mode >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (mode & special != 0, bits & 1 != 0) {
            (false, true) => 'x',
            (false, false) => '-',
            (true, true) => letter,
            (true, false) => letter.to_ascii_uppercase(),
        });
    }
    text
}

/// An entry for JSON; paths are absolute as recorded.
pub(super) fn entry_json(entry: &Entry) -> Map<String, Value> {
    let meta = &entry.meta;
    let mut object = Map::new();
    let name = entry.path.name();
    object.insert("name".into(), String::from_utf8_lossy(name).into_owned().into());
    put_path(&mut object, &[b"/", entry.path.as_bytes()].concat());
    object.insert("type".into(), kind_word(&entry.kind).into());
    if let EntryKind::File { size } = entry.kind {
        object.insert("size".into(), size.into());
    }
    if let EntryKind::Symlink { target } = &entry.kind {
        put_bytes(&mut object, "linktarget", target);
    }
    if let EntryKind::CharDevice { major, minor } | EntryKind::BlockDevice { major, minor } = entry.kind {
        object.insert("device".into(), json!([major, minor]));
    }
    object.insert("mode".into(), meta.mode.into());
    object.insert("permissions".into(), format!("{}{}", entry.kind.letter(), mode_text(meta.mode)).into());
    object.insert("mtime".into(), meta.mtime.to_string().into());
    object.insert("uid".into(), meta.uid.into());
    object.insert("gid".into(), meta.gid.into());
    object.insert("user".into(), meta.user.as_ref().into());
    object.insert("group".into(), meta.group.as_ref().into());
    object
}

fn kind_word(kind: &EntryKind) -> &'static str {
    match kind {
        EntryKind::File { .. } => "file",
        EntryKind::Directory => "dir",
        EntryKind::Symlink { .. } => "symlink",
        EntryKind::Fifo => "fifo",
        EntryKind::CharDevice { .. } => "chardev",
        EntryKind::BlockDevice { .. } => "dev",
    }
}

#[cfg(test)]
mod tests {
    use super::mode_text;

    #[test]
    fn modes_look_as_ls_writes_them() {
        for (mode, text) in [
            (0o755, "rwxr-xr-x"),
            (0o4711, "rws--x--x"),
            (0o1644, "rw-r--r-T"),
            (0o2070, "---rws---"),
            (0, "---------"),
        ] {
            assert_eq!(mode_text(mode), text);
        }
    }
}
