//! Floor 0: the traits every part of DeCube Backup meets at, and the small types they speak in.
//!
//! Data passes `Source → (engine: chunk, Transform) → Sink` on backup and `Sink → (engine) → Target`
//! on restore; a `Catalog` is a rebuildable view of the snapshots a repository holds. This crate
//! knows no runtime, no vendor and no byte on disk: whoever implements one of the traits needs
//! nothing else.
//!
//! | module | holds |
//! |---|---|
//! | [`sink`] | repository storage: six operations, numbered contract |
//! | [`source`] | what is backed up: ordered batches of entries, content on demand |
//! | [`target`] | where a restore writes |
//! | [`transform`] | invertible bytes → bytes on a segment |
//! | [`catalog`] | the queryable record of snapshots |
//! | [`display`] | bytes and text as one line that no terminal obeys |
//! | [`entry`] | paths, kinds and attributes of backed-up entries |
//! | [`acl`] | POSIX ACLs: what an attribute says |
//! | [`gitignore`] | exclude patterns as git means them, for the crate that matches |
//! | [`key`] | object names inside a sink |
//! | [`registry`] | scheme → factory |
//! | [`world`] | clock and entropy, passed in |
//! | [`monitor`] | progress, problems, reports |
//! | [`limits`] | every bound in one place |
//! | [`section`] | typed configuration sections |
//! | [`observe`] | pin-projected stream and reader adapters (count, rate, hash) |
//!
//! *Deliberately absent*: retries (one layer decides), global state, dynamic loading.

pub mod acl;
pub mod catalog;
pub mod display;
pub mod entry;
pub mod error;
pub mod gitignore;
pub mod key;
pub mod limits;
pub mod monitor;
pub mod observe;
pub mod registry;
pub mod secret;
pub mod section;
pub mod sink;
pub mod source;
pub mod target;
pub mod transform;
pub mod world;

pub use catalog::Catalog;
pub use entry::{Entry, EntryKind, EntryPath, Metadata, Timestamp};
pub use error::{Error, ErrorKind, Result, Retry};
pub use key::Key;
pub use registry::Registry;
pub use secret::Secret;
pub use sink::{ByteRange, Capabilities, ObjectMeta, PutMode, PutOutcome, Rope, Sink, SinkExt};
pub use source::Source;
pub use target::Target;
pub use transform::Transform;
