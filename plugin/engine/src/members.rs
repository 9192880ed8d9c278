//! Makes JSON objects in little code: each kind of member is made in one place.

use serde_json::{Map, Value};

/// An object in the making.
#[derive(Debug, Default)]
pub struct Members(Map<String, Value>);

/// What a member can be made of.
pub trait Show {
    /// As JSON.
    fn show(&self) -> Value;
}

impl Members {
    /// Adds a member.
    #[inline(never)]
    pub fn put<T: Show + ?Sized>(&mut self, name: &str, value: &T) {
        self.give(name, value.show());
    }

    /// Adds a member that is JSON already.
    #[inline(never)]
    pub fn give(&mut self, name: &str, value: Value) {
        self.0.insert(name.to_owned(), value);
    }

    /// The object.
    pub fn end(self) -> Value {
        Value::Object(self.0)
    }
}

/// An object of members with their values, and of members that are JSON already.
macro_rules! members {
    ($($name:literal: $value:expr),* $(; $($given:expr => $json:expr),*)? $(,)?) => {{
        let mut members = $crate::members::Members::default();
        $(members.put($name, &$value);)*
        $($(members.give($given, $json);)*)?
        members.end()
    }};
}
pub(crate) use members;

macro_rules! shows_itself {
    ($($type:ty)*) => { $(impl Show for $type {
        fn show(&self) -> Value {
            (*self).into()
        }
    })* };
}

shows_itself!(bool u8 u16 u32 u64 usize f64 &str);

impl Show for str {
    fn show(&self) -> Value {
        self.into()
    }
}

impl Show for String {
    fn show(&self) -> Value {
        self.as_str().into()
    }
}

impl Show for Box<str> {
    fn show(&self) -> Value {
        (**self).into()
    }
}

impl<T: Show> Show for Option<T> {
    fn show(&self) -> Value {
        self.as_ref().map_or(Value::Null, Show::show)
    }
}

impl<T: Show> Show for Vec<T> {
    #[inline(never)]
    fn show(&self) -> Value {
        self.iter().map(Show::show).collect()
    }
}
