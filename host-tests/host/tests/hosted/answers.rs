//! Seeded answers of language models, cut anywhere. `./host-tests/llm c1` plays ten thousand.

use selvage_host::answers::play;

#[test]
fn answers_come_again_byte_for_byte_are_counted_to_the_token_and_nothing_incomplete_is_stored() {
    let tally = play(0..SEEDS).unwrap_or_else(|wrong| panic!("{wrong}"));
    assert_eq!(tally.answers, SEEDS);
    assert!(tally.replayed > SEEDS / 4 && tally.told > SEEDS / 4 && tally.estimated > SEEDS / 8, "{tally:?}");
    assert!(tally.broken > SEEDS / 5 && tally.incomplete > SEEDS / 5, "{tally:?}");
}

const SEEDS: u64 = 1_000;
