//! The digest itself.
//!
//! Every value comes to a *leaf*: a tag that tells its type, a length, and either the value itself if it is short or
//! SHA-256 of it and its size. An array is the digest of its leaves in order, an object that of its names, each with its
//! length, and leaves, sorted by name; below members that hold schemas in the order in which they are written, since models
//! write their answers in that order. A leaf is never the beginning of another, so no structure can be made to look like
//! another one.

use std::rc::Rc;

use sha2::{Digest, Sha256};

use crate::json::{Ambiguous, Kind, Sink, Token, in_order, rounded_number};

/// Takes in the tokens of a body.
#[derive(Clone, Debug)]
pub(super) struct Digester {
    ignore: Rc<[Box<str>]>,
    open: Vec<Open>,
    /// Of all open objects, the innermost last.
    members: Vec<Member>,
    /// The names of all of them, one after the other.
    names: Vec<u8>,
    text: Text,
    number: Vec<u8>,
    /// Where a number's normal form is made.
    normal: Vec<u8>,
    whole: Option<Leaf>,
    /// The member of the top level that is being read holds schemas.
    is_schema: bool,
    rounding: Option<Rounding>,
}

/// Which numbers count by their first digits only.
#[derive(Clone, Debug)]
struct Rounding {
    /// Names of members, and how many digits of the numbers below them count.
    members: Rc<[(Box<str>, u8)]>,
    /// The members that are being read and are named so: how many objects and arrays are open around them, and their digits.
    within: Vec<(usize, u8)>,
}

#[derive(Clone, Debug)]
enum Open {
    Array {
        digest: Sha256,
        count: u64,
    },
    Object {
        /// How many members the objects around it have so far.
        before: usize,
        /// How many bytes of names.
        names_before: usize,
        /// Where the name of the member begins whose value is being read.
        name: usize,
    },
}

#[derive(Clone, Copy, Debug)]
struct Member {
    name: usize,
    name_end: usize,
    leaf: Leaf,
}

/// What a value comes to.
#[derive(Clone, Copy, Debug)]
struct Leaf {
    bytes: [u8; LEAF],
    length: usize,
}

impl Digester {
    pub(super) fn new(ignore: Rc<[Box<str>]>) -> Self {
        Self {
            ignore,
            open: Vec::new(),
            members: Vec::new(),
            names: Vec::new(),
            text: Text::default(),
            number: Vec::new(),
            normal: Vec::new(),
            whole: None,
            is_schema: false,
            rounding: None,
        }
    }

    /// Of numbers below members that are named so only the first digits count. The order of members counts nowhere.
    pub(super) fn rounding(members: Rc<[(Box<str>, u8)]>) -> Self {
        let rounding = Some(Rounding { members, within: Vec::new() });
        Self { rounding, ..Self::new(Rc::new([])) }
    }

    pub(super) fn kept_bytes(&self) -> usize {
        let open = self.open.capacity().saturating_mul(size_of::<Open>());
        let members = self.members.capacity().saturating_mul(size_of::<Member>());
        [members, self.names.capacity(), self.number.capacity(), self.normal.capacity()]
            .into_iter()
            .fold(open, usize::saturating_add)
    }

    pub(super) fn finish(&self) -> Result<[u8; 32], Ambiguous> {
        let leaf = self.whole.ok_or(Ambiguous::Cut)?;
        let mut digest = Sha256::new();
        digest.update(DOMAIN);
        digest.update(leaf.as_bytes());
        Ok(digest.finalize().into())
    }

    /// A value has ended.
    fn value(&mut self, leaf: Leaf) -> Result<(), Ambiguous> {
        match self.open.last_mut() {
            None => self.whole = Some(leaf),
            Some(Open::Array { digest, count }) => {
                digest.update(leaf.as_bytes());
                *count = count.saturating_add(1);
            }
            Some(Open::Object { name, .. }) => {
                if self.members.len() >= MAX_MEMBERS {
                    return Err(Ambiguous::Members);
                }
                self.members.push(Member { name: *name, name_end: self.names.len(), leaf });
            }
        }
        Ok(())
    }

    /// The innermost array or object has ended.
    fn closed(&mut self) -> Option<Open> {
        if let Some(rounding) = &mut self.rounding {
            rounding.within.retain(|(at, _)| *at < self.open.len());
        }
        self.open.pop()
    }

    /// The name of a member has ended.
    fn name(&mut self) {
        if let Some(rounding) = &mut self.rounding {
            let depth = self.open.len();
            rounding.within.retain(|(at, _)| *at < depth);
            let Some(Open::Object { name, .. }) = self.open.last() else { return };
            let name = self.names.get(*name..).unwrap_or_default();
            let named = rounding.members.iter().find(|(known, _)| known.as_bytes() == name);
            rounding.within.extend(named.map(|(_, digits)| (depth, *digits)));
            return;
        }
        if let [Open::Object { name, .. }] = self.open.as_slice() {
            let name = self.names.get(*name..).unwrap_or_default();
            self.is_schema = SCHEMAS.iter().any(|known| known.as_bytes() == name);
        }
    }

    /// An object has ended: its members, sorted unless their order matters.
    fn object(&mut self, before: usize, names_before: usize) -> Result<Leaf, Ambiguous> {
        let members = self.members.get(before..).unwrap_or_default();
        let names =
            members.iter().map(|member| self.names.get(member.name..member.name_end).unwrap_or_default());
        let top = self.open.is_empty();
        let mut ordered = in_order(names)?;
        if self.is_schema && !top {
            ordered.sort_unstable_by_key(|(_, place)| *place);
        }
        let mut digest = Sha256::new();
        let mut count = 0_u64;
        for (name, place) in ordered {
            let Some(member) = members.get(place) else { continue };
            if top && self.ignore.iter().any(|ignored| ignored.as_bytes() == name) {
                continue;
            }
            size(name.len(), &mut digest);
            digest.update(name);
            digest.update(member.leaf.as_bytes());
            count = count.saturating_add(1);
        }
        self.members.truncate(before);
        self.names.truncate(names_before);
        Ok(Leaf::digest(b'{', digest, count))
    }

    fn end(&mut self, kind: Kind) -> Result<(), Ambiguous> {
        let leaf = match kind {
            Kind::Name => {
                self.name();
                return Ok(());
            }
            Kind::Text => self.text.leaf(),
            Kind::Number => {
                self.normal.clear();
                let within = self.rounding.as_ref().and_then(|rounding| rounding.within.last());
                let digits = within.map_or(usize::MAX, |(_, digits)| usize::from(*digits));
                rounded_number(&self.number, digits, &mut self.normal)?;
                Leaf::of(b'0', &self.normal)
            }
            Kind::True => Leaf::of(b't', &[]),
            Kind::False => Leaf::of(b'f', &[]),
            Kind::Null => Leaf::of(b'n', &[]),
            Kind::Array | Kind::Object => match self.closed() {
                Some(Open::Array { digest, count }) => Leaf::digest(b'[', digest, count),
                Some(Open::Object { before, names_before, .. }) => self.object(before, names_before)?,
                None => return Err(Ambiguous::Syntax),
            },
        };
        self.value(leaf)
    }
}

impl Sink for Digester {
    fn take(&mut self, token: Token<'_>, _: u64) -> Result<(), Ambiguous> {
        match token {
            Token::Begin(Kind::Object) => self.open.push(Open::Object {
                before: self.members.len(),
                names_before: self.names.len(),
                name: self.names.len(),
            }),
            Token::Begin(Kind::Array) => self.open.push(Open::Array { digest: Sha256::new(), count: 0 }),
            Token::Begin(Kind::Name) => {
                let at = self.names.len();
                if let Some(Open::Object { name, .. }) = self.open.last_mut() {
                    *name = at;
                }
            }
            Token::Begin(Kind::Text) => self.text = Text::default(),
            Token::Begin(Kind::Number) => self.number.clear(),
            Token::Begin(_) => {}
            Token::Piece(Kind::Name, piece) => {
                if self.names.len().saturating_add(piece.len()) > MAX_NAMES {
                    return Err(Ambiguous::Members);
                }
                self.names.extend_from_slice(piece);
            }
            Token::Piece(Kind::Number, piece) => {
                if self.number.len().saturating_add(piece.len()) > MAX_NUMBER {
                    return Err(Ambiguous::Number);
                }
                self.number.extend_from_slice(piece);
            }
            Token::Piece(_, piece) => self.text.push(piece),
            Token::End(kind) => return self.end(kind),
        }
        Ok(())
    }
}

impl Leaf {
    /// A value as it is, or its digest if it is long.
    fn of(tag: u8, value: &[u8]) -> Self {
        if value.len() > INLINE {
            return Self::digest(tag, Sha256::new_with_prefix(value), count(value));
        }
        let mut leaf = Self { bytes: [0; LEAF], length: 0 };
        leaf.append(&[tag, u8::try_from(value.len()).unwrap_or(DIGESTED)]);
        leaf.append(value);
        leaf
    }

    fn digest(tag: u8, digest: Sha256, size: u64) -> Self {
        let mut leaf = Self { bytes: [0; LEAF], length: 0 };
        leaf.append(&[tag, DIGESTED]);
        leaf.append(&digest.finalize());
        leaf.append(&size.to_le_bytes());
        leaf
    }

    fn append(&mut self, bytes: &[u8]) {
        for (place, byte) in self.bytes.iter_mut().skip(self.length).zip(bytes) {
            *place = *byte;
        }
        self.length = self.length.saturating_add(bytes.len());
    }

    fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or(&self.bytes)
    }
}

/// A text that is being read: as it is while it is short.
#[derive(Clone, Debug, Default)]
struct Text {
    kept: [u8; INLINE],
    length: u64,
    digest: Option<Sha256>,
}

impl Text {
    fn push(&mut self, piece: &[u8]) {
        let before = usize::try_from(self.length).unwrap_or(usize::MAX);
        let after = before.saturating_add(piece.len());
        self.length = self.length.saturating_add(count(piece));
        match &mut self.digest {
            Some(digest) => digest.update(piece),
            None => match self.kept.get_mut(before..after) {
                Some(place) => place.copy_from_slice(piece),
                None => {
                    let mut digest = Sha256::new();
                    digest.update(self.kept.get(..before).unwrap_or_default());
                    digest.update(piece);
                    self.digest = Some(digest);
                }
            },
        }
    }

    fn leaf(&mut self) -> Leaf {
        match self.digest.take() {
            Some(digest) => Leaf::digest(b'"', digest, self.length),
            None => {
                let length = usize::try_from(self.length).unwrap_or(INLINE);
                Leaf::of(b'"', self.kept.get(..length).unwrap_or(&self.kept))
            }
        }
    }
}

fn count(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// The length of a name, in one byte where that is enough: a small object then fits one block of the digest.
fn size(length: usize, digest: &mut Sha256) {
    match u8::try_from(length) {
        Ok(short) if short < LONG => digest.update([short]),
        _ => {
            digest.update([LONG]);
            digest.update(u64::try_from(length).unwrap_or(u64::MAX).to_le_bytes());
        }
    }
}

/// Part of every digest, and changed with the form. With a leaf behind it, it fits one block.
const DOMAIN: &[u8] = b"canonical 1\0";
/// A value of up to this many bytes is in its leaf as it is.
const INLINE: usize = 32;
/// Tag, length or [`DIGESTED`], digest, size.
const LEAF: usize = 2 + 32 + 8;
const DIGESTED: u8 = 255;
/// In the place of a length that does not fit one byte.
const LONG: u8 = 255;
/// Members of the top level that hold schemas, by which a model orders what it writes, or texts that it is shown as they are.
const SCHEMAS: [&str; 11] = [
    "tools",
    "functions",
    "tool_choice",
    "response_format",
    "text",
    "format",
    "output_format",
    "output_config",
    "guided_json",
    "json_schema",
    "extra_body",
];
/// Of all objects that are open at once.
const MAX_MEMBERS: usize = 4096;
/// Bytes of their names.
const MAX_NAMES: usize = 512 * 1024;
/// Bytes of a number.
const MAX_NUMBER: usize = 1024;
