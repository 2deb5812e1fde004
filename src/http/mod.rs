//! What is served: health, metrics, touchpoints in, outcomes out, journeys by customer.
