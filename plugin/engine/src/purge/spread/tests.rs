mod fleet;

use std::collections::VecDeque;

use super::entry::take_entry;
use super::*;
use crate::store::node::fake::Fake;

const KEY: &str = "sv1/f/x";
const LAST: Step = Step::Last { by: By::Reader };

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(100_000_000 + millis)
}

fn read(number: u64) -> Step {
    Step::Read { number, by: By::Reader }
}

fn entry(purges: &[u8]) -> String {
    take_entry(&mut purges.iter().map(|purge| vec![*purge]).collect::<VecDeque<_>>()).unwrap().0
}

fn add(number: u64, purges: &[u8]) -> Step {
    Step::Add { number, text: entry(purges), by: By::Writer }
}

fn value(text: &str) -> Option<Answer> {
    Some(Answer::Value(text.as_bytes().to_vec()))
}

fn new(purges: &[u8]) -> Vec<Heard> {
    vec![Heard::New(entry(purges).into_bytes())]
}

/// All steps that are due.
fn steps(spread: &mut Spread, now: Timestamp) -> Vec<Step> {
    std::iter::from_fn(|| spread.next(now)).collect()
}

/// The time of an entry is its number of characters.
fn ends(spread: &mut Spread, step: &Step, answer: Option<Answer>, now: Timestamp) -> Vec<Heard> {
    spread.ended(step, answer, &|text| at(text.len() as u64), now)
}

/// A node that has read up to here.
fn reading(data: &mut Fake, last: u64) -> Spread {
    let mut spread = Spread::default();
    spread.tick(data, KEY, at(0));
    assert_eq!(steps(&mut spread, at(0)), [LAST]);
    ends(&mut spread, &LAST, value(&last.to_string()), at(0));
    for number in 1..=last {
        assert_eq!(spread.next(at(0)), Some(read(number)));
        ends(&mut spread, &read(number), value(&entry(b"o")), at(0));
    }
    let next = read(last + 1);
    assert_eq!(steps(&mut spread, at(0)), std::slice::from_ref(&next));
    assert_eq!(ends(&mut spread, &next, Some(Answer::Absent), at(0)), []);
    spread
}

#[test]
fn a_purge_is_tried_under_one_number_until_it_is_answered_and_what_waits_travels_together() {
    let mut spread = reading(&mut Fake::default(), 6);
    spread.push(b"p".to_vec());
    let first = add(7, b"p");
    assert_eq!(steps(&mut spread, at(0)), std::slice::from_ref(&first));
    spread.push(b"q".to_vec());
    spread.push(b"r".to_vec());
    assert_eq!(steps(&mut spread, at(0)), [], "no other number before this one is known to be taken");
    ends(&mut spread, &first, None, at(0));
    assert_eq!(steps(&mut spread, at(49)), []);
    assert_eq!(steps(&mut spread, at(50)), std::slice::from_ref(&first));
    ends(&mut spread, &first, None, at(50));
    assert_eq!(steps(&mut spread, at(149)), []);
    assert_eq!(steps(&mut spread, at(150)), std::slice::from_ref(&first));
    // The first try had come through, and its answer was lost.
    ends(&mut spread, &first, Some(Answer::Absent), at(150));
    let look = Step::Read { number: 7, by: By::Writer };
    assert_eq!(steps(&mut spread, at(150)), std::slice::from_ref(&look));
    assert_eq!(ends(&mut spread, &look, value(&entry(b"p")), at(151)), [Heard::Told(1)]);
    let both = add(8, b"qr");
    assert_eq!(steps(&mut spread, at(151)), [both.clone(), Step::Hint { number: 7 }]);
    assert_eq!(ends(&mut spread, &both, Some(Answer::Done), at(152)), [Heard::Told(2)]);
    assert_eq!(steps(&mut spread, at(152)), [Step::Hint { number: 8 }]);
    assert_eq!(steps(&mut spread, at(9999)), []);
}

#[test]
fn where_another_was_first_its_purge_is_news_and_the_next_number_is_tried() {
    let mut data = Fake::default();
    let mut spread = reading(&mut data, 6);
    spread.push(b"p".to_vec());
    assert_eq!(steps(&mut spread, at(0)), [add(7, b"p")]);
    ends(&mut spread, &add(7, b"p"), Some(Answer::Absent), at(1));
    let look = Step::Read { number: 7, by: By::Writer };
    assert_eq!(steps(&mut spread, at(1)), std::slice::from_ref(&look));
    assert_eq!(ends(&mut spread, &look, value(&entry(b"x")), at(1)), new(b"x"));
    assert_eq!(steps(&mut spread, at(1)), [add(8, b"p")]);
    ends(&mut spread, &add(8, b"p"), Some(Answer::Done), at(2));
    spread.tick(&mut data, KEY, at(100));
    let due = steps(&mut spread, at(100));
    assert_eq!(due, [Step::Hint { number: 8 }, read(9)], "it has read both numbers while it wrote");
}

#[test]
fn a_writer_that_knows_nothing_asks_for_the_hint_and_one_that_is_far_behind_does_so_again() {
    let mut spread = Spread::default();
    spread.push(b"p".to_vec());
    let ask = Step::Last { by: By::Writer };
    assert_eq!(steps(&mut spread, at(0)), std::slice::from_ref(&ask));
    ends(&mut spread, &ask, Some(Answer::Absent), at(0));
    for number in 1..=MOST_AT_ONCE {
        assert_eq!(steps(&mut spread, at(0)), [add(number, b"p")]);
        ends(&mut spread, &add(number, b"p"), Some(Answer::Absent), at(0));
        let look = Step::Read { number, by: By::Writer };
        assert_eq!(steps(&mut spread, at(0)), std::slice::from_ref(&look));
        ends(&mut spread, &look, value(&entry(b"x")), at(0));
    }
    assert_eq!(steps(&mut spread, at(0)), std::slice::from_ref(&ask));
    ends(&mut spread, &ask, value("500"), at(0));
    assert_eq!(steps(&mut spread, at(0)), [add(501, b"p")]);
    ends(&mut spread, &add(501, b"p"), Some(Answer::Done), at(0));
    spread.push(b"q".to_vec());
    let later = at(0).plus(FORGOTTEN_AFTER).plus(Duration::from_millis(1));
    assert_eq!(steps(&mut spread, later), [ask, Step::Hint { number: 501 }]);
}

#[test]
fn one_worker_reads_and_another_goes_on_where_it_died() {
    let mut data = Fake::default();
    let mut a = reading(&mut data, 5);
    let mut b = Spread::default();
    a.tick(&mut data, KEY, at(10));
    b.tick(&mut data, KEY, at(10));
    assert_eq!((steps(&mut a, at(10)), steps(&mut b, at(10))), (vec![read(6)], vec![]));
    assert_eq!(ends(&mut a, &read(6), value(&entry(b"x")), at(11)), new(b"x"));
    assert_eq!(steps(&mut a, at(11)), [read(7)], "the next at once");
    ends(&mut a, &read(7), Some(Answer::Absent), at(11));
    a.tick(&mut data, KEY, at(20));
    b.tick(&mut data, KEY, at(20));
    b.push(b"p".to_vec());
    assert_eq!(steps(&mut b, at(20)), [add(7, b"p")], "who does not read knows how far the other is");
    b.tick(&mut data, KEY, at(2019));
    assert_eq!(steps(&mut b, at(2019)), []);
    b.tick(&mut data, KEY, at(2020));
    assert_eq!(steps(&mut b, at(2020)), [LAST, read(7)]);
    a.tick(&mut data, KEY, at(2700));
    let again = Step::Read { number: 6, by: By::Keeper };
    assert_eq!(steps(&mut a, at(2700)), [again], "it has lost its place, and looks after what it has read");
}

/// What it asks in ten seconds of ticks of 100 ms in which nothing is purged: reads, and looks at the hint.
fn asked_when_idle(every: Duration) -> (usize, usize) {
    let (mut data, mut reads, mut looks) = (Fake::default(), 0, 0);
    let mut spread = reading(&mut data, 3);
    spread.set_pace(every);
    for tick in 1..=100 {
        let now = at(tick * 100);
        spread.tick(&mut data, KEY, now);
        for step in steps(&mut spread, now) {
            let is_look = step == LAST;
            (reads, looks) = (reads + usize::from(!is_look), looks + usize::from(is_look));
            let answer = if is_look { value("3") } else { Some(Answer::Absent) };
            ends(&mut spread, &step, answer, now);
        }
    }
    (reads, looks)
}

#[test]
fn an_idle_node_asks_once_by_tick_or_by_its_pace() {
    assert_eq!(asked_when_idle(Duration::from_millis(100)), (90, 10));
    assert_eq!(asked_when_idle(Duration::from_millis(10)), (90, 10));
    assert_eq!(asked_when_idle(Duration::from_millis(500)), (25, 10));
    assert_eq!(asked_when_idle(Duration::from_secs(10)), (2, 10));
}

#[test]
fn what_only_the_hint_shows_is_read_at_once_and_a_hint_that_is_behind_delays_a_tick() {
    let mut data = Fake::default();
    let mut spread = reading(&mut data, 3);
    for tick in 1..10 {
        spread.tick(&mut data, KEY, at(tick * 100));
        assert_eq!(steps(&mut spread, at(tick * 100)), [read(4)]);
        ends(&mut spread, &read(4), Some(Answer::Absent), at(tick * 100));
    }
    spread.tick(&mut data, KEY, at(1000));
    assert_eq!(steps(&mut spread, at(1000)), [LAST]);
    assert_eq!(ends(&mut spread, &LAST, value("4"), at(1001)), []);
    assert_eq!(steps(&mut spread, at(1001)), [read(4)]);
    assert_eq!(ends(&mut spread, &read(4), value(&entry(b"x")), at(1002)), new(b"x"));
    assert_eq!(steps(&mut spread, at(1002)), [read(5)]);
    ends(&mut spread, &read(5), Some(Answer::Absent), at(1003));
    for hint in [None, value("4"), Some(Answer::Absent)] {
        let mut data = Fake::default();
        let mut spread = reading(&mut data, 4);
        spread.tick(&mut data, KEY, at(900));
        steps(&mut spread, at(900));
        ends(&mut spread, &read(5), Some(Answer::Absent), at(900));
        spread.tick(&mut data, KEY, at(1000));
        assert_eq!(steps(&mut spread, at(1000)), [LAST]);
        ends(&mut spread, &LAST, hint, at(1001));
        spread.hint = None;
        spread.tick(&mut data, KEY, at(1100));
        assert_eq!(steps(&mut spread, at(1100)), [read(5)]);
    }
}

#[test]
fn a_node_that_starts_reads_the_last_and_takes_what_is_older_for_purged() {
    let mut spread = Spread::default();
    spread.tick(&mut Fake::default(), KEY, at(0));
    assert_eq!(steps(&mut spread, at(0)), [LAST]);
    ends(&mut spread, &LAST, None, at(0));
    spread.tick(&mut Fake::default(), KEY, at(100));
    assert_eq!(steps(&mut spread, at(100)), [LAST]);
    assert_eq!(ends(&mut spread, &LAST, value("100"), at(100)), []);
    let wanted: Vec<Step> = (37..=100).map(read).collect();
    assert_eq!(steps(&mut spread, at(100)), wanted);
    ends(&mut spread, &read(40), None, at(100));
    assert_eq!(steps(&mut spread, at(150)), [read(40)]);
    let mut heard = Vec::new();
    for number in 37..=100 {
        let text = entry(&[7; 30][..(number as usize - 30).min(30)]);
        heard.extend(ends(&mut spread, &read(number), value(&text), at(500)));
    }
    assert_eq!((heard.len(), heard.last()), (65, Some(&Heard::Unknown(at(7 * 6)))));
    assert_eq!(steps(&mut spread, at(500)), [read(101)]);

    let mut spread = Spread::default();
    spread.tick(&mut Fake::default(), KEY, at(0));
    ends(&mut spread, &LAST, value("2"), at(0));
    assert_eq!(steps(&mut spread, at(0)), [read(1), read(2)]);
    ends(&mut spread, &read(2), value(&entry(b"x")), at(500));
    let heard = ends(&mut spread, &read(1), Some(Answer::Absent), at(500));
    assert_eq!(heard, [Heard::Unknown(at(6))], "it has expired");
}

#[test]
fn a_hint_that_is_missing_or_behind_is_set_and_one_that_nobody_wrote_is_no_hint() {
    for hint in [Some(Answer::Absent), value("4"), value("x"), value("99999999999999999999")] {
        let mut data = Fake::default();
        let mut spread = reading(&mut data, 5);
        spread.tick(&mut data, KEY, at(1000));
        assert_eq!(steps(&mut spread, at(1000)), [LAST, read(6)]);
        assert_eq!(ends(&mut spread, &LAST, hint, at(1001)), []);
        assert_eq!(steps(&mut spread, at(1001)), [Step::Hint { number: 5 }]);
        ends(&mut spread, &Step::Hint { number: 5 }, None, at(1002));
    }
}

#[test]
fn what_a_store_forgets_is_added_again_and_what_has_taken_its_place_is_news() {
    let mut data = Fake::default();
    let mut spread = reading(&mut data, 0);
    for (number, purge) in [(1, b"p"), (2, b"q")] {
        spread.push(purge.to_vec());
        assert_eq!(steps(&mut spread, at(0)), [add(number, purge)]);
        ends(&mut spread, &add(number, purge), Some(Answer::Done), at(0));
        spread.hint = None;
    }
    spread.tick(&mut data, KEY, at(1000));
    let again = |number| Step::Read { number, by: By::Keeper };
    assert_eq!(steps(&mut spread, at(1000)), [LAST, read(3), again(1)]);
    assert_eq!(ends(&mut spread, &again(1), value(&entry(b"p")), at(1000)), []);
    assert_eq!(steps(&mut spread, at(1000)), [again(2)]);
    assert_eq!(ends(&mut spread, &again(2), value(&entry(b"q")), at(1000)), []);
    assert_eq!(steps(&mut spread, at(1000)), []);
    spread.tick(&mut data, KEY, at(2000));
    assert_eq!(steps(&mut spread, at(2000)), [again(2)]);
    assert_eq!(ends(&mut spread, &again(2), Some(Answer::Absent), at(2000)), []);
    let restore = |number, purge| Step::Add { number, text: entry(purge), by: By::Keeper };
    assert_eq!(steps(&mut spread, at(2000)), [restore(1, b"p")]);
    ends(&mut spread, &restore(1, b"p"), None, at(2000));
    assert_eq!(steps(&mut spread, at(2050)), [restore(1, b"p")]);
    ends(&mut spread, &restore(1, b"p"), Some(Answer::Done), at(2050));
    assert_eq!(steps(&mut spread, at(2050)), [restore(2, b"q")]);
    ends(&mut spread, &restore(2, b"q"), Some(Answer::Absent), at(2050));
    assert_eq!(steps(&mut spread, at(2050)), [again(2)]);
    assert_eq!(ends(&mut spread, &again(2), value(&entry(b"x")), at(2050)), new(b"x"));
    assert_eq!(steps(&mut spread, at(2050)), [add(3, b"q")]);
    ends(&mut spread, &add(3, b"q"), Some(Answer::Done), at(2050));
    spread.tick(&mut data, KEY, at(63_000));
    assert_eq!(steps(&mut spread, at(63_000)), [Step::Hint { number: 3 }], "a minute later it is left alone");
}

#[test]
fn where_the_next_entry_is_missing_for_long_the_node_goes_on_at_the_hint_and_writes_its_own_again() {
    let mut data = Fake::default();
    let mut spread = reading(&mut data, 0);
    spread.push(b"p".to_vec());
    assert_eq!(steps(&mut spread, at(1)), [add(1, b"p")]);
    ends(&mut spread, &add(1, b"p"), Some(Answer::Done), at(1));
    spread.tick(&mut data, KEY, at(1001));
    assert_eq!(
        steps(&mut spread, at(1001)),
        [Step::Hint { number: 1 }, LAST, read(2), Step::Read { number: 1, by: By::Keeper }]
    );
    ends(&mut spread, &LAST, value("40"), at(1001));
    assert_eq!(ends(&mut spread, &read(2), Some(Answer::Absent), at(1001)), []);
    spread.tick(&mut data, KEY, at(6000));
    steps(&mut spread, at(6000));
    assert_eq!(ends(&mut spread, &read(2), Some(Answer::Absent), at(6000)), []);
    spread.tick(&mut data, KEY, at(6001));
    steps(&mut spread, at(6001));
    let unknown = [Heard::Unknown(at(6001))];
    assert_eq!(ends(&mut spread, &read(2), Some(Answer::Absent), at(6001)), unknown);
    assert_eq!(steps(&mut spread, at(6001)), [add(41, b"p"), read(41)]);

    let mut data = Fake::default();
    let mut spread = reading(&mut data, 0);
    spread.tick(&mut data, KEY, at(9000));
    assert_eq!(ends(&mut spread, &LAST, value("1024"), at(9000)), []);
    assert_eq!(ends(&mut spread, &LAST, value("1025"), at(9000)), [Heard::Unknown(at(9000))], "too far");
}

#[test]
fn who_was_not_answered_for_long_starts_anew() {
    let mut data = Fake::default();
    let mut spread = reading(&mut data, 5);
    let later = FORGOTTEN_AFTER.as_millis() as u64;
    spread.tick(&mut data, KEY, at(later));
    assert_eq!(steps(&mut spread, at(later)), [LAST, read(6)]);
    ends(&mut spread, &LAST, None, at(later));
    ends(&mut spread, &read(6), None, at(later));
    spread.tick(&mut data, KEY, at(later + 1));
    assert_eq!(steps(&mut spread, at(later + 1)), [LAST]);
    ends(&mut spread, &LAST, value("7"), at(later + 1));
    assert_eq!(steps(&mut spread, at(later + 1)), (1..=7).map(read).collect::<Vec<_>>());
}

/// What waits is not lost with the configuration that it was accepted under.
#[test]
fn another_configuration_tells_what_waits() {
    let mut before = reading(&mut Fake::default(), 3);
    before.push(b"p".to_vec());
    let under_way = steps(&mut before, at(0));
    before.push(b"q".to_vec());
    let mut spread = reading(&mut Fake::default(), 8);
    spread.take_over(before);
    assert_eq!(steps(&mut spread, at(1)), [add(9, b"pq")]);
    assert_eq!(ends(&mut spread, &under_way[0], Some(Answer::Done), at(2)), [], "that was another log");
    assert_eq!(ends(&mut spread, &add(9, b"pq"), Some(Answer::Done), at(2)), [Heard::Told(2)]);
}
