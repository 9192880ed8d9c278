//! What tells two requests apart.

#[cfg(all(feature = "llm", not(all(target_arch = "wasm32", target_os = "unknown"))))]
use super::kinds::whole;
use super::kinds::{Kind, Words, size, switch, text, word};
#[cfg(all(feature = "llm", not(all(target_arch = "wasm32", target_os = "unknown"))))]
use super::nested::by_name;
use super::nested::{given, list, nullable, object, required};
use super::rule::FieldName;
use super::texts::{BodyMethod, Cookie, Field, Parameter};
use super::{Section, Shown, section};
use crate::config::reader::{Object, Place};
use crate::config::reference::Least::{Empty, One};
use crate::config::reference::{Form, Member, described};
use crate::config::written::Written;

/// What tells two requests apart, beside scheme, authority and path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// The query's part. Default: the whole query as it came.
    pub query: Query,
    /// Request fields whose values are in the key. Default: empty.
    pub headers: Vec<FieldName>,
    /// Cookies whose values are in the key; names are case-sensitive. Default: empty.
    pub cookies: Vec<Box<[u8]>>,
    /// Requests whose body is in the key. Default: none.
    pub body: Option<BodyKey>,
}

section! {
    Key {
        query = Query::default(), Choice, "The query's part of the key.";
        headers = Vec::new(), list(Empty, text::<Field>()), "Request fields whose values are in the key.";
        cookies = Vec::new(), list(Empty, text::<Cookie>()), "Cookies whose values are in the key.";
        body = None, nullable(object()),
            "Requests whose body is in the key. A rule that writes it inherits none of its members.";
    }
}

/// The query's part of the key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Query {
    /// Order of the parameters in the key. Default: [`QueryOrder::Keep`].
    pub order: QueryOrder,
    /// Which parameters are in the key. Default: [`QueryChoice::All`].
    pub choice: QueryChoice,
}

/// Order of the query's parameters in the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum QueryOrder {
    /// As the request has them.
    #[default]
    Keep,
    /// Sorted by name, equal names staying in their order.
    Sort,
}

const QUERY_ORDER: Words<QueryOrder> = &[("keep", QueryOrder::Keep), ("sort", QueryOrder::Sort)];

/// Which of the query's parameters are in the key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum QueryChoice {
    /// All of them.
    #[default]
    All,
    /// Those that one of the names matches.
    Only(Vec<QueryName>),
    /// Those that none of the names matches.
    Except(Vec<QueryName>),
    /// None: requests that differ in the query alone share a response.
    Drop,
}

impl QueryChoice {
    /// Whether the parameter of this name is in the key. The name is as the request spells it.
    pub fn keeps(&self, name: &[u8]) -> bool {
        match self {
            QueryChoice::All => true,
            QueryChoice::Only(names) => names.iter().any(|pattern| pattern.matches(name)),
            QueryChoice::Except(names) => !names.iter().any(|pattern| pattern.matches(name)),
            QueryChoice::Drop => false,
        }
    }
}

/// The name of a query parameter, or the beginning of one (`utm_*`). Case-sensitive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QueryName {
    /// This name and no other.
    Exact(Box<[u8]>),
    /// Every name that begins so; written with a final `*`.
    Prefix(Box<[u8]>),
}

impl QueryName {
    /// Whether a parameter's name is meant.
    pub fn matches(&self, name: &[u8]) -> bool {
        match self {
            QueryName::Exact(exact) => **exact == *name,
            QueryName::Prefix(prefix) => name.starts_with(prefix),
        }
    }
}

/// The query's part of the key as one writes it: a choice is one member of three.
struct Spelled {
    order: QueryOrder,
    only: Option<Option<Vec<QueryName>>>,
    except: Option<Option<Vec<QueryName>>>,
    drop: Option<bool>,
}

section! {
    Spelled {
        order = QueryOrder::default(), word(QUERY_ORDER), "Whether parameters stand as they came or sorted by name.";
        only = None, given(nullable(list(One, text::<Parameter>()))),
            "Only these parameters are in the key; a final `*` means any ending. Excludes `except`.";
        except = None, given(nullable(list(Empty, text::<Parameter>()))),
            "These parameters are not in the key; a final `*` means any ending. Excludes `only`.";
        drop = Some(false), given(switch()), "No part of the query is in the key.";
    }
}

impl Spelled {
    /// As one would write it.
    fn of(Query { order, choice }: &Query) -> Self {
        let mut spelled = Spelled { order: *order, only: None, except: None, drop: None };
        match choice {
            QueryChoice::All => spelled.drop = Some(false),
            QueryChoice::Only(names) => spelled.only = Some(Some(names.clone())),
            QueryChoice::Except(names) => spelled.except = Some(Some(names.clone())),
            QueryChoice::Drop => spelled.drop = Some(true),
        }
        spelled
    }

    /// Refuses two choices in one object.
    fn one_choice(&self, object: &Object<'_, '_>) {
        if object.has("only") && object.has("except") {
            object.place().refuse::<()>(r#"both "only" and "except""#, r#"one of "only" and "except""#);
        }
        if self.drop == Some(true) && (object.has("only") || object.has("except")) {
            object.place().refuse::<()>(r#""drop" and a choice of names"#, r#""drop" or "only" or "except""#);
        }
    }

    /// What a rule chooses replaces what it inherits; `null` and `false` take back what is inherited of their kind.
    fn over(self, inherited: QueryChoice) -> QueryChoice {
        match (self.drop, self.only, self.except, inherited) {
            (Some(true), ..) => QueryChoice::Drop,
            (_, Some(Some(names)), ..) => QueryChoice::Only(names),
            (_, _, Some(Some(names)), _) => QueryChoice::Except(names),
            (Some(false), _, _, QueryChoice::Drop) => QueryChoice::All,
            (_, Some(None), _, QueryChoice::Only(_)) => QueryChoice::All,
            (_, _, Some(None), QueryChoice::Except(_)) => QueryChoice::All,
            (.., inherited) => inherited,
        }
    }
}

/// An object that is read and shown as [`Spelled`], and kept as [`Query`].
struct Choice;

impl Kind for Choice {
    type Value = Query;

    fn read(&self, place: Place<'_>, written: &Written) -> Option<Query> {
        let mut query = Query::default();
        self.set(place, written, &mut query);
        Some(query)
    }

    fn set(&self, place: Place<'_>, written: &Written, query: &mut Query) {
        Object::walk(place, written, |object| {
            let mut spelled = Spelled { order: query.order, only: None, except: None, drop: None };
            spelled.fill(object);
            spelled.one_choice(object);
            query.order = spelled.order;
            query.choice = spelled.over(std::mem::take(&mut query.choice));
        });
    }

    fn show(&self, query: &Query) -> Option<serde_json::Value> {
        Some(Shown::of(&Spelled::of(query)))
    }

    fn form(&self) -> Form {
        Form::Object
    }

    fn below(&self) -> Vec<Member> {
        described(&Spelled::default())
    }
}

/// Requests whose body is in the key.
#[derive(Clone, PartialEq, Eq)]
pub struct BodyKey {
    /// Methods whose body is in the key; never empty, never `GET` or `HEAD`.
    pub methods: Vec<Box<[u8]>>,
    /// A body of at most so many bytes is in the key as it is, a longer one as its digest. Default: 256.
    pub inline_bytes: usize,
    /// A request with a longer body, in bytes, passes through. Default: 64 KiB.
    pub max_bytes: usize,
    /// How a body that is JSON is in the key. Default `None`: by its bytes.
    #[cfg(all(feature = "llm", not(all(target_arch = "wasm32", target_os = "unknown"))))]
    pub json: Option<BodyJson>,
}

/// The text is a part of what tells the stores of rules apart: a member that is not there leaves it as it was before there was such a
/// member, and as it is where there is none.
impl std::fmt::Debug for BodyKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = f.debug_struct("BodyKey");
        text.field("methods", &self.methods);
        text.field("inline_bytes", &self.inline_bytes).field("max_bytes", &self.max_bytes);
        #[cfg(all(feature = "llm", not(all(target_arch = "wasm32", target_os = "unknown"))))]
        if let Some(json) = &self.json {
            text.field("json", json);
        }
        text.finish()
    }
}

/// How a body that is JSON is in the key: by what it says, so that white space and the order of members do not matter.
#[cfg(all(feature = "llm", not(all(target_arch = "wasm32", target_os = "unknown"))))]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BodyJson {
    /// Names of members, and how many significant digits of the numbers below them count. Default: none, all digits.
    pub round: Vec<(Box<str>, u8)>,
}

#[cfg(all(feature = "llm", not(all(target_arch = "wasm32", target_os = "unknown"))))]
section! {
    BodyJson {
        round = Vec::new(), by_name(whole(1..=17)),
            "So many significant digits of the numbers below members of this name are in the key: `{ \"vector\": 4 }`.";
    }
}

section! {
    BodyKey {
        methods = Vec::new(), required(list(One, text::<BodyMethod>()), BODY_METHODS),
            "Required; not `GET` or `HEAD`.";
        inline_bytes = 256, size(0..=64 << 10),
            "A body up to this size is in the key as it is, a longer one as its digest.";
        max_bytes = 64 << 10, size(1..=16 << 20), "A request with a longer body passes through.";
        #[cfg(all(feature = "llm", not(all(target_arch = "wasm32", target_os = "unknown"))))]
        json = None, nullable(object()),
            "A body that is JSON is in the key by what it says: white space, the order of members and spellings do not matter. What is no JSON, or has a member twice, is in it by its bytes.";
    }
}

const BODY_METHODS: &str = r#"a list of methods such as ["POST","QUERY"]"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_choice_keeps_by_name_and_by_beginning() {
        let names = || vec![QueryName::Exact(b"id"[..].into()), QueryName::Prefix(b"utm_"[..].into())];
        for (choice, id, utm, other) in [
            (QueryChoice::All, true, true, true),
            (QueryChoice::Only(names()), true, true, false),
            (QueryChoice::Except(names()), false, false, true),
            (QueryChoice::Drop, false, false, false),
        ] {
            assert_eq!(choice.keeps(b"id"), id, "{choice:?}");
            assert_eq!(choice.keeps(b"utm_source"), utm, "{choice:?}");
            assert_eq!(choice.keeps(b"ID"), other, "{choice:?}");
        }
    }
}
