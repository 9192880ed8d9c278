//! Tells apart the responses of one URI that `Vary` selects between (RFC 9111 §4.1).

use std::ops::Deref;
use std::rc::Rc;

use crate::fields::Fields;
use crate::key;
use crate::time::Timestamp;
use crate::vary::{self, LONGEST_NAME, is_token_byte};

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
    variants: Vec<Variant>,
}

/// Names of fields that select variants: at most [`MOST_NAMES`], each a token in lower case of at most
/// [`LONGEST_NAME`] bytes, in ascending order. A request is read once for each of them, so nobody may make up more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names(Rc<[Box<[u8]>]>);

impl Names {
    /// These names. `None` if they are not such.
    pub fn new(names: Vec<Box<[u8]>>) -> Option<Self> {
        let ascend = names.iter().zip(names.iter().skip(1)).all(|(one, next)| one < next);
        let fit = names.iter().all(|name| fits(name));
        (names.len() <= MOST_NAMES && ascend && fit).then(|| Self(names.into()))
    }
}

impl Deref for Names {
    type Target = [Box<[u8]>];

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

/// Whether a field of this name may select variants.
pub fn fits(name: &[u8]) -> bool {
    (1..=LONGEST_NAME).contains(&name.len())
        && name.iter().all(|byte| is_token_byte(*byte) && !byte.is_ascii_uppercase())
}

/// One stored variant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variant {
    /// The selecting fields.
    pub names: Names,
    /// Hash of its canonical key.
    pub hash: u128,
}

impl VariantIndex {
    /// What was read from outside. `None` if no cache writes it: more than [`MOST_VARIANTS`], or one of them twice.
    pub fn read(key: Rc<[u8]>, generation: u64, variants: Vec<Variant>) -> Option<Self> {
        let mut hashes: Vec<u128> = variants.iter().map(|variant| variant.hash).collect();
        hashes.sort_unstable();
        let twice = hashes.iter().zip(hashes.iter().skip(1)).any(|(one, next)| one == next);
        (variants.len() <= MOST_VARIANTS && !twice).then_some(Self { key, generation, variants })
    }

    /// The variants, the most recently stored last.
    pub fn variants(&self) -> &[Variant] {
        &self.variants
    }

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

    /// Adds a variant as the most recent one. The oldest gives way if there are as many as there may be.
    pub fn add(&mut self, names: Names, hash: u128) {
        self.remove(hash);
        if self.variants.len() >= MOST_VARIANTS {
            self.variants.remove(0);
        }
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

/// Variants that an index has at most: the largest `worker.variants`.
pub const MOST_VARIANTS: usize = 256;
/// Names that select a variant at most: [`MAX_NAMES`](vary::MAX_NAMES) of `Vary`, the longest list of a rule, and `Cookie`.
pub const MOST_NAMES: usize = vary::MAX_NAMES + 64 + 1;

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&[u8]]) -> Option<Names> {
        Names::new(names.iter().map(|name| Box::from(*name)).collect())
    }

    #[test]
    fn names_are_few_short_lower_case_and_in_order() {
        assert!(names(&[]).is_some());
        assert!(names(&[b"accept", b"x-a"]).is_some());
        for wrong in
            [&[&b"x-a"[..], b"accept"][..], &[b"x-a", b"x-a"], &[b""], &[b"X-A"], &[b"x a"], &[b"x\xe9"]]
        {
            assert!(names(wrong).is_none(), "{wrong:?}");
        }
        assert!(names(&[&[b'x'; LONGEST_NAME]]).is_some());
        assert!(names(&[&[b'x'; LONGEST_NAME + 1]]).is_none());
        let many =
            |count: usize| Names::new((0..count).map(|n| format!("x{n:04}").into_bytes().into()).collect());
        assert!(many(MOST_NAMES).is_some() && many(MOST_NAMES + 1).is_none());
    }

    #[test]
    fn an_index_has_no_more_variants_than_there_may_be_and_none_twice() {
        let names = names(&[b"x-a"]).unwrap();
        let read = |hashes: &[u128]| {
            let variants = hashes.iter().map(|hash| Variant { names: names.clone(), hash: *hash }).collect();
            VariantIndex::read(Rc::from(&b"key"[..]), 1, variants)
        };
        let most: Vec<u128> = (0..MOST_VARIANTS as u128).collect();
        let mut full = read(&most).unwrap();
        assert!(read(&[1, 2, 1]).is_none());
        assert!(read(&(0..=MOST_VARIANTS as u128).collect::<Vec<_>>()).is_none());
        full.add(names, u128::MAX);
        assert_eq!(
            (full.variants().len(), full.variants().first().map(|first| first.hash)),
            (MOST_VARIANTS, Some(1))
        );
    }
}
