//! Sinks over a sink: each adds one behaviour and passes everything else on.
//!
//! | module | adds |
//! |---|---|
//! | [`retry`] | trying again what the sink says is worth trying again |
//! | [`throttle`] | bounds on bytes per second and on requests at once |
//! | [`observe`] | counters and tracing events for every call |
//!
//! The usual stack, from the outside in, is `retry → throttle → observe → backend`: every attempt is
//! throttled and counted, not only every wish.
//!
//! *Deliberately absent*: policy. A layer knows neither keys nor what the engine does with them.

pub mod observe;
pub mod retry;
pub mod throttle;

pub use observe::ObserveSink;
pub use retry::{RetryPolicy, RetrySink};
pub use throttle::{ThrottleLimits, ThrottleSink};
