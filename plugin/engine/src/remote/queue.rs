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
        /// Whether it takes the place of what was invalidated, which has to be deleted if this does not get there.
        over_invalid: bool,
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

    /// A record that takes the place of nothing, or of what is still good.
    pub const fn replicate(hash: u128, record: Vec<u8>, ttl_seconds: u64) -> Self {
        Self::Replicate { hash, record, ttl_seconds, over_invalid: false }
    }

    /// The deletion of what was invalidated.
    pub const fn invalidate(hash: u128) -> Self {
        Self::Delete { hash, until: None }
    }

    /// Whether what was invalidated lies in the store until this is done.
    const fn ends_invalid(&self) -> bool {
        matches!(self, Self::Delete { until: None, .. } | Self::Replicate { over_invalid: true, .. })
    }

    const fn is_record(&self) -> bool {
        matches!(self, Self::Replicate { .. })
    }

    /// Whether something is to be deleted, by itself or by what takes its place.
    fn deletes(&self) -> bool {
        !self.is_record() || self.ends_invalid()
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

/// Tasks in the order in which they came, at most one for a hash. When there is no room the oldest records go: deletions keep
/// others from being served what is invalid.
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

    /// Adds a task. It takes the place of the one that waits for its hash, except that the end of a claim is not needed where
    /// anything else waits. A record larger than the whole budget is dropped at once.
    pub fn push(&mut self, mut task: Task) {
        let earlier = self.position(task.hash());
        if let Some(at) = earlier {
            if let Task::Delete { until: Some(later), .. } = task {
                if let Some(Task::Delete { until: Some(until), .. }) = self.tasks.get_mut(at) {
                    *until = later.max(*until);
                }
                return;
            }
            let ends_invalid = self.remove(at).is_some_and(|earlier| earlier.ends_invalid());
            if let Task::Replicate { over_invalid, .. } = &mut task {
                *over_invalid |= ends_invalid;
            }
        }
        if let Some(task) = self.fit(task) {
            self.tasks.push_back(task);
        }
    }

    /// Puts a task back that came to nothing. If one waits for its hash, that was asked for later: it goes on waiting, and
    /// does what this one should have.
    pub fn put_back(&mut self, task: Task) {
        let Some(at) = self.position(task.hash()) else {
            if let Some(task) = self.fit(task) {
                self.tasks.push_front(task);
            }
            return;
        };
        if !task.ends_invalid() {
            return;
        }
        match self.tasks.get_mut(at) {
            Some(Task::Replicate { over_invalid, .. }) => *over_invalid = true,
            Some(Task::Delete { until, .. }) => *until = None,
            None => {}
        }
    }

    /// Takes the oldest task that is still of use.
    pub fn pop(&mut self, now: Timestamp) -> Option<Task> {
        loop {
            let task = self.remove(0)?;
            if !task.is_over(now) {
                return Some(task);
            }
        }
    }

    /// Takes the oldest deletion that is still of use, for a store that takes nothing else. A record that is to replace
    /// something invalid goes on waiting after that is deleted.
    pub fn pop_deletion(&mut self, now: Timestamp) -> Option<Task> {
        loop {
            let at = self.tasks.iter().position(Task::deletes)?;
            if let Some(Task::Replicate { hash, over_invalid, .. }) = self.tasks.get_mut(at) {
                *over_invalid = false;
                return Some(Task::invalidate(*hash));
            }
            let task = self.remove(at)?;
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
        self.record(hash).is_some()
    }

    /// Takes back the record that waits for the hash. What was invalidated is deleted all the same.
    pub fn take_back(&mut self, hash: u128) {
        if let Some(at) = self.record(hash) {
            self.give_up(at);
        }
    }

    fn record(&self, hash: u128) -> Option<usize> {
        self.tasks.iter().position(|task| task.is_record() && task.hash() == hash)
    }

    fn position(&self, hash: u128) -> Option<usize> {
        self.tasks.iter().position(|task| task.hash() == hash)
    }

    fn remove(&mut self, at: usize) -> Option<Task> {
        let task = self.tasks.remove(at)?;
        self.bytes = self.bytes.saturating_sub(task.bytes());
        Some(task)
    }

    /// Removes a task, or leaves the deletion that it stands for.
    fn give_up(&mut self, at: usize) {
        if let Some(Task::Replicate { hash, over_invalid: true, .. }) = self.remove(at) {
            self.tasks.insert(at, Task::invalidate(hash));
        }
    }

    /// Counts a task in, and drops others for it. Of a record that is larger than the whole budget the deletion is left
    /// that it stands for, if any.
    fn fit(&mut self, mut task: Task) -> Option<Task> {
        if task.bytes() > self.most_bytes {
            self.dropped += 1;
            match task {
                Task::Replicate { hash, over_invalid: true, .. } => task = Task::invalidate(hash),
                _ => return None,
            }
        }
        while self.bytes.saturating_add(task.bytes()) > self.most_bytes {
            let Some(oldest) = self.tasks.iter().position(Task::is_record) else { break };
            self.give_up(oldest);
            self.dropped += 1;
        }
        while self.tasks.len() >= self.most_entries.max(1) {
            let least = self.tasks.iter().position(|task| !task.ends_invalid());
            self.dropped += 1;
            if least.is_none() && !task.ends_invalid() {
                return None;
            }
            if self.remove(least.unwrap_or(0)).is_none() {
                break;
            }
        }
        self.bytes = self.bytes.saturating_add(task.bytes());
        Some(task)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(hash: u128, bytes: usize) -> Task {
        Task::replicate(hash, vec![0; bytes], 60)
    }

    fn over_invalid(hash: u128, bytes: usize) -> Task {
        Task::Replicate { hash, record: vec![0; bytes], ttl_seconds: 60, over_invalid: true }
    }

    fn invalidated(hash: u128) -> Task {
        Task::invalidate(hash)
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
    fn what_was_invalidated_is_deleted_if_what_takes_its_place_does_not_get_there() {
        let replaced = || {
            let mut queue = Queue::new(100, 10);
            queue.push(invalidated(1));
            queue.push(record(1, 40));
            queue.push(record(1, 30));
            queue
        };
        assert_eq!(all(replaced(), 0), [over_invalid(1, 30)]);
        // There is no room for both records.
        let mut queue = replaced();
        queue.push(record(2, 90));
        assert_eq!(all(queue, 0), [invalidated(1), record(2, 90)]);
        let mut queue = replaced();
        queue.push(record(1, 101));
        assert_eq!(all(queue, 0), [invalidated(1)]);
        let mut queue = replaced();
        queue.take_back(1);
        assert_eq!(all(queue, 0), [invalidated(1)]);
        // The store is full, and takes deletions only.
        let mut queue = replaced();
        assert_eq!(queue.pop_deletion(NOW), Some(invalidated(1)));
        assert_eq!(queue.pop_deletion(NOW), None);
        assert_eq!(all(queue, 0), [record(1, 30)]);
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
    fn the_end_of_a_later_claim_is_of_use_as_long_as_that() {
        let mut queue = Queue::new(100, 10);
        queue.push(claimed(1, 1_000));
        queue.push(claimed(1, 5_000));
        queue.push(claimed(1, 2_000));
        assert_eq!(all(queue, 3_000), [claimed(1, 5_000)]);
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
        queue.push(record(3, 30));
        queue.put_back(invalidated(3));
        queue.put_back(record(4, 10));
        assert_eq!(all(queue, 0), [record(4, 10), invalidated(1), record(2, 30), over_invalid(3, 30)]);
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
        queue.push(record(7, 1));
        queue.push(claimed(8, 1_000));
        assert_eq!((queue.len(), queue.take_dropped()), (3, 5));
        assert_eq!(all(queue, 0), [invalidated(1), invalidated(5), invalidated(6)]);
    }

    const NOW: Timestamp = Timestamp::from_millis(0);
}
