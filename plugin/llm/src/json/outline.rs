//! The members of an object and the elements of an array, as slices of the body.

use std::ops::Range;

use super::{Ambiguous, Kind, Lexer, Sink, Token};

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

/// The members of the object that `json` is, at most `max`. None if it is a JSON of another kind.
///
/// # Errors
/// `json` is ambiguous, or has too many. What is nested in a member is not searched for duplicates.
pub fn members(json: &[u8], max: usize) -> Result<Option<Vec<Member>>, Ambiguous> {
    let outline = Outline::of(json, max)?;
    if outline.kind != Some(Kind::Object) {
        return Ok(None);
    }
    let mut names: Vec<&[u8]> = outline.items.iter().map(|member| &*member.name).collect();
    names.sort_unstable();
    if names.windows(2).any(|pair| pair.first() == pair.last()) {
        return Err(Ambiguous::Duplicate);
    }
    Ok(Some(outline.items))
}

/// Where the elements of the array that `json` is are, at most `max`. None if it is a JSON of another kind.
///
/// # Errors
/// `json` is ambiguous, or has too many.
pub fn elements(json: &[u8], max: usize) -> Result<Option<Vec<Range<usize>>>, Ambiguous> {
    let outline = Outline::of(json, max)?;
    if outline.kind != Some(Kind::Array) {
        return Ok(None);
    }
    Ok(Some(outline.items.into_iter().map(|element| element.value).collect()))
}

struct Outline {
    kind: Option<Kind>,
    depth: usize,
    max: usize,
    name: Vec<u8>,
    name_at: usize,
    from: usize,
    items: Vec<Member>,
}

impl Outline {
    fn of(json: &[u8], max: usize) -> Result<Self, Ambiguous> {
        let mut outline =
            Self { kind: None, depth: 0, max, name: Vec::new(), name_at: 0, from: 0, items: Vec::new() };
        let mut lexer = Lexer::default();
        lexer.push(json, &mut outline)?;
        lexer.finish(&mut outline)?;
        Ok(outline)
    }
}

impl Sink for Outline {
    fn take(&mut self, token: Token<'_>, at: u64) -> Result<(), Ambiguous> {
        let at = usize::try_from(at).map_err(|_| Ambiguous::Members)?;
        match token {
            Token::Begin(Kind::Name) if self.depth == 1 => {
                self.name.clear();
                self.name_at = at;
            }
            Token::Piece(Kind::Name, piece) if self.depth == 1 => {
                let room = MAX_NAME.saturating_sub(self.name.len());
                self.name.extend(piece.iter().take(room));
            }
            Token::Begin(Kind::Name) | Token::End(Kind::Name) | Token::Piece(..) => {}
            Token::Begin(kind) => {
                match self.depth {
                    0 => self.kind = Some(kind),
                    1 => self.from = at,
                    _ => {}
                }
                if matches!(kind, Kind::Object | Kind::Array) {
                    self.depth = self.depth.saturating_add(1);
                }
            }
            Token::End(kind) => {
                if matches!(kind, Kind::Object | Kind::Array) {
                    self.depth = self.depth.saturating_sub(1);
                }
                if self.depth == 1 {
                    if self.items.len() >= self.max {
                        return Err(Ambiguous::Members);
                    }
                    let name = std::mem::take(&mut self.name);
                    self.items.push(Member { name, at: self.name_at, value: self.from..at });
                }
            }
        }
        Ok(())
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
