//! JSON without a tree: one lexer over chunks cut anywhere, for every room of this crate.

mod lexer;
mod number;
mod outline;
mod scan;
mod text;

use thiserror::Error;

pub use lexer::{Lexer, MAX_DEPTH};
pub use number::{normal_number, rounded_number, whole_number};
pub use outline::{Member, elements, members};
pub(crate) use outline::{Node, in_order, outline};
pub(crate) use scan::line_end;
pub(crate) use text::append;
pub use text::{unescaped, write_text};

/// What a piece of JSON is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `{…}`
    Object,
    /// `[…]`
    Array,
    /// The name of a member.
    Name,
    /// A string that is a value.
    Text,
    /// A number, as it is written.
    Number,
    /// `true`
    True,
    /// `false`
    False,
    /// `null`
    Null,
}

/// What the lexer tells of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token<'a> {
    /// Something begins at the position.
    Begin(Kind),
    /// The next bytes of a name, text or number: unescaped, and never a part of a character.
    Piece(Kind, &'a [u8]),
    /// Something has ended just before the position.
    End(Kind),
}

/// What takes in the tokens of a body.
pub trait Sink {
    /// Takes in a token. `at` counts the bytes of the body before it.
    ///
    /// # Errors
    /// What was told makes the body ambiguous. Nothing more comes then.
    fn take(&mut self, token: Token<'_>, at: u64) -> Result<(), Ambiguous>;

    /// Whether to tell what is in the object or array that has just begun. It is checked all the same.
    fn looks_inside(&self) -> bool {
        true
    }
}

/// Checks a body and forgets what it says.
impl Sink for () {
    fn take(&mut self, _: Token<'_>, _: u64) -> Result<(), Ambiguous> {
        Ok(())
    }

    fn looks_inside(&self) -> bool {
        false
    }
}

/// Why two readers of a body could differ about what it says, or why it is no JSON at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Ambiguous {
    /// It is no JSON (RFC 8259).
    #[error("it is no JSON")]
    Syntax,
    /// It ends in the middle.
    #[error("it ends in the middle")]
    Cut,
    /// Something follows the value.
    #[error("something follows the value")]
    Trailing,
    /// A string is no UTF-8.
    #[error("a string is no UTF-8")]
    Utf8,
    /// Half of a surrogate pair stands alone.
    #[error("half of a surrogate pair stands alone")]
    Surrogate,
    /// An object has two members of one name.
    #[error("an object has two members of one name")]
    Duplicate,
    /// It nests more deeply than [`MAX_DEPTH`].
    #[error("it nests too deeply")]
    Depth,
    /// A number is written with more digits than anybody means.
    #[error("a number is too long")]
    Number,
    /// It has more members or elements than may be kept of it.
    #[error("it has too many members")]
    Members,
}

impl Ambiguous {
    /// A word for logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Syntax => "syntax",
            Self::Cut => "cut",
            Self::Trailing => "trailing",
            Self::Utf8 => "utf8",
            Self::Surrogate => "surrogate",
            Self::Duplicate => "duplicate",
            Self::Depth => "depth",
            Self::Number => "number",
            Self::Members => "members",
        }
    }
}
