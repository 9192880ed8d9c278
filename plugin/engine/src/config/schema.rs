//! The JSON Schema (draft 2020-12) of a configuration, made of [`reference`](super::reference).
//!
//! It is committed as `config.schema.json` for editors; a test compares the two and says how to renew the file.

use serde_json::{Map, Value, json};

use super::limits::{LIST, NAME_CHARS, RULES};
use super::reference::{Form, Least, Member, Pattern, rule_only, settings, top};

/// The schema. It is as strict as the reader about members, types, units and ranges of numbers; that rule names are
/// unique, that a duration or size with a unit is in range, and which names are reserved, only the reader says.
pub fn schema() -> Value {
    let mut whole = tree(&top());
    let mut rule = tree(&rule_only());
    merge(
        &mut rule,
        json!({ "$ref": "#/$defs/settings", "required": ["name"], "unevaluatedProperties": false }),
    );
    open(&mut rule);
    let mut shared = tree(&settings());
    open(&mut shared);
    if let Some(properties) = whole.get_mut("properties") {
        if let Some(defaults) = properties.get_mut("defaults") {
            open(defaults);
            merge(defaults, json!({ "$ref": "#/$defs/settings", "unevaluatedProperties": false }));
        }
        if let Some(rules) = properties.get_mut("rules") {
            merge(rules, json!({ "items": { "$ref": "#/$defs/rule" } }));
        }
    }
    merge(
        &mut whole,
        json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": "Selvage",
            "description": "Configuration of the Selvage HTTP cache. Every member may be left out.",
            "$defs": { "rule": rule, "settings": shared },
        }),
    );
    whole
}

/// The members of one object and those below them.
fn tree(members: &[Member]) -> Value {
    let mut root = json!({ "type": "object", "properties": {}, "additionalProperties": false });
    for member in members {
        let mut one = form(&member.form);
        merge(&mut one, json!({ "description": member.meaning }));
        if let Ok(default) = serde_json::from_str::<Value>(&member.default) {
            merge(&mut one, json!({ "default": default }));
        }
        let within = |other: &&Member| other.path.strip_prefix(&member.path).is_some_and(is_own_member);
        let required: Vec<&str> = members
            .iter()
            .filter(|other| other.required)
            .filter(within)
            .filter_map(|other| other.path.rsplit('.').next())
            .collect();
        if !required.is_empty() {
            merge(&mut one, json!({ "required": required }));
        }
        if member.path == "key.query" {
            merge(&mut one, one_choice());
        }
        let (above, name) = member.path.rsplit_once('.').unwrap_or(("", &member.path));
        let pointer: String = above
            .split('.')
            .filter(|name| !name.is_empty())
            .fold("/properties".to_owned(), |pointer, name| format!("{pointer}/{name}/properties"));
        if let Some(properties) = root.pointer_mut(&pointer) {
            merge(properties, json!({ name: one }));
        }
    }
    root
}

/// Whether what follows an object's path leads to a member of its own.
fn is_own_member(rest: &str) -> bool {
    rest.strip_prefix('.').is_some_and(|name| !name.contains('.'))
}

fn form(form: &Form) -> Value {
    match form {
        Form::Object => json!({ "type": "object", "properties": {}, "additionalProperties": false }),
        Form::Rules => json!({ "type": "array", "maxItems": RULES }),
        Form::Objects(most, _, members) => {
            let mut item = tree(members);
            let required: Vec<&str> =
                members.iter().filter(|member| member.required).map(|member| member.path.as_str()).collect();
            merge(&mut item, json!({ "required": required }));
            json!({ "type": "array", "items": item, "maxItems": most })
        }
        Form::Switch => json!({ "type": "boolean" }),
        Form::Whole(bounds) => {
            json!({ "type": "integer", "minimum": bounds.start(), "maximum": bounds.end() })
        }
        #[cfg(feature = "llm")]
        Form::Amount(most) => json!({
            "type": ["number", "string"],
            "pattern": "^[0-9]+(\\.[0-9]{1,9})?$",
            "minimum": 0,
            "maximum": most,
        }),
        Form::Size(bounds) => json!({
            "type": ["string", "integer"],
            "pattern": "^[0-9]+(B|kB|MB|GB|KiB|MiB|GiB)?$",
            "minimum": bounds.start(),
            "maximum": bounds.end(),
        }),
        Form::Duration(bounds) => json!({
            "type": ["string", "integer"],
            "pattern": "^[0-9]+(ms|s|m|h|d)$",
            "minimum": bounds.start().div_ceil(1000),
            "maximum": bounds.end() / 1000,
        }),
        Form::Word(words) => json!({ "enum": words }),
        Form::Text(Pattern { expression, chars, .. }) => {
            json!({ "type": "string", "pattern": expression, "minLength": 1, "maxLength": chars })
        }
        Form::List(least, most, item) => json!({
            "type": "array",
            "items": self::form(item),
            "minItems": u8::from(*least == Least::One),
            "maxItems": most,
            "uniqueItems": true,
        }),
        Form::ByStatus(value) => json!({
            "type": "object",
            "propertyNames": { "pattern": "^[2-5][0-9][0-9]$" },
            "additionalProperties": self::form(value),
            "maxProperties": LIST,
        }),
        Form::ByName(value) => json!({
            "type": "object",
            "propertyNames": { "minLength": 1, "maxLength": NAME_CHARS },
            "additionalProperties": self::form(value),
            "maxProperties": LIST,
        }),
        Form::Nullable(form) => {
            let mut nullable = self::form(form);
            let kinds = match nullable.get_mut("type").map(Value::take) {
                Some(Value::Array(kinds)) => kinds,
                kind => kind.into_iter().collect(),
            };
            merge(
                &mut nullable,
                json!({ "type": kinds.into_iter().chain([json!("null")]).collect::<Value>() }),
            );
            nullable
        }
    }
}

/// At most one way to choose parameters.
fn one_choice() -> Value {
    let list = |name: &str| json!({ "properties": { name: { "type": "array" } }, "required": [name] });
    let dropped = json!({ "properties": { "drop": { "const": true } }, "required": ["drop"] });
    json!({ "not": { "anyOf": [
        { "allOf": [list("only"), list("except")] },
        { "allOf": [list("only"), dropped] },
        { "allOf": [list("except"), dropped] },
    ] } })
}

/// Unknown members are refused where all parts come together, not in a part.
fn open(object: &mut Value) {
    if let Some(object) = object.as_object_mut() {
        object.remove("additionalProperties");
    }
}

fn merge(into: &mut Value, more: Value) {
    if let (Some(into), Value::Object(more)) = (into.as_object_mut(), more) {
        into.extend::<Map<String, Value>>(more);
    }
}
