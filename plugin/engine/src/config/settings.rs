//! The settings: what an operator may write, each member in one row.
//!
//! A row has the field that it fills (which is the member's name as well), its default, its [`Kind`] with the bounds, and
//! what it means:
//!
//! ```text
//! poll = Duration::from_millis(100), duration(10..=10_000), "How often a worker looks for what others did.";
//! ```
//!
//! Everything else follows from it. The rows of a struct make it a [`Section`]: the reader fills its fields and refuses
//! what is wrong, and two visitors go through them, one that shows the configuration in force ([`Shown`]) and one that
//! describes it for the JSON Schema and `plugin/docs/settings.md` ([`reference`](mod@super::reference)).
//!
//! To add a member: add the field and, in the same file, its row; then renew the schema and the page as their tests say.
//! A field without a row does not compile.

#[cfg(feature = "batch")]
pub(crate) mod batch;
#[cfg(all(feature = "limits", feature = "llm"))]
pub(crate) mod budgets;
pub(crate) mod by;
#[cfg(feature = "llm")]
pub(crate) mod embeddings;
#[cfg(feature = "foresight")]
pub(crate) mod foresight;
pub(crate) mod freshness;
#[cfg(feature = "jobs")]
pub(crate) mod jobs;
pub(crate) mod key;
pub(crate) mod kinds;
pub(crate) mod limits;
pub(crate) mod lists;
#[cfg(feature = "llm")]
pub(crate) mod llm;
#[cfg(feature = "maintenance")]
pub(crate) mod maintenance;
pub(crate) mod nested;
pub(crate) mod operators;
pub(crate) mod origin;
#[cfg(feature = "pools")]
pub(crate) mod pools;
pub(crate) mod remote;
pub(crate) mod response;
pub(crate) mod rule;
#[cfg(feature = "sessions")]
pub(crate) mod sessions;
pub(crate) mod stores;
pub(crate) mod texts;
#[cfg(feature = "uploads")]
pub(crate) mod upload;

use serde_json::{Map, Value};

use super::reader::Object;
use kinds::Kind;

/// A struct whose fields are members of the configuration.
pub(crate) trait Section: Default {
    /// Reads the members that are written into their fields; the other fields keep what they hold.
    fn fill(&mut self, object: &mut Object<'_, '_>);

    /// Shows all members to a visitor, in the order in which they are read.
    fn rows(&self, visitor: &mut impl Visitor);
}

/// Who goes through the members of a [`Section`].
pub(crate) trait Visitor {
    /// One member: its name, its value, what it may hold, and what it means.
    ///
    /// Only who describes the members looks at the meaning: these texts are not in the module that Envoy loads.
    fn row<K: Kind>(&mut self, name: &'static str, value: &K::Value, kind: K, meaning: &'static str);
}

/// The rows of a struct: `field = default, kind, "meaning";`, or `field = default;` for one that nobody can write. A row of
/// a capability has `#[cfg(feature = "…")]` before it, as its field has: where that is not built, the member is unknown.
/// `check` is a function that looks at the whole once it is read.
macro_rules! section {
    (
        $section:ident $(check $check:ident)? {
            $($(#[$built:meta])? $field:ident = $default:expr $(, $kind:expr, $meaning:expr)?;)*
        }
    ) => {
        impl Default for $section {
            fn default() -> Self {
                $section { $($(#[$built])? $field: $default),* }
            }
        }

        impl $crate::config::settings::Section for $section {
            fn fill(&mut self, object: &mut $crate::config::reader::Object<'_, '_>) {
                $(
                    $(#[$built])?
                    { $(object.set($crate::config::settings::name!($field), &mut self.$field, $kind);)? }
                )*
                $($check(self, object);)?
            }

            fn rows(&self, visitor: &mut impl $crate::config::settings::Visitor) {
                $(
                    $(#[$built])?
                    { $(visitor.row($crate::config::settings::name!($field), &self.$field, $kind, $meaning);)? }
                )*
            }
        }
    };
}
pub(crate) use section;

/// The name of the member that fills a field: the field's.
macro_rules! name {
    ($field:ident) => {
        const { $crate::config::settings::name_of(stringify!($field)) }
    };
}
pub(crate) use name;

/// The name of a member whose field is called so: `r#override` is `override`.
pub(crate) const fn name_of(field: &'static str) -> &'static str {
    match (field.as_bytes(), field.split_at_checked(2)) {
        ([b'r', b'#', ..], Some((_, name))) => name,
        _ => field,
    }
}

/// The members of an object as one could have written them, everything that was left out filled in.
#[derive(Default)]
pub(crate) struct Shown(Map<String, Value>);

impl Shown {
    /// A section as JSON.
    pub(crate) fn of(section: &impl Section) -> Value {
        let mut shown = Shown::default();
        section.rows(&mut shown);
        shown.end()
    }

    /// The object.
    pub(crate) fn end(self) -> Value {
        Value::Object(self.0)
    }

    /// Adds a member, if there is one.
    #[inline(never)]
    pub(crate) fn put(&mut self, name: &str, value: Option<Value>) {
        if let Some(value) = value {
            self.0.insert(name.to_owned(), value);
        }
    }
}

impl Visitor for Shown {
    #[inline(never)]
    fn row<K: Kind>(&mut self, name: &'static str, value: &K::Value, kind: K, _meaning: &'static str) {
        self.put(name, kind.show(value));
    }
}
