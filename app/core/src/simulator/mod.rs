//! Made-up work, for demos and tests: seeded, on virtual time, the same to the byte everywhere.

mod scenario;

pub use scenario::{Scenario, UnknownScenario};
