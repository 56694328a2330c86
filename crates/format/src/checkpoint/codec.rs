//! States as bytes: little-endian tables, zstd, sealed.
//!
//! The plain form is a function of the state: equal states encode to equal bytes before sealing.

use super::{Host, ObjectInfo, Pin, SnapshotEntry, State, Visibility};
use crate::hash::Key32;
use crate::header::unsupported_version;
use crate::ids::{IndexId, PackId, PackKind, PackName, ParityId, RepositoryId, SlotId, SnapshotId};
use crate::log::{LogKeys, ObjectName, WriterId};
use crate::manifest::{MANIFEST_BYTES_MAX, SnapshotManifest, TEXT_BYTES_MAX, decode_versioned, encode_versioned};
use crate::sealed;
use crate::wire::{Reader, Writer, corrupt};
use decube_backup_core::world::Entropy;
use decube_backup_core::{Error, ErrorKind, Result, Timestamp};
use std::collections::BTreeMap;
use std::io::Read;

const VERSION: u16 = 4;
/// Before hosts could be admitted, and as long as none was: ends behind the parity.
const VERSION_WITHOUT_HOSTS: u16 = 3;
/// Before packs could have parity, and as long as none has: ends behind the findings.
const VERSION_WITHOUT_PARITY: u16 = 2;
/// Before packs could be recorded as damaged or verified: ends behind the snapshots.
const VERSION_WITHOUT_FINDINGS: u16 = 1;
/// Longest plain form, bytes: 10 million packs.
const PLAIN_BYTES_MAX: u64 = 1 << 30;
const ZSTD_LEVEL: i32 = 1;
const WHAT: &str = "checkpoint";

impl State {
    /// The checkpoint `ckpt/<next_seq − 1>`, sealed.
    ///
    /// # Errors
    /// No entropy; `Internal` if compression fails.
    pub fn encode(&self, keys: &LogKeys, entropy: &dyn Entropy) -> Result<Vec<u8>> {
        let packed = zstd::bulk::compress(&self.encode_plain()?, ZSTD_LEVEL)
            .map_err(|e| Error::new(ErrorKind::Internal, "checkpoint", "state does not compress").with_source(e))?;
        sealed::seal(keys.cipher(), keys.log_key(), &aad(&self.repository), &packed, entropy)
    }

    /// Opens a checkpoint of `repository`.
    ///
    /// # Errors
    /// `Corrupt`; `Unsupported` for another version. Either way the log can be folded again.
    pub fn decode(bytes: &[u8], log_key: &Key32, repository: &RepositoryId) -> Result<Self> {
        let packed = sealed::open(log_key, &aad(repository), bytes)?;
        let mut plain = Vec::new();
        zstd::stream::read::Decoder::new(packed.as_slice())
            .and_then(|decoder| decoder.take(PLAIN_BYTES_MAX + 1).read_to_end(&mut plain))
            .map_err(|e| corrupt(WHAT).with_source(e))?;
        drop(packed);
        if plain.len() as u64 > PLAIN_BYTES_MAX {
            return Err(corrupt(WHAT).with("reason", "too long"));
        }
        let state = Self::decode_plain(&plain)?;
        if state.repository == *repository { Ok(state) } else { Err(corrupt(WHAT)) }
    }

    fn encode_plain(&self) -> Result<Vec<u8>> {
        let mut out = Vec::with_capacity(1024 + self.live_pack_count() * 52 + self.snapshots.len() * 512);
        let version = match (self.hosts.is_empty(), self.parities.is_empty()) {
            (false, _) => VERSION,
            (true, false) => VERSION_WITHOUT_HOSTS,
            (true, true) => VERSION_WITHOUT_PARITY,
        };
        out.write_u16(version);
        out.extend_from_slice(&self.repository.0);
        out.write_u64(self.next_seq);
        out.extend_from_slice(&self.hash);
        write_all(&mut out, &self.writers, |out, writer| out.extend_from_slice(writer));
        write_all(&mut out, &self.format, write_info);
        write_all(&mut out, &self.format_copy, write_info);
        for packs in [&self.data_packs, &self.meta_packs] {
            write_all(&mut out, packs, |out, (id, info)| {
                out.extend_from_slice(&id.0);
                write_info(out, info);
            });
        }
        write_all(&mut out, &self.condemned, |out, (name, seq)| {
            write_pack(out, name);
            out.write_u64(*seq);
        });
        write_all(&mut out, &self.reclaimed, write_pack);
        write_all(&mut out, &self.indexes, |out, ((level, id), info)| {
            out.write_u8(*level);
            out.extend_from_slice(&id.0);
            write_info(out, info);
        });
        for keyrings in [&self.keyrings, &self.keyring_copies] {
            write_all(&mut out, keyrings, |out, (generation, info)| {
                out.write_u32(*generation);
                write_info(out, info);
            });
        }
        out.write_u32(self.keyring_current);
        write_all(&mut out, &self.slots, |out, (slot, info)| {
            out.extend_from_slice(&slot.0);
            write_info(out, info);
        });
        write_all(&mut out, &self.checkpoints, |out, (seq, info)| {
            out.write_u64(*seq);
            write_info(out, info);
        });
        write_all(&mut out, &self.retired, |out, name| name.write(out));
        out.write_varint(self.snapshots.len() as u64);
        for snapshot in &self.snapshots {
            write_snapshot(&mut out, snapshot)?;
        }
        write_all(&mut out, &self.damaged, |out, (name, seq)| {
            write_pack(out, name);
            out.write_u64(*seq);
        });
        write_all(&mut out, &self.verified, |out, (name, seconds)| {
            write_pack(out, name);
            out.write_u64(*seconds as u64);
        });
        if version >= VERSION_WITHOUT_HOSTS {
            write_all(&mut out, &self.parities, |out, (pack, (id, info))| {
                write_pack(out, pack);
                out.extend_from_slice(&id.0);
                write_info(out, info);
            });
        }
        if version == VERSION {
            out.write_u64(self.full_seq);
            write_all(&mut out, &self.hosts, |out, (writer, host)| {
                out.extend_from_slice(writer);
                out.extend_from_slice(&host.slot.0);
                out.write_bytes(host.name.as_bytes());
            });
            write_all(&mut out, &self.hosted, |out, (pack, seq)| {
                write_pack(out, pack);
                out.write_u64(*seq);
            });
            write_all(&mut out, &self.hosted_indexes, |out, ((level, id), seq)| {
                out.write_u8(*level);
                out.extend_from_slice(&id.0);
                out.write_u64(*seq);
            });
        }
        Ok(out)
    }

    fn decode_plain(plain: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(plain, WHAT);
        let version = reader.u16()?;
        if !(VERSION_WITHOUT_FINDINGS..=VERSION).contains(&version) {
            return Err(unsupported_version(WHAT, version));
        }
        let mut state = Self::new(RepositoryId(reader.array()?));
        state.next_seq = reader.u64()?;
        state.hash = reader.array()?;
        state.writers = read_set(&mut reader, 32, Reader::array)?;
        state.format = read_optional(&mut reader)?;
        state.format_copy = read_optional(&mut reader)?;
        state.data_packs = read_set(&mut reader, 52, |r| Ok((PackId(r.array()?), read_info(r)?)))?;
        state.meta_packs = read_set(&mut reader, 52, |r| Ok((PackId(r.array()?), read_info(r)?)))?;
        state.condemned = read_set(&mut reader, 25, |r| Ok((read_pack(r)?, r.u64()?)))?;
        state.reclaimed = read_set(&mut reader, 17, read_pack)?;
        state.indexes = read_set(&mut reader, 53, |r| Ok(((r.u8()?, IndexId(r.array()?)), read_info(r)?)))?;
        state.keyrings = read_set(&mut reader, 40, |r| Ok((r.u32()?, read_info(r)?)))?;
        state.keyring_copies = read_set(&mut reader, 40, |r| Ok((r.u32()?, read_info(r)?)))?;
        state.keyring_current = reader.u32()?;
        state.slots = read_set(&mut reader, 44, |r| Ok((SlotId(r.array()?), read_info(r)?)))?;
        state.checkpoints = read_set(&mut reader, 44, |r| Ok((r.u64()?, read_info(r)?)))?;
        state.retired = read_set(&mut reader, 5, ObjectName::read)?;
        for at in 0..reader.count(44)? {
            let snapshot = read_snapshot(&mut reader)?;
            if state.snapshot_at.insert(snapshot.id, at).is_some() {
                return Err(reader.corrupt());
            }
            state.snapshots.push(snapshot);
        }
        if version != VERSION_WITHOUT_FINDINGS {
            state.damaged = read_set(&mut reader, 25, |r| Ok((read_pack(r)?, r.u64()?)))?;
            state.verified = read_set(&mut reader, 25, |r| Ok((read_pack(r)?, r.u64()? as i64)))?;
        }
        if version >= VERSION_WITHOUT_HOSTS {
            state.parities = read_set(&mut reader, 61, |r| Ok((read_pack(r)?, (ParityId(r.array()?), read_info(r)?))))?;
        }
        state.full_seq = if version == VERSION { reader.u64()? } else { state.next_seq };
        if version == VERSION {
            state.hosts = read_set(&mut reader, 41, read_host)?;
            state.hosted = read_set(&mut reader, 25, |r| Ok((read_pack(r)?, r.u64()?)))?;
            state.hosted_indexes = read_set(&mut reader, 25, |r| Ok(((r.u8()?, IndexId(r.array()?)), r.u64()?)))?;
            if state.hosts.is_empty() || state.full_seq > state.next_seq {
                return Err(reader.corrupt());
            }
        }
        reader.finish()?;
        Ok(state)
    }
}

fn aad(repository: &RepositoryId) -> Vec<u8> {
    // Not the number: a state says which record it follows, and a cache may keep it under any name.
    sealed::aad(WHAT, repository, "")
}

fn write_all<C, T>(out: &mut Vec<u8>, items: C, write: impl Fn(&mut Vec<u8>, T))
where
    C: IntoIterator<Item = T, IntoIter: ExactSizeIterator>,
{
    let items = items.into_iter();
    out.write_varint(items.len() as u64);
    items.for_each(|item| write(out, item));
}

/// Reads a set or map; its items are in order as written, so collecting builds it densely.
fn read_set<'a, T, C: FromIterator<T> + Sized>(
    reader: &mut Reader<'a>,
    item_bytes_min: usize,
    read: impl Fn(&mut Reader<'a>) -> Result<T>,
) -> Result<C> {
    let count = reader.count(item_bytes_min)?;
    (0..count).map(|_| read(reader)).collect()
}

fn read_optional(reader: &mut Reader<'_>) -> Result<Option<ObjectInfo>> {
    let found: BTreeMap<(), ObjectInfo> = read_set(reader, 36, |r| Ok(((), read_info(r)?)))?;
    Ok(found.into_values().next())
}

fn write_info(out: &mut Vec<u8>, info: &ObjectInfo) {
    out.write_u32(info.len);
    out.extend_from_slice(&info.hash);
}

fn read_info(reader: &mut Reader<'_>) -> Result<ObjectInfo> {
    Ok(ObjectInfo { len: reader.u32()?, hash: reader.array()? })
}

fn write_pack(out: &mut Vec<u8>, name: &PackName) {
    out.write_u8(if name.kind == PackKind::Data { 0 } else { 1 });
    out.extend_from_slice(&name.id.0);
}

fn read_pack(reader: &mut Reader<'_>) -> Result<PackName> {
    let kind = match reader.u8()? {
        0 => PackKind::Data,
        1 => PackKind::Meta,
        _ => return Err(reader.corrupt()),
    };
    Ok(PackName { kind, id: PackId(reader.array()?) })
}

fn read_host(reader: &mut Reader<'_>) -> Result<(WriterId, Host)> {
    let (writer, slot) = (reader.array()?, SlotId(reader.array()?));
    let name = String::from_utf8(reader.bytes(TEXT_BYTES_MAX)?.to_vec()).map_err(|_| reader.corrupt())?;
    Ok((writer, Host { slot, name }))
}

fn write_snapshot(out: &mut Vec<u8>, snapshot: &SnapshotEntry) -> Result<()> {
    out.extend_from_slice(&snapshot.id.0);
    out.write_u64(snapshot.seq);
    match snapshot.visibility {
        Visibility::Live => out.write_u8(0),
        Visibility::Forgotten { seq } => {
            out.write_u8(1);
            out.write_u64(seq);
        }
    }
    match snapshot.pin {
        Pin::None => out.write_u8(0),
        Pin::Until(moment) => {
            out.write_u8(1);
            out.write_u64(moment.seconds as u64);
            out.write_u32(moment.nanoseconds);
        }
        Pin::Forever => out.write_u8(2),
    }
    out.write_bytes(&encode_versioned(&snapshot.manifest)?);
    Ok(())
}

fn read_snapshot(reader: &mut Reader<'_>) -> Result<SnapshotEntry> {
    let (id, seq) = (SnapshotId(reader.array()?), reader.u64()?);
    let visibility = match reader.u8()? {
        0 => Visibility::Live,
        1 => Visibility::Forgotten { seq: reader.u64()? },
        _ => return Err(reader.corrupt()),
    };
    let pin = match reader.u8()? {
        0 => Pin::None,
        1 => Pin::Until(Timestamp { seconds: reader.u64()? as i64, nanoseconds: reader.u32()? }),
        2 => Pin::Forever,
        _ => return Err(reader.corrupt()),
    };
    let manifest: SnapshotManifest = decode_versioned(reader.bytes(2 * MANIFEST_BYTES_MAX)?, usize::MAX, WHAT)?;
    Ok(SnapshotEntry { id, seq, manifest, visibility, pin })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::ObjectInfo;

    fn sample() -> State {
        let mut state = State::new(RepositoryId([1; 16]));
        let info = ObjectInfo { len: 9, hash: [2; 32] };
        state.format = Some(info);
        state.format_copy = Some(info);
        state.keyring_copies.insert(1, info);
        state.writers.insert([3; 32]);
        state.data_packs.insert(PackId([4; 16]), info);
        state.reclaimed.insert(PackName { kind: PackKind::Meta, id: PackId([5; 16]) });
        state.condemned.insert(PackName { kind: PackKind::Data, id: PackId([4; 16]) }, 7);
        state.damaged.insert(PackName { kind: PackKind::Data, id: PackId([4; 16]) }, 8);
        state.verified.insert(PackName { kind: PackKind::Meta, id: PackId([9; 16]) }, -3);
        state.indexes.insert((1, IndexId([6; 16])), info);
        state.slots.insert(SlotId([7; 8]), info);
        state.retired.insert(ObjectName::Checkpoint(3));
        state.snapshot_at.insert(SnapshotId([8; 32]), 0);
        state.snapshots.push(SnapshotEntry {
            id: SnapshotId([8; 32]),
            seq: 1,
            manifest: SnapshotManifest::default(),
            visibility: Visibility::Forgotten { seq: 2 },
            pin: Pin::Until(Timestamp { seconds: -1, nanoseconds: 1 }),
        });
        state
    }

    #[test]
    fn the_plain_form_is_settled() {
        const GOLDEN: &str = "3e11a0ebc119595ca6aa6b6a1a66b8f08f1ea730dcb812261dd0af4a2425d9d6";
        let plain = sample().encode_plain().expect("encodes");
        assert_eq!(crate::ids::hex(blake3::hash(&plain).as_bytes()), GOLDEN, "{}", crate::ids::hex(&plain));
    }

    fn sample_with_hosts() -> State {
        let mut state = sample();
        state.hosts.insert([0x77; 32], Host { slot: SlotId([7; 8]), name: "alpha".into() });
        state.hosted.insert(PackName { kind: PackKind::Data, id: PackId([4; 16]) }, 5);
        state.hosted_indexes.insert((1, IndexId([6; 16])), 5);
        state
    }

    #[test]
    fn the_plain_form_with_hosts_is_settled_and_round_trips() {
        const GOLDEN: &str = "6cddfd4574f2019cfcb2d149e38c25922f3a5de36f7099614e25d5d62ca1b480";
        let plain = sample_with_hosts().encode_plain().expect("encodes");
        assert_eq!(crate::ids::hex(blake3::hash(&plain).as_bytes()), GOLDEN, "{}", crate::ids::hex(&plain));
        assert_eq!(State::decode_plain(&plain).expect("decodes"), sample_with_hosts());
        for at in 0..plain.len() {
            assert!(State::decode_plain(&plain[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn a_checkpoint_of_before_packs_were_judged_still_opens() {
        let mut state = sample();
        (state.damaged, state.verified) = Default::default();
        let mut plain = state.encode_plain().expect("encodes");
        assert_eq!(plain.split_off(plain.len() - 2), [0, 0]);
        plain[..2].copy_from_slice(&VERSION_WITHOUT_FINDINGS.to_le_bytes());
        const GOLDEN: &str = "b6db2819dc79425b1744c2b6e263170abb57d6aaefa53c42ed2436259b9d4853";
        assert_eq!(crate::ids::hex(blake3::hash(&plain).as_bytes()), GOLDEN);
        assert_eq!(State::decode_plain(&plain).expect("decodes"), state);
    }

    #[test]
    fn a_state_with_parity_has_one_table_more() {
        let without = sample().encode_plain().expect("encodes");
        let mut state = sample();
        let pack = PackName { kind: PackKind::Data, id: PackId([4; 16]) };
        state.parities.insert(pack, (ParityId([10; 8]), ObjectInfo { len: 5, hash: [11; 32] }));
        let plain = state.encode_plain().expect("encodes");
        let table = [&[1, 0][..], &[4; 16], &[10; 8], &[5, 0, 0, 0], &[11; 32]].concat();
        assert_eq!(plain, [&VERSION_WITHOUT_HOSTS.to_le_bytes(), &without[2..], &table].concat());
        assert_eq!(State::decode_plain(&plain).expect("decodes"), state);
        for at in 0..plain.len() {
            assert!(State::decode_plain(&plain[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn the_plain_form_round_trips_and_changed_bytes_never_panic() {
        let plain = sample().encode_plain().expect("encodes");
        assert_eq!(State::decode_plain(&plain).expect("decodes"), sample());
        for at in 0..plain.len() {
            assert!(State::decode_plain(&plain[..at]).is_err(), "cut at {at}");
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut bad = plain.clone();
                bad[at] = value;
                let _ = State::decode_plain(&bad);
            }
        }
    }
}
