//! A remote store in hostile hands, for some seconds: `./host-tests/forge` is the same for ten minutes.

use std::time::{Duration, Instant};

use selvage_measure::forged::Stage;

#[test]
fn what_a_forger_writes_is_never_more_than_a_response_that_is_well_formed() {
    let mut stage = Stage::start(7);
    let begun = Instant::now();
    while stage.run(Duration::from_millis(500)).0 < 4000 {
        assert!(begun.elapsed() < Duration::from_secs(120), "{} requests", stage.tally().requests);
    }
    stage.gateway.assert_sound();
    let outcome = stage.finish();
    assert!(outcome.tally.errors.is_empty(), "{:?}", outcome.tally.errors);
    assert!(outcome.tally.accepted > 0, "nothing forged was served: nothing was tried");
    for word in ["event.bad-record", "remote.found", "remote.claimed", "purge.received"] {
        assert!(outcome.moved.contains_key(word), "no {word}: {:?}", outcome.moved);
    }
    for moment in &outcome.moments {
        assert!(moment.heap <= moment.bracket(), "a heap of {} bytes", moment.heap);
    }
}
