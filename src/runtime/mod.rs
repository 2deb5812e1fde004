//! The life of the service: the threads of the workers, the one clock, starting and stopping.

pub mod clock;
pub mod crew;
pub mod delivery;
mod ending;
pub mod hangup;
mod health;
pub mod machine;
pub mod service;
pub mod standby;
