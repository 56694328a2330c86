//! What index segments say of packs that hosts with write-only keys stored, against what is in these packs.
//!
//! A host says what it stored, and nobody looked: a chunk that is not there must not pass for a copy. A merge repeats what hosts said,
//! so all index segments are held against the packs.
//!
//! Memory: a hash, 64 bytes with its place, for each such pack and index segment that names it, and one index segment at a time; of
//! what is false, the ids.

use crate::options::Damage;
use crate::repository::{Repository, index_segment};
use crate::segments::is_damage;
use decube_backup_core::Result;
use decube_backup_core::monitor::{Monitor, check_stop};
use decube_backup_format::ids::{IndexId, PackName, ShortId, index_key, pack_key};
use decube_backup_format::pack::{ChunkEntry, Footer, SegmentEntry};
use std::collections::{HashMap, HashSet};

/// What is said of hosts' packs.
#[derive(Default)]
pub(super) struct Claims {
    /// By which index segments, and the hash of the table they have.
    of: HashMap<PackName, Vec<(u8, IndexId, blake3::Hash)>>,
}

impl Claims {
    /// Reads the index segments in force, if hosts stored any pack in force; one that is damaged is told of elsewhere.
    ///
    /// # Errors
    /// The store does not answer; the user stopped it.
    pub(super) fn read(repo: &Repository, monitor: &dyn Monitor) -> Result<Self> {
        let state = repo.state();
        let mut claims = Self::default();
        if !state.live_packs().any(|(pack, _)| state.is_hosted(&pack)) {
            return Ok(claims);
        }
        for (level, id, _) in state.indexes() {
            check_stop(monitor)?;
            for (pack, table) in readable(repo, level, &id)?.into_iter().filter(|(pack, _)| state.is_hosted(pack)) {
                claims.of.entry(pack).or_default().push((level, id, digest(&table)));
            }
        }
        Ok(claims)
    }

    /// What is said of `pack` that its own table does not say: the index segments, and the chunks that are not there.
    ///
    /// # Errors
    /// The store does not answer.
    pub(super) fn check(
        &self,
        repo: &Repository,
        pack: &PackName,
        own: &Footer,
    ) -> Result<(Vec<Damage>, Vec<ShortId>)> {
        let (mut damages, mut chunks) = (Vec::new(), Vec::new());
        let said = self.of.get(pack).map(Vec::as_slice).unwrap_or_default();
        let truth = if said.is_empty() { None } else { Some(digest(own)) };
        let other: HashSet<_> = said.iter().filter(|said| Some(said.2) != truth).map(|said| (said.0, said.1)).collect();
        if other.is_empty() {
            return Ok((damages, chunks));
        }
        let there: HashSet<Place> = places(own).collect();
        for (level, id) in other {
            let tables = readable(repo, level, &id)?.into_iter().filter(|(name, _)| name == pack);
            let absent: HashSet<ShortId> = tables
                .flat_map(|(_, table)| {
                    places(&table).filter(|at| !there.contains(at)).map(|at| at.4).collect::<Vec<_>>()
                })
                .collect();
            if !absent.is_empty() {
                let what = format!("it names {} chunks in {} that are not there", absent.len(), pack_key(pack)?);
                damages.push(Damage { object: index_key(level, &id)?.to_string(), what });
                chunks.extend(absent);
            }
        }
        Ok((damages, chunks))
    }
}

/// The tables of an index segment; none if it is damaged, or was merged meanwhile.
fn readable(repo: &Repository, level: u8, id: &IndexId) -> Result<Vec<(PackName, Footer)>> {
    match index_segment(repo, level, id) {
        Err(error) if is_damage(&error) => Ok(Vec::new()),
        tables => tables,
    }
}

fn digest(table: &Footer) -> blake3::Hash {
    let mut bytes = Vec::new();
    table.encode_to(&mut bytes);
    blake3::hash(&bytes)
}

/// Number, offset, lengths and codec of a segment; id, offset and length of a chunk in it.
type Place = (usize, u32, (u32, u32), u8, ShortId, (u32, u32));

fn places(table: &Footer) -> impl Iterator<Item = Place> + '_ {
    let place = |number: usize, at: &SegmentEntry, chunk: &ChunkEntry| {
        (number, at.offset, (at.stored_len, at.raw_len), at.codec as u8, chunk.id, (chunk.offset, chunk.len))
    };
    let segments = table.segments.iter().enumerate();
    segments.flat_map(move |(number, at)| table.chunks_of(at).iter().map(move |chunk| place(number, at, chunk)))
}
