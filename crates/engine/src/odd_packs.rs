//! Packs that are not where the log says they are.

use crate::repository::Repository;
use crate::store::is_unreadable;
use decube_backup_core::Result;
use decube_backup_format::checkpoint::State;
use decube_backup_format::ids::{PackName, pack_key};
use hashbrown::HashSet;
use std::collections::HashMap;

/// Packs in force in `state` that are not there, cannot be looked at, or are of another length than recorded. One listing; a
/// pack it lacks is asked for, as a listing is only a hint.
///
/// # Errors
/// What listing yields; the store does not answer.
pub(crate) fn odd_packs(repo: &Repository, state: &State) -> Result<HashSet<PackName>> {
    let listed: HashMap<_, _> = repo.store.list("packs/")?.into_iter().map(|o| (o.key, o.len)).collect();
    let mut odd = HashSet::new();
    for (pack, info) in state.live_packs() {
        let key = pack_key(&pack)?;
        let len = match listed.get(&key) {
            Some(len) => Some(*len),
            None => match repo.store.stat(&key) {
                Err(error) if is_unreadable(&error) => None,
                found => found?.map(|object| object.len),
            },
        };
        if len != Some(u64::from(info.len)) {
            odd.insert(pack);
        }
    }
    Ok(odd)
}
