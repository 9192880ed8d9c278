//! What makes a soak fail.

use crate::load::Tally;
use crate::samples::Memory;

/// What a pause at a round's end showed.
#[derive(Clone, Default)]
pub struct Pause {
    /// Memory when nothing was under way any more.
    pub memory: Memory,
    /// What was still there when it should have been gone.
    pub leftovers: Vec<String>,
    /// How many seconds it took until all was gone.
    pub took: f64,
    /// Faults of the round that were over, while a store or an origin was still left alone.
    pub lasting: Vec<&'static str>,
    /// The worker stores and the node store at their fullest in the round, as a part of what they may take: the emptier of the two.
    pub full: f64,
}

/// What is in use, by the VMs or by Envoy itself, may grow by the larger of this part and so many bytes, from the first
/// round's end to the last one's.
const USED: (f64, f64) = (0.02, 4.0 * MIB);
/// Resident memory too has what Envoy's allocator has kept of the worst moments, which does not come back: up to 32 MiB in the
/// caches of its threads alone.
const RESIDENT: (f64, f64) = (0.1, 24.0 * MIB);
/// A mebibyte.
pub const MIB: f64 = 1_048_576.0;
/// From here on a store counts as full.
const FULL: f64 = 0.85;
/// A load that could not be sent says nothing: at most this part of it.
const UNSENT: f64 = 0.01;

/// All that is not as it should be.
pub fn faults(pauses: &[Pause], tally: &Tally, unsound: Option<String>) -> Vec<String> {
    let mut faults: Vec<String> =
        tally.faults.iter().map(|(fault, count)| format!("{count} times: {fault}")).collect();
    faults.extend(unsound);
    for (round, pause) in (1..).zip(pauses) {
        if !pause.leftovers.is_empty() {
            faults.push(format!("round {round}: still there in the pause: {}", pause.leftovers.join(", ")));
        }
        faults
            .extend(pause.lasting.iter().map(|fault| format!("round {round}: not recovered from: {fault}")));
    }
    if let [first, .., last] = pauses {
        if first.full < FULL {
            let percent = first.full * 100.0;
            faults.push(format!(
                "a store was {percent:.0} % full at most in the first round: its growth is no leak"
            ));
        }
        let (early, late) = (first.memory, last.memory);
        for (what, from, to, (part, bytes)) in [
            ("the VMs' heap", early.heap, late.heap, USED),
            ("what Envoy has allocated", early.allocated, late.allocated, USED),
            ("resident memory", early.resident, late.resident, RESIDENT),
        ] {
            if to - from > bytes.max(from * part) {
                faults.push(format!("{what} grew from {:.1} to {:.1} MiB", from / MIB, to / MIB));
            }
        }
    }
    if tally.unsent as f64 > tally.asked as f64 * UNSENT {
        faults.push(format!("{} requests were not sent: too many were under way", tally.unsent));
    }
    if tally.hits == 0 {
        faults.push("the cache answered nothing".to_owned());
    }
    faults
}

/// The rules in words.
pub fn rules() -> String {
    format!(
        "Flat means: from the first round's end, in which both stores were full, to the last one's the VMs' heap and what Envoy itself has allocated\n\
         grow by no more than {:.0} % or {:.0} MiB each, resident memory, which has the free lists of Envoy's allocator too, by no more than\n\
         {:.0} % or {:.0} MiB; in every pause all of `selvage_live` and `selvage_queue` goes back to 0; no wrong body, no error unless the\n\
         origin was in trouble and nothing stored may stand in; no trap.",
        USED.0 * 100.0,
        USED.1 / MIB,
        RESIDENT.0 * 100.0,
        RESIDENT.1 / MIB
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pause(heap: f64, resident: f64) -> Pause {
        let memory = Memory { heap: heap * MIB, resident: resident * MIB, allocated: 50.0 * MIB };
        Pause { memory, full: 0.95, ..Pause::default() }
    }

    fn well() -> Tally {
        Tally { asked: 1000, lookups: 900, hits: 500, excused: 40, ..Tally::default() }
    }

    #[test]
    fn a_level_soak_passes_and_what_the_origin_could_not_do_is_excused() {
        let pauses = [pause(80.0, 300.0), pause(90.0, 340.0), pause(83.9, 320.0)];
        assert_eq!(faults(&pauses, &well(), None), [] as [String; 0]);
        // Of one round nothing can be said but what a pause shows.
        assert_eq!(faults(&[pause(80.0, 300.0)], &well(), None), [] as [String; 0]);
    }

    #[test]
    fn growth_beyond_the_larger_allowance_fails() {
        let found = faults(&[pause(80.0, 900.0), pause(84.1, 980.0)], &well(), None);
        assert_eq!(found, ["the VMs' heap grew from 80.0 to 84.1 MiB"]);
        let found = faults(&[pause(400.0, 900.0), pause(407.0, 991.0)], &well(), None);
        assert_eq!(found, ["resident memory grew from 900.0 to 991.0 MiB"]);
        let mut late = pause(80.0, 900.0);
        late.memory.allocated += 4.1 * MIB;
        let found = faults(&[pause(80.0, 900.0), late], &well(), None);
        assert_eq!(found, ["what Envoy has allocated grew from 50.0 to 54.1 MiB"]);
    }

    #[test]
    fn one_thing_left_over_one_wrong_body_one_trap_or_one_lasting_fault_fails() {
        let mut left = pause(80.0, 300.0);
        left.leftovers = vec!["1 waiters".to_owned()];
        left.lasting = vec!["webdis killed"];
        let mut tally = well();
        tally.faults.insert("wrong body: 200 Selvage; hit".to_owned(), 1);
        let found = faults(&[pause(80.0, 300.0), left], &tally, Some("a trap".to_owned()));
        assert_eq!(
            found,
            [
                "1 times: wrong body: 200 Selvage; hit",
                "a trap",
                "round 2: still there in the pause: 1 waiters",
                "round 2: not recovered from: webdis killed"
            ]
        );
    }

    #[test]
    fn a_soak_that_says_nothing_fails() {
        let mut empty = pause(80.0, 300.0);
        empty.full = 0.5;
        let found = faults(&[empty, pause(80.0, 300.0)], &well(), None);
        assert_eq!(found, ["a store was 50 % full at most in the first round: its growth is no leak"]);
        let tally = Tally { asked: 100, unsent: 2, ..Tally::default() };
        assert_eq!(faults(&[], &tally, None).len(), 2);
    }
}
