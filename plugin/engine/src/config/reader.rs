//! Walks JSON, notes every fault with its path, and goes on. What a member may hold is read by its [`Kind`].

use std::cell::RefCell;

use super::ConfigError;
use super::limits::FAULTS;
use super::settings::kinds::Kind;
use super::written::{Written, quote};
use crate::host::IN_BROWSER;

/// The faults found so far.
pub(crate) type Faults = RefCell<Vec<ConfigError>>;

/// Where in the configuration a value stands.
#[derive(Clone)]
pub(crate) struct Place<'f> {
    path: String,
    nullable: bool,
    faults: &'f Faults,
}

impl<'f> Place<'f> {
    /// The configuration as a whole.
    pub(crate) fn root(faults: &'f Faults) -> Self {
        Place { path: String::new(), nullable: false, faults }
    }

    /// Notes a fault here, and is `None` so that a reader can end with it. Past a hundred nobody reads on.
    pub(crate) fn refuse<T>(&self, found: impl Into<String>, allowed: impl Into<String>) -> Option<T> {
        self.note(found.into(), allowed.into());
        None
    }

    #[inline(never)]
    fn note(&self, found: String, mut allowed: String) {
        if self.faults.borrow().len() >= FAULTS {
            return;
        }
        if self.nullable {
            allowed.push_str(", or null");
        }
        let path = if self.path.is_empty() { "configuration".to_owned() } else { self.path.clone() };
        self.faults.borrow_mut().push(ConfigError { path, found, allowed });
    }

    /// The same place, where `null` may stand as well.
    pub(crate) fn or_null(self) -> Place<'f> {
        Place { nullable: true, ..self }
    }

    /// The place of a member of an object that is here.
    pub(crate) fn member(&self, key: &str) -> Place<'f> {
        let plain = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let path = match (plain, self.path.is_empty()) {
            (true, true) => key.to_owned(),
            (true, false) => format!("{}.{key}", self.path),
            (false, _) => format!("{}[{}]", self.path, quote(key)),
        };
        Place { path, nullable: false, faults: self.faults }
    }

    /// The place of an item of a list that is here.
    pub(crate) fn item(&self, index: usize) -> Place<'f> {
        Place { path: format!("{}[{index}]", self.path), nullable: false, faults: self.faults }
    }
}

/// An object being read. It learns its members from what is asked for, so the list in an error message is complete.
pub(crate) struct Object<'w, 'f> {
    place: Place<'f>,
    members: &'w [(String, Written)],
    known: Vec<&'static str>,
}

impl<'w, 'f> Object<'w, 'f> {
    /// Reads an object with `read`, then notes unknown and repeated members. `None` if the value is no object.
    pub(crate) fn walk<T>(
        place: Place<'f>,
        written: &'w Written,
        read: impl FnOnce(&mut Object<'w, 'f>) -> T,
    ) -> Option<T> {
        let Written::Object(members) = written else {
            return place.refuse(written.describe(), "an object");
        };
        let mut object = Object { place, members, known: Vec::new() };
        let value = read(&mut object);
        object.finish();
        Some(value)
    }

    /// The place of the object itself.
    pub(crate) fn place(&self) -> &Place<'f> {
        &self.place
    }

    /// The place of a member.
    pub(crate) fn place_of(&self, key: &str) -> Place<'f> {
        self.place.member(key)
    }

    /// Whether the operator wrote the member with a value other than null.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.members.iter().any(|(name, value)| name == key && *value != Written::Null)
    }

    /// Whether the operator wrote an object there, with nothing in it.
    #[cfg(feature = "sessions")]
    pub(crate) fn is_empty_object(&self, key: &str) -> bool {
        let is_empty = |value: &Written| matches!(value, Written::Object(members) if members.is_empty());
        self.members.iter().any(|(name, value)| name == key && is_empty(value))
    }

    /// Reads a member into its field, which keeps its value if the member is absent or wrong.
    #[inline(never)]
    pub(crate) fn set<K: Kind>(&mut self, name: &'static str, field: &mut K::Value, kind: K) {
        if let Some((place, written)) = self.find(name, kind.required()) {
            kind.set(place, written, field);
        }
    }

    /// Reads a list of at most so many with `read`, which gets each item and its place.
    pub(crate) fn each(
        &mut self,
        name: &'static str,
        most: usize,
        mut read: impl FnMut(Place<'f>, &'w Written),
    ) {
        match self.find(name, None) {
            Some((place, Written::List(items))) if items.len() <= most => {
                items.iter().enumerate().for_each(|(index, item)| read(place.item(index), item));
            }
            Some((place, written)) => {
                place.refuse::<()>(written.describe(), format!("a list of at most {most}"));
            }
            None => {}
        }
    }

    /// A member and its place. One that is missing is refused if it is required, with what is allowed.
    #[inline(never)]
    fn find(&mut self, name: &'static str, required: Option<&str>) -> Option<(Place<'f>, &'w Written)> {
        self.known.push(name);
        match self.members.iter().find(|(written, _)| written == name) {
            Some((_, written)) => Some((self.place.member(name), written)),
            None => required.and_then(|allowed| self.place.member(name).refuse("nothing", allowed)),
        }
    }

    fn finish(self) {
        for (index, (key, _)) in self.members.iter().enumerate() {
            let earlier = self.members.iter().take(index).any(|(name, _)| name == key);
            if IN_BROWSER && ELSEWHERE.contains(&key.as_str()) {
                // A gateway has it, and what it does is nothing that is played here.
            } else if !self.known.contains(&key.as_str()) {
                let known: Vec<String> = self.known.iter().map(|name| quote(name)).collect();
                let near = match nearest(key, &self.known) {
                    Some(name) => format!(" (did you mean {}?)", quote(name)),
                    None if self.known.contains(&"defaults") => {
                        r#" (what a rule says stands in "defaults" or in one of "rules")"#.to_owned()
                    }
                    None => String::new(),
                };
                let allowed = format!("{}{near}", known.join(", "));
                self.place.member(key).refuse::<()>(format!("an unknown member {}", quote(key)), allowed);
            } else if earlier {
                self.place.member(key).refuse::<()>("the member again", "each member once");
            }
        }
    }
}

/// Members of capabilities that the playground has not.
const ELSEWHERE: [&str; 9] =
    ["adaptive", "batch", "foresight", "jobs", "json", "predict", "session", "sessions", "upload"];

/// The known name that the fewest edits turn the key into, if few enough to be a slip.
fn nearest(key: &str, known: &[&'static str]) -> Option<&'static str> {
    if key.len() > LONGEST_SLIP {
        return None;
    }
    let tolerable = (key.chars().count() / 3).max(1);
    let ranked = known.iter().map(|name| (distance(key, name), *name));
    ranked.filter(|(edits, _)| *edits <= tolerable).min_by_key(|(edits, _)| *edits).map(|(_, name)| name)
}

/// Levenshtein distance, one row at a time.
fn distance(left: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.chars().count()).collect();
    for (above, left) in left.chars().enumerate() {
        let mut diagonal = above;
        let mut before = above + 1;
        let mut next = vec![before];
        for (right, up) in right.chars().zip(row.iter().skip(1)) {
            before = (before + 1).min(up + 1).min(diagonal + usize::from(left != right));
            diagonal = *up;
            next.push(before);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

/// No member's name is nearly so long.
const LONGEST_SLIP: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_suggested_only_for_a_slip() {
        let known = ["worker", "node", "defaults", "rules"];
        for (key, near) in [
            ("wrker", Some("worker")),
            ("rule", Some("rules")),
            ("default", Some("defaults")),
            ("nodes", Some("node")),
            ("elephants", None),
            ("", None),
        ] {
            assert_eq!(nearest(key, &known), near, "{key}");
        }
    }

    #[test]
    fn distance_counts_edits() {
        for (left, right, edits) in
            [("", "abc", 3), ("kitten", "sitting", 3), ("ttl", "ttl", 0), ("tll", "ttl", 1)]
        {
            assert_eq!(distance(left, right), edits, "{left} {right}");
        }
    }
}
