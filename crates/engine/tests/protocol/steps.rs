//! What comes of a step.

use crate::model::{Action, MERGER, Protocol, UNDELETER};
use crate::verdicts::Mutant;
use crate::world::{Actor, Collecting, ModelLedger, Name, Names, Ready, Record, World, Writing, bits, has};
use decube_backup_engine::rules::Ledger;

impl Protocol {
    /// What a writer knows after it read the log. `newest`: which of several locations it comes upon.
    pub fn begin(
        &self,
        world: &World,
        ledger: &ModelLedger,
        writer: usize,
        parent: Option<u8>,
        newest: bool,
    ) -> Writing {
        let taken = parent.map_or(0, |parent| ledger.chunks(1 << parent));
        let avoided = if self.verdicts.is(Mutant::CondemnedReused) { 0 } else { ledger.condemned };
        let mut w = Writing { seen: ledger.reclaimed_count() as u8, parent, ..Writing::default() };
        for chunk in bits((self.wants[writer] & !taken).into()) {
            let known = world.locations(ledger, chunk) & !avoided;
            match if newest { bits(known).last() } else { bits(known).next() } {
                Some(pack) => w.deps |= 1 << pack,
                None => w.missing |= 1 << chunk,
            }
        }
        w
    }

    /// Validated for the next slot: put there now, or in a step of its own.
    fn append(&self, world: &mut World, who: usize, record: Record) {
        if self.split {
            world.ready[who] = Some(Ready { slot: world.len, record });
        } else {
            world.push(record);
            self.appended(world, who, record);
        }
    }

    /// What its author does once its record is in the log.
    fn appended(&self, world: &mut World, who: usize, record: Record) {
        match (world.actors[who], record) {
            (Actor::Writing(w), Record::Commit { .. }) => {
                world.committed_after_void |= w.redone;
                world.actors[who] = Actor::Idle;
            }
            (Actor::Writing(w), Record::Add { .. }) => world.actors[who] = Actor::Writing(recorded(world, w)),
            (Actor::Void(w), _) => self.begin_again(world, who, w),
            (Actor::Collecting(c), Record::Add { .. }) => {
                world.actors[who] = Actor::Collecting(Collecting { own: 0, ..c });
            }
            (Actor::Collecting(_), Record::Reclaim(names)) => {
                self.delete(world, names);
                world.actors[who] = Actor::Idle;
            }
            (Actor::Merging { sources, .. }, _) => {
                self.delete(world, sources);
                world.actors[who] = Actor::Idle;
            }
            (Actor::Undeleting { .. }, _) => world.actors[who] = Actor::Idle,
            _ => {}
        }
    }

    /// Sends deletes off; when they arrive is anybody's guess.
    fn delete(&self, world: &mut World, names: Names) {
        let ledger = world.ledger;
        world.deletes |= self.verdicts.deletes(&ledger, names) & world.exists;
    }

    /// Another pass after a void one, without a parent as a rule: the first one it comes upon.
    fn begin_again(&self, world: &mut World, who: usize, void: Writing) {
        let ledger = world.ledger;
        let parent = void.parent.filter(|p| has(ledger.live, *p));
        let again = self.begin(world, &ledger, who, parent, false);
        world.actors[who] = Actor::Writing(Writing { redone: true, ..again });
    }

    /// What is lost of its own it finds out when it commits; what is still good is still its own, with a new index
    /// segment.
    fn progress_void(&self, world: &mut World, ledger: &ModelLedger, writer: usize, w: Writing) {
        let packs = w.own & !world.indexes;
        let good = packs & !ledger.reclaimed;
        let given_up = good == 0 || !world.can_draw(1) || self.verdicts.is(Mutant::VoidProgressIgnored);
        world.actors[writer] = Actor::Writing(if given_up {
            recorded(world, w)
        } else {
            Writing { own: good | world.upload_index(good), deps: w.deps | (packs & !good), ..w }
        });
    }

    /// Takes a step; `None` if it is no step of this state.
    pub fn step(&self, world: &mut World, action: Action) -> Option<()> {
        let ledger = world.ledger;
        match action {
            Action::Begin { writer, parent, newest } => {
                world.left.runs[writer] -= 1;
                world.actors[writer] = Actor::Writing(self.begin(world, &ledger, writer, parent, newest));
            }
            Action::Upload(writer) => {
                let Actor::Writing(w) = world.actors[writer] else { return None };
                let same = |name: &Name| {
                    !has(world.indexes, *name) && world.content[usize::from(*name)] == u16::from(w.missing)
                };
                let reused = (0..world.drawn).find(|name| self.verdicts.is(Mutant::NamesReused) && same(name));
                let own = world.upload(w.missing, reused);
                world.actors[writer] = Actor::Writing(Writing { missing: 0, own, ..w });
            }
            Action::Progress(writer) => {
                let Actor::Writing(w) = world.actors[writer] else { return None };
                world.left.progress -= 1;
                if self.verdicts.commit(world, &ledger, 0, (w.own, 0), None) {
                    self.append(world, writer, Record::Add { added: w.own, retired: 0 });
                } else {
                    self.progress_void(world, &ledger, writer, w);
                }
            }
            Action::AddRepacked(collector) => {
                let Actor::Collecting(c) = world.actors[collector] else { return None };
                if self.verdicts.commit(world, &ledger, 0, (c.own, 0), None) {
                    self.append(world, collector, Record::Add { added: c.own, retired: 0 });
                } else {
                    world.actors[collector] = Actor::Collecting(Collecting { own: 0, ..c });
                }
            }
            Action::Commit(who) => {
                let Actor::Writing(w) = world.actors[who] else { return None };
                if self.verdicts.commit(world, &ledger, w.seen, (w.own, w.deps), w.parent) {
                    self.append(world, who, Record::Commit { chunks: self.wants[who], added: w.own });
                } else {
                    world.actors[who] = Actor::Void(w);
                }
            }
            Action::KeepGood(who) => {
                let Actor::Void(w) = world.actors[who] else { return None };
                let good = w.own & !world.indexes & !ledger.reclaimed;
                if good != 0 && world.can_draw(1) {
                    // As every record that names packs, with a new index segment.
                    let own = good | world.upload_index(good);
                    if self.verdicts.commit(world, &ledger, 0, (own, 0), None) {
                        self.append(world, who, Record::Add { added: own, retired: 0 });
                        return Some(());
                    }
                }
                self.begin_again(world, who, w);
            }
            Action::Mark { collector, orphans } => {
                world.left.collections -= 1;
                let c = Collecting { marked: ledger.live, orphans, ..Collecting::default() };
                world.actors[collector] = Actor::Collecting(c);
            }
            Action::Repack { collector, pack } => {
                let Actor::Collecting(c) = world.actors[collector] else { return None };
                world.left.repacks -= 1;
                let own = world.upload(world.content[usize::from(pack)] as u8 & ledger.chunks(c.marked), None);
                world.actors[collector] = Actor::Collecting(Collecting { own, ..c });
            }
            Action::Locate { collector, chosen } => {
                let Actor::Collecting(c) = world.actors[collector] else { return None };
                let seen = ledger.reclaimed_count() as u8;
                world.actors[collector] = Actor::Collecting(Collecting { chosen, seen, located: true, ..c });
                if self.verdicts.is(Mutant::DeletedBeforeReclaimed) {
                    self.delete(world, chosen);
                }
                if self.verdicts.is(Mutant::OrphansUnrecorded) {
                    world.deletes |= c.orphans & !ledger.named & world.exists;
                }
            }
            Action::Condemn(collector) => {
                let Actor::Collecting(c) = world.actors[collector] else { return None };
                world.left.condemns -= 1;
                self.append(world, collector, Record::Condemn(c.chosen));
            }
            Action::Reclaim(collector) => {
                let Actor::Collecting(c) = world.actors[collector] else { return None };
                let stands = c.chosen == 0 || self.verdicts.reclaim(&ledger, c.marked, c.seen);
                let names = c.chosen | self.verdicts.orphans(&ledger, c.orphans);
                if stands && names != 0 {
                    self.append(world, collector, Record::Reclaim(names));
                } else {
                    world.actors[collector] = Actor::Idle;
                }
            }
            Action::Put(who) => {
                let ready = world.ready[who].take()?;
                if world.len == ready.slot {
                    // Once is enough.
                    let unaware = self.verdicts.is(Mutant::NonceIgnored) && !world.log.contains(&ready.record);
                    world.push(ready.record);
                    if !unaware {
                        self.appended(world, who, ready.record);
                    }
                } else if self.verdicts.is(Mutant::CreateOverwrites) {
                    world.overwrite(ready.slot, ready.record);
                    self.appended(world, who, ready.record);
                }
            }
            Action::Crash(who) => {
                world.left.crashes -= 1;
                world.actors[who] = Actor::Idle;
                world.ready[who] = None;
            }
            Action::CrashPutting(who) => {
                world.left.crashes -= 1;
                world.flight = world.ready[who].take();
                world.actors[who] = Actor::Idle;
            }
            Action::Arrive => {
                let ready = world.flight.take()?;
                if world.len == ready.slot {
                    world.push(ready.record);
                }
            }
            Action::Delete(name) => {
                world.deletes &= !(1 << name);
                world.exists &= !(1 << name);
            }
            Action::Forget(snapshot) => {
                world.left.forgets -= 1;
                world.push(Record::Forget(snapshot));
            }
            Action::CheckForgotten(snapshot) => {
                world.left.undeletes -= 1;
                let seen = ledger.reclaimed_count() as u8;
                world.actors[UNDELETER] = Actor::Undeleting { snapshot, seen };
            }
            Action::Undelete => {
                let Actor::Undeleting { snapshot, seen } = world.actors[UNDELETER] else { return None };
                if self.verdicts.undelete(&ledger, seen) {
                    self.append(world, UNDELETER, Record::Restore(snapshot));
                } else {
                    world.actors[UNDELETER] = Actor::Idle;
                }
            }
            Action::Merge(sources) => {
                world.left.merges -= 1;
                let packs = world.covered(sources) & ledger.in_force;
                let merged = world.upload_index(packs).trailing_zeros() as Name;
                world.actors[MERGER] = Actor::Merging { sources, merged };
            }
            Action::RecordMerged => {
                let Actor::Merging { sources, merged } = world.actors[MERGER] else { return None };
                if self.verdicts.commit(world, &ledger, 0, (1 << merged, 0), None) {
                    self.append(world, MERGER, Record::Add { added: 1 << merged, retired: sources });
                } else {
                    world.actors[MERGER] = Actor::Idle;
                }
            }
            Action::Pin => {
                world.left.notes -= 1;
                world.push(Record::Note);
            }
        }
        Some(())
    }
}

/// Packs of its own that a record names are no longer its own: it relies on them as on any.
fn recorded(world: &World, w: Writing) -> Writing {
    Writing { own: 0, deps: w.deps | (w.own & !world.indexes), ..w }
}
