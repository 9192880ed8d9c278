//! What is kept of a stream between its callbacks. A hit keeps nothing.

use std::hash::{BuildHasherDefault, Hasher};

use selvage_engine::exchange::{ContentTypeFix, Exchange};

use crate::host::{Calls, Map};

/// One stream with something still to come.
pub enum Stream {
    /// The request went to the origin, or waits for its body.
    Exchange(Exchange),
    /// Our own reply is about to pass our own callbacks.
    ContentTypeFix(Mending),
}

/// What Envoy's idea of a reply got wrong.
pub struct Mending(ContentTypeFix);

impl Mending {
    /// Puts it right, in the callback for the reply's head.
    pub fn apply<H: Calls>(&self) {
        match &self.0 {
            ContentTypeFix::RemoveContentType => H::remove_header(Map::Response, "content-type"),
            ContentTypeFix::AddContentType(value) => H::add_header(Map::Response, "content-type", value),
            ContentTypeFix::AddLength(kind) => {
                H::set_header(Map::Response, "content-length", b"0");
                if let Some(value) = kind {
                    H::add_header(Map::Response, "content-type", value);
                }
            }
        }
    }
}

impl From<ContentTypeFix> for Stream {
    fn from(mend: ContentTypeFix) -> Self {
        Self::ContentTypeFix(Mending(mend))
    }
}

/// Context ids are small numbers in sequence: multiplied by a large odd one they spread well enough.
pub type BuildIdHasher = BuildHasherDefault<IdHasher>;

/// See [`BuildIdHasher`].
#[derive(Default)]
pub struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte));
        }
    }

    fn write_u32(&mut self, id: u32) {
        self.0 = (self.0 ^ u64::from(id)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}
