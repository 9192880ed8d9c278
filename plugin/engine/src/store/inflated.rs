//! Keeps the identity form of compressed responses for a while, so that clients without gzip do not have it made
//! anew each time.

use std::collections::VecDeque;

use crate::coding::gzip;
use crate::store::response::Body;

/// Identity forms, the most recently used first, within a budget.
#[derive(Debug, Default)]
pub struct Inflated {
    budget: usize,
    bytes: usize,
    entries: VecDeque<(Body, Body)>,
}

impl Inflated {
    /// Keeps at most `budget` bytes, compressed and inflated together; 0 keeps nothing.
    pub fn new(budget: usize) -> Self {
        Self { budget, ..Self::default() }
    }

    /// The identity form of `compressed`, which is `length` bytes long. `None` if it is not.
    pub fn get(&mut self, compressed: &Body, length: usize) -> Option<Body> {
        if let Some(at) = self.entries.iter().position(|(known, _)| known.is_same(compressed)) {
            let entry = self.entries.remove(at)?;
            let identity = entry.1.clone();
            self.entries.push_front(entry);
            return Some(identity);
        }
        let identity = Body::new(gzip::inflate(compressed.as_slice(), length).ok()?);
        let weight = compressed.len().saturating_add(identity.len());
        if weight <= self.budget {
            self.entries.push_front((compressed.clone(), identity.clone()));
            self.bytes = self.bytes.saturating_add(weight);
            while self.bytes > self.budget || self.entries.len() > MOST {
                let Some((compressed, identity)) = self.entries.pop_back() else { break };
                self.bytes = self.bytes.saturating_sub(compressed.len().saturating_add(identity.len()));
            }
        }
        Some(identity)
    }

    /// Forgets all of them. Returns the bytes that were in use.
    pub fn clear(&mut self) -> usize {
        self.entries = VecDeque::new();
        std::mem::take(&mut self.bytes)
    }

    /// Bytes in use.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

/// More are not worth the search.
const MOST: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    fn compressed(byte: u8) -> Body {
        Body::new(gzip::compress(&[byte; 1000], 6))
    }

    #[test]
    fn an_identity_form_is_made_once_while_there_is_room() {
        let mut inflated = Inflated::new(2100);
        let (one, two, three) = (compressed(1), compressed(2), compressed(3));
        let first = inflated.get(&one, 1000).unwrap();
        assert_eq!(first.as_slice(), [1; 1000]);
        assert!(inflated.get(&one, 1000).unwrap().is_same(&first));
        inflated.get(&two, 1000).unwrap();
        assert!(inflated.get(&one, 1000).unwrap().is_same(&first), "the one used least lately leaves");
        inflated.get(&three, 1000).unwrap();
        assert!(inflated.bytes() <= 2100);
        assert!(inflated.get(&one, 1000).unwrap().is_same(&first));
    }

    #[test]
    fn without_a_budget_it_is_made_each_time() {
        let mut inflated = Inflated::new(0);
        let body = compressed(1);
        let first = inflated.get(&body, 1000).unwrap();
        assert!(!inflated.get(&body, 1000).unwrap().is_same(&first));
        assert_eq!(inflated.bytes(), 0);
    }

    #[test]
    fn what_is_no_gzip_has_no_identity_form() {
        assert!(
            Inflated::new(1 << 20).get(&Body::new(b"no gzip at all, but long enough".to_vec()), 10).is_none()
        );
    }
}
