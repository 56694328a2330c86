//! Keys and the slots they are kept in.

#[path = "../common/mod.rs"]
mod common;

mod dear_slots;
mod life;
mod slots;
mod strays;
