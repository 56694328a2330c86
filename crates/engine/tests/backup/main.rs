//! Backups: what they keep, what they say of it, what they cost.

#[path = "../common/mod.rs"]
mod common;

mod concurrency;
mod costs;
mod emptied_roots;
mod honesty;
mod interrupted;
mod links;
mod local_cache;
mod model;
mod round_trip;
mod scale;
mod statistics;
