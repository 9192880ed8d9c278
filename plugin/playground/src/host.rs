//! A host with one worker, whose shared data lies in memory.

use std::collections::BTreeMap;

use selvage_engine::host::{CasMismatch, Host, SharedData};

/// What Envoy would offer.
#[derive(Debug, Default)]
pub struct Alone {
    values: BTreeMap<Box<str>, (Vec<u8>, u32)>,
    last_cas: u32,
    /// The response at hand was made by the host, since the origin cannot be reached.
    pub unreachable: bool,
}

impl SharedData for Alone {
    fn get(&mut self, key: &str) -> Option<(Vec<u8>, u32)> {
        self.values.get(key).cloned()
    }

    fn set(&mut self, key: &str, value: &[u8], cas: u32) -> Result<(), CasMismatch> {
        if self.values.get(key).is_some_and(|(_, now)| cas != 0 && cas != *now) {
            return Err(CasMismatch);
        }
        // 0 would be "whatever is there".
        self.last_cas = self.last_cas.wrapping_add(1).max(1);
        self.values.insert(key.into(), (value.to_vec(), self.last_cas));
        Ok(())
    }
}

impl Host for Alone {
    fn origin_answered(&mut self) -> bool {
        !self.unreachable
    }

    fn cluster_name(&mut self) -> Option<Vec<u8>> {
        Some(b"origin".to_vec())
    }

    fn peer(&mut self) -> Option<Vec<u8>> {
        // For documentation (RFC 5737).
        Some(b"192.0.2.1:40000".to_vec())
    }
}
