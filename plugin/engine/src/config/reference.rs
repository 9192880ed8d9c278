//! The members of a configuration described, for the table in `plugin/docs/settings.md` and the JSON Schema: made of the
//! rows of `config/settings`, and of their defaults.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::Config;
use super::limits::*;
use super::settings::kinds::Kind;
use super::settings::rule::{Head, Rule};
use super::settings::{Section, Visitor};
use super::units::{show_duration, show_size};

/// One member of a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    /// From the top, such as `worker.bytes`. Members of `rules[]` stand without it: most are those of `defaults` too.
    pub(crate) path: String,
    pub(crate) form: Form,
    /// As JSON; empty if there is none.
    pub(crate) default: String,
    /// It must be written.
    pub(crate) required: bool,
    pub(crate) meaning: &'static str,
}

/// What a member may hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Form {
    Object,
    Rules,
    /// Objects of one kind: how many at most, what they are called, and their members.
    Objects(usize, &'static str, Vec<Member>),
    Switch,
    Whole(RangeInclusive<u64>),
    /// A decimal number from 0 to this, also as a text.
    #[cfg(feature = "llm")]
    Amount(u64),
    Size(RangeInclusive<u64>),
    Duration(Millis),
    Word(Vec<&'static str>),
    Text(Pattern),
    /// No fewer, no more, and what the items are.
    List(Least, usize, Box<Form>),
    /// From status to this.
    ByStatus(Box<Form>),
    /// From any name to this.
    ByName(Box<Form>),
    /// This or `null`.
    Nullable(Box<Form>),
}

/// Whether a list must have an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Least {
    Empty,
    One,
}

/// A text's form: as a regular expression for the schema, which is never more lax than the reader except about
/// reserved names, and in two words for the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pattern {
    pub(crate) expression: &'static str,
    pub(crate) chars: usize,
    pub(crate) words: &'static str,
}

/// The members outside `defaults` and `rules[]`.
pub(crate) fn top() -> Vec<Member> {
    let mut members = described(&Config::default());
    // On the page the store that must be set up stands before the two that need not be.
    let rank = |path: &str| FIRST.iter().position(|first| path.split('.').next() == Some(first));
    members.sort_by_key(|member| rank(&member.path).unwrap_or(FIRST.len()));
    let list = |path: &str, form: Form, meaning: &'static str| Member {
        path: path.into(),
        form,
        default: "[]".into(),
        required: false,
        meaning,
    };
    #[cfg(feature = "pools")]
    {
        use super::settings::pools::POOLS;
        let form = Form::Objects(POOLS, "pools", described(&super::Pool::default()));
        members.push(list(
            "pools",
            form,
            "What may be at an origin at once; rules name the one that theirs is in.",
        ));
    }
    #[cfg(feature = "limits")]
    {
        use super::settings::limits::LIMITS;
        let form = Form::Objects(LIMITS, "limits", described(&super::Limit::default()));
        members.push(list(
            "limits",
            form,
            "How much a client may ask for; rules name those that hold for their requests.",
        ));
    }
    #[cfg(feature = "llm")]
    {
        use super::settings::llm::MODELS;
        let form = Form::Objects(MODELS, "models", described(&super::Model::default()));
        members.push(list("models", form, "What tokens of language models cost."));
    }
    #[cfg(all(feature = "limits", feature = "llm"))]
    {
        use super::settings::budgets::BUDGETS;
        let form = Form::Objects(BUDGETS, "budgets", described(&super::Budget::default()));
        members.push(list(
            "budgets",
            form,
            "How much language models may cost; rules name those that their requests are on.",
        ));
    }
    #[cfg(feature = "sessions")]
    {
        use super::settings::sessions::SESSIONS;
        let form = Form::Objects(SESSIONS, "sessions", described(&super::Session::default()));
        members.push(list(
            "sessions",
            form,
            "How cookies become request fields, by records in Redis; rules name those that their requests are of.",
        ));
    }
    members.push(list("rules", Form::Rules, "Tried in order; the first whose `match` fits is used."));
    // They stand at `rules[]`.
    members.retain(|member| !member.path.starts_with("defaults."));
    members
}

const FIRST: [&str; 3] = ["name", "namespace", "remote"];

/// The members that only a rule has.
pub(crate) fn rule_only() -> Vec<Member> {
    described(&Head::default())
}

/// The members that `defaults` and every rule share.
pub(crate) fn settings() -> Vec<Member> {
    described(&Rule::default())
}

/// The members of a section and those below them, each with what the section holds as its default.
pub(crate) fn described(section: &impl Section) -> Vec<Member> {
    struct Described(Vec<Member>);

    impl Visitor for Described {
        fn row<K: Kind>(&mut self, name: &'static str, value: &K::Value, kind: K, meaning: &'static str) {
            let form = kind.form();
            let default = match (&form, kind.show(value)) {
                (Form::Object, _) => String::new(),
                _ if kind.required().is_some() => String::new(),
                (_, Some(default)) => default.to_string(),
                (Form::Nullable(_), None) => "null".into(),
                (_, None) => String::new(),
            };
            let required = kind.required().is_some();
            self.0.push(Member { path: name.into(), form, default, required, meaning });
            let below = kind.below().into_iter();
            self.0.extend(below.map(|member| Member { path: format!("{name}.{}", member.path), ..member }));
        }
    }

    let mut described = Described(Vec::new());
    section.rows(&mut described);
    described.0
}

/// The table of `plugin/docs/settings.md`, in Markdown.
pub fn markdown() -> String {
    let mut table = String::from("| member | holds | default | meaning |\n|---|---|---|---|\n");
    let settings_of_rules = settings();
    let top = top();
    let mut parts = vec![(String::new(), top.clone())];
    for Member { path, form, .. } in top {
        if let Form::Objects(_, _, members) = form {
            parts.push((format!("{path}[]."), members));
        }
    }
    parts.push(("rules[].".to_owned(), rule_only()));
    parts.push(("rules[].".to_owned(), settings_of_rules));
    for (prefix, members) in parts {
        for Member { path, form, default, meaning, .. } in &members {
            let default = match (form, default.is_empty()) {
                (Form::Object, _) | (_, true) => String::new(),
                _ => format!("`{}`", default.replace(',', ", ")),
            };
            let holds = form.in_words().replace('|', "\\|");
            table.push_str(&format!("| `{prefix}{path}` | {holds} | {default} | {meaning} |\n"));
        }
    }
    table.push_str(
        "\n`defaults` has the members of `rules[]` except `name` and `match`. A rule inherits every member that it \
         does not write;\nlists and `ttl.statuses` are inherited or replaced as a whole.\n",
    );
    table
}

impl Form {
    /// For the table.
    fn in_words(&self) -> String {
        let ends = |bounds: &RangeInclusive<u64>, show: fn(u64) -> String| {
            format!("{} to {}", show(*bounds.start()), show(*bounds.end()))
        };
        match self {
            Form::Object => "object".into(),
            Form::Rules => format!("list of at most {RULES} rules"),
            Form::Objects(most, called, _) => format!("list of at most {most} {called}"),
            Form::Switch => "`true` or `false`".into(),
            Form::Whole(bounds) => ends(bounds, |number| number.to_string()),
            #[cfg(feature = "llm")]
            Form::Amount(most) => format!("amount, 0 to {most}"),
            Form::Size(bounds) => format!("size, {}", ends(bounds, show_size)),
            Form::Duration(bounds) => {
                format!("duration, {}", ends(bounds, |millis| show_duration(Duration::from_millis(millis))))
            }
            Form::Word(words) => {
                words.iter().map(|word| format!("`\"{word}\"`")).collect::<Vec<_>>().join(" or ")
            }
            Form::Text(pattern) => pattern.words.into(),
            Form::List(Least::One, _, item) => format!("list of {}, not empty", item.in_words()),
            Form::List(Least::Empty, LIST, item) => format!("list of {}", item.in_words()),
            Form::List(Least::Empty, most, item) => format!("list of at most {most} {}", item.in_words()),
            Form::ByStatus(_) => "object from status to duration".into(),
            Form::ByName(form) => format!("object from name to {}", form.in_words()),
            Form::Nullable(form) => {
                let comma = if matches!(**form, Form::Object | Form::Text(_)) { "" } else { "," };
                format!("{}{comma} or `null`", form.in_words())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_a_row_for_every_member() {
        let table = markdown();
        let listed = top().into_iter().map(|member| match member.form {
            Form::Objects(_, _, members) => members.len(),
            _ => 0,
        });
        let members = listed.sum::<usize>() + top().len() + rule_only().len() + settings().len();
        assert_eq!(table.lines().filter(|line| line.starts_with("| `")).count(), members);
        assert!(table.contains("| `worker.bytes` | size, 0B to 700MiB | `\"64MiB\"` |"), "{table}");
        assert!(table.contains("| `rules[].key.query.drop` |"), "{table}");
    }
}
