//! Host shared data in memory, which counts, checks the budget after every step, and can die or be
//! interrupted.

use std::collections::HashMap;

use super::account::Account;
use super::{CasMismatch, SharedData, names};

/// What a VM's death looks like to a test.
pub struct Died;

/// Another worker's operation, run in the middle of ours.
pub type Interruption = Box<dyn FnOnce(&mut Fake) + Send>;

#[derive(Default)]
pub struct Fake {
    map: HashMap<String, (Vec<u8>, u32)>,
    last_cas: u32,
    data_bytes: u64,
    /// Calls so far.
    pub calls: usize,
    /// Unwind with [`Died`] instead of making this call.
    pub die_at: Option<usize>,
    /// Run this before making that call.
    pub interrupt_at: Option<(usize, Interruption)>,
    /// Fail every conditional set of an existing key.
    pub refuse_cas: bool,
    /// Check after each set that the data holds no more than this.
    pub budget: Option<u64>,
}

impl Fake {
    /// Writes past all checks, as something that is not the store might.
    pub fn put_raw(&mut self, key: &str, value: &[u8]) {
        self.last_cas += 1;
        let old = self.map.insert(key.to_owned(), (value.to_vec(), self.last_cas));
        if key.starts_with("sv1/d/") {
            self.data_bytes += value.len() as u64;
            self.data_bytes -= old.map_or(0, |(old, _)| old.len() as u64);
        }
    }

    /// The bytes of all data values.
    pub fn data_bytes(&self) -> u64 {
        self.data_bytes
    }

    /// Keys ever set.
    pub fn keys(&self) -> impl Iterator<Item = &String> {
        self.map.keys()
    }

    /// The bytes on the account.
    pub fn accounted(&self) -> u64 {
        self.map.get(names::ACCOUNT).and_then(|(bytes, _)| Account::decode(bytes)).map_or(0, |a| a.total())
    }

    fn call(&mut self) {
        self.calls += 1;
        if self.die_at == Some(self.calls) {
            self.die_at = None;
            std::panic::resume_unwind(Box::new(Died));
        }
        if self.interrupt_at.as_ref().is_some_and(|(at, _)| *at == self.calls) {
            let (_, interruption) = self.interrupt_at.take().unwrap();
            interruption(self);
        }
    }
}

impl SharedData for Fake {
    fn get(&mut self, key: &str) -> Option<(Vec<u8>, u32)> {
        self.call();
        self.map.get(key).cloned()
    }

    fn set(&mut self, key: &str, value: &[u8], cas: u32) -> Result<(), CasMismatch> {
        self.call();
        if let Some((_, now)) = self.map.get(key)
            && cas != 0
            && (cas != *now || self.refuse_cas)
        {
            return Err(CasMismatch);
        }
        self.put_raw(key, value);
        if let Some(budget) = self.budget {
            assert!(self.data_bytes <= budget, "{} bytes of data in a budget of {budget}", self.data_bytes);
            assert!(self.data_bytes <= self.accounted(), "more data than is on the account");
        }
        Ok(())
    }
}
