//! The members of an object and the elements of an array, as slices of the body.

use std::ops::Range;

use super::{Ambiguous, Kind, Lexer, Sink, Token, append};

/// A member of an object, by its place in the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name, unescaped. Of a name of more than 256 bytes, its beginning.
    pub name: Vec<u8>,
    /// Where its name begins, at the quote.
    pub at: usize,
    /// Where its value is, without the white space around it.
    pub value: Range<usize>,
}

/// A value in a body, with what it is a member or element of.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    /// How many arrays and objects are around it.
    pub(crate) depth: usize,
    pub(crate) kind: Kind,
    /// If it is a member of an object.
    pub(crate) name: Vec<u8>,
    pub(crate) name_at: usize,
    pub(crate) value: Range<usize>,
}

/// The values of a body with no more than `depth` arrays and objects around them, at most `max`, in the order in which they begin.
pub(crate) fn outline(json: &[u8], depth: usize, max: usize) -> Result<Vec<Node>, Ambiguous> {
    let mut outline = Outline {
        depth: 0,
        deepest: depth,
        max,
        name: Vec::new(),
        name_at: 0,
        open: Vec::new(),
        nodes: Vec::new(),
    };
    let mut lexer = Lexer::default();
    lexer.push(json, &mut outline)?;
    lexer.finish(&mut outline)?;
    Ok(outline.nodes)
}

/// The members of the object that `json` is, at most `max`. None if it is a JSON of another kind.
///
/// # Errors
/// `json` is ambiguous, or has too many. What is nested in a member is not searched for duplicates.
pub fn members(json: &[u8], max: usize) -> Result<Option<Vec<Member>>, Ambiguous> {
    let mut nodes = outline(json, 1, max.saturating_add(1))?.into_iter();
    if nodes.next().is_none_or(|top| top.kind != Kind::Object) {
        return Ok(None);
    }
    let members: Vec<Member> =
        nodes.map(|node| Member { name: node.name, at: node.name_at, value: node.value }).collect();
    in_order(members.iter().map(|member| &*member.name))?;
    Ok(Some(members))
}

/// Where the elements of the array that `json` is are, at most `max`. None if it is a JSON of another kind.
///
/// # Errors
/// `json` is ambiguous, or has too many.
pub fn elements(json: &[u8], max: usize) -> Result<Option<Vec<Range<usize>>>, Ambiguous> {
    let mut nodes = outline(json, 1, max.saturating_add(1))?.into_iter();
    if nodes.next().is_none_or(|top| top.kind != Kind::Array) {
        return Ok(None);
    }
    Ok(Some(nodes.map(|node| node.value).collect()))
}

/// Names in their order, each with its place before.
///
/// One sort for the whole crate: each of its own would be some kilobytes of code.
pub(crate) fn in_order<'a>(
    names: impl Iterator<Item = &'a [u8]>,
) -> Result<Vec<(&'a [u8], usize)>, Ambiguous> {
    let mut names: Vec<(&[u8], usize)> = names.zip(0..).collect();
    names.sort_unstable();
    let twice = names.windows(2).any(|pair| matches!(pair, [(one, _), (other, _)] if one == other));
    if twice { Err(Ambiguous::Duplicate) } else { Ok(names) }
}

struct Outline {
    depth: usize,
    deepest: usize,
    max: usize,
    /// The last name that was read.
    name: Vec<u8>,
    name_at: usize,
    /// The nodes that have not ended.
    open: Vec<usize>,
    nodes: Vec<Node>,
}

impl Outline {
    fn begin(&mut self, kind: Kind, at: u64) -> Result<(), Ambiguous> {
        if self.nodes.len() >= self.max {
            return Err(Ambiguous::Members);
        }
        let at = usize::try_from(at).map_err(|_| Ambiguous::Members)?;
        let name = std::mem::take(&mut self.name);
        self.open.push(self.nodes.len());
        self.nodes.push(Node { depth: self.depth, kind, name, name_at: self.name_at, value: at..at });
        Ok(())
    }

    fn end(&mut self, at: u64) {
        if let Some(node) = self.open.pop().and_then(|index| self.nodes.get_mut(index)) {
            node.value.end = usize::try_from(at).unwrap_or(usize::MAX);
        }
    }
}

impl Sink for Outline {
    fn take(&mut self, token: Token<'_>, at: u64) -> Result<(), Ambiguous> {
        match token {
            Token::Begin(Kind::Name) if self.depth <= self.deepest => {
                self.name.clear();
                self.name_at = usize::try_from(at).unwrap_or(usize::MAX);
            }
            Token::Piece(Kind::Name, piece) if self.depth <= self.deepest => {
                append(&mut self.name, piece, MAX_NAME);
            }
            Token::Begin(Kind::Name) | Token::End(Kind::Name) | Token::Piece(..) => {}
            Token::Begin(kind) => {
                if self.depth <= self.deepest {
                    self.begin(kind, at)?;
                }
                if matches!(kind, Kind::Object | Kind::Array) {
                    self.depth = self.depth.saturating_add(1);
                }
            }
            Token::End(kind) => {
                if matches!(kind, Kind::Object | Kind::Array) {
                    self.depth = self.depth.saturating_sub(1);
                }
                if self.depth <= self.deepest {
                    self.end(at);
                }
            }
        }
        Ok(())
    }

    fn looks_inside(&self) -> bool {
        self.depth <= self.deepest
    }
}

const MAX_NAME: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_slices_of_the_text() {
        let json = br#" { "a" : [1, {"x":2}] ,"\u0062":"}",  "c":-1.5e3 , "d":null}  "#;
        let members = members(json, 10).unwrap().unwrap();
        let seen: Vec<_> = members
            .iter()
            .map(|member| {
                let text = |range: Range<usize>| std::str::from_utf8(&json[range]).unwrap();
                (std::str::from_utf8(&member.name).unwrap(), json[member.at], text(member.value.clone()))
            })
            .collect();
        assert_eq!(
            seen,
            [
                ("a", b'"', r#"[1, {"x":2}]"#),
                ("b", b'"', r#""}""#),
                ("c", b'"', "-1.5e3"),
                ("d", b'"', "null")
            ]
        );
    }

    #[test]
    fn elements_are_slices_of_the_text() {
        let json = br#"[ "a,b" , [1,2],3,{"x":[]} ]"#;
        let elements = elements(json, 4).unwrap().unwrap();
        let seen: Vec<_> =
            elements.into_iter().map(|range| std::str::from_utf8(&json[range]).unwrap()).collect();
        assert_eq!(seen, [r#""a,b""#, "[1,2]", "3", r#"{"x":[]}"#]);
    }

    #[test]
    fn what_is_of_another_kind_or_too_much_is_told() {
        assert_eq!(members(b"[]", 1), Ok(None));
        assert_eq!(elements(b"{}", 1), Ok(None));
        assert_eq!(elements(b"1", 1), Ok(None));
        assert_eq!(elements(b"[1,2]", 1), Err(Ambiguous::Members));
        assert_eq!(members(br#"{"a":1,"\u0061":2}"#, 9), Err(Ambiguous::Duplicate));
    }
}
