//! The tags of a response: names that its origin gives to it, so that it can be purged together with others.
//!
//! `Surrogate-Key` separates them by spaces, `Cache-Tag` by commas, `xkey` and any other field by either;
//! `Cache-Groups` is a list of strings (RFC 9875). Only hashes are kept. A group counts for the host that named it, and
//! also as a plain tag, by which an operator purges it everywhere.

use std::rc::Rc;

use sfv::{BareItem, ListEntry, Parser};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::fields::Fields;
use crate::policy::FieldName;

/// The hash of a tag.
pub fn tag_hash(tag: &[u8]) -> u64 {
    // No tag has the mark's own value.
    xxh3_64_with_seed(tag, TAG_SEED).max(ANY.saturating_add(1))
}

/// The hash of a group of RFC 9875 at an authority in its normal form.
pub fn group_hash(authority: &[u8], group: &[u8]) -> u64 {
    let mut scoped = Vec::with_capacity(authority.len().saturating_add(group.len()).saturating_add(1));
    scoped.extend_from_slice(authority);
    scoped.push(0);
    scoped.extend_from_slice(group);
    xxh3_64_with_seed(&scoped, GROUP_SEED).max(ANY.saturating_add(1))
}

/// The hashes of the tags that these fields of a response name, sorted. One that has more than [`MOST_TAGS`] has also
/// [`ANY`]: every purge by tag covers it, since which one it would be is not known.
pub fn tags_of(response: Fields<'_>, names: &[FieldName], authority: &[u8]) -> Rc<[u64]> {
    let mut hashes = Vec::new();
    for name in names {
        if response.get(name).is_none() {
            continue;
        }
        if **name == *b"cache-groups" {
            for group in groups_of(response, name) {
                hashes.push(group_hash(authority, group.as_bytes()));
                hashes.push(tag_hash(group.as_bytes()));
            }
            continue;
        }
        let separates: fn(&u8) -> bool = match &**name {
            b"surrogate-key" => |byte| matches!(byte, b' ' | b'\t'),
            b"cache-tag" => |byte| *byte == b',',
            _ => |byte| matches!(byte, b' ' | b'\t' | b','),
        };
        let tags = response.all(name).flat_map(|line| line.split(separates)).map(<[u8]>::trim_ascii);
        // No purge can name a longer one.
        hashes.extend(tags.filter(|tag| (1..=LONGEST_TAG).contains(&tag.len())).map(tag_hash));
    }
    bounded(hashes)
}

/// The tags of two responses together.
pub fn union(one: &[u64], other: &[u64]) -> Rc<[u64]> {
    bounded([one, other].concat())
}

fn bounded(mut hashes: Vec<u64>) -> Rc<[u64]> {
    hashes.sort_unstable();
    hashes.dedup();
    if hashes.len() > MOST_TAGS {
        // The mark is among them: it sorts first.
        hashes.truncate(MOST_TAGS - 1);
        hashes.insert(0, ANY);
        hashes.dedup();
    }
    hashes.into()
}

/// The groups that a field of RFC 9875 names; none if it is no list of strings.
pub fn groups_of(response: Fields<'_>, name: &[u8]) -> Vec<String> {
    let lines: Vec<&[u8]> = response.all(name).collect();
    let joined = lines.join(&b", "[..]);
    let Ok(list) = Parser::new(&joined).parse::<sfv::List>() else { return Vec::new() };
    let mut groups = Vec::new();
    for member in list {
        match member {
            ListEntry::Item(item) => match item.bare_item {
                BareItem::String(text) => groups.push(text.as_str().to_owned()),
                _ => return Vec::new(),
            },
            ListEntry::InnerList(_) => return Vec::new(),
        }
    }
    groups
}

/// Stands for tags that are not known: no tag's hash is this.
pub const ANY: u64 = 0;
/// Hashes of tags that a response may have, 16 KiB of them; a group counts as two.
pub const MOST_TAGS: usize = 2048;
/// Longest tag in bytes.
pub const LONGEST_TAG: usize = 256;
const TAG_SEED: u64 = 2;
const GROUP_SEED: u64 = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::FieldBlock;

    fn tags(lines: &[(&str, &str)]) -> Vec<u64> {
        let block: FieldBlock = lines.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())).collect();
        let names: Vec<FieldName> =
            ["surrogate-key", "cache-tag", "xkey", "cache-groups"].map(|n| n.as_bytes().into()).into();
        tags_of(block.fields(), &names, b"a.test").to_vec()
    }

    fn sorted(mut hashes: Vec<u64>) -> Vec<u64> {
        hashes.sort_unstable();
        hashes
    }

    #[test]
    fn each_field_has_its_own_separators() {
        let of = |tags: &[&str]| sorted(tags.iter().map(|tag| tag_hash(tag.as_bytes())).collect());
        assert_eq!(tags(&[("surrogate-key", " a  b\tc,d ")]), of(&["a", "b", "c,d"]));
        assert_eq!(tags(&[("cache-tag", "a b , c,,a b")]), of(&["a b", "c"]));
        assert_eq!(tags(&[("xkey", "a b,c"), ("xkey", "d")]), of(&["a", "b", "c", "d"]));
        assert_eq!(tags(&[("x-other", "a")]), of(&[]));
        assert_eq!(tags(&[("xkey", &"x".repeat(257))]), of(&[]));
    }

    #[test]
    fn groups_are_a_list_of_strings_and_count_for_their_host() {
        let both = |group: &str| [tag_hash(group.as_bytes()), group_hash(b"a.test", group.as_bytes())];
        let expected = sorted([both("a,\"b"), both("c")].concat());
        assert_eq!(tags(&[("cache-groups", r#""a,\"b";p=1"#), ("cache-groups", r#""c""#)]), expected);
        for wrong in [r#"token"#, r#""a", 1"#, r#"("a")"#, r#""a"#, "\"a\" \"b\""] {
            assert_eq!(tags(&[("cache-groups", wrong)]), [0; 0], "{wrong}");
        }
        assert_ne!(group_hash(b"a.test", b"c"), group_hash(b"b.test", b"c"));
    }

    #[test]
    fn more_tags_than_fit_are_remembered_as_any_tag() {
        let many: Vec<String> = (0..=MOST_TAGS).map(|n| n.to_string()).collect();
        let found = tags(&[("surrogate-key", &many.join(" "))]);
        assert_eq!((found.len(), found.first()), (MOST_TAGS, Some(&ANY)));
        let fits = tags(&[("surrogate-key", &many.get(..MOST_TAGS).unwrap().join(" "))]);
        assert!(fits.len() == MOST_TAGS && !fits.contains(&ANY));
        assert_eq!(union(&found, &[u64::MAX]).first(), Some(&ANY));
    }
}
