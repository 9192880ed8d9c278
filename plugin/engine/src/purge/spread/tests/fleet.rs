//! Nodes that purge at once, through a store that loses answers and entries.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

/// A store that loses answers, and may be emptied.
#[derive(Default)]
struct Store {
    entries: BTreeMap<u64, String>,
    hint: Option<u64>,
    seed: u64,
}

impl Store {
    fn random(&mut self, below: u64) -> u64 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        self.seed % below
    }

    fn answer(&mut self, step: &Step) -> Answer {
        let value = |text: String| Answer::Value(text.into_bytes());
        match step {
            Step::Add { number, .. } if self.entries.contains_key(number) => Answer::Absent,
            Step::Add { number, text, .. } => {
                self.entries.insert(*number, text.clone());
                Answer::Done
            }
            Step::Read { number, .. } => self.entries.get(number).cloned().map_or(Answer::Absent, value),
            Step::Last { .. } => self.hint.map_or(Answer::Absent, |hint| value(hint.to_string())),
            Step::Hint { number } => {
                self.hint = Some(*number);
                Answer::Done
            }
        }
    }
}

/// A node of two workers, what it has purged and heard of, and its calls under way.
#[derive(Default)]
struct Node {
    data: Fake,
    workers: [Spread; 2],
    known: BTreeSet<Vec<u8>>,
    unknown: u64,
    calls: Vec<(usize, Step)>,
}

impl Node {
    fn hears(&mut self, heard: Vec<Heard>, purged: &BTreeSet<Vec<u8>>) {
        for heard in heard {
            match heard {
                Heard::New(text) | Heard::Old(text) => self.known.extend(purges_of(&text).unwrap()),
                // It covers whatever was purged until now.
                Heard::Unknown(_) => {
                    self.known.extend(purged.iter().cloned());
                    self.unknown += 1;
                }
                Heard::Told(_) => {}
            }
        }
    }
}

/// Some nodes purge for a while through a store that answers a few calls, in any order, and then answers all.
fn fleet(seed: u64, empties: bool) -> (Vec<Node>, BTreeSet<Vec<u8>>) {
    let mut store = Store { seed, ..Store::default() };
    let mut nodes: Vec<Node> = (0..3).map(|_| Node::default()).collect();
    let mut purged = BTreeSet::new();
    for millis in (0..40_000).step_by(50) {
        let bad = millis < 15_000;
        for node in &mut nodes {
            for worker in 0..2 {
                if bad && store.random(40) == 0 {
                    let purge = (purged.len() as u64).to_le_bytes().to_vec();
                    purged.insert(purge.clone());
                    node.known.insert(purge.clone());
                    node.workers[worker].push(purge);
                }
                node.workers[worker].tick(&mut node.data, KEY, at(millis));
            }
            for _ in 0..30 {
                for worker in 0..2 {
                    while let Some(step) = node.workers[worker].next(at(millis)) {
                        node.calls.push((worker, step));
                    }
                }
                if node.calls.is_empty() || bad && store.random(4) == 0 {
                    break;
                }
                let which = store.random(node.calls.len() as u64) as usize;
                let (worker, step) = node.calls.swap_remove(which);
                let done = !bad || store.random(3) > 0;
                let answer = done.then(|| store.answer(&step));
                let answer = answer.filter(|_| !bad || store.random(3) > 0);
                let heard = ends(&mut node.workers[worker], &step, answer, at(millis));
                node.hears(heard, &purged);
            }
        }
        if empties && (millis == 7_000 || millis == 14_000) {
            store.entries.clear();
            store.hint = None;
        }
    }
    (nodes, purged)
}

#[test]
fn whatever_answers_are_lost_every_node_hears_of_every_purge_and_none_takes_all_for_purged() {
    for seed in 1..60 {
        let (nodes, purged) = fleet(seed, false);
        assert!(purged.len() > 20, "{}", purged.len());
        for (index, node) in nodes.iter().enumerate() {
            assert_eq!((node.known.len(), node.unknown), (purged.len(), 0), "seed {seed}, node {index}");
        }
    }
}

#[test]
fn a_store_that_is_emptied_loses_no_purge() {
    for seed in 1..60 {
        let (nodes, purged) = fleet(seed, true);
        for (index, node) in nodes.iter().enumerate() {
            assert_eq!(node.known.len(), purged.len(), "seed {seed}, node {index}");
        }
    }
}
