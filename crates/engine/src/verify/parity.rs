//! Parity: whether it is whole itself, and whether it brings back what is damaged.

use super::Findings;
use super::packs::PackResult;
use super::pass::Pass;
use crate::options::{Damage, Repairable};
use crate::parity::rebuild;
use crate::segments::is_damage;
use crate::store::{Store, is_unreadable};
use decube_backup_core::Result;
use decube_backup_core::monitor::{Monitor, check_stop};
use decube_backup_format::checkpoint::State;
use decube_backup_format::ids::{PackName, pack_key, parity_key};
use decube_backup_format::parity::Parity;

/// What is wrong with the parity of `pack`, if it has any, and bytes read. One that is missing was told of already.
///
/// # Errors
/// The store does not answer.
pub(crate) fn check(store: &Store, state: &State, pack: &PackName) -> Result<(Option<Damage>, u64)> {
    let Some((name, info)) = state.parity(pack) else { return Ok((None, 0)) };
    let key = parity_key(&name)?;
    let mut pass = Pass::new(store, key.clone());
    let what = match pass.finish() {
        Ok(_) if pass.absent => return Ok((None, 0)),
        Ok(hash) if hash == info.hash => return Ok((None, pass.at)),
        Ok(_) => what_is_left(store, &name)?,
        Err(error) if is_unreadable(&error) => format!("object cannot be read: {}", error.chain()),
        Err(error) => return Err(error),
    };
    Ok((Some(Damage { object: key.to_string(), what }), pass.at))
}

/// Of damaged parity, for people.
///
/// # Errors
/// The store does not answer.
pub(super) fn what_is_left(store: &Store, name: &decube_backup_format::ids::ParityName) -> Result<String> {
    let object = match store.get(&parity_key(name)?) {
        Err(error) if is_unreadable(&error) => Err(error),
        read => Ok(read?.unwrap_or_default()),
    };
    let left = match object.as_deref().map(Parity::decode) {
        Ok(Ok(parity)) => format!("{} of its {} shards are whole", parity.usable(), parity.head().recovery.len()),
        Ok(Err(error)) => error.chain(),
        Err(error) => error.chain(),
    };
    Ok(format!("parity is damaged, which costs no data: {left}"))
}

/// What is wrong in a pack that parity brought back.
pub(super) type Contents<'a> = dyn Fn(&PackName, &[u8]) -> Result<PackResult> + 'a;

/// Tries what parity makes of each damaged pack. What it brings back is lost to nobody; what `contents` says is wrong in
/// that was wrong before it was sealed.
///
/// # Errors
/// The store does not answer; the user stopped it.
pub(super) fn judge(
    store: &Store,
    state: &State,
    contents: &Contents<'_>,
    findings: &mut Findings,
    monitor: &dyn Monitor,
) -> Result<()> {
    let bad: Vec<PackName> = findings.bad_packs.iter().filter(|pack| state.parity(pack).is_some()).copied().collect();
    for pack in bad {
        check_stop(monitor)?;
        let object = pack_key(&pack)?.to_string();
        match rebuild(store, state, &pack) {
            // As it was recorded: what is wrong with it parity cannot mend.
            Ok(Some(rebuilt)) if rebuilt.ranges.is_empty() && !findings.resized_packs.contains(&pack) => {}
            Ok(Some(rebuilt)) => {
                let left = contents(&pack, &rebuilt.bytes)?;
                let (ranges, bytes) = (rebuilt.ranges.len() as u64, rebuilt.damaged_bytes());
                findings.report.damages.retain(|damage| damage.object != object);
                findings.damage(&object, format!("damaged; repairable by parity: {ranges} ranges, {bytes} bytes"));
                findings.report.repairable.push(Repairable { object: object.clone(), ranges, bytes });
                findings.lost_packs.remove(&pack);
                findings.resized_packs.remove(&pack);
                findings.lost_chunks.values_mut().for_each(|packs| packs.retain(|lost| *lost != pack));
                findings.lost_chunks.retain(|_, packs| !packs.is_empty());
                findings.content(&pack, &object, left);
            }
            Ok(None) => {}
            Err(error) if is_damage(&error) => {
                findings.damage(&object, format!("its parity does not bring it back: {}", error.chain()));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
