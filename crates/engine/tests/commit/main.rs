//! The commit protocol, the log and its witnesses: failing, killed, overtaken, out of room.

#[path = "../common/mod.rs"]
mod common;

mod append_race;
mod audit;
mod crash_images;
mod disk_full;
mod fault_sweep;
mod killed;
mod lost_tail;
mod reclaimed;
