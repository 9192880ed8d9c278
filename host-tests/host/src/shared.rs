//! What all workers of a node share: data by key, and queues.

use std::collections::{BTreeMap, VecDeque};

use crate::Status;

/// Shared data as Envoy keeps it: no delete, no size limit, and a missing key is inserted whatever the number given.
#[derive(Debug, Default)]
pub(crate) struct SharedData {
    entries: BTreeMap<Vec<u8>, (Vec<u8>, u32)>,
    last_cas: u32,
}

impl SharedData {
    pub(crate) fn get(&self, key: &[u8]) -> Option<&(Vec<u8>, u32)> {
        self.entries.get(key)
    }

    pub(crate) fn set(&mut self, key: Vec<u8>, value: Vec<u8>, cas: u32) -> Status {
        if let Some((_, known)) = self.entries.get(&key)
            && cas != 0
            && cas != *known
        {
            return Status::CasMismatch;
        }
        // 0 means "unconditional" to a caller, so it is never given out.
        self.last_cas = self.last_cas.checked_add(1).unwrap_or(1);
        self.entries.insert(key, (value, self.last_cas));
        Status::Ok
    }

    pub(crate) fn keys(&self) -> Vec<Vec<u8>> {
        self.entries.keys().cloned().collect()
    }

    /// Bytes of all keys and values.
    pub(crate) fn bytes(&self) -> usize {
        self.entries.iter().map(|(key, (value, _))| key.len() + value.len()).sum()
    }
}

/// A VM instance and the root context in it that asked for notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct QueueOwner {
    pub(crate) vm: u64,
    pub(crate) context: u32,
}

#[derive(Debug)]
struct Queue {
    name: Vec<u8>,
    owner: QueueOwner,
    items: VecDeque<Vec<u8>>,
}

/// Queues by token. Each enqueue posts one notification to the last registrant.
#[derive(Debug, Default)]
pub(crate) struct Queues {
    queues: Vec<Queue>,
    notifications: VecDeque<(QueueOwner, u32)>,
}

impl Queues {
    /// The token of the queue; a queue that exists changes its owner.
    pub(crate) fn register(&mut self, name: &[u8], owner: QueueOwner) -> u32 {
        if let Some(token) = self.resolve(name) {
            self.queue(token).unwrap().owner = owner;
            return token;
        }
        self.queues.push(Queue { name: name.to_vec(), owner, items: VecDeque::new() });
        self.queues.len() as u32
    }

    pub(crate) fn resolve(&self, name: &[u8]) -> Option<u32> {
        self.queues.iter().position(|queue| queue.name == name).map(|index| index as u32 + 1)
    }

    pub(crate) fn enqueue(&mut self, token: u32, item: Vec<u8>) -> Status {
        let Some(queue) = self.queue(token) else { return Status::NotFound };
        queue.items.push_back(item);
        let owner = queue.owner;
        self.notifications.push_back((owner, token));
        Status::Ok
    }

    /// # Errors
    /// [`Status::NotFound`] for an unknown token, [`Status::Empty`] without an item.
    pub(crate) fn dequeue(&mut self, token: u32) -> Result<Vec<u8>, Status> {
        self.queue(token).ok_or(Status::NotFound)?.items.pop_front().ok_or(Status::Empty)
    }

    pub(crate) fn next_notification(&mut self) -> Option<(QueueOwner, u32)> {
        self.notifications.pop_front()
    }

    pub(crate) fn lengths(&self) -> Vec<(String, usize)> {
        let name = |queue: &Queue| String::from_utf8_lossy(&queue.name).into_owned();
        self.queues.iter().map(|queue| (name(queue), queue.items.len())).collect()
    }

    fn queue(&mut self, token: u32) -> Option<&mut Queue> {
        self.queues.get_mut((token as usize).checked_sub(1)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_key_is_inserted_whatever_the_number() {
        let mut data = SharedData::default();
        assert_eq!(data.set(b"k".to_vec(), b"1".to_vec(), 77), Status::Ok);
        let seen = data.get(b"k").unwrap().1;
        assert_eq!(data.set(b"k".to_vec(), b"2".to_vec(), seen + 1), Status::CasMismatch);
        assert_eq!(data.set(b"k".to_vec(), b"2".to_vec(), seen), Status::Ok);
        assert_eq!(data.set(b"k".to_vec(), b"3".to_vec(), 0), Status::Ok);
        assert_eq!(data.get(b"k").unwrap().0, b"3");
    }

    #[test]
    fn only_the_last_registrant_is_notified() {
        let mut queues = Queues::default();
        let token = queues.register(b"q", QueueOwner { vm: 1, context: 1 });
        assert_eq!(queues.register(b"q", QueueOwner { vm: 2, context: 1 }), token);
        assert_eq!(queues.enqueue(token, b"x".to_vec()), Status::Ok);
        assert_eq!(queues.next_notification(), Some((QueueOwner { vm: 2, context: 1 }, token)));
        assert_eq!(queues.next_notification(), None);
        assert_eq!(queues.dequeue(token), Ok(b"x".to_vec()));
        assert_eq!(queues.dequeue(token), Err(Status::Empty));
        assert_eq!(queues.enqueue(99, Vec::new()), Status::NotFound);
    }
}
