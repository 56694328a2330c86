//! Which packs are under which version of the pack keys.
//!
//! A pack's header names its version, but reading it costs a request for each pack. The log says nearly as much for
//! nothing: a pack recorded before a rotation is under an earlier version, for certain. One recorded after it is under
//! that version *at most*: its writer may have begun before the rotation and not have heard of it.

use crate::audit::{Walked, walk};
use crate::repository::Repository;
use decube_backup_core::Result;
use decube_backup_format::ids::{PackName, pack_key};
use decube_backup_format::log::{ObjectName, Payload};
use decube_backup_format::pack::PackHeader;
use std::collections::BTreeMap;

/// How much is read to find out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exactness {
    /// The log alone.
    AtMost,
    /// The log, and the header of every pack of which it leaves a doubt.
    Headers,
}

/// How sure a version is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Certainty {
    /// It is this one.
    Exact,
    /// It is this one or an earlier one.
    AtMost,
}

/// The version a pack is under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyVersion {
    /// The version.
    pub version: u32,
    /// How sure that is.
    pub certainty: Certainty,
}

/// Packs under one version.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct KeyVersionUsage {
    /// The version, which is the keyring generation that brought it.
    pub version: u32,
    /// Whether new packs use it.
    pub current: bool,
    /// Whether packs counted here may be under earlier versions instead.
    pub certainty: Certainty,
    /// How many packs.
    pub packs: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// The key version of every pack in force: what is under an earlier one than the current wants to be repacked.
///
/// # Errors
/// The log, or with [`Exactness::Headers`] a pack, cannot be read.
pub fn pack_key_versions(repo: &Repository, exactness: Exactness) -> Result<BTreeMap<PackName, KeyVersion>> {
    repo.refresh()?;
    let state = repo.state();
    let mut versions = BTreeMap::new();
    let mut note = |pack, version| {
        let certainty = if version == 0 { Certainty::Exact } else { Certainty::AtMost };
        versions.entry(pack).or_insert(KeyVersion { version, certainty });
    };
    if state.keyring_current() == 0 {
        state.live_packs().for_each(|(pack, _)| note(pack, 0));
        return Ok(versions);
    }
    let mut version = 0;
    walk(repo, &mut |Walked { record, .. }| {
        let Some((envelope, said)) = record else { return Ok(()) };
        for object in envelope.added {
            if let ObjectName::Pack(pack) = object.name
                && state.pack(&pack).is_some()
            {
                note(pack, version);
            }
        }
        if let Some((_, Payload::Keyring { generation })) = said {
            version = generation;
        }
        Ok(())
    })?;
    if exactness == Exactness::Headers {
        for (pack, found) in versions.iter_mut().filter(|(_, found)| found.certainty == Certainty::AtMost) {
            let bytes = repo.store.get_exactly(&pack_key(pack)?, 0, PackHeader::BYTES as u64)?;
            let version = PackHeader::decode(&bytes)?.key_version;
            *found = KeyVersion { version, certainty: Certainty::Exact };
        }
    }
    Ok(versions)
}

/// How many packs and bytes there are under each version, ascending; a version without packs is there if it is the
/// current one.
///
/// # Errors
/// As [`pack_key_versions`].
pub fn packs_by_key_version(repo: &Repository, exactness: Exactness) -> Result<Vec<KeyVersionUsage>> {
    let versions = pack_key_versions(repo, exactness)?;
    let state = repo.state();
    let current = state.keyring_current();
    let mut usage: BTreeMap<KeyVersion, (u64, u64)> = BTreeMap::new();
    for (pack, version) in versions {
        let (packs, bytes) = usage.entry(version).or_default();
        *packs += 1;
        *bytes += state.pack(&pack).map_or(0, |info| u64::from(info.len));
    }
    if !usage.keys().any(|found| found.version == current) {
        usage.insert(KeyVersion { version: current, certainty: Certainty::Exact }, (0, 0));
    }
    let row = |(found, (packs, bytes)): (KeyVersion, (u64, u64))| KeyVersionUsage {
        version: found.version,
        current: found.version == current,
        certainty: found.certainty,
        packs,
        bytes,
    };
    Ok(usage.into_iter().map(row).collect())
}
