//! Floor 0: the traits every part of DeCube Backup meets at, and the small types they speak in.
//!
//! Data passes `Source → (engine: chunk, Transform) → Sink` on backup and `Sink → (engine) → Target`
//! on restore. A `Catalog` is to be a rebuildable view of the snapshots repositories hold: the seam
//! for a service to come, which nothing implements yet. This crate knows no runtime, no vendor and no
//! byte on disk: whoever implements one of the traits needs nothing else.
//!
//! | module | holds |
//! |---|---|
//! | [`sink`] | repository storage: six operations, numbered contract |
//! | [`source`] | what is backed up: ordered batches of entries, content on demand |
//! | [`target`] | where a restore writes |
//! | [`transform`] | invertible bytes → bytes on a segment; which ones, the format settles |
//! | [`catalog`] | the queryable record of snapshots; not implemented yet |
//! | [`display`] | bytes and text as one line that no terminal obeys |
//! | [`entry`] | paths, kinds and attributes of backed-up entries |
//! | [`acl`] | POSIX ACLs: what an attribute says |
//! | [`gitignore`] | exclude patterns as git means them, for the crate that matches |
//! | [`error`] | the one error type of the borders: kind, whether to retry, hint |
//! | [`key`] | object names inside a sink |
//! | [`registry`] | scheme → factory of a sink |
//! | [`world`] | clock and entropy, passed in |
//! | [`monitor`] | progress, problems, reports |
//! | [`limits`] | every bound in one place |
//! | [`section`] | typed configuration sections |
//! | [`secret`] | values that are neither printed nor left in memory |
//! | [`observe`] | a pin-projected stream that shows what it yields |
//! | [`zeros`] | whether bytes are all 0 |
//!
//! *Deliberately absent*: retries (one layer decides), global state, dynamic loading, chains of transforms.

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
pub mod zeros;

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
