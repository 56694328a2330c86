//! The bounds that several parts share; one that a single part has is a constant beside it.
//!
//! Decoders refuse what exceeds these before they allocate; queues and fan-outs stop at them.

/// Largest object a sink has to take, bytes: a 64 MiB pack and slack for footer and padding.
pub const OBJECT_BYTES_MAX: usize = 80 << 20;
/// Most items in one scan batch.
pub const BATCH_ENTRIES_MAX: usize = 1024;
/// Longest file name component stored, bytes.
pub const NAME_BYTES_MAX: usize = 4096;
/// Largest extended attribute value, bytes (Linux `XATTR_SIZE_MAX`).
pub const XATTR_VALUE_BYTES_MAX: usize = 64 << 10;
/// Most extended attributes of one entry.
pub const XATTRS_MAX: usize = 4096;
/// Longest symlink target, bytes (Linux `PATH_MAX`).
pub const SYMLINK_BYTES_MAX: usize = 4096;
/// Packs uploaded at once by one backup: bounds memory to that many packs beyond the one being filled.
pub const UPLOADS_IN_FLIGHT_MAX: usize = 2;
/// Attempts to append to the log before giving up as contended.
pub const LOG_APPEND_ATTEMPTS_MAX: u32 = 1000;
/// Problems listed by path in a snapshot's manifest; more are only counted.
pub const MANIFEST_PROBLEMS_MAX: usize = 1000;
