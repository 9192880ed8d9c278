//! The canonical form of a JSON body, as a digest: two bodies share one if and only if they say the same.
//!
//! The body is read once, in chunks cut anywhere. White space, the order of members, escapes of strings and spellings of
//! numbers do not count; everything else does. Numbers count by their exact value, not by the double that RFC 8785 makes
//! of them: see [`normal_number`].

mod digest;
mod summary;

use std::rc::Rc;

use crate::json::{Ambiguous, Lexer, Sink, Token};
use digest::Digester;
use summary::Reader;
pub use summary::{Input, MAX_MODEL, Summary};

#[cfg(doc)]
use crate::json::normal_number;

/// A body that is being read for its digest and for what a gateway must know of it.
///
/// It keeps no text: 32 bytes or less for each member of the objects that are open, and their names. Both are bounded.
#[derive(Clone, Debug)]
pub struct Canonical {
    lexer: Lexer,
    both: Both,
}

/// What a whole body comes to.
#[derive(Clone, Debug, PartialEq)]
pub struct Read {
    /// SHA-256 of its canonical form.
    pub digest: [u8; 32],
    /// What it asks for.
    pub summary: Summary,
}

impl Canonical {
    /// Starts with an empty body. Top-level members named in `ignore` do not count.
    pub fn new(ignore: Rc<[Box<str>]>) -> Self {
        Self {
            lexer: Lexer::default(),
            both: Both { digester: Digester::new(ignore), reader: Reader::default() },
        }
    }

    /// Takes in the next bytes.
    ///
    /// # Errors
    /// The body is ambiguous. Every later call says the same.
    pub fn push(&mut self, chunk: &[u8]) -> Result<(), Ambiguous> {
        self.both.reader.count(chunk.len());
        self.lexer.push(chunk, &mut self.both)
    }

    /// The body has ended.
    ///
    /// # Errors
    /// The body is ambiguous.
    pub fn finish(mut self) -> Result<Read, Ambiguous> {
        self.lexer.finish(&mut self.both)?;
        Ok(Read { digest: self.both.digester.finish()?, summary: self.both.reader.finish() })
    }

    /// Bytes that it keeps of the body.
    pub fn kept_bytes(&self) -> usize {
        size_of::<Self>().saturating_add(self.both.digester.kept_bytes())
    }
}

/// The digest of a whole body, and what it asks for.
///
/// # Errors
/// The body is ambiguous.
pub fn canonical(body: &[u8], ignore: Rc<[Box<str>]>) -> Result<Read, Ambiguous> {
    let mut canonical = Canonical::new(ignore);
    canonical.push(body)?;
    canonical.finish()
}

/// The digest of one value of JSON.
///
/// # Errors
/// The value is ambiguous.
pub fn digest(json: &[u8]) -> Result<[u8; 32], Ambiguous> {
    let mut digester = Digester::new(Rc::new([]));
    let mut lexer = Lexer::default();
    lexer.push(json, &mut digester)?;
    lexer.finish(&mut digester)?;
    digester.finish()
}

/// A body that is being read for its digest alone: see [`digest()`]. Of numbers below some members only the first digits count.
#[derive(Clone, Debug)]
pub struct Rounded {
    lexer: Lexer,
    digester: Digester,
}

impl Rounded {
    /// Starts with an empty body. `members` are names of members, wherever they stand, and how many digits of the numbers below
    /// them count; of those that stand within one another the innermost.
    pub fn new(members: Rc<[(Box<str>, u8)]>) -> Self {
        Self { lexer: Lexer::default(), digester: Digester::rounding(members) }
    }

    /// Takes in the next bytes.
    ///
    /// # Errors
    /// The body is ambiguous. Every later call says the same.
    pub fn push(&mut self, chunk: &[u8]) -> Result<(), Ambiguous> {
        self.lexer.push(chunk, &mut self.digester)
    }

    /// SHA-256 of its canonical form.
    ///
    /// # Errors
    /// The body is ambiguous.
    pub fn finish(mut self) -> Result<[u8; 32], Ambiguous> {
        self.lexer.finish(&mut self.digester)?;
        self.digester.finish()
    }

    /// Bytes that it keeps of the body.
    pub fn kept_bytes(&self) -> usize {
        size_of::<Self>().saturating_add(self.digester.kept_bytes())
    }
}

#[derive(Clone, Debug)]
struct Both {
    digester: Digester,
    reader: Reader,
}

impl Sink for Both {
    fn take(&mut self, token: Token<'_>, at: u64) -> Result<(), Ambiguous> {
        self.reader.take(token, at)?;
        self.digester.take(token, at)
    }
}

#[cfg(test)]
#[path = "canonical/tests.rs"]
mod tests;
