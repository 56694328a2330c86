//! Facts about the header, keys, log records and checkpoints.

mod checkpoint;
mod fixtures;
mod hosts;
mod keys;
mod log;
mod manifest;
