//! A host with nothing in it: no other worker has stored or purged anything.

use selvage_engine::cache::Host;
use selvage_engine::store::node::{CasMismatch, SharedData};

pub struct Nowhere;

impl SharedData for Nowhere {
    fn get(&mut self, _key: &str) -> Option<(Vec<u8>, u32)> {
        None
    }

    fn set(&mut self, _key: &str, _value: &[u8], _cas: u32) -> Result<(), CasMismatch> {
        Ok(())
    }
}

impl Host for Nowhere {
    fn origin_answered(&mut self) -> bool {
        true
    }
}
