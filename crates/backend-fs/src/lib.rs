//! The file system backend: repository storage, what is backed up and where a restore writes.
//!
//! | module | holds |
//! |---|---|
//! | [`sink`] | objects as files: whole or absent, durable, one winner per name |
//! | [`source`] | the ordered walk over directory trees |
//! | [`target`] | writing entries with their attributes |
//! | [`compare`] | what differs between two trees, byte for byte and attribute for attribute |
//! | `at` | opening by path below a fixed directory, never through a symlink |
//! | `attributes` | attributes of one inode, through a descriptor: what `source` reads, `target` writes |
//! | `kinds` | what is known of file systems by their numbers |
//! | `page_cache` | leaving the page cache as it was found |
//! | `pwrite` | writing buffers of any size at an offset |
//! | `torture` | test support: a tree of everything a file system can hold (feature `torture`) |

mod at;
mod attributes;
pub mod compare;
mod kinds;
mod page_cache;
mod pwrite;
pub mod sink;
pub mod source;
pub mod target;
#[cfg(feature = "torture")]
pub mod torture;
