//! The last responses of the origin that were not what a rule that only watches (`shadow`) would have answered with.

use std::collections::VecDeque;
use std::time::Duration;

use super::busiest::{shown, url};
use crate::request::Request;

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The index of the rule.
    pub rule: usize,
    /// What was asked for, as the client wrote it; a long one is cut off.
    pub url: Box<str>,
    /// The target in the key.
    pub keyed: Box<str>,
    /// What differs: `status`, `body`, or the name of a field.
    pub differs: &'static str,
    /// Age of what was stored, in whole seconds.
    pub age: u64,
}

impl Mismatch {
    /// For a request and the target it is keyed by.
    pub fn new(
        rule: usize,
        request: &Request<'_>,
        keyed: &[u8],
        differs: &'static str,
        age: Duration,
    ) -> Self {
        Self { rule, url: url(request, request.target), keyed: shown(keyed), differs, age: age.as_secs() }
    }
}

/// The last few.
#[derive(Debug, Default)]
pub struct Mismatches(VecDeque<Mismatch>);

impl Mismatches {
    /// Takes one in; the oldest goes when there are enough.
    pub fn note(&mut self, mismatch: Mismatch) {
        if self.0.len() >= MOST {
            self.0.pop_front();
        }
        self.0.push_back(mismatch);
    }

    /// The last first.
    pub fn last_first(&self) -> impl Iterator<Item = &Mismatch> {
        self.0.iter().rev()
    }
}

/// So many are kept.
const MOST: usize = 16;
