//! A Redis in hostile hands: a bridge that answers lookups with forged records, clients that judge what becomes of them, and
//! an origin that is honest. For `./host-tests/forge` and the test on real Envoy that is as long as a blink of it.
//!
//! A forged record with the right checksums under the right key that is sound may be served: who writes to Redis is trusted
//! with content. What a client gets must be HTTP all the same, complete, in time, and not a failure of Envoy's own.

// What is forged is forged in one place, for the decoders' fuzzer too.
#[path = "../../../plugin/engine/examples/fuzz/entries.rs"]
mod entries;
#[path = "../../../plugin/engine/examples/fuzz/forging.rs"]
mod forging;
#[path = "../../../plugin/engine/examples/fuzz/format.rs"]
#[allow(dead_code, reason = "the fuzzer uses the rest")]
mod format;
#[path = "../../../plugin/engine/examples/fuzz/random.rs"]
mod random;

mod bridge;
mod clients;
mod judge;
mod site;
mod stage;

pub use bridge::{Bridge, Told};
pub use clients::{Clients, Tally};
pub use stage::{Moment, Outcome, Stage, TIMEOUT, WAIT, longest_allowed};
