//! The life of the service: the worker, the one clock, starting and stopping.

pub mod clock;
pub mod crew;
pub mod service;
pub mod standby;
pub mod worker;
