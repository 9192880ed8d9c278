//! Tells apart the responses of one URI that `Vary` selects between (RFC 9111 §4.1).

use std::rc::Rc;

use crate::fields::Fields;
use crate::key;
use crate::time::Timestamp;
use crate::vary;

/// The variants stored for one primary key, oldest first.
///
/// Its generation is part of every variant's key: when the index goes, so do all its variants, without a
/// list of them anywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VariantIndex {
    /// Canonical primary key.
    pub key: Rc<[u8]>,
    /// Told apart from earlier indices of the same key by the moment it was made, in milliseconds.
    pub generation: u64,
    /// The variants, the most recently stored last.
    pub variants: Vec<Variant>,
}

/// Field names, shared by the variants that they select.
pub type Names = Rc<[Box<[u8]>]>;

/// One stored variant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variant {
    /// The selecting fields, lower-case, sorted.
    pub names: Names,
    /// Hash of its canonical key.
    pub hash: u128,
}

impl VariantIndex {
    /// No variants yet.
    pub fn new(key: Rc<[u8]>, made: Timestamp) -> Self {
        Self { key, generation: made.as_millis(), variants: Vec::new() }
    }

    /// The canonical key that `request` has among the variants selected by `names`.
    pub fn variant_key(&self, names: &[Box<[u8]>], request: Fields<'_>, out: &mut Vec<u8>) {
        let mut selecting = self.generation.to_le_bytes().to_vec();
        vary::selecting(names, request, &mut selecting);
        key::variant_key(&self.key, &selecting, out);
    }

    /// The hash of the most recent variant that `request` selects; its canonical key is left in `scratch`.
    pub fn select(&self, request: Fields<'_>, scratch: &mut Vec<u8>) -> Option<u128> {
        let mut tried: Option<(&Names, u128)> = None;
        for variant in self.variants.iter().rev() {
            let hash = match tried {
                Some((names, hash)) if *names == variant.names => hash,
                _ => {
                    self.variant_key(&variant.names, request, scratch);
                    key::hash(scratch)
                }
            };
            if hash == variant.hash {
                return Some(hash);
            }
            tried = Some((&variant.names, hash));
        }
        None
    }

    /// Whether some variant is selected by `name`.
    pub fn selects_by(&self, name: &[u8]) -> bool {
        self.variants.iter().any(|variant| variant.names.iter().any(|known| **known == *name))
    }

    /// Adds a variant as the most recent one. Returns the hashes of those that gave way to `limit`.
    pub fn add(&mut self, names: Names, hash: u128, limit: usize) -> Vec<u128> {
        self.variants.retain(|variant| variant.hash != hash);
        self.variants.push(Variant { names, hash });
        let surplus = self.variants.len().saturating_sub(limit.max(1));
        self.variants.drain(..surplus).map(|variant| variant.hash).collect()
    }

    /// Bytes it costs a budget.
    pub fn weight(&self) -> usize {
        let names: usize = self
            .variants
            .iter()
            .map(|v| v.names.iter().map(|name| name.len() + 16).sum::<usize>() + 48)
            .sum();
        self.key.len() + names + size_of::<Self>()
    }
}
