//! The plain part of a record and the signature around it.

use super::{RecordHash, WriterId};
use crate::hash::Key32;
use crate::header::unsupported_version;
use crate::host::HostAdmission;
use crate::ids::{self, IndexId, PackId, PackKind, PackName, ParityId, ParityName, RepositoryId, SlotId};
use crate::log::Payload;
use crate::log::Stamp;
use crate::sealed;
use crate::wire::{Reader, Writer, corrupt};
use decube_backup_core::limits::OBJECT_BYTES_MAX;
use decube_backup_core::{Key, Result};
use ring::signature::{ED25519, UnparsedPublicKey};

const MAGIC: &[u8; 8] = b"DECUBELG";
const VERSION: u16 = 1;
/// Of a record that admits hosts; all others are of version 1.
const VERSION_WITH_HOSTS: u16 = 2;
/// Public key and signature at the end of a record.
pub(super) const TRAILER_BYTES: usize = 32 + SIGNATURE_BYTES;
const SIGNATURE_BYTES: usize = 64;
/// Most writers one record may admit.
const ADMITS_MAX: usize = 1024;

/// An object of the repository, by what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectName {
    /// The plain header.
    Format,
    /// A pack.
    Pack(PackName),
    /// An index segment.
    Index {
        /// Merge level.
        level: u8,
        /// Random name.
        id: IndexId,
    },
    /// A keyring generation.
    Keyring(u32),
    /// A key slot.
    KeySlot(SlotId),
    /// A checkpoint after that record.
    Checkpoint(u64),
    /// The plain header's copy.
    FormatCopy,
    /// The copy of a keyring generation.
    KeyringCopy(u32),
    /// The parity of a pack.
    Parity(ParityName),
}

impl ObjectName {
    /// Level and name if it is an index segment.
    pub fn index(&self) -> Option<(u8, IndexId)> {
        match self {
            Self::Index { level, id } => Some((*level, *id)),
            _ => None,
        }
    }

    /// Its key in the sink.
    ///
    /// # Errors
    /// Never for these names; the signature is the key constructor's.
    pub fn key(&self) -> Result<Key> {
        match self {
            Self::Format => Key::new(ids::FORMAT_KEY),
            Self::Pack(name) => ids::pack_key(name),
            Self::Index { level, id } => ids::index_key(*level, id),
            Self::Keyring(generation) => ids::keyring_key(*generation),
            Self::KeySlot(slot) => ids::slot_key(&slot.to_hex()),
            Self::Checkpoint(seq) => ids::checkpoint_key(*seq),
            Self::FormatCopy => Key::new(ids::FORMAT_COPY_KEY),
            Self::KeyringCopy(generation) => ids::keyring_copy_key(*generation),
            Self::Parity(name) => ids::parity_key(name),
        }
    }

    /// The other of two objects that hold the same bytes; `None` for what is kept once.
    pub fn twin(&self) -> Option<Self> {
        match self {
            Self::Format => Some(Self::FormatCopy),
            Self::FormatCopy => Some(Self::Format),
            Self::Keyring(generation) => Some(Self::KeyringCopy(*generation)),
            Self::KeyringCopy(generation) => Some(Self::Keyring(*generation)),
            Self::Pack(_) | Self::Parity(_) | Self::Index { .. } | Self::KeySlot(_) | Self::Checkpoint(_) => None,
        }
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Format => out.write_u8(0),
            Self::Pack(PackName { kind, id }) => {
                out.write_u8(if *kind == PackKind::Data { 1 } else { 2 });
                out.extend_from_slice(&id.0);
            }
            Self::Index { level, id } => {
                out.write_u8(3);
                out.write_u8(*level);
                out.extend_from_slice(&id.0);
            }
            Self::Keyring(generation) => {
                out.write_u8(4);
                out.write_u32(*generation);
            }
            Self::KeySlot(slot) => {
                out.write_u8(5);
                out.extend_from_slice(&slot.0);
            }
            Self::Checkpoint(seq) => {
                out.write_u8(6);
                out.write_u64(*seq);
            }
            Self::FormatCopy => out.write_u8(7),
            Self::KeyringCopy(generation) => {
                out.write_u8(8);
                out.write_u32(*generation);
            }
            Self::Parity(ParityName { pack, id }) => {
                out.write_u8(if pack.kind == PackKind::Data { 9 } else { 10 });
                out.extend_from_slice(&pack.id.0);
                out.extend_from_slice(&id.0);
            }
        }
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self> {
        Ok(match reader.u8()? {
            0 => Self::Format,
            1 => Self::Pack(PackName { kind: PackKind::Data, id: PackId(reader.array()?) }),
            2 => Self::Pack(PackName { kind: PackKind::Meta, id: PackId(reader.array()?) }),
            3 => Self::Index { level: reader.u8()?, id: IndexId(reader.array()?) },
            4 => Self::Keyring(reader.u32()?),
            5 => Self::KeySlot(SlotId(reader.array()?)),
            6 => Self::Checkpoint(reader.u64()?),
            7 => Self::FormatCopy,
            8 => Self::KeyringCopy(reader.u32()?),
            tag @ (9 | 10) => {
                let kind = if tag == 9 { PackKind::Data } else { PackKind::Meta };
                let pack = PackName { kind, id: PackId(reader.array()?) };
                Self::Parity(ParityName { pack, id: ParityId(reader.array()?) })
            }
            _ => return Err(reader.corrupt()),
        })
    }
}

/// An object that a record brings into being.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddedObject {
    /// Which.
    pub name: ObjectName,
    /// Its length, bytes.
    pub len: u64,
    /// BLAKE3 of all of it.
    pub hash: [u8; 32],
}

impl AddedObject {
    /// `name` holding exactly `bytes`.
    pub fn of(name: ObjectName, bytes: &[u8]) -> Self {
        Self { name, len: bytes.len() as u64, hash: *blake3::hash(bytes).as_bytes() }
    }
}

/// The plain part of a record whose signature has been checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// Which repository's log.
    pub repository: RepositoryId,
    /// Number of the record, from 0.
    pub seq: u64,
    /// Hash of the record before; zeros for the first.
    pub prev: RecordHash,
    /// Random number of the builder: tells its writer its own record after a lost acknowledgement.
    pub nonce: [u8; 16],
    /// Writers whose later records are to be accepted; the first record admits its own.
    pub admits: Vec<WriterId>,
    /// Hosts whose later records are to be accepted, within their bounds.
    pub hosts: Vec<HostAdmission>,
    /// Objects that exist from this record on.
    pub added: Vec<AddedObject>,
    /// Objects nobody may rely on from this record on; names are never reused.
    pub reclaimed: Vec<ObjectName>,
    /// Who signed.
    pub writer: WriterId,
    /// Hash of the whole record.
    pub hash: RecordHash,
    plain_bytes: usize,
    sealed_bytes: usize,
}

/// What a builder fills in.
pub(super) struct EnvelopeFields<'a> {
    pub repository: &'a RepositoryId,
    pub seq: u64,
    pub prev: &'a RecordHash,
    pub nonce: &'a [u8; 16],
    pub admits: &'a [WriterId],
    pub hosts: &'a [HostAdmission],
    pub added: &'a [AddedObject],
    pub reclaimed: &'a [ObjectName],
    pub sealed_bytes: u32,
}

impl EnvelopeFields<'_> {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(128 + self.added.len() * 64 + self.reclaimed.len() * 18);
        out.extend_from_slice(MAGIC);
        out.write_u16(if self.hosts.is_empty() { VERSION } else { VERSION_WITH_HOSTS });
        out.extend_from_slice(&self.repository.0);
        out.write_u64(self.seq);
        out.extend_from_slice(self.prev);
        out.extend_from_slice(self.nonce);
        out.write_varint(self.admits.len() as u64);
        for writer in self.admits {
            out.extend_from_slice(writer);
        }
        if !self.hosts.is_empty() {
            out.write_varint(self.hosts.len() as u64);
            for HostAdmission { slot, writer } in self.hosts {
                out.extend_from_slice(&slot.0);
                out.extend_from_slice(writer);
            }
        }
        out.write_varint(self.added.len() as u64);
        for object in self.added {
            object.name.write(&mut out);
            out.write_u64(object.len);
            out.extend_from_slice(&object.hash);
        }
        out.write_varint(self.reclaimed.len() as u64);
        for name in self.reclaimed {
            name.write(&mut out);
        }
        out.write_u32(self.sealed_bytes);
        out
    }
}

impl Envelope {
    /// Checks structure and signature of a whole record; needs no keys. Whether the writer may sign and whether
    /// the record continues the log is for [`super::LogChain`].
    ///
    /// # Errors
    /// `Corrupt`; `Unsupported` for a whole record of another version.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        if bytes.len() > OBJECT_BYTES_MAX || !bytes.starts_with(MAGIC) {
            return Err(corrupt("log record"));
        }
        let (writer, signed) = check_signature(bytes)?;
        let mut reader = Reader::new(signed, "log record");
        reader.take(MAGIC.len())?;
        let version = reader.u16()?;
        if version != VERSION && version != VERSION_WITH_HOSTS {
            return Err(unsupported_version("log record", version));
        }
        let repository = RepositoryId(reader.array()?);
        let (seq, prev, nonce) = (reader.u64()?, reader.array()?, reader.array()?);
        let admits = many(&mut reader, 32, Reader::array)?;
        let hosts = match version {
            VERSION => Vec::new(),
            _ => many(&mut reader, 40, |r| Ok(HostAdmission { slot: SlotId(r.array()?), writer: r.array()? }))?,
        };
        let added = many(&mut reader, 41, |reader| {
            Ok(AddedObject { name: ObjectName::read(reader)?, len: reader.u64()?, hash: reader.array()? })
        })?;
        let reclaimed = many(&mut reader, 5, ObjectName::read)?;
        let sealed_bytes = reader.u32()? as usize;
        let plain_bytes = signed.len() - reader.remaining();
        reader.take(sealed_bytes)?;
        reader.finish()?;
        let hosts_fit = (version == VERSION_WITH_HOSTS) != hosts.is_empty() && hosts.len() <= ADMITS_MAX;
        if !hosts_fit || admits.len() > ADMITS_MAX || (seq == 0 && prev != [0; 32]) {
            return Err(corrupt("log record"));
        }
        let hash = *blake3::hash(bytes).as_bytes();
        Ok(Self {
            repository,
            seq,
            prev,
            nonce,
            admits,
            hosts,
            added,
            reclaimed,
            writer,
            hash,
            plain_bytes,
            sealed_bytes,
        })
    }

    /// Opens the payload of the record `bytes` this envelope was decoded from.
    ///
    /// # Errors
    /// `Corrupt` if the payload was not sealed under `log_key` with this envelope, or `bytes` are another record;
    /// `Unsupported` for a payload of another version.
    pub fn open(&self, bytes: &[u8], log_key: &Key32) -> Result<(Stamp, Payload)> {
        self.open_by(bytes, |aad, sealed| sealed::open(log_key, aad, sealed))
    }

    /// As [`Self::open`], by `opened`, which gets the additional data and what was sealed: a host seals to a reading key.
    ///
    /// # Errors
    /// As there, and what `opened` yields.
    pub fn open_by(
        &self,
        bytes: &[u8],
        opened: impl FnOnce(&[u8], &[u8]) -> Result<Vec<u8>>,
    ) -> Result<(Stamp, Payload)> {
        if *blake3::hash(bytes).as_bytes() != self.hash {
            return Err(corrupt("log record").with("seq", self.seq));
        }
        let mut reader = Reader::new(bytes, "log record");
        let plain = reader.take(self.plain_bytes)?;
        let sealed = reader.take(self.sealed_bytes)?;
        let payload = opened(plain, sealed).map_err(|e| e.with("seq", self.seq))?;
        let (stamp, payload) = Payload::decode(&payload).map_err(|e| e.with("seq", self.seq))?;
        payload.check_against(&self.reclaimed).map_err(|e| e.with("seq", self.seq))?;
        Ok((stamp, payload))
    }

    /// The packs among the reclaimed objects.
    pub fn reclaimed_packs(&self) -> impl Iterator<Item = &PackName> {
        self.reclaimed.iter().filter_map(|name| if let ObjectName::Pack(pack) = name { Some(pack) } else { None })
    }
}

/// What is signed: a hash over all but the signature, in a domain of its own.
pub(super) fn signature_digest(signed: &[u8], writer: &WriterId) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key("decube-backup 2026 v1 record signature");
    hasher.update(signed).update(writer);
    *hasher.finalize().as_bytes()
}

fn check_signature(bytes: &[u8]) -> Result<(WriterId, &[u8])> {
    let split = bytes.split_last_chunk::<SIGNATURE_BYTES>().and_then(|(rest, signature)| {
        rest.split_last_chunk::<32>().map(|(signed, writer)| (signed, writer, signature))
    });
    let (signed, writer, signature) = split.ok_or_else(|| corrupt("log record"))?;
    UnparsedPublicKey::new(&ED25519, writer)
        .verify(&signature_digest(signed, writer), signature)
        .map_err(|_| corrupt("log record").with("reason", "signature does not match"))?;
    Ok((*writer, signed))
}

fn many<'a, T>(
    reader: &mut Reader<'a>,
    item_bytes_min: usize,
    read: impl Fn(&mut Reader<'a>) -> Result<T>,
) -> Result<Vec<T>> {
    let count = reader.count(item_bytes_min)?;
    (0..count).map(|_| read(reader)).collect()
}
