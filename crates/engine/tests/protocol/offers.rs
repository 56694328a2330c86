//! Which steps there are in a state.

use crate::model::{Action, MERGER, Protocol, UNDELETER};
use crate::verdicts::Mutant;
use crate::world::{Actor, ModelLedger, Name, Names, World, bits, subsets};

impl Protocol {
    /// Everything that may happen in `world`.
    pub fn offer(&self, world: &World, actions: &mut Vec<Action>) {
        let ledger = world.ledger;
        self.writer_actions(world, &ledger, actions);
        self.collector_actions(world, &ledger, actions);
        self.other_actions(world, &ledger, actions);
        for who in 0..world.actors.len() {
            if world.ready[who].is_some() {
                actions.push(Action::Put(who));
            }
            if world.left.crashes > 0 && world.actors[who] != Actor::Idle {
                actions.push(Action::Crash(who));
                if world.ready[who].is_some() && world.flight.is_none() {
                    actions.push(Action::CrashPutting(who));
                }
            }
        }
        if world.flight.is_some() {
            actions.push(Action::Arrive);
        }
        if world.len >= self.slots {
            actions.retain(|action| !appends(action));
        }
        actions.extend(bits(world.deletes).map(Action::Delete));
    }

    fn writer_actions(&self, world: &World, ledger: &ModelLedger, actions: &mut Vec<Action>) {
        for writer in 0..2 {
            if world.ready[writer].is_some() {
                continue;
            }
            match world.actors[writer] {
                Actor::Idle if world.left.runs[writer] > 0 => {
                    let useful = |s: &u8| ledger.chunks(1 << s) & self.wants[writer] != 0;
                    let parents = bits(ledger.live).filter(useful).map(Some).chain([None]);
                    for parent in parents {
                        actions.push(Action::Begin { writer, parent, newest: false });
                        if self.begin(world, ledger, writer, parent, false)
                            != self.begin(world, ledger, writer, parent, true)
                        {
                            actions.push(Action::Begin { writer, parent, newest: true });
                        }
                    }
                }
                Actor::Writing(w) if w.missing != 0 && world.can_draw(2) => actions.push(Action::Upload(writer)),
                Actor::Writing(w) if w.missing == 0 => {
                    actions.push(Action::Commit(writer));
                    if w.own != 0 && world.left.progress > 0 {
                        actions.push(Action::Progress(writer));
                    }
                }
                Actor::Void(_) => actions.push(Action::KeepGood(writer)),
                _ => {}
            }
        }
    }

    fn collector_actions(&self, world: &World, ledger: &ModelLedger, actions: &mut Vec<Action>) {
        for collector in [2, 3] {
            if world.ready[collector].is_some() {
                continue;
            }
            match world.actors[collector] {
                Actor::Idle if world.left.collections > 0 => {
                    // A listing may miss what is new and still show what is gone.
                    let unnamed = (0..world.drawn).fold(0, |all, name| all | 1 << name) & !ledger.named;
                    actions.push(Action::Mark { collector, orphans: 0 });
                    actions.extend(
                        subsets(unnamed & !ledger.reclaimed).map(|orphans| Action::Mark { collector, orphans }),
                    );
                }
                Actor::Collecting(c) if c.own != 0 => actions.push(Action::AddRepacked(collector)),
                Actor::Collecting(c) if !c.located => {
                    let packs = ledger.in_force & !world.indexes;
                    if world.left.repacks > 0 && world.can_draw(2) {
                        let worth = |p: &Name| world.content[usize::from(*p)] as u8 & ledger.chunks(c.marked) != 0;
                        let readable = packs & world.exists;
                        actions.extend(bits(readable).filter(worth).map(|pack| Action::Repack { collector, pack }));
                    }
                    let mut seen = Vec::new();
                    for candidates in subsets(packs).chain([0]) {
                        let chosen = self.verdicts.spare(world, ledger, c.marked, candidates);
                        if chosen | c.orphans != 0 && !seen.contains(&chosen) {
                            seen.push(chosen);
                            actions.push(Action::Locate { collector, chosen });
                        }
                    }
                }
                Actor::Collecting(c) => {
                    if world.left.condemns > 0 && c.chosen & !ledger.condemned != 0 {
                        actions.push(Action::Condemn(collector));
                    }
                    actions.push(Action::Reclaim(collector));
                }
                _ => {}
            }
        }
    }

    fn other_actions(&self, world: &World, ledger: &ModelLedger, actions: &mut Vec<Action>) {
        if world.left.forgets > 0 {
            actions.extend(bits(ledger.live).map(Action::Forget));
        }
        if world.left.notes > 0 {
            actions.push(Action::Pin);
        }
        match world.actors[UNDELETER] {
            _ if world.ready[UNDELETER].is_some() => {}
            Actor::Idle if world.left.undeletes > 0 => {
                let whole = |s: &u8| {
                    self.verdicts.is(Mutant::UndeleteBlind)
                        || bits(ledger.chunks(1 << s).into()).all(|chunk| world.locations(ledger, chunk) != 0)
                };
                actions.extend(bits(ledger.forgotten).filter(whole).map(Action::CheckForgotten));
            }
            Actor::Undeleting { .. } => actions.push(Action::Undelete),
            _ => {}
        }
        match world.actors[MERGER] {
            _ if world.ready[MERGER].is_some() => {}
            Actor::Idle if world.left.merges > 0 && world.can_draw(1) => {
                let several = |set: &Names| set.count_ones() > 1;
                actions.extend(subsets(ledger.in_force & world.indexes).filter(several).map(Action::Merge));
            }
            Actor::Merging { .. } => actions.push(Action::RecordMerged),
            _ => {}
        }
    }
}

/// Whether the action appends to the log, or may.
fn appends(action: &Action) -> bool {
    matches!(
        action,
        Action::Progress(_)
            | Action::Commit(_)
            | Action::KeepGood(_)
            | Action::AddRepacked(_)
            | Action::Condemn(_)
            | Action::Reclaim(_)
            | Action::Put(_)
            | Action::Arrive
            | Action::Forget(_)
            | Action::Undelete
            | Action::RecordMerged
            | Action::Pin
    )
}
