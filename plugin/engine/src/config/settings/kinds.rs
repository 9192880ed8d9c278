//! What a member may hold when it is one value: a switch, a number, a size, a duration, a word, a text.

use std::marker::PhantomData;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde_json::Value;

use super::texts::TextForm;
use crate::config::limits::{Millis, allowed_duration, allowed_size, allowed_whole};
use crate::config::reader::Place;
use crate::config::reference::{Form, Member};
use crate::config::units::{self, show_duration, show_size};
use crate::config::written::{Written, quote};
use crate::members::Show;

/// What a member may hold: how it is read, shown and described.
pub(crate) trait Kind {
    /// What the member is in the configuration as read.
    type Value;

    /// Reads what is written, or refuses it with its place.
    fn read(&self, place: Place<'_>, written: &Written) -> Option<Self::Value>;

    /// Reads what is written into a field, which keeps its value if that is wrong.
    fn set(&self, place: Place<'_>, written: &Written, field: &mut Self::Value) {
        if let Some(value) = self.read(place, written) {
            *field = value;
        }
    }

    /// What is allowed, where the member must be written.
    fn required(&self) -> Option<&'static str> {
        None
    }

    /// As one could have written it; `None` where one could not have.
    fn show(&self, value: &Self::Value) -> Option<Value>;

    /// For the schema and the page.
    fn form(&self) -> Form;

    /// The members below it.
    fn below(&self) -> Vec<Member> {
        Vec::new()
    }
}

/// `true` or `false`.
pub(crate) struct Switch;

/// `true` or `false`.
pub(crate) const fn switch() -> Switch {
    Switch
}

impl Kind for Switch {
    type Value = bool;

    #[inline(never)]
    fn read(&self, place: Place<'_>, written: &Written) -> Option<bool> {
        match written {
            Written::Switch(value) => Some(*value),
            _ => place.refuse(written.describe(), "true or false"),
        }
    }

    fn show(&self, value: &bool) -> Option<Value> {
        Some(value.show())
    }

    fn form(&self) -> Form {
        Form::Switch
    }
}

/// A whole number within bounds.
pub(crate) struct Whole<N>(RangeInclusive<u64>, PhantomData<N>);

/// A whole number within bounds.
pub(crate) const fn whole<N>(bounds: RangeInclusive<u64>) -> Whole<N> {
    Whole(bounds, PhantomData)
}

impl<N: TryFrom<u64> + Show> Kind for Whole<N> {
    type Value = N;

    fn read(&self, place: Place<'_>, written: &Written) -> Option<N> {
        within(place, written, &self.0, |number| N::try_from(number).is_ok())
            .and_then(|number| number.try_into().ok())
    }

    fn show(&self, value: &N) -> Option<Value> {
        Some(value.show())
    }

    fn form(&self) -> Form {
        Form::Whole(self.0.clone())
    }
}

/// A number of bytes within bounds: a text with a unit, or the number.
pub(crate) struct Size<N>(RangeInclusive<u64>, PhantomData<N>);

/// A number of bytes within bounds: a text with a unit, or the number.
pub(crate) const fn size<N>(bounds: RangeInclusive<u64>) -> Size<N> {
    Size(bounds, PhantomData)
}

impl<N: TryFrom<u64> + Copy> Kind for Size<N>
where
    u64: TryFrom<N>,
{
    type Value = N;

    fn read(&self, place: Place<'_>, written: &Written) -> Option<N> {
        bytes_within(place, written, &self.0, |bytes| N::try_from(bytes).is_ok())
            .and_then(|bytes| bytes.try_into().ok())
    }

    fn show(&self, value: &N) -> Option<Value> {
        u64::try_from(*value).ok().map(|bytes| show_size(bytes).into())
    }

    fn form(&self) -> Form {
        Form::Size(self.0.clone())
    }
}

/// A duration within bounds: a text with a unit, or a number of seconds.
pub(crate) struct Time(Millis);

/// A duration within bounds: a text with a unit, or a number of seconds.
pub(crate) const fn duration(bounds: Millis) -> Time {
    Time(bounds)
}

impl Kind for Time {
    type Value = Duration;

    #[inline(never)]
    fn read(&self, place: Place<'_>, written: &Written) -> Option<Duration> {
        let duration = match written {
            Written::Whole(seconds) => Some(Duration::from_secs(*seconds)),
            Written::Text(text) => units::duration(text),
            _ => None,
        };
        let least = Duration::from_millis(*self.0.start());
        let most = Duration::from_millis(*self.0.end());
        duration
            .filter(|duration| (least..=most).contains(duration))
            .or_else(|| place.refuse(written.describe(), allowed_duration(&self.0)))
    }

    fn show(&self, value: &Duration) -> Option<Value> {
        Some(show_duration(*value).into())
    }

    fn form(&self) -> Form {
        Form::Duration(self.0.clone())
    }
}

/// One of a few words.
pub(crate) struct Word<T: 'static>(Words<T>);

/// What each word stands for.
pub(crate) type Words<T> = &'static [(&'static str, T)];

/// One of a few words.
pub(crate) const fn word<T>(words: Words<T>) -> Word<T> {
    Word(words)
}

impl<T: Copy + PartialEq> Kind for Word<T> {
    type Value = T;

    fn read(&self, place: Place<'_>, written: &Written) -> Option<T> {
        let words: Vec<&str> = self.0.iter().map(|(word, _)| *word).collect();
        one_of(place, written, &words).and_then(|index| self.0.get(index)).map(|(_, value)| *value)
    }

    fn show(&self, value: &T) -> Option<Value> {
        self.0.iter().find(|(_, known)| known == value).map(|(word, _)| word.show())
    }

    fn form(&self) -> Form {
        Form::Word(self.0.iter().map(|(word, _)| *word).collect())
    }
}

/// A text of some form.
pub(crate) struct Text<T>(PhantomData<T>);

/// A text of some form.
pub(crate) const fn text<T>() -> Text<T> {
    Text(PhantomData)
}

impl<T: TextForm> Kind for Text<T> {
    type Value = T::Value;

    fn read(&self, place: Place<'_>, written: &Written) -> Option<T::Value> {
        parsed(place, written, T::parse, T::ALLOWED)
    }

    fn show(&self, value: &T::Value) -> Option<Value> {
        Some(value.show())
    }

    fn form(&self) -> Form {
        Form::Text(T::PATTERN)
    }
}

// What follows is apart from the kinds, so that the module has it once and not for each type of value.

#[inline(never)]
fn within(
    place: Place<'_>,
    written: &Written,
    bounds: &RangeInclusive<u64>,
    fits: fn(u64) -> bool,
) -> Option<u64> {
    match written {
        Written::Whole(number) if bounds.contains(number) && fits(*number) => Some(*number),
        _ => place.refuse(written.describe(), allowed_whole(bounds)),
    }
}

#[inline(never)]
fn bytes_within(
    place: Place<'_>,
    written: &Written,
    bounds: &RangeInclusive<u64>,
    fits: fn(u64) -> bool,
) -> Option<u64> {
    let bytes = match written {
        Written::Whole(bytes) => Some(*bytes),
        Written::Text(text) => units::size(text),
        _ => None,
    };
    bytes
        .filter(|bytes| bounds.contains(bytes) && fits(*bytes))
        .or_else(|| place.refuse(written.describe(), allowed_size(bounds)))
}

/// Which of the words it is.
#[inline(never)]
fn one_of(place: Place<'_>, written: &Written, words: &[&str]) -> Option<usize> {
    let index = words.iter().position(|word| matches!(written, Written::Text(text) if text == word));
    index.or_else(|| {
        let words: Vec<String> = words.iter().map(|word| quote(word)).collect();
        place.refuse(written.describe(), words.join(" or "))
    })
}

#[inline(never)]
fn parsed<V>(
    place: Place<'_>,
    written: &Written,
    parse: fn(&str) -> Option<V>,
    allowed: &'static str,
) -> Option<V> {
    let value = match written {
        Written::Text(text) => parse(text),
        _ => None,
    };
    value.or_else(|| place.refuse(written.describe(), allowed))
}
