//! Damage of every kind: found, named, avoided, repaired.

#[path = "../common/mod.rs"]
mod common;

mod copies;
mod healing;
mod kept_twice;
mod objects;
mod parity;
mod rare_objects;
mod repair;
mod rolling;
mod unreadable;
mod verify_beside;
