//! What waits to be sent to the remote store, within a budget of bytes and of entries.

use std::collections::VecDeque;

use super::claim;
use crate::time::Timestamp;

/// Work for the remote store. It may outlive the request that caused it; its failure is counted and seen by nobody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    /// Store a record.
    Replicate {
        /// The hash that the record is found by.
        hash: u128,
        /// The record.
        record: Vec<u8>,
        /// How long it is of use, in seconds; at least 1.
        ttl_seconds: u64,
    },
    /// Delete what is stored under a hash.
    Delete {
        /// The hash.
        hash: u128,
        /// Until when it is of use, if it only ends a claim of this Envoy: later the claim has ended by itself, and what
        /// lies there is another's. `None` for what was invalidated, which is deleted however late.
        until: Option<Timestamp>,
    },
}

impl Task {
    /// The hash it is about.
    pub const fn hash(&self) -> u128 {
        match self {
            Self::Replicate { hash, .. } | Self::Delete { hash, .. } => *hash,
        }
    }

    /// Whether it deletes what was invalidated.
    const fn invalidates(&self) -> bool {
        matches!(self, Self::Delete { until: None, .. })
    }

    fn is_over(&self, now: Timestamp) -> bool {
        matches!(self, Self::Delete { until: Some(until), .. } if !claim::holds(*until, now))
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Replicate { record, .. } => record.len(),
            Self::Delete { .. } => 0,
        }
    }
}

/// Tasks in the order in which they came, of each hash at most two: the deletion of what was invalidated, and after it a
/// record. When there is no room the oldest records go: deletions keep others from being served what is invalid.
#[derive(Debug, Default)]
pub struct Queue {
    tasks: VecDeque<Task>,
    bytes: usize,
    most_bytes: usize,
    most_entries: usize,
    dropped: u64,
}

impl Queue {
    /// An empty queue for at most `most_bytes` of records and `most_entries` tasks.
    pub fn new(most_bytes: usize, most_entries: usize) -> Self {
        Self { most_bytes, most_entries, ..Self::default() }
    }

    /// Adds a task. It takes the place of what waits for its hash, except that a record comes after the deletion of
    /// what was invalidated, and that the end of a claim is not needed where anything else waits. A record larger than
    /// the whole budget is dropped at once.
    pub fn push(&mut self, task: Task) {
        let hash = task.hash();
        match &task {
            Task::Replicate { .. } => self.remove(|other| other.hash() == hash && !other.invalidates()),
            Task::Delete { until: None, .. } => self.remove(|other| other.hash() == hash),
            Task::Delete { until: Some(_), .. } => {
                if self.awaits(hash) {
                    return;
                }
            }
        }
        if self.makes_room(&task) {
            self.tasks.push_back(task);
        }
    }

    /// Puts a task back that came to nothing. What waits for its hash was asked for later: it goes on waiting, and
    /// replaces the task, unless that is the deletion of what was invalidated, which comes first.
    pub fn put_back(&mut self, task: Task) {
        let hash = task.hash();
        let replaced = if task.invalidates() {
            self.tasks.iter().any(|other| other.hash() == hash && other.invalidates())
        } else {
            self.awaits(hash)
        };
        if !replaced && self.makes_room(&task) {
            self.tasks.push_front(task);
        }
    }

    /// Takes the oldest task that is still of use.
    pub fn pop(&mut self, now: Timestamp) -> Option<Task> {
        loop {
            let task = self.tasks.pop_front()?;
            self.bytes = self.bytes.saturating_sub(task.bytes());
            if !task.is_over(now) {
                return Some(task);
            }
        }
    }

    /// Takes the oldest deletion that is still of use.
    pub fn pop_deletion(&mut self, now: Timestamp) -> Option<Task> {
        loop {
            let at = self.tasks.iter().position(|task| matches!(task, Task::Delete { .. }))?;
            let task = self.tasks.remove(at)?;
            if !task.is_over(now) {
                return Some(task);
            }
        }
    }

    /// Whether a deletion waits.
    pub fn has_deletion(&self) -> bool {
        self.tasks.iter().any(|task| matches!(task, Task::Delete { .. }))
    }

    /// Tasks that wait.
    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Tasks dropped for want of room since the last call.
    pub fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }

    /// Whether a record for the hash waits.
    pub fn contains(&self, hash: u128) -> bool {
        self.tasks.iter().any(|task| matches!(task, Task::Replicate { .. }) && task.hash() == hash)
    }

    /// Takes back the record that waits for the hash. A deletion stays.
    pub fn take_back(&mut self, hash: u128) {
        self.remove(|task| matches!(task, Task::Replicate { .. }) && task.hash() == hash);
    }

    fn awaits(&self, hash: u128) -> bool {
        self.tasks.iter().any(|task| task.hash() == hash)
    }

    fn remove(&mut self, which: impl Fn(&Task) -> bool) {
        let bytes = &mut self.bytes;
        self.tasks.retain(|task| {
            let gone = which(task);
            if gone {
                *bytes = bytes.saturating_sub(task.bytes());
            }
            !gone
        });
    }

    /// Counts a task in, and drops others for it. `false` if it is larger than the whole budget.
    fn makes_room(&mut self, task: &Task) -> bool {
        if task.bytes() > self.most_bytes {
            self.dropped += 1;
            return false;
        }
        while self.tasks.len() >= self.most_entries.max(1)
            || self.bytes.saturating_add(task.bytes()) > self.most_bytes
        {
            let oldest = |which: fn(&Task) -> bool| self.tasks.iter().position(which);
            let at = oldest(|task| matches!(task, Task::Replicate { .. }))
                .or_else(|| oldest(|task| !task.invalidates()))
                .unwrap_or(0);
            let Some(gone) = self.tasks.remove(at) else { break };
            self.bytes = self.bytes.saturating_sub(gone.bytes());
            self.dropped += 1;
        }
        self.bytes = self.bytes.saturating_add(task.bytes());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(hash: u128, bytes: usize) -> Task {
        Task::Replicate { hash, record: vec![0; bytes], ttl_seconds: 60 }
    }

    fn invalidated(hash: u128) -> Task {
        Task::Delete { hash, until: None }
    }

    fn claimed(hash: u128, until: u64) -> Task {
        Task::Delete { hash, until: Some(Timestamp::from_millis(until)) }
    }

    fn all(mut queue: Queue, now: u64) -> Vec<Task> {
        std::iter::from_fn(|| queue.pop(Timestamp::from_millis(now))).collect()
    }

    #[test]
    fn the_oldest_record_goes_when_there_is_no_room_and_is_counted() {
        let mut queue = Queue::new(100, 10);
        for hash in 0..3 {
            queue.push(record(hash, 40));
        }
        assert_eq!((queue.len(), queue.take_dropped()), (2, 1));
        assert_eq!(queue.pop(NOW).map(|task| task.hash()), Some(1));
        queue.push(record(9, 101));
        assert_eq!((queue.len(), queue.take_dropped()), (1, 1));
    }

    #[test]
    fn a_later_task_for_a_hash_replaces_the_earlier_one() {
        let mut queue = Queue::new(100, 10);
        queue.push(record(1, 40));
        queue.push(invalidated(1));
        queue.push(record(2, 90));
        queue.push(record(2, 80));
        assert_eq!(all(queue, 0), [invalidated(1), record(2, 80)]);
    }

    #[test]
    fn what_was_invalidated_is_deleted_before_what_takes_its_place() {
        let mut queue = Queue::new(100, 10);
        queue.push(invalidated(1));
        queue.push(record(1, 40));
        // There is no room for both records.
        queue.push(record(2, 90));
        assert_eq!(all(queue, 0), [invalidated(1), record(2, 90)]);
        let mut queue = Queue::new(100, 10);
        queue.push(invalidated(1));
        queue.push(record(1, 40));
        queue.take_back(1);
        assert_eq!(all(queue, 0), [invalidated(1)]);
    }

    #[test]
    fn the_end_of_a_claim_is_of_use_as_long_as_the_claim() {
        let mut queue = Queue::new(100, 10);
        queue.push(claimed(1, 1_000));
        queue.push(claimed(2, 5_000));
        queue.push(invalidated(3));
        assert_eq!(all(queue, 950), [claimed(2, 5_000), invalidated(3)]);
        let mut queue = Queue::new(100, 10);
        queue.push(claimed(1, 1_000));
        assert_eq!(queue.pop_deletion(Timestamp::from_millis(2_000)), None);
        assert!(queue.is_empty());
    }

    #[test]
    fn the_end_of_a_claim_takes_no_place_of_a_record_or_of_an_invalidation() {
        let mut queue = Queue::new(100, 10);
        queue.push(record(1, 40));
        queue.push(claimed(1, 1_000));
        queue.push(invalidated(2));
        queue.push(claimed(2, 1_000));
        queue.push(claimed(3, 1_000));
        queue.push(record(3, 40));
        assert_eq!(all(queue, 0), [record(1, 40), invalidated(2), record(3, 40)]);
    }

    #[test]
    fn what_is_put_back_displaces_nothing_that_came_later() {
        let mut queue = Queue::new(100, 10);
        queue.push(invalidated(1));
        queue.put_back(record(1, 40));
        queue.push(record(2, 30));
        queue.put_back(record(2, 20));
        queue.put_back(claimed(2, 1_000));
        queue.put_back(invalidated(2));
        assert_eq!(all(queue, 0), [invalidated(2), invalidated(1), record(2, 30)]);
    }

    #[test]
    fn deletions_outlast_records() {
        let mut queue = Queue::new(1000, 3);
        queue.push(invalidated(1));
        queue.push(record(2, 1));
        queue.push(claimed(3, 1_000));
        queue.push(record(4, 1));
        queue.push(invalidated(5));
        queue.push(invalidated(6));
        assert_eq!(all(queue, 0), [invalidated(1), invalidated(5), invalidated(6)]);
    }

    const NOW: Timestamp = Timestamp::from_millis(0);
}
