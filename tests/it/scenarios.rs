//! The room of scenarios.
