//! Reads and writes header fields in one flat block: the layout in which proxy-wasm hands them over.
//!
//! ```text
//! count: u32 | (name length: u32, value length: u32) × count | (name, 0, value, 0) × count      little-endian
//! ```
//!
//! The block is read in place: a request's fields are never copied into a map, and a stored response keeps its block ready
//! to be sent. Names are in lower case, as in HTTP/2; those of pseudo-header fields begin with a colon.

/// Header fields inside a borrowed block, in the order they arrived. Names are lower-case.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fields<'a> {
    sizes: &'a [u8],
    data: &'a [u8],
}

impl<'a> Fields<'a> {
    /// The fields of `block`; `None` if its lengths do not add up. An empty block holds no fields.
    pub fn parse(block: &'a [u8]) -> Option<Self> {
        if block.is_empty() {
            return Some(Self::default());
        }
        let (count, rest) = block.split_first_chunk::<4>()?;
        let count = usize::try_from(u32::from_le_bytes(*count)).ok()?;
        let (sizes, data) = rest.split_at_checked(count.checked_mul(PAIR_SIZES)?)?;
        let mut total = 0usize;
        for (name, value) in sizes.chunks_exact(PAIR_SIZES).map(lengths) {
            total = total.checked_add(name)?.checked_add(value)?.checked_add(2)?;
        }
        Some(Self { sizes, data: data.get(..total)? })
    }

    /// Bytes of the block that they are read from.
    pub fn block_bytes(&self) -> usize {
        self.sizes.len().saturating_add(self.data.len())
    }

    /// Whether each name and value has its 0 behind it. [`Fields::parse`] passes over these bytes; who is given the block may
    /// not.
    pub fn are_ended(&self) -> bool {
        let mut rest = self.data;
        let mut ends = |length: usize| {
            let (zero, after) = rest.split_at_checked(length)?.1.split_first()?;
            rest = after;
            Some(*zero == 0)
        };
        let mut sizes = self.sizes.chunks_exact(PAIR_SIZES).map(lengths);
        sizes.all(|(name, value)| ends(name) == Some(true) && ends(value) == Some(true))
    }

    /// Every field as `(name, value)`.
    pub fn iter(&self) -> FieldIter<'a> {
        FieldIter { sizes: self.sizes.chunks_exact(PAIR_SIZES), data: self.data }
    }

    /// How many field lines there are.
    pub fn len(&self) -> usize {
        self.sizes.len() / PAIR_SIZES
    }

    /// Whether there is no field line.
    pub fn is_empty(&self) -> bool {
        self.sizes.is_empty()
    }

    /// The first line of the field `name`, which is lower-case.
    pub fn get(&self, name: &[u8]) -> Option<&'a [u8]> {
        self.all(name).next()
    }

    /// Every line of the field `name`, which is lower-case.
    pub fn all<'n>(&self, name: &'n [u8]) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        self.iter().filter(move |(n, _)| *n == name).map(|(_, value)| value)
    }

    /// The members of the list-based field `name` over all its lines, trimmed, without the empty ones
    /// (RFC 9110 §5.6.1). Commas inside quoted strings do not separate.
    pub fn members<'n>(&self, name: &'n [u8]) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        self.all(name).flat_map(list_members)
    }
}

/// Iterates over the fields of a block; see [`Fields::iter`].
#[derive(Clone, Debug)]
pub struct FieldIter<'a> {
    sizes: std::slice::ChunksExact<'a, u8>,
    data: &'a [u8],
}

impl<'a> Iterator for FieldIter<'a> {
    type Item = (&'a [u8], &'a [u8]);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let (name_len, value_len) = lengths(self.sizes.next()?);
        let (name, rest) = self.data.split_at_checked(name_len)?;
        let (value, rest) = rest.get(1..)?.split_at_checked(value_len)?;
        self.data = rest.get(1..)?;
        Some((name, value))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.sizes.size_hint()
    }
}

/// Fields under construction, kept as the two halves of a block so that a stored response can be sent with
/// a few fields added and nothing rewritten.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldBlock {
    sizes: Vec<u8>,
    data: Vec<u8>,
}

impl FieldBlock {
    /// No fields.
    pub const fn new() -> Self {
        Self { sizes: Vec::new(), data: Vec::new() }
    }

    /// A copy of `fields`, in two pieces and not line by line.
    pub fn copy_of(fields: Fields<'_>) -> Self {
        Self { sizes: fields.sizes.to_vec(), data: fields.data.to_vec() }
    }

    /// Appends one field line. A line too long for the layout (4 GiB) is left out.
    pub fn push(&mut self, name: &[u8], value: &[u8]) {
        let (Ok(name_len), Ok(value_len)) = (u32::try_from(name.len()), u32::try_from(value.len())) else {
            return;
        };
        self.sizes.extend_from_slice(&name_len.to_le_bytes());
        self.sizes.extend_from_slice(&value_len.to_le_bytes());
        self.data.extend_from_slice(name);
        self.data.push(0);
        self.data.extend_from_slice(value);
        self.data.push(0);
    }

    /// Reads the fields.
    pub fn fields(&self) -> Fields<'_> {
        Fields { sizes: &self.sizes, data: &self.data }
    }

    /// Appends the whole block to `out`, with the `extra` fields at its end.
    pub fn write_with(&self, extra: &[(&[u8], &[u8])], out: &mut Vec<u8>) {
        let count = self.sizes.len() / PAIR_SIZES + extra.len();
        let extra_bytes: usize = extra.iter().map(|(n, v)| n.len() + v.len() + 2 + PAIR_SIZES).sum();
        out.reserve(4 + self.sizes.len() + self.data.len() + extra_bytes);
        out.extend_from_slice(&u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
        out.extend_from_slice(&self.sizes);
        for (name, value) in extra {
            out.extend_from_slice(&u32::try_from(name.len()).unwrap_or(0).to_le_bytes());
            out.extend_from_slice(&u32::try_from(value.len()).unwrap_or(0).to_le_bytes());
        }
        out.extend_from_slice(&self.data);
        for (name, value) in extra {
            out.extend_from_slice(name);
            out.push(0);
            out.extend_from_slice(value);
            out.push(0);
        }
    }

    /// Bytes held, for byte budgets.
    pub fn byte_len(&self) -> usize {
        self.sizes.len() + self.data.len()
    }

    /// Gives back the space reserved beyond the fields.
    pub fn shrink_to_fit(&mut self) {
        self.sizes.shrink_to_fit();
        self.data.shrink_to_fit();
    }
}

impl<'a> FromIterator<(&'a [u8], &'a [u8])> for FieldBlock {
    fn from_iter<I: IntoIterator<Item = (&'a [u8], &'a [u8])>>(pairs: I) -> Self {
        let mut block = Self::new();
        for (name, value) in pairs {
            block.push(name, value);
        }
        block
    }
}

/// Whether two names are the same to an origin that turns whatever is no letter or digit into one character, as CGI and
/// what descends from it do (RFC 3875 §4.1.18): `X_Lang` is `X-Lang` there.
#[inline]
pub fn same_name(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && (one == other || one.iter().zip(other).all(|(a, b)| folded(*a) == folded(*b)))
}

/// A character of a name as such an origin reads it.
#[inline]
const fn folded(byte: u8) -> u8 {
    if byte.is_ascii_alphanumeric() { byte.to_ascii_lowercase() } else { b'-' }
}

/// The members of one line of a list-based field: trimmed, the empty ones left out.
pub fn list_members(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(line);
    std::iter::from_fn(move || {
        loop {
            let line = rest?;
            let (member, tail) = split_member(line);
            rest = tail;
            let member = member.trim_ascii();
            if !member.is_empty() {
                return Some(member);
            }
        }
    })
}

/// Splits at the first comma that is not inside a quoted string.
fn split_member(line: &[u8]) -> (&[u8], Option<&[u8]>) {
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in line.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' if !quoted => {
                return (line.get(..at).unwrap_or_default(), line.get(at + 1..));
            }
            _ => {}
        }
    }
    (line, None)
}

/// The two lengths of one entry of the size table.
#[inline]
fn lengths(entry: &[u8]) -> (usize, usize) {
    match entry {
        [a, b, c, d, e, f, g, h] => {
            (u32::from_le_bytes([*a, *b, *c, *d]) as usize, u32::from_le_bytes([*e, *f, *g, *h]) as usize)
        }
        _ => (0, 0),
    }
}

/// Bytes of one entry of the size table.
const PAIR_SIZES: usize = 8;

/// The status code; 0 if there is none, which nothing stores.
pub fn status_of(head: Fields<'_>) -> u16 {
    head.get(b":status").and_then(|text| std::str::from_utf8(text).ok()?.parse().ok()).unwrap_or(0)
}

/// The length the response promises.
pub fn content_length(head: Fields<'_>) -> Option<usize> {
    std::str::from_utf8(head.get(b"content-length")?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_block_reads_back_in_order() {
        let block: FieldBlock = [(&b"a"[..], &b"1"[..]), (b"b", b""), (b"a", b"2")].into_iter().collect();
        let mut bytes = Vec::new();
        block.write_with(&[(b"age", b"7")], &mut bytes);
        let fields = Fields::parse(&bytes).unwrap();
        let all: Vec<_> = fields.iter().collect();
        assert_eq!(all, [(&b"a"[..], &b"1"[..]), (b"b", b""), (b"a", b"2"), (b"age", b"7")]);
        assert_eq!(fields.all(b"a").collect::<Vec<_>>(), [b"1", b"2"]);
    }

    #[test]
    fn lengths_that_do_not_add_up_are_refused() {
        let block: FieldBlock = [(&b"name"[..], &b"value"[..])].into_iter().collect();
        let mut bytes = Vec::new();
        block.write_with(&[], &mut bytes);
        for cut in 1..bytes.len() {
            assert!(Fields::parse(&bytes[..cut]).is_none(), "cut at {cut}");
        }
        assert!(Fields::parse(&[255; 12]).is_none());
        assert!(Fields::parse(&[]).unwrap().is_empty());
    }

    #[test]
    fn a_name_or_value_without_its_zero_is_told() {
        let block = |count: usize, length: usize| {
            let value = vec![b'v'; length];
            let block: FieldBlock = (0..count).map(|_| (&b"name"[..], &value[..])).collect();
            let mut bytes = Vec::new();
            block.write_with(&[], &mut bytes);
            bytes
        };
        let bytes = block(2, 3);
        assert!(Fields::parse(&bytes).unwrap().are_ended());
        // The four ends, two lines of four and three bytes.
        for at in [24, 28, 33, 37] {
            let mut changed = bytes.clone();
            changed[at] = b'x';
            assert!(!Fields::parse(&changed).unwrap().are_ended(), "{at}");
        }
    }

    #[test]
    fn commas_inside_quotes_do_not_separate_members() {
        let members: Vec<_> = list_members(br#" a, "b,\",c" ,, d=1"#).collect();
        assert_eq!(members, [&b"a"[..], br#""b,\",c""#, b"d=1"]);
    }
}
