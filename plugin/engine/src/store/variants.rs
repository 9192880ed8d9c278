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
    ///
    /// # Errors
    /// There is none. The hash is that of the variant that it would be by the fields that select the most recent one.
    pub fn select(&self, request: Fields<'_>, scratch: &mut Vec<u8>) -> Result<u128, u128> {
        let mut tried: Option<(&Names, u128)> = None;
        let mut by_latest = None;
        for variant in self.variants.iter().rev() {
            let hash = match tried {
                Some((names, hash)) if *names == variant.names => hash,
                _ => {
                    self.variant_key(&variant.names, request, scratch);
                    key::hash(scratch)
                }
            };
            if hash == variant.hash {
                return Ok(hash);
            }
            by_latest.get_or_insert(hash);
            tried = Some((&variant.names, hash));
        }
        Err(by_latest.unwrap_or_else(|| key::hash(&self.key)))
    }

    /// The hashes of all variants that `request` selects: one for each set of fields at most.
    pub fn matching(&self, request: Fields<'_>) -> Vec<u128> {
        let mut scratch = Vec::new();
        let matches = |variant: &&Variant| {
            scratch.clear();
            self.variant_key(&variant.names, request, &mut scratch);
            key::hash(&scratch) == variant.hash
        };
        self.variants.iter().filter(matches).map(|variant| variant.hash).collect()
    }

    /// The fields that select the variant under a hash; none if there is no such variant.
    pub fn names_of(&self, hash: u128) -> &[Box<[u8]>] {
        self.variants.iter().find(|variant| variant.hash == hash).map_or(&[], |variant| &*variant.names)
    }

    /// Whether some variant is selected by `name`.
    pub fn selects_by(&self, name: &[u8]) -> bool {
        self.variants.iter().any(|variant| variant.names.iter().any(|known| **known == *name))
    }

    /// Whether some variant is selected by just these fields.
    pub fn selects_with(&self, names: &[Box<[u8]>]) -> bool {
        self.variants.iter().any(|variant| *variant.names == *names)
    }

    /// Adds a variant as the most recent one.
    pub fn add(&mut self, names: Names, hash: u128) {
        self.remove(hash);
        self.variants.push(Variant { names, hash });
    }

    /// Takes a variant out.
    pub fn remove(&mut self, hash: u128) {
        self.variants.retain(|variant| variant.hash != hash);
    }

    /// Whether one has to go before a variant is added, so that there are no more than `limit`.
    pub fn surplus(&self, hash: u128, limit: usize) -> bool {
        let others = self.variants.iter().filter(|variant| variant.hash != hash).count();
        others >= limit.max(1)
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
