//! What tests of this project and of third-party backends stand on.
//!
//! | module | holds |
//! |---|---|
//! | [`conformance`] | the numbered contract of a `Sink` as data: checks that run against any store |
//! | [`memory`] | a strict sink in memory, with hands to damage what it holds |
//! | [`recording`] | a sink that counts the calls passing through it |
//! | [`faulty`] | a sink whose n-th call fails, before or after its effect |
//! | [`hooked`] | a sink that tells of each step, before and after its effect |
//! | [`world`] | a clock that is moved by hand and entropy from a seed |
//!
//! The suite is ordinary library code and not only for tests: `decube-backup sink check` runs it
//! against real stores. The rest has no use in production.

pub mod conformance;
pub mod faulty;
pub mod hooked;
pub mod memory;
pub mod recording;
pub mod world;

pub use faulty::{Fault, FaultySink, Reach, When};
pub use hooked::{HookedSink, Moment};
pub use memory::MemorySink;
pub use recording::{Op, RecordingSink, Tally};
pub use world::{SeededEntropy, StepClock};
