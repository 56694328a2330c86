//! A handle opened with a write-only key.
//!
//! It folds the plain part of the log: which packs there are and which were reclaimed it knows, snapshots and everything
//! else that is sealed it does not. It knows what is in its own packs from its own index segments, which open for it too;
//! it opens no pack, no payload and nobody else's index.

use super::Repository;
use decube_backup_core::{Error, ErrorKind, Result};
use decube_backup_format::checkpoint::State;
use decube_backup_format::hash::Key32;
use decube_backup_format::header::Access;
use decube_backup_format::host::{HostMark, HostRing, host_index_key};
use decube_backup_format::ids::{IndexId, PackName, log_key};
use decube_backup_format::log::{Envelope, ObjectName, Payload, Stamp, WriterId};
use decube_backup_format::reading::{RunKeys, SealedToReader, Shared};
use decube_backup_format::seal::Cipher;
use decube_backup_format::sealed;
use std::collections::BTreeMap;

/// Who a write-only key makes of its owner.
pub(crate) struct Host {
    pub ring: HostRing,
    pub writer: WriterId,
    /// The end of every name it draws.
    pub mark: HostMark,
    /// The end of every name that was drawn for it.
    given: HostMark,
}

impl Host {
    pub(super) fn new(ring: HostRing) -> Result<Self> {
        let writer = ring.writer()?;
        Ok(Self { ring, writer, mark: HostMark::of(&writer), given: HostMark::given(&writer) })
    }

    /// The keys of a new run.
    ///
    /// # Errors
    /// No entropy.
    pub(crate) fn begin_run(&self, repo: &Repository) -> Result<RunKeys> {
        RunKeys::begin(&self.ring.reader, &repo.id(), repo.env.entropy.as_ref())
    }

    /// Whether it may rely on the pack without having written it in this run: it wrote it, or somebody who can read did
    /// so for it.
    pub(crate) fn may_reuse(&self, state: &State, pack: &PackName) -> bool {
        self.is_for_it(&pack.id.0) && state.pack(pack).is_some()
    }

    /// Whether the pack or index segment of that name is one it can rely on or open, by the name.
    pub(super) fn is_for_it(&self, name: &[u8; 16]) -> bool {
        self.mark.is_on(name) || self.given.is_on(name)
    }
}

/// A record as its payload says it is.
pub(crate) type Said = (Stamp, Payload);

impl Repository {
    /// Who this handle was opened for, if by a write-only key.
    pub(crate) fn host(&self) -> Option<&Host> {
        self.host.as_ref()
    }

    /// What seals new objects.
    ///
    /// # Errors
    /// No keyring is held.
    pub fn cipher(&self) -> Result<Cipher> {
        match &self.host {
            Some(host) => Ok(host.ring.cipher),
            None => Ok(self.held_keyring()?.cipher),
        }
    }

    /// The host whose snapshots alone this handle adds, if it was opened by a write-only key.
    pub fn write_only_host(&self) -> Option<&str> {
        self.host.as_ref().map(|host| host.ring.host.as_str())
    }

    /// The end of the names of what this handle writes for the host that signs by `owner`.
    pub(crate) fn mark_for(&self, owner: &WriterId) -> HostMark {
        if self.host.is_some() { HostMark::of(owner) } else { HostMark::given(owner) }
    }

    /// Whether this handle may read, and this program do to the repository what `access` says.
    ///
    /// # Errors
    /// `WrongKey` for a write-only key; `Unsupported` as the header says.
    pub(crate) fn check_reader(&self, access: Access) -> Result<()> {
        if self.host.is_some() { Err(super::unlock::write_only()) } else { self.header.check(access) }
    }

    /// Refuses a log that is not the one this key was made for, and a key that was removed.
    pub(super) fn check_host(&self) -> Result<()> {
        let Some(host) = &self.host else { return Ok(()) };
        let state = self.state();
        // Nobody can make another log that begins with this signature.
        if !state.writers().iter().eq([&host.ring.root]) {
            return Err(Error::new(
                ErrorKind::Corrupt,
                "open",
                "the log is not that of the repository this key is for",
            )
            .with_hint("nothing was changed; ask whoever made the key"));
        }
        self.check_admitted(&state)
    }

    /// Whether the host of this handle may append to `state`; always for a holder of all keys.
    pub(super) fn check_admitted(&self, state: &State) -> Result<()> {
        let Some(host) = &self.host else { return Ok(()) };
        if state.has_slot(&self.slot) && state.host(&host.writer).is_some_and(|known| known.slot == self.slot) {
            return Ok(());
        }
        if let Some(seq) = self.damaged_records().first().copied()
            && !state.is_retired(&ObjectName::KeySlot(self.slot))
        {
            let what = "the log is damaged: no record that can be read admits this write-only key";
            return Err(Error::new(ErrorKind::Corrupt, "open", what).with("key", log_key(seq)?).with_hint(
                "nothing was added; put the record back from a replica, or ask whoever holds the other keys",
            ));
        }
        Err(Error::new(ErrorKind::WrongKey, "open", "this write-only key was removed from the repository")
            .with("slot", self.slot)
            .with_hint("nothing was added; ask whoever holds the other keys for a new one"))
    }

    /// What a record says that follows `state`; `None` if a host wrote it and it cannot be opened, which has no effect, and
    /// for a handle that opens none.
    ///
    /// # Errors
    /// `Corrupt` if it is damaged; that the keyring cannot be read.
    pub(crate) fn open_record(&self, state: &State, envelope: &Envelope, bytes: &[u8]) -> Result<Option<Said>> {
        if self.host.is_some() {
            return Ok(None);
        }
        let mut cannot_tell = false;
        let mut open = || {
            envelope.open_by(bytes, |aad, body| {
                let Some(object) = SealedToReader::parse(body)? else {
                    return sealed::open(self.log_keys.log_key(), aad, body);
                };
                // Without the keyring that the log names nobody can say that a host wrote nonsense.
                if let Err(error) = self.follow_reading_key(object.tag.version) {
                    cannot_tell = true;
                    return Err(error);
                }
                self.open_sealed(self.log_keys.log_key(), aad, body)
            })
        };
        let mut opened = open();
        let is_host = state.host(&envelope.writer).is_some();
        // The keyring held may be one that was stored and never recorded. An older one may be gone: it knew nothing else.
        if let (Err(ErrorKind::Corrupt), true) = (opened.as_ref().map(drop).map_err(Error::kind), is_host)
            && self.held_keyring()?.generation > self.state().keyring_current()
            && self.follow_keyring().is_ok()
        {
            opened = open();
        }
        match opened {
            Ok(said) => Ok(Some(said)),
            Err(error) if cannot_tell || !is_host => Err(error),
            Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Folds the record into `state`, as far as this handle can open it; says of a host's why it has no effect, or not all
    /// it claims.
    ///
    /// # Errors
    /// As [`Self::open_record`] and [`State::apply`].
    pub(crate) fn fold_into(
        &self,
        state: &mut State,
        envelope: &Envelope,
        bytes: &[u8],
    ) -> Result<Option<&'static str>> {
        let said = self.open_record(state, envelope, bytes)?;
        self.apply_said(state, envelope, said.as_ref())
    }

    /// As [`Self::fold_into`], of a record that [`Self::open_record`] opened as `said`.
    ///
    /// # Errors
    /// As [`State::apply`].
    pub(super) fn apply_said(
        &self,
        state: &mut State,
        envelope: &Envelope,
        said: Option<&Said>,
    ) -> Result<Option<&'static str>> {
        match self.host {
            // A write-only key opens no payload at all: that says nothing about the record.
            Some(_) => state.apply_plain(envelope),
            None => state.apply_opened(envelope, said.map(|(_, payload)| payload)),
        }
    }

    /// The table in an index segment that a host may open.
    ///
    /// # Errors
    /// `Corrupt`; `WrongKey` for a segment of others.
    pub(super) fn open_shared(&self, id: &IndexId, aad: &[u8], bytes: &[u8]) -> Result<Vec<u8>> {
        let shared = Shared::parse(bytes)?;
        match (&self.host, shared) {
            (Some(host), Some(shared)) if host.is_for_it(&id.0) => shared.open_for_host(aad, &host.ring.index_key),
            (Some(_), _) => Err(super::unlock::write_only()),
            (None, Some(shared)) => {
                let key = self.open_sealed(&self.held_keyring()?.index_key, aad, shared.for_reader)?;
                shared.open(aad, &key)
            }
            (None, None) => sealed::open(&self.held_keyring()?.index_key, aad, bytes),
        }
    }

    /// Seals an index segment for who may read and, if its packs are a host's, for the host that signs by `owner`.
    ///
    /// # Errors
    /// No entropy.
    pub(crate) fn seal_index(&self, owner: Option<&WriterId>, aad: &[u8], plain: &[u8]) -> Result<Vec<u8>> {
        let entropy = self.env.entropy.as_ref();
        if let Some(host) = &self.host {
            let (cipher, run, own) = (host.ring.cipher, host.begin_run(self)?, &host.ring.index_key);
            return Shared::seal(cipher, aad, plain, entropy, own, |key| run.seal(cipher, aad, &key.0, entropy));
        }
        let keyring = self.held_keyring()?;
        let seal = |plain: &[u8]| sealed::seal(keyring.cipher, &keyring.index_key, aad, plain, entropy);
        match owner {
            None => seal(plain),
            Some(owner) => {
                let theirs = host_index_key(&keyring.log_key, owner);
                Shared::seal(keyring.cipher, aad, plain, entropy, &theirs, |key| seal(&key.0))
            }
        }
    }
}

/// The hosts that go on writing, by the ends of the names of what they or others wrote for them.
///
/// What is in a host's packs is for that host to rely on: it sees no others. So who copies such packs puts what is in
/// them into packs that are again the host's, and keeps a copy for each host.
pub(crate) struct Owners(BTreeMap<HostMark, WriterId>);

impl Owners {
    /// As `state` says.
    pub(crate) fn of(state: &State) -> Self {
        let hosts = state.hosts().filter(|(_, host)| state.has_slot(&host.slot));
        let marks =
            |(writer, _)| [HostMark::of, HostMark::given].map(|mark: fn(&WriterId) -> _| (mark(writer), *writer));
        Self(hosts.flat_map(marks).collect())
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.0.len() / 2
    }

    /// Whose pack or index segment has that name, if a host's.
    pub(crate) fn owner(&self, name: &[u8; 16]) -> Option<WriterId> {
        self.0.get(&HostMark::at_end_of(name)).copied()
    }
}

/// The key by which the host that signs by `writer` opens its index segments.
///
/// # Errors
/// `WrongKey` for a write-only key.
pub(crate) fn host_index_key_of(repo: &Repository, writer: &WriterId) -> Result<Key32> {
    Ok(host_index_key(&repo.held_keyring()?.log_key, writer))
}
