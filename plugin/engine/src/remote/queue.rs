//! What waits to be sent to the remote store, within a budget of bytes and of entries.

use std::collections::VecDeque;

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
    },
}

impl Task {
    /// The hash it is about.
    pub const fn hash(&self) -> u128 {
        match self {
            Self::Replicate { hash, .. } | Self::Delete { hash } => *hash,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Replicate { record, .. } => record.len(),
            Self::Delete { .. } => 0,
        }
    }
}

/// Tasks in the order in which they came. A later task for a hash takes the place of an earlier one, and when
/// there is no room the oldest records go: deletions keep others from being served what is invalid.
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

    /// Adds a task. A record larger than the whole budget is dropped at once.
    pub fn push(&mut self, task: Task) {
        self.remove(task.hash());
        if task.bytes() > self.most_bytes {
            self.dropped += 1;
            return;
        }
        while self.tasks.len() >= self.most_entries.max(1)
            || self.bytes.saturating_add(task.bytes()) > self.most_bytes
        {
            let oldest =
                self.tasks.iter().position(|task| matches!(task, Task::Replicate { .. })).unwrap_or(0);
            let Some(gone) = self.tasks.remove(oldest) else { break };
            self.bytes = self.bytes.saturating_sub(gone.bytes());
            self.dropped += 1;
        }
        self.bytes = self.bytes.saturating_add(task.bytes());
        self.tasks.push_back(task);
    }

    /// Takes the oldest task.
    pub fn pop(&mut self) -> Option<Task> {
        let task = self.tasks.pop_front()?;
        self.bytes = self.bytes.saturating_sub(task.bytes());
        Some(task)
    }

    /// Takes the oldest deletion.
    pub fn pop_deletion(&mut self) -> Option<Task> {
        let at = self.tasks.iter().position(|task| matches!(task, Task::Delete { .. }))?;
        self.tasks.remove(at)
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
        if self.contains(hash) {
            self.remove(hash);
        }
    }

    fn remove(&mut self, hash: u128) {
        if let Some(at) = self.tasks.iter().position(|task| task.hash() == hash)
            && let Some(gone) = self.tasks.remove(at)
        {
            self.bytes = self.bytes.saturating_sub(gone.bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(hash: u128, bytes: usize) -> Task {
        Task::Replicate { hash, record: vec![0; bytes], ttl_seconds: 60 }
    }

    #[test]
    fn the_oldest_record_goes_when_there_is_no_room_and_is_counted() {
        let mut queue = Queue::new(100, 10);
        for hash in 0..3 {
            queue.push(record(hash, 40));
        }
        assert_eq!((queue.len(), queue.take_dropped()), (2, 1));
        assert_eq!(queue.pop().map(|task| task.hash()), Some(1));
        queue.push(record(9, 101));
        assert_eq!((queue.len(), queue.take_dropped()), (1, 1));
    }

    #[test]
    fn a_later_task_for_a_hash_replaces_the_earlier_one() {
        let mut queue = Queue::new(100, 10);
        queue.push(record(1, 40));
        queue.push(Task::Delete { hash: 1 });
        queue.push(record(2, 90));
        assert_eq!(queue.pop(), Some(Task::Delete { hash: 1 }));
        assert_eq!(queue.pop(), Some(record(2, 90)));
        assert!(queue.is_empty());
    }

    #[test]
    fn deletions_outlast_records() {
        let mut queue = Queue::new(1000, 3);
        queue.push(Task::Delete { hash: 1 });
        queue.push(record(2, 1));
        queue.push(record(3, 1));
        queue.push(Task::Delete { hash: 4 });
        let left: Vec<u128> = std::iter::from_fn(|| queue.pop()).map(|task| task.hash()).collect();
        assert_eq!(left, [1, 3, 4]);
    }
}
