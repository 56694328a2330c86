//! A subtree as tar.

use super::content::{ChunkReader, ContentReader, OnLoss};
use super::out_error;
use crate::browse;
use crate::link_groups::tell_apart;
use crate::options::Snapshot;
use crate::repository::Repository;
use crate::segments::{Nodes, loss};
use decube_backup_core::acl;
use decube_backup_core::display::display_bytes;
use decube_backup_core::entry::{EntryKind, EntryPath, Timestamp};
use decube_backup_core::monitor::{Monitor, Problem, ProblemKind, Progress, check_stop};
use decube_backup_core::{Error, ErrorKind, Result};
use decube_backup_format::tree::{TreeCursor, TreeEntry};
use std::collections::HashMap;
use std::io::{self, Read, Write};

/// Bytes of a link's target that a header takes. Source: POSIX `ustar`, field `linkname`.
const LINK_NAME_BYTES: usize = 100;

/// Writes `path` and everything below it to `out` as a tar archive (GNU long names, PAX for
/// nanosecond times, extended attributes and ACLs); names are relative to the snapshot's root.
///
/// Tells `monitor` and returns what could not be put into it: content of a file that cannot be read is zeros in its place.
///
/// # Errors
/// `NotFound`; the store does not answer; the output cannot be written.
pub fn dump_tar(
    repo: &Repository,
    snapshot: &Snapshot,
    path: &EntryPath,
    out: &mut dyn Write,
    monitor: &dyn Monitor,
) -> Result<Vec<Problem>> {
    let nodes = Nodes::to_look(repo)?;
    let mut chunks = ChunkReader::new(repo)?;
    let mut archive = tar::Builder::new(out);
    let (mut problems, mut links, mut found) = (Vec::new(), HashMap::new(), path.is_root());
    let mut tell = |problem: Problem| {
        monitor.problem(&problem);
        problems.push(problem);
    };
    // Where the way to the subtree is damaged, the walk from the start says what is lost.
    let tree = browse::root(snapshot);
    let mut cursor = TreeCursor::within(&nodes, &tree, path).unwrap_or_else(|_| TreeCursor::new(&nodes, &tree));
    loop {
        check_stop(monitor)?;
        let entry = match cursor.next() {
            Ok(Some(mut entry)) => {
                tell_apart(&mut entry);
                entry
            }
            Ok(None) => break,
            Err(error) if error.kind() == ErrorKind::Unavailable => return Err(error),
            Err(error) => {
                let from = cursor.gap().map(|g| g.from.as_bytes().to_vec()).unwrap_or_default();
                let lost = cursor.gap().map_or(0, |g| g.entries);
                let message = format!("{lost} entries from here on cannot be read: {}", error.chain());
                tell(Problem::new(loss(&error), from, message));
                found = true;
                continue;
            }
        };
        if !entry.entry.path.is_within(path) {
            continue;
        }
        found = true;
        if entry.entry.path.is_root() {
            continue;
        }
        let first = entry.entry.meta.link_group.as_ref().and_then(|group| links.get(group)).cloned();
        let reader = ContentReader::new(&mut chunks, &nodes, &entry.content, OnLoss::Zeros);
        let lost = append_entry(&mut archive, &entry, first.as_ref(), reader, &mut tell)?;
        if let Some(error) = lost {
            let message = format!("part of its content cannot be read, zeros are in its place: {}", error.chain());
            tell(Problem::new(loss(&error), entry.entry.path.as_bytes(), message));
        }
        if let (Some(group), None) = (&entry.entry.meta.link_group, first) {
            links.insert(group.clone(), entry.entry.path.clone());
        }
        monitor.advance(Progress::Entries, 1);
        monitor.advance(Progress::Bytes, entry.entry.kind.size());
    }
    if !found {
        return Err(Error::new(ErrorKind::NotFound, "dump", "no such path in the snapshot").with("path", path));
    }
    archive.into_inner().and_then(|out| out.flush()).map_err(out_error)?;
    Ok(problems)
}

fn os_path(bytes: &[u8]) -> &std::path::Path {
    use std::os::unix::ffi::OsStrExt;
    std::path::Path::new(std::ffi::OsStr::from_bytes(bytes))
}

/// Appends one entry; `Ok(Some)` says its content is incomplete.
fn append_entry(
    archive: &mut tar::Builder<&mut dyn Write>,
    entry: &TreeEntry,
    first_link: Option<&EntryPath>,
    mut content: ContentReader<'_, '_>,
    tell: &mut dyn FnMut(Problem),
) -> Result<Option<Error>> {
    let meta = &entry.entry.meta;
    let path = entry.entry.path.as_bytes();
    let mut extensions: Vec<(String, Vec<u8>)> = Vec::new();
    if meta.mtime.nanoseconds != 0 || meta.mtime.seconds < 0 {
        extensions.push(("mtime".into(), seconds(meta.mtime).into_bytes()));
    }
    for xattr in &meta.xattrs {
        // An ACL has a record of its own, which archivers turn back into one.
        let record = match xattr.name.as_slice() {
            acl::ACCESS => Some("SCHILY.acl.access"),
            acl::DEFAULT => Some("SCHILY.acl.default"),
            _ => None,
        };
        if let Some((record, text)) = record.zip(acl::text(&xattr.value)) {
            extensions.push((record.into(), text.into_bytes()));
        } else if let Ok(name) = std::str::from_utf8(&xattr.name) {
            // The first `=` of a record ends its keyword. As GNU tar writes it.
            let name = name.replace('%', "%25").replace('=', "%3D");
            extensions.push((format!("SCHILY.xattr.{name}"), xattr.value.clone()));
        } else {
            let message =
                format!("an archive has no extended attribute of such a name: {}", display_bytes(&xattr.name));
            tell(Problem::new(ProblemKind::Attribute, path, message));
        }
    }
    let target = match &entry.entry.kind {
        EntryKind::Symlink { target } if first_link.is_none() => Some(target.as_slice()),
        _ => None,
    };
    if let Some(long) = target.filter(|target| target.len() > LINK_NAME_BYTES) {
        extensions.push(("linkpath".into(), long.to_vec()));
    }
    let records = extensions.iter().map(|(k, v)| (k.as_str(), v.as_slice()));
    archive.append_pax_extensions(records).map_err(out_error)?;

    let mut header = tar::Header::new_gnu();
    header.set_mode(meta.mode);
    header.set_uid(u64::from(meta.uid));
    header.set_gid(u64::from(meta.gid));
    header.set_mtime(meta.mtime.seconds.max(0) as u64);
    // Names too long for the header are left to the numeric ids.
    let _ = header.set_username(&meta.user);
    let _ = header.set_groupname(&meta.group);
    header.set_size(0);
    let path = os_path(path);
    if let Some(first) = first_link {
        header.set_entry_type(tar::EntryType::Link);
        archive.append_link(&mut header, path, os_path(first.as_bytes())).map_err(out_error)?;
        return Ok(None);
    }
    let special = |kind, header: &mut tar::Header| header.set_entry_type(kind);
    match &entry.entry.kind {
        EntryKind::File { size } => {
            header.set_size(*size);
            // Of the announced length, whatever is lost: the archive stays readable.
            let announced = (&mut content).chain(io::repeat(0)).take(*size);
            archive.append_data(&mut header, path, announced).map_err(out_error)?;
            return Ok(content.into_lost());
        }
        EntryKind::Symlink { target } => {
            special(tar::EntryType::Symlink, &mut header);
            // As it is: parsed as a path, `a//b` and `./c` would come out as others.
            let fits = target.get(..LINK_NAME_BYTES).unwrap_or(target);
            header.set_link_name_literal(fits).map_err(out_error)?;
        }
        EntryKind::Directory => special(tar::EntryType::Directory, &mut header),
        EntryKind::Fifo => special(tar::EntryType::Fifo, &mut header),
        EntryKind::CharDevice { major, minor } | EntryKind::BlockDevice { major, minor } => {
            let block = matches!(entry.entry.kind, EntryKind::BlockDevice { .. });
            special(if block { tar::EntryType::Block } else { tar::EntryType::Char }, &mut header);
            header.set_device_major(*major).and_then(|()| header.set_device_minor(*minor)).map_err(out_error)?;
        }
    }
    archive.append_data(&mut header, path, io::empty()).map_err(out_error)?;
    Ok(None)
}

/// Seconds since 1970 as a decimal fraction, exactly.
fn seconds(time: Timestamp) -> String {
    match (time.seconds, time.nanoseconds) {
        (seconds, 0) => seconds.to_string(),
        (seconds @ 0.., nanoseconds) => format!("{seconds}.{nanoseconds:09}"),
        // Nanoseconds count forward, digits behind a minus do not.
        (seconds, nanoseconds) => format!("-{}.{:09}", -(seconds + 1), 1_000_000_000 - nanoseconds),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_exact_on_both_sides_of_1970() {
        let text = |seconds, nanoseconds| super::seconds(Timestamp { seconds, nanoseconds });
        assert_eq!(text(0, 0), "0");
        assert_eq!(text(1, 5), "1.000000005");
        assert_eq!(text(-1, 0), "-1");
        assert_eq!(text(-1, 1), "-0.999999999");
        assert_eq!(text(-2_147_471_999, 123_456_789), "-2147471998.876543211");
        assert_eq!(text(i64::MIN, 1), "-9223372036854775807.999999999");
    }
}
