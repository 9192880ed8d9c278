//! The remote store as the engine sees it: it takes tasks, and answers with a record or with nothing.

use std::collections::BTreeMap;
use std::rc::Rc;

use selvage_engine::remote::queue::Task;
use selvage_engine::store::Slot;
use selvage_engine::store::record::{self, Verify};
use selvage_engine::store::response::{Body, StoredResponse};

/// Records by hash. A second gateway that gets a clone of it is another Envoy of the fleet.
#[derive(Clone, Default)]
pub struct Redis {
    pub records: BTreeMap<u128, Vec<u8>>,
    /// Lookups so far.
    pub lookups: usize,
    /// It answers nothing, whatever it has.
    pub dead: bool,
}

impl Redis {
    pub fn answer(&mut self, hash: u128) -> Option<Vec<u8>> {
        self.lookups += 1;
        self.records.get(&hash).filter(|_| !self.dead).cloned()
    }

    /// Changes the content of every response, with the checksums made right again.
    pub fn forge(&mut self, change: impl Fn(&mut Vec<u8>)) {
        for bytes in self.records.values_mut() {
            let Ok(Slot::Response(stored)) = record::decode(bytes.clone(), Verify::Whole) else { continue };
            let mut body = stored.body.as_slice().to_vec();
            change(&mut body);
            let forged = StoredResponse { body: Body::new(body), ..StoredResponse::clone(&stored) };
            *bytes = record::encode(&Slot::Response(Rc::new(forged)));
        }
    }

    pub fn take(&mut self, task: Task) {
        match task {
            Task::Replicate { hash, record, ttl_seconds, .. } => {
                assert_ne!(ttl_seconds, 0);
                // webdis drops an empty value, and a leading `-` is how it shows an error.
                assert!(record.first().is_some_and(|first| *first != b'-'));
                self.records.insert(hash, record);
            }
            Task::Delete { hash, .. } => {
                self.records.remove(&hash);
            }
        }
    }
}
