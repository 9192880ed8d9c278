//! The JSON Schema (draft 2020-12) of a configuration, made of [`reference`](super::reference).
//!
//! It is committed as `config.schema.json` for editors; a test compares the two and says how to renew the file.

use serde_json::{Map, Value, json};

use super::limits::{LIST, RULES};
use super::reader::Least;
use super::reference::{Form, Member, Pattern, rule_only, settings, top};

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
        if let Ok(default) = serde_json::from_str::<Value>(member.default) {
            merge(&mut one, json!({ "default": default }));
        }
        if member.path == "key.body" {
            merge(&mut one, json!({ "required": ["methods"] }));
        }
        if member.path == "key.query" {
            merge(&mut one, one_choice());
        }
        let (above, name) = member.path.rsplit_once('.').unwrap_or(("", member.path));
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

fn form(form: &Form) -> Value {
    let object = |kind: Value| json!({ "type": kind, "properties": {}, "additionalProperties": false });
    let items_of = |items: Value, least: u8, most: usize| json!({ "items": items, "minItems": least, "maxItems": most, "uniqueItems": true });
    let items = |items: Value, least: u8| items_of(items, least, LIST);
    let list = |mut value: Value, kind: Value| {
        merge(&mut value, json!({ "type": kind }));
        value
    };
    let texts = |least: &Least, pattern: &Pattern, kind| {
        list(items(text(pattern, json!("string")), u8::from(*least == Least::One)), kind)
    };
    match form {
        Form::Object => object(json!("object")),
        Form::NullableObject => object(json!(["object", "null"])),
        Form::Rules => json!({ "type": "array", "maxItems": RULES }),
        Form::Switch => json!({ "type": "boolean" }),
        Form::Whole(bounds) => {
            json!({ "type": "integer", "minimum": bounds.start(), "maximum": bounds.end() })
        }
        Form::Size(bounds) => json!({
            "type": ["string", "integer"],
            "pattern": "^[0-9]+(B|kB|MB|GB|KiB|MiB|GiB)?$",
            "minimum": bounds.start(),
            "maximum": bounds.end(),
        }),
        Form::Duration(bounds) => duration(bounds, json!(["string", "integer"])),
        Form::NullableDuration(bounds) => duration(bounds, json!(["string", "integer", "null"])),
        Form::Word(words) => json!({ "enum": words }),
        Form::Text(pattern) => text(pattern, json!("string")),
        Form::NullableText(pattern) => text(pattern, json!(["string", "null"])),
        Form::Texts(least, pattern) => texts(least, pattern, json!("array")),
        Form::ManyTexts(most, pattern) => {
            list(items_of(text(pattern, json!("string")), 0, *most), json!("array"))
        }
        Form::NullableTexts(least, pattern) => texts(least, pattern, json!(["array", "null"])),
        Form::Wholes(bounds) => list(items(self::form(&Form::Whole(bounds.clone())), 0), json!("array")),
        Form::NullableWholes(bounds) => {
            list(items(self::form(&Form::Whole(bounds.clone())), 1), json!(["array", "null"]))
        }
        Form::DurationByStatus(bounds) => json!({
            "type": "object",
            "propertyNames": { "pattern": "^[2-5][0-9][0-9]$" },
            "additionalProperties": duration(bounds, json!(["string", "integer"])),
            "maxProperties": LIST,
        }),
    }
}

fn duration(bounds: &super::limits::Millis, kind: Value) -> Value {
    json!({
        "type": kind,
        "pattern": "^[0-9]+(ms|s|m|h|d)$",
        "minimum": bounds.start().div_ceil(1000),
        "maximum": bounds.end() / 1000,
    })
}

fn text(pattern: &Pattern, kind: Value) -> Value {
    json!({ "type": kind, "pattern": pattern.expression, "minLength": 1, "maxLength": pattern.chars })
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
