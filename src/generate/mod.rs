//! Synthetic load whose customers behave by the figures of the source articles; seeded: same seed, same touchpoints.
