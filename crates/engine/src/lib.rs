//! Floor 2: what is done with a repository.
//!
//! The engine sees `Arc<dyn Sink>`, `&dyn Source` and `&dyn Target` only. It is synchronous at its
//! core: stages are threads joined by bounded channels, and only sink calls run on the async runtime.
//!
//! | module | holds |
//! |---|---|
//! | [`environment`] | the world passed in |
//! | [`options`] | what callers choose and get back |
//! | [`repository`] | open and init, log, cache |
//! | [`rules`] | what may be committed, reclaimed, deleted |
//! | [`retention`] | what a policy keeps |
//! | [`clocks`] | the store's time against clients' |
//! | [`twins`] | copies that a repair made, and the places they take |
//! | [`forget`], [`undelete`] | hiding snapshots, and showing them again |
//! | [`store`] | the sink as blocking calls |
//! | [`index`] | where chunks are |
//! | [`pipeline`] | new chunks → uploaded packs |
//! | `publish` | durable packs → index segments and a record |
//! | `link_groups` | which names are one file |
//! | `parity` | damaged packs brought back |
//! | `odd_packs` | packs that are not where the log says they are |
//! | [`segments`] | reading segments and nodes back |
//! | [`backup`], [`restore`], [`dump`], [`verify`] | the main jobs |
//! | [`gc`] | freeing space, and saying what would be freed |
//! | [`repair`] | what can be put right, and what cannot |
//! | [`browse`], [`select`], [`stats`] | looking around |
//! | [`live`] | a directory against a snapshot of it |
//! | [`keys`], [`tags`] | changing what is known, not what is stored |
//! | [`audit`] | who did what, and whether the log is the one seen before |
//!
//! *Deliberately absent*: concrete backends, printing, reading the environment.

pub mod audit;
pub mod backup;
pub mod browse;
pub mod clocks;
pub mod dump;
pub mod environment;
pub mod forget;
pub mod gc;
pub mod index;
pub mod keys;
mod link_groups;
pub mod live;
pub(crate) mod odd_packs;
pub mod options;
pub(crate) mod parity;
pub mod pipeline;
pub(crate) mod publish;
pub mod repair;
pub mod repository;
pub mod restore;
pub mod retention;
pub mod rules;
pub mod segments;
pub mod select;
pub mod stats;
pub mod store;
pub mod tags;
pub mod twins;
pub mod undelete;
pub mod verify;

pub use environment::{Author, Credentials, Environment};
pub use repository::Repository;
