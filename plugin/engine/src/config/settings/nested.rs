//! What a member may hold when it is made of others: an object, a list, or none at all.

use std::marker::PhantomData;
use std::time::Duration;

use serde_json::{Map, Value};

use super::kinds::{Kind, Time};
use super::{Section, Shown};
use crate::config::limits::{LIST, NAME_CHARS, STATUS, allowed_whole};
use crate::config::reader::{Object, Place};
use crate::config::reference::{Form, Least, Member, described};
use crate::config::units::show_duration;
use crate::config::written::{Written, quote};
use crate::members::Show;

/// An object with the members of a section. What it does not write stays as inherited.
pub(crate) struct Below<S>(PhantomData<S>);

/// An object with the members of a section. What it does not write stays as inherited.
pub(crate) const fn object<S>() -> Below<S> {
    Below(PhantomData)
}

impl<S: Section> Kind for Below<S> {
    type Value = S;

    fn read(&self, place: Place<'_>, written: &Written) -> Option<S> {
        let mut section = S::default();
        Object::walk(place, written, |object| section.fill(object)).map(|()| section)
    }

    fn set(&self, place: Place<'_>, written: &Written, field: &mut S) {
        Object::walk(place, written, |object| field.fill(object));
    }

    fn show(&self, value: &S) -> Option<Value> {
        Some(Shown::of(value))
    }

    fn form(&self) -> Form {
        Form::Object
    }

    fn below(&self) -> Vec<Member> {
        described(&S::default())
    }
}

/// `null` for none, or another kind. One that is an object is replaced as a whole.
pub(crate) struct Nullable<K>(K);

/// `null` for none, or another kind. One that is an object is replaced as a whole.
pub(crate) const fn nullable<K>(kind: K) -> Nullable<K> {
    Nullable(kind)
}

impl<K: Kind> Kind for Nullable<K> {
    type Value = Option<K::Value>;

    fn read(&self, place: Place<'_>, written: &Written) -> Option<Self::Value> {
        match written {
            Written::Null => Some(None),
            _ => self.0.read(place.or_null(), written).map(Some),
        }
    }

    fn show(&self, value: &Self::Value) -> Option<Value> {
        value.as_ref().map_or(Some(Value::Null), |value| self.0.show(value))
    }

    fn form(&self) -> Form {
        Form::Nullable(Box::new(self.0.form()))
    }

    fn below(&self) -> Vec<Member> {
        self.0.below()
    }
}

/// A member that makes a difference by not being there.
pub(crate) struct Given<K>(K);

/// A member that makes a difference by not being there.
pub(crate) const fn given<K>(kind: K) -> Given<K> {
    Given(kind)
}

impl<K: Kind> Kind for Given<K> {
    type Value = Option<K::Value>;

    fn read(&self, place: Place<'_>, written: &Written) -> Option<Self::Value> {
        self.0.read(place, written).map(Some)
    }

    fn show(&self, value: &Self::Value) -> Option<Value> {
        value.as_ref().and_then(|value| self.0.show(value))
    }

    fn form(&self) -> Form {
        self.0.form()
    }
}

/// A member that must be there.
pub(crate) struct Required<K>(K, &'static str);

/// A member that must be there; `allowed` says to whom it is missing what to write.
pub(crate) const fn required<K>(kind: K, allowed: &'static str) -> Required<K> {
    Required(kind, allowed)
}

impl<K: Kind> Kind for Required<K> {
    type Value = K::Value;

    fn read(&self, place: Place<'_>, written: &Written) -> Option<K::Value> {
        self.0.read(place, written)
    }

    fn required(&self) -> Option<&'static str> {
        Some(self.1)
    }

    fn show(&self, value: &K::Value) -> Option<Value> {
        self.0.show(value)
    }

    fn form(&self) -> Form {
        self.0.form()
    }
}

/// A list of different items.
pub(crate) struct List<K> {
    least: Least,
    most: usize,
    item: K,
}

/// A list of different items, at most [`LIST`].
pub(crate) const fn list<K>(least: Least, item: K) -> List<K> {
    List { least, most: LIST, item }
}

/// A list of different items, at most so many, or none.
pub(crate) const fn list_of<K>(most: usize, item: K) -> List<K> {
    List { least: Least::Empty, most, item }
}

impl<K: Kind<Value: PartialEq + Show>> Kind for List<K> {
    type Value = Vec<K::Value>;

    fn read(&self, place: Place<'_>, written: &Written) -> Option<Self::Value> {
        items(place, written, self.least, self.most, &|place, written| self.item.read(place, written))
    }

    fn show(&self, value: &Self::Value) -> Option<Value> {
        // Not by the item's kind: one function for all lists of what is the same once it is read.
        Some(value.show())
    }

    fn form(&self) -> Form {
        Form::List(self.least, self.most, Box::new(self.item.form()))
    }
}

/// Reads a list. The module has it once for each type of item, not for each kind.
#[inline(never)]
fn items<V: PartialEq>(
    place: Place<'_>,
    written: &Written,
    least: Least,
    most: usize,
    read: &dyn Fn(Place<'_>, &Written) -> Option<V>,
) -> Option<Vec<V>> {
    let items = match written {
        Written::List(items) if items.len() <= most && (least == Least::Empty || !items.is_empty()) => items,
        _ => {
            let allowed = match least {
                Least::Empty => format!("a list of at most {most}"),
                Least::One => format!("a list of 1 to {most}"),
            };
            return place.refuse(written.describe(), allowed);
        }
    };
    let mut values = Vec::with_capacity(items.len());
    let mut whole = true;
    for (index, written) in items.iter().enumerate() {
        match read(place.item(index), written) {
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

/// A list that is kept in ascending order.
pub(crate) struct Ascending<K>(K);

/// A list that is kept in ascending order.
pub(crate) const fn ascending<K>(kind: K) -> Ascending<K> {
    Ascending(kind)
}

impl<T: Ord, K: Kind<Value = Vec<T>>> Kind for Ascending<K> {
    type Value = Vec<T>;

    fn read(&self, place: Place<'_>, written: &Written) -> Option<Vec<T>> {
        let mut items = self.0.read(place, written)?;
        items.sort_unstable();
        Some(items)
    }

    fn show(&self, value: &Vec<T>) -> Option<Value> {
        self.0.show(value)
    }

    fn form(&self) -> Form {
        self.0.form()
    }
}

/// Refuses the `name` of an object in a list if one before it has that too. The name of one that is refused is empty.
pub(crate) fn refuse_known_name<'n>(
    object: &Object<'_, '_>,
    name: &str,
    mut earlier: impl Iterator<Item = &'n str>,
    allowed: &'static str,
) {
    if !name.is_empty() && earlier.any(|earlier| earlier == name) {
        object.place_of("name").refuse::<()>(format!("{} again", quote(name)), allowed);
    }
}

/// Refuses a name that none of the named things has; `list` is the member that they stand in.
pub(crate) fn refuse_unknown_name<'n>(
    place: Place<'_>,
    name: &str,
    known: impl Iterator<Item = &'n str> + Clone,
    list: &str,
) {
    if known.clone().any(|known| known == name) {
        return;
    }
    let known: Vec<String> = known.map(quote).collect();
    let none = || format!("a name from `{list}`, which has none");
    place.refuse::<()>(quote(name), if known.is_empty() { none() } else { known.join(" or ") });
}

/// An object from status to duration, at most [`LIST`] of them, kept in ascending order of status.
pub(crate) struct ByStatus(Time);

/// An object from status to duration, at most [`LIST`] of them, kept in ascending order of status.
pub(crate) const fn by_status(lifetime: Time) -> ByStatus {
    ByStatus(lifetime)
}

impl Kind for ByStatus {
    type Value = Vec<(u16, Duration)>;

    fn read(&self, place: Place<'_>, written: &Written) -> Option<Self::Value> {
        let members = match written {
            Written::Object(members) if members.len() <= LIST => members,
            _ => return place.refuse(written.describe(), format!("an object of at most {LIST}")),
        };
        let mut entries: Self::Value = Vec::with_capacity(members.len());
        let mut whole = true;
        for (name, written) in members {
            let at = place.member(name);
            let entry = match status(name) {
                Some(status) if entries.iter().any(|(earlier, _)| *earlier == status) => {
                    at.refuse("the member again", "each member once")
                }
                Some(status) => self.0.read(at, written).map(|lifetime| (status, lifetime)),
                None => at.refuse(format!("a member {}", quote(name)), allowed_whole(&STATUS)),
            };
            match entry {
                Some(entry) => entries.push(entry),
                None => whole = false,
            }
        }
        entries.sort_unstable();
        whole.then_some(entries)
    }

    fn show(&self, value: &Self::Value) -> Option<Value> {
        let shown =
            value.iter().map(|(status, lifetime)| (status.to_string(), show_duration(*lifetime).into()));
        Some(Value::Object(shown.collect::<Map<_, _>>()))
    }

    fn form(&self) -> Form {
        Form::ByStatus(Box::new(self.0.form()))
    }
}

/// An object from names to values of one kind, at most [`LIST`] of them, kept in ascending order of name.
pub(crate) struct ByName<K>(K);

/// An object from names to values of one kind, at most [`LIST`] of them, kept in ascending order of name.
pub(crate) const fn by_name<K>(kind: K) -> ByName<K> {
    ByName(kind)
}

impl<K: Kind> Kind for ByName<K> {
    type Value = Vec<(Box<str>, K::Value)>;

    fn read(&self, place: Place<'_>, written: &Written) -> Option<Self::Value> {
        let members = match written {
            Written::Object(members) if members.len() <= LIST => members,
            _ => return place.refuse(written.describe(), format!("an object of at most {LIST}")),
        };
        let mut entries: Self::Value = Vec::with_capacity(members.len());
        let mut whole = true;
        for (name, written) in members {
            let place = place.member(name);
            if entries.iter().any(|(earlier, _)| **earlier == **name) {
                whole = false;
                place.refuse::<()>("the member again", "each member once");
            } else if name.is_empty() || name.len() > NAME_CHARS {
                whole = false;
                place.refuse::<()>(quote(name), "a name of 1 to 128 characters");
            } else {
                match self.0.read(place, written) {
                    Some(value) => {
                        let at = entries.iter().position(|(known, _)| **known > **name);
                        entries.insert(at.unwrap_or(entries.len()), (name.as_str().into(), value));
                    }
                    None => whole = false,
                }
            }
        }
        whole.then_some(entries)
    }

    fn show(&self, value: &Self::Value) -> Option<Value> {
        let shown = value.iter().filter_map(|(name, value)| Some((name.to_string(), self.0.show(value)?)));
        Some(Value::Object(shown.collect::<Map<_, _>>()))
    }

    fn form(&self) -> Form {
        Form::ByName(Box::new(self.0.form()))
    }
}

/// A status as the name of a member: three digits.
fn status(text: &str) -> Option<u16> {
    let digits = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|status| digits && STATUS.contains(&u64::from(*status)))
}
