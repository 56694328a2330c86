//! What goes: forgotten snapshots, and the space nobody needs any more.

#[path = "../common/mod.rs"]
mod common;

mod beside;
mod index;
mod repack;
mod retention;
mod space;
