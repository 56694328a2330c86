//! Floor 2: what is done with a repository.
//!
//! The engine sees `Arc<dyn Sink>`, `&dyn Source` and `&dyn Target` only. It is synchronous at its
//! core: stages are threads joined by bounded channels, and only sink calls run on the async runtime.
//!
//! | module | holds |
//! |---|---|
//! | [`environment`] | the world passed in |
//! | [`options`] | what callers choose and get back |
//!
//! *Deliberately absent*: concrete backends, printing, reading the environment.

pub mod environment;
pub mod options;

pub use environment::{Credentials, Environment};
