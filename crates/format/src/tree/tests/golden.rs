//! Frozen bytes: a change here is a change of the format.
