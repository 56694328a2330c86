//! The programs as a person runs them: arguments in, output and exit codes out.
#![cfg(feature = "fs")]

mod asked;
mod configured;
mod failing;
mod flow;
mod given;
mod held;
mod itself;
mod key_trouble;
mod keys;
mod naming;
mod obeyed;
mod panicking;
mod piped;
mod repairing;
mod retained;
mod schema;
mod stopped;
mod unannounced;
mod unheard;
mod unreadable;
mod world;
