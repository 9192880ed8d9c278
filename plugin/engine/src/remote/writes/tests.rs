use super::*;
use crate::store::node::fake::Fake;

const KEY: &str = "sv1/wr/c/a/p";
const OOM: State = State::Refusing(Reason::Oom);

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(1_000_000 + millis)
}

fn redis(text: &str) -> Result<Answer, DialectError> {
    Err(DialectError::RedisError(text.to_owned()))
}

#[test]
fn an_answer_says_about_writes_what_it_can() {
    use Sort::{Entries, Records};
    let refused = |sort, reason| Some((sort, State::Refusing(reason)));
    for (kind, answer, expected) in [
        (Kind::Set, Ok(Answer::Done), Some((Records, State::Ok))),
        (Kind::Add, Ok(Answer::Absent), Some((Entries, State::Ok))),
        (Kind::Claim, Ok(Answer::Absent), Some((Entries, State::Ok))),
        // A full Redis deletes all the same.
        (Kind::Delete, Ok(Answer::Done), None),
        (Kind::Get, redis("OOM x"), None),
        (
            Kind::Set,
            redis("OOM command not allowed when used memory > 'maxmemory'."),
            refused(Records, Reason::Oom),
        ),
        (Kind::Set, redis("ERR OOM command not allowed"), refused(Records, Reason::Oom)),
        (
            Kind::Delete,
            redis("READONLY You can't write against a read only slave."),
            refused(Records, Reason::Readonly),
        ),
        (
            Kind::Add,
            redis("MISCONF Redis is configured to save RDB snapshots"),
            refused(Entries, Reason::Misconf),
        ),
        (
            Kind::Add,
            redis("NOREPLICAS Not enough good replicas to write."),
            refused(Entries, Reason::Noreplicas),
        ),
        (Kind::Add, redis("ERR max daily request limit exceeded"), refused(Entries, Reason::Other)),
        (Kind::Set, redis(""), refused(Records, Reason::Other)),
        (Kind::Set, Err(DialectError::Unauthorized), refused(Records, Reason::Unauthorized)),
        (Kind::Claim, redis("OOM x"), refused(Entries, Reason::Oom)),
        // Redis before 7.0, and a user without `SET`, are asked plainly.
        (Kind::Claim, redis("ERR syntax error"), None),
        (Kind::Claim, redis("WRONGTYPE x"), None),
        (Kind::Claim, Err(DialectError::Unauthorized), None),
        (Kind::Set, Err(DialectError::Timeout), Some((Records, State::Silent))),
        (Kind::Set, Err(DialectError::TooLarge), None),
    ] {
        assert_eq!(evidence(kind, &answer), expected, "{kind:?} {answer:?}");
    }
}

#[test]
fn three_refusals_in_a_row_are_told_once_and_the_first_write_that_is_taken_ends_it() {
    let mut data = Fake::default();
    let [mut a, mut b] = [Writes::default(), Writes::default()];
    let refused = (Sort::Records, OOM);
    assert_eq!(a.note(refused, 0, &mut data, KEY, at(0)), None);
    // Whoever knows of the doubt and is answered well ends it.
    assert!(!b.claim(&mut data, KEY, at(1)));
    assert_eq!(b.note((Sort::Records, State::Ok), 0, &mut data, KEY, at(2)), None);
    for time in [3, 4] {
        assert_eq!(a.note(refused, 0, &mut data, KEY, at(time)), None);
    }
    assert_eq!(b.note(refused, 0, &mut data, KEY, at(5)), Some(OOM), "of all workers together");
    assert_eq!(a.note(refused, 0, &mut data, KEY, at(6)), None, "told once");
    assert_eq!(a.state(), OOM);
    // The other sort is fine, and no reason to think better of this one.
    assert_eq!(a.note((Sort::Entries, State::Ok), 0, &mut data, KEY, at(10_000)), None);
    assert_eq!(a.state(), OOM);
    assert_eq!(a.note((Sort::Records, State::Ok), 0, &mut data, KEY, at(10_001)), Some(State::Ok));
    b.claim(&mut data, KEY, at(10_002));
    assert_eq!(b.state(), State::Ok);
}

#[test]
fn a_store_at_its_limit_does_not_fill_the_log() {
    let mut data = Fake::default();
    let mut worker = Writes::default();
    let mut told = 0;
    for time in 0..60_000 {
        let found = if time % 4 == 3 { State::Ok } else { OOM };
        told += usize::from(worker.note((Sort::Records, found), 0, &mut data, KEY, at(time)).is_some());
    }
    assert!((2..=20).contains(&told), "{told} in a minute");
}

#[test]
fn what_is_not_answered_counts_only_while_lookups_are() {
    let mut data = Fake::default();
    let mut worker = Writes::default();
    let silent = (Sort::Entries, State::Silent);
    for time in 0..10 {
        assert_eq!(worker.note(silent, 50, &mut data, KEY, at(time)), None);
    }
    worker.note_read(51);
    let told: Vec<_> =
        (10..14).filter_map(|time| worker.note(silent, 50, &mut data, KEY, at(time))).collect();
    assert_eq!(told, [State::Silent]);
    // An answer that is no better is another piece of news.
    let told: Vec<_> = (5_000..5_004)
        .filter_map(|time| worker.note((Sort::Entries, OOM), 50, &mut data, KEY, at(time)))
        .collect();
    assert_eq!(told, [OOM]);
}

#[test]
fn one_worker_probes_every_two_seconds_and_more_often_in_doubt() {
    let mut data = Fake::default();
    let [mut a, mut b] = [Writes::default(), Writes::default()];
    let probes = |a: &mut Writes, b: &mut Writes, data: &mut Fake, from: u64, to: u64| {
        (from..to)
            .step_by(100)
            .flat_map(|time| [&mut *a, &mut *b].map(|w| u32::from(w.claim(data, KEY, at(time)))))
            .sum::<u32>()
    };
    let calm = probes(&mut a, &mut b, &mut data, 0, 20_000);
    assert!((8..=10).contains(&calm), "{calm}");
    a.note((Sort::Records, OOM), 0, &mut data, KEY, at(20_000));
    let doubtful = probes(&mut a, &mut b, &mut data, 20_000, 25_000);
    assert!((8..=11).contains(&doubtful), "{doubtful}");
    // The clock was set back.
    let early = probes(&mut a, &mut b, &mut data, 0, 2_000);
    assert!(early >= 1, "{early}");
}

#[test]
fn what_is_damaged_is_known_to_nobody() {
    let mut data = Fake::default();
    let mut worker = Writes::default();
    for time in 0..4 {
        worker.note((Sort::Records, State::Refusing(Reason::Other)), 0, &mut data, KEY, at(time));
    }
    let bytes = data.get(KEY).unwrap().0.clone();
    assert!(Shared::decode(&bytes).is_some());
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 4;
        assert_eq!(Shared::decode(&damaged), None);
        assert_eq!(Shared::decode(&bytes[..at]), None);
    }
}
