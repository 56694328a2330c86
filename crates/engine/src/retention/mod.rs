//! Which snapshots a policy keeps: pure functions of what the log and the store say, no I/O.
//!
//! *Invariant*: no clock of a client makes a snapshot go that would stay without it. A snapshot whose time the store or the
//! log's order contradicts is *flagged* by [`timeline`]; the others are decided as if it were not there ([`decide()`]). So is one
//! of a source that was missing: a disk that was not mounted for a month takes the place of no snapshot of what was on it.
//! And what is decided is decided twice by nobody: a policy applied to what it kept keeps all of it.
//!
//! Data passes `timeline` (when was each recorded) → `group` (what is compared with what) → `decide` (`policy`, `periods`)
//! → `guard` (is that too much at once).
//!
//! | module | holds |
//! |---|---|
//! | [`timeline`] | policy time of every snapshot; which clocks are not believed |
//! | [`group`] | by what snapshots are grouped |
//! | [`policy`] | the rules, spans and tags of a policy |
//! | `periods` | hours, days, ISO weeks, months and years of a time zone |
//! | [`mod@decide`] | keep or drop, with the reasons |
//! | [`guard`] | how much may go in one run |
//!
//! *Deliberately absent*: reading the log, listing the store, writing records (`crate::forget`).

pub mod decide;
pub mod group;
pub mod guard;
mod periods;
pub mod policy;
pub mod timeline;

#[cfg(test)]
mod tests;

pub use decide::{Decision, Fate, Reason, Sources, Subject, Why, decide};
pub use group::{GroupBy, GroupKey};
pub use guard::{GuardLimits, Refusal};
pub use policy::{Limit, Period, Policy, Span, zone_named};
pub use timeline::{ClockTrust, Moment, Witness, moments};
