//! Restores: into nothing, over what stands there, and as archives.

#[path = "../common/mod.rs"]
mod common;

mod archive;
mod flow;
mod names;
mod over;
mod policy;
mod unanswered;
