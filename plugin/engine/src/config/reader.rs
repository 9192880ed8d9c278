//! Small readers that walk JSON, note every fault with its path, and go on.

use std::cell::RefCell;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::ConfigError;
use super::limits::{FAULTS, LIST, Millis, allowed_duration, allowed_size, allowed_whole};
use super::units;
use super::written::{Written, quote};

/// The faults found so far.
pub(super) type Faults = RefCell<Vec<ConfigError>>;

/// Where in the configuration a value stands.
#[derive(Clone)]
pub(super) struct Place<'f> {
    path: String,
    nullable: bool,
    faults: &'f Faults,
}

impl<'f> Place<'f> {
    /// The configuration as a whole.
    pub(super) fn root(faults: &'f Faults) -> Self {
        Place { path: String::new(), nullable: false, faults }
    }

    /// Notes a fault here, and is `None` so that a reader can end with it. Past a hundred nobody reads on.
    pub(super) fn refuse<T>(&self, found: impl Into<String>, allowed: impl Into<String>) -> Option<T> {
        if self.faults.borrow().len() >= FAULTS {
            return None;
        }
        let mut allowed = allowed.into();
        if self.nullable {
            allowed.push_str(", or null");
        }
        let path = if self.path.is_empty() { "configuration".to_owned() } else { self.path.clone() };
        self.faults.borrow_mut().push(ConfigError { path, found: found.into(), allowed });
        None
    }

    fn member(&self, key: &str) -> Place<'f> {
        let plain = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let path = match (plain, self.path.is_empty()) {
            (true, true) => key.to_owned(),
            (true, false) => format!("{}.{key}", self.path),
            (false, _) => format!("{}[{}]", self.path, quote(key)),
        };
        Place { path, nullable: false, faults: self.faults }
    }

    fn item(&self, index: usize) -> Place<'f> {
        Place { path: format!("{}[{index}]", self.path), nullable: false, faults: self.faults }
    }
}

/// An object being read. It learns its members from what is asked for, so the list in an error message is complete.
pub(super) struct Object<'w, 'f> {
    place: Place<'f>,
    members: &'w [(String, Written)],
    known: Vec<&'static str>,
}

impl<'w, 'f> Object<'w, 'f> {
    /// Reads an object with `read`, then notes unknown and repeated members. `None` if the value is no object.
    pub(super) fn walk<T>(
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
    pub(super) fn place(&self) -> &Place<'f> {
        &self.place
    }

    /// The place of a member.
    pub(super) fn place_of(&self, key: &str) -> Place<'f> {
        self.place.member(key)
    }

    /// Whether the operator wrote the member with a value other than null.
    pub(super) fn has(&self, key: &str) -> bool {
        self.members.iter().any(|(name, value)| name == key && *value != Written::Null)
    }

    /// Reads a member. `None` if it is absent or wrong.
    pub(super) fn read<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(Place<'f>, &'w Written) -> Option<T>,
    ) -> Option<T> {
        self.known.push(key);
        let (_, written) = self.members.iter().find(|(name, _)| name == key)?;
        read(self.place.member(key), written)
    }

    /// Reads a member into its place, which keeps its value if the member is absent or wrong.
    pub(super) fn set<T>(
        &mut self,
        key: &'static str,
        target: &mut T,
        read: impl FnOnce(Place<'f>, &'w Written) -> Option<T>,
    ) {
        if let Some(value) = self.read(key, read) {
            *target = value;
        }
    }

    /// Reads a member that must be there.
    pub(super) fn require<T>(
        &mut self,
        key: &'static str,
        allowed: &str,
        read: impl FnOnce(Place<'f>, &'w Written) -> Option<T>,
    ) -> Option<T> {
        if !self.members.iter().any(|(name, _)| name == key) {
            self.known.push(key);
            return self.place.member(key).refuse("nothing", allowed);
        }
        self.read(key, read)
    }

    /// Reads a member that is an object, each of its members falling back to what `target` holds.
    pub(super) fn within<T>(
        &mut self,
        key: &'static str,
        target: &mut T,
        read: impl FnOnce(&mut Object<'w, 'f>, &mut T),
    ) {
        self.read(key, |place, written| Object::walk(place, written, |object| read(object, target)));
    }

    fn finish(self) {
        for (index, (key, _)) in self.members.iter().enumerate() {
            let earlier = self.members.iter().take(index).any(|(name, _)| name == key);
            if !self.known.contains(&key.as_str()) {
                let known: Vec<String> = self.known.iter().map(|name| quote(name)).collect();
                let near = nearest(key, &self.known)
                    .map_or_else(String::new, |name| format!(" (did you mean {}?)", quote(name)));
                let allowed = format!("{}{near}", known.join(", "));
                self.place.member(key).refuse::<()>(format!("an unknown member {}", quote(key)), allowed);
            } else if earlier {
                self.place.member(key).refuse::<()>("the member again", "each member once");
            }
        }
    }
}

/// `true` or `false`.
pub(super) fn switch(place: Place<'_>, written: &Written) -> Option<bool> {
    match written {
        Written::Switch(value) => Some(*value),
        _ => place.refuse(written.describe(), "true or false"),
    }
}

/// A whole number within bounds.
pub(super) fn whole<N: TryFrom<u64>>(
    bounds: RangeInclusive<u64>,
) -> impl Fn(Place<'_>, &Written) -> Option<N> {
    move |place, written| {
        let number = match written {
            Written::Whole(number) if bounds.contains(number) => N::try_from(*number).ok(),
            _ => None,
        };
        number.or_else(|| place.refuse(written.describe(), allowed_whole(&bounds)))
    }
}

/// A duration within bounds: a text with a unit, or a number of seconds.
pub(super) fn duration(bounds: Millis) -> impl Fn(Place<'_>, &Written) -> Option<Duration> {
    move |place, written| {
        let duration = match written {
            Written::Whole(seconds) => Some(Duration::from_secs(*seconds)),
            Written::Text(text) => units::duration(text),
            _ => None,
        };
        let least = Duration::from_millis(*bounds.start());
        let most = Duration::from_millis(*bounds.end());
        duration
            .filter(|duration| (least..=most).contains(duration))
            .or_else(|| place.refuse(written.describe(), allowed_duration(&bounds)))
    }
}

/// A size within bounds: a text with a unit, or a number of bytes.
pub(super) fn size<N: TryFrom<u64>>(
    bounds: RangeInclusive<u64>,
) -> impl Fn(Place<'_>, &Written) -> Option<N> {
    move |place, written| {
        let bytes = match written {
            Written::Whole(bytes) => Some(*bytes),
            Written::Text(text) => units::size(text),
            _ => None,
        };
        bytes
            .filter(|bytes| bounds.contains(bytes))
            .and_then(|bytes| N::try_from(bytes).ok())
            .or_else(|| place.refuse(written.describe(), allowed_size(&bounds)))
    }
}

/// A text that `parse` accepts; `allowed` says which.
pub(super) fn text<T>(
    allowed: &'static str,
    parse: fn(&str) -> Option<T>,
) -> impl Fn(Place<'_>, &Written) -> Option<T> {
    move |place, written| {
        let value = match written {
            Written::Text(text) => parse(text),
            _ => None,
        };
        value.or_else(|| place.refuse(written.describe(), allowed))
    }
}

/// One of a few words.
pub(super) fn word<T: Copy>(words: &[(&str, T)]) -> impl Fn(Place<'_>, &Written) -> Option<T> {
    move |place, written| {
        let value = words.iter().find(|(name, _)| matches!(written, Written::Text(text) if text == name));
        value.map(|(_, value)| *value).or_else(|| {
            let names: Vec<String> = words.iter().map(|(name, _)| quote(name)).collect();
            place.refuse(written.describe(), names.join(" or "))
        })
    }
}

/// Whether a list must have an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Least {
    Empty,
    One,
}

/// A list of different items, at most [`LIST`], each read by `item`.
pub(super) fn list<T: PartialEq>(
    least: Least,
    item: impl Fn(Place<'_>, &Written) -> Option<T>,
) -> impl Fn(Place<'_>, &Written) -> Option<Vec<T>> {
    list_of(least, LIST, item)
}

/// A list of different items, at most so many, each read by `item`.
pub(super) fn list_of<T: PartialEq>(
    least: Least,
    most: usize,
    item: impl Fn(Place<'_>, &Written) -> Option<T>,
) -> impl Fn(Place<'_>, &Written) -> Option<Vec<T>> {
    let allowed = match least {
        Least::Empty => format!("a list of at most {most}"),
        Least::One => format!("a list of 1 to {most}"),
    };
    move |place, written| {
        let items = match written {
            Written::List(items) if items.len() <= most && (least == Least::Empty || !items.is_empty()) => {
                items
            }
            _ => return place.refuse(written.describe(), allowed.as_str()),
        };
        let mut values: Vec<T> = Vec::with_capacity(items.len());
        let mut whole = true;
        for (index, written) in items.iter().enumerate() {
            match item(place.item(index), written) {
                Some(value) if values.contains(&value) => {
                    whole = false;
                    place.item(index).refuse::<()>(format!("{} again", written.describe()), "each item once");
                }
                Some(value) => values.push(value),
                None => whole = false,
            }
        }
        whole.then_some(values)
    }
}

/// `null` for none, or what `read` reads.
pub(super) fn nullable<'f, 'w, T>(
    read: impl FnOnce(Place<'f>, &'w Written) -> Option<T>,
) -> impl FnOnce(Place<'f>, &'w Written) -> Option<Option<T>> {
    move |place, written| match written {
        Written::Null => Some(None),
        _ => read(Place { nullable: true, ..place }, written).map(Some),
    }
}

/// The items of a list of objects, for `read`, which gets the place of each.
pub(super) fn each<'f, 'w>(
    most: usize,
    mut read: impl FnMut(Place<'f>, &'w Written),
) -> impl FnOnce(Place<'f>, &'w Written) -> Option<()> {
    move |place, written| match written {
        Written::List(items) if items.len() <= most => {
            items.iter().enumerate().for_each(|(index, item)| read(place.item(index), item));
            Some(())
        }
        _ => place.refuse(written.describe(), format!("a list of at most {most}")),
    }
}

/// An object whose member names are data: each goes to `key`, each value to `value`. At most [`LIST`] members.
pub(super) fn map<K: PartialEq, V>(
    allowed_key: String,
    key: impl Fn(&str) -> Option<K>,
    value: impl Fn(Place<'_>, &Written) -> Option<V>,
) -> impl Fn(Place<'_>, &Written) -> Option<Vec<(K, V)>> {
    move |place, written| {
        let members = match written {
            Written::Object(members) if members.len() <= LIST => members,
            _ => return place.refuse(written.describe(), format!("an object of at most {LIST}")),
        };
        let mut entries: Vec<(K, V)> = Vec::with_capacity(members.len());
        let mut whole = true;
        for (name, written) in members {
            let at = place.member(name);
            let entry = match key(name) {
                Some(key) if entries.iter().any(|(earlier, _)| *earlier == key) => {
                    at.refuse("the member again", "each member once")
                }
                Some(key) => value(at, written).map(|value| (key, value)),
                None => at.refuse(format!("a member {}", quote(name)), allowed_key.as_str()),
            };
            match entry {
                Some(entry) => entries.push(entry),
                None => whole = false,
            }
        }
        whole.then_some(entries)
    }
}

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
