//! The configuration file: pipelines of sources, transforms and sinks.
//!
//! One file, YAML or TOML, read with crate `config`; everything of ours is below the root key
//! `backup:`, so it can live inside a larger file. Inside it an unknown key is an error that names
//! file, line and key. Variables `DECUBE_BACKUP__…` override single values.
//!
//! Data passes `load` (text and variables to values) → `model` (typed) → `check` (meaning) →
//! `secrets` (references resolved at the moment of use).
//!
//! | module | holds |
//! |---|---|
//! | [`model`] | the types, and with them the JSON Schema |
//! | `bounds` | how much a file may ask for |
//! | `load` | finding, reading, overriding |
//! | `locate` | the line of every key |
//! | `shape` | where a list stands for a mapping |
//! | `check` | what types cannot say |
//! | `naming` | what snapshots of pipelines are called |
//! | `retention` | a pipeline's retention as a policy |
//! | `secrets` | `${env:}`, `${file:}`, `${cmd:}` |
//! | `show` | printing with secrets masked and origins named |
//! | `words` | what parsers say, without the values |
//!
//! *Deliberately absent*: a configuration in the working directory is never picked up by itself,
//! because a configuration may run commands.

mod bounds;
mod check;
mod load;
mod locate;
pub mod model;
mod naming;
pub(crate) mod retention;
mod secrets;
mod shape;
mod show;
mod words;

pub(crate) use check::{cipher, effort};
pub(crate) use load::{Configuration, load};
pub(crate) use naming::snapshot_name;
pub(crate) use secrets::{first_line_of_command, first_line_of_file, has_references, resolve};
pub(crate) use show::{mask_url, shown};

/// The JSON Schema of the configuration file.
pub fn schema() -> serde_json::Value {
    let schema = schemars::schema_for!(model::Document);
    schema.to_value()
}
