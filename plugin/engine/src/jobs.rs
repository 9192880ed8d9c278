//! Requests that are accepted at once and done later: what is asked of Redis about them, how it keeps them, and what their clients
//! say and are told. Who accepts them is a stage, who runs them the cache.
//!
//! A job is done at least once. It is never lost once it was accepted, as long as Redis keeps it; and it is done a second time only
//! after a lease has run out, which is when who had it has died, or could not say what came of it.

pub mod asking;
pub mod head;
pub mod question;
pub mod stored;
pub mod verdict;

use blake3::Hasher;

/// Draws the IDs of jobs, which nobody can guess: 128 bits of a hash that is keyed with what the host gave.
#[derive(Default)]
pub struct Ids {
    secret: [u8; 32],
    drawn: u64,
}

impl Ids {
    /// By random numbers of the host.
    pub fn new(random: [u64; 4]) -> Self {
        let mut secret = [0; 32];
        for (place, number) in secret.chunks_exact_mut(8).zip(random) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        Self { secret, drawn: 0 }
    }

    /// The next one.
    pub fn draw(&mut self, now_ms: u64) -> u128 {
        self.drawn = self.drawn.wrapping_add(1);
        let mut hasher = Hasher::new_keyed(&self.secret);
        hasher.update(&self.drawn.to_le_bytes()).update(&now_ms.to_le_bytes());
        first(&hasher)
    }
}

/// A digest of texts that are told apart by their lengths.
pub fn digest(of: &str, texts: &[&[u8]]) -> u128 {
    let mut hasher = Hasher::new_derive_key(of);
    for text in texts {
        hasher.update(&(text.len() as u64).to_le_bytes()).update(text);
    }
    first(&hasher)
}

fn first(hasher: &Hasher) -> u128 {
    hasher.finalize().as_bytes().first_chunk().copied().map_or(0, u128::from_le_bytes)
}
