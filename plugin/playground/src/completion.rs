//! What may be written into a configuration at a place: members, words and values, from its schema.

use selvage_engine::config::schema::schema;
use serde_json::{Value, json};

/// Most proposals.
const MOST: usize = 64;
/// No configuration is nested so deep.
const DEEPEST: usize = 32;

/// An object or a list that is open at the place.
#[derive(Debug, Default)]
struct Open {
    is_object: bool,
    /// The members that it has so far.
    seen: Vec<String>,
    /// The member whose value comes next.
    member: Option<String>,
    /// A value stands where one is wanted.
    filled: bool,
}

/// Where the text before the place ends.
#[derive(Debug, Default)]
struct Place {
    open: Vec<Open>,
    /// What is begun there, the quotation mark included.
    partial: String,
}

/// Proposals for what may stand between two texts.
pub fn complete(before: &str, after: &str) -> Value {
    let place = Place::at_end_of(before);
    let schema = schema();
    let wanted = place.partial.trim_start_matches('"');
    let closes = after.starts_with('"') && place.partial.starts_with('"');
    let proposals = place.proposals(&schema);
    let fits = proposals.into_iter().filter(|(label, ..)| label.starts_with(wanted)).take(MOST);
    let items: Vec<Value> = fits
        .map(|(label, insert, meaning)| json!({ "label": label, "insert": insert, "meaning": meaning }))
        .collect();
    json!({ "partial": place.partial, "closes": closes, "items": items })
}

impl Place {
    fn at_end_of(text: &str) -> Self {
        let mut place = Self::default();
        let mut letters = text.chars().peekable();
        while let Some(letter) = letters.next() {
            match letter {
                '"' => {
                    let (mut inside, mut ended, mut escaped) = (String::new(), false, false);
                    for letter in letters.by_ref() {
                        match letter {
                            '"' if !escaped => {
                                ended = true;
                                break;
                            }
                            letter => {
                                escaped = letter == '\\' && !escaped;
                                inside.push(letter);
                            }
                        }
                    }
                    if !ended {
                        place.partial = format!("\"{inside}");
                        return place;
                    }
                    place.take(inside);
                }
                '{' | '[' if place.open.len() < DEEPEST => {
                    place.fill();
                    place.open.push(Open { is_object: letter == '{', ..Open::default() });
                }
                '}' | ']' => {
                    place.open.pop();
                }
                ',' => {
                    if let Some(open) = place.open.last_mut() {
                        (open.member, open.filled) = (None, false);
                    }
                }
                letter if letter.is_ascii_alphanumeric() || letter == '-' => {
                    let mut word = String::from(letter);
                    while let Some(more) =
                        letters.next_if(|more| more.is_ascii_alphanumeric() || ".+-_".contains(*more))
                    {
                        word.push(more);
                    }
                    if letters.peek().is_none() {
                        place.partial = word;
                        return place;
                    }
                    place.fill();
                }
                _ => {}
            }
        }
        place
    }

    fn fill(&mut self) {
        if let Some(open) = self.open.last_mut() {
            open.filled = true;
        }
    }

    /// A text that has ended: the name of a member, or a value.
    fn take(&mut self, text: String) {
        match self.open.last_mut() {
            Some(open) if open.is_object && open.member.is_none() => {
                open.seen.push(text.clone());
                open.member = Some(text);
            }
            _ => self.fill(),
        }
    }

    fn proposals(&self, schema: &Value) -> Vec<(String, String, String)> {
        let Some((last, above)) = self.open.split_last() else {
            return vec![("{".into(), "{ ".into(), "a configuration".into())];
        };
        let mut at = vec![schema];
        for open in above {
            at = open.below(&at, schema);
        }
        if last.filled {
            return Vec::new();
        }
        if last.is_object && last.member.is_none() {
            return last.members(&at);
        }
        last.below(&at, schema).into_iter().flat_map(values).collect()
    }
}

impl Open {
    /// The schemas of what is open or stands in it.
    fn below<'s>(&self, at: &[&'s Value], schema: &'s Value) -> Vec<&'s Value> {
        let one = |of: &&'s Value| match (&self.member, self.is_object) {
            (Some(member), true) => {
                let named = of.get("properties").and_then(|members| members.get(member));
                named.or_else(|| of.get("additionalProperties").filter(|more| more.is_object()))
            }
            (None, false) => of.get("items"),
            _ => None,
        };
        let found: Vec<&Value> = at.iter().filter_map(one).collect();
        // What is defined elsewhere stands beside.
        let defined = found.iter().filter_map(|of| {
            let path = of.get("$ref")?.as_str()?.strip_prefix('#')?;
            schema.pointer(path)
        });
        let defined: Vec<&Value> = defined.collect();
        let further =
            defined.iter().filter_map(|of| schema.pointer(of.get("$ref")?.as_str()?.strip_prefix('#')?));
        found.iter().copied().chain(defined.iter().copied()).chain(further).collect()
    }

    fn members(&self, at: &[&Value]) -> Vec<(String, String, String)> {
        let all = at.iter().filter_map(|of| of.get("properties").and_then(Value::as_object)).flatten();
        let unseen = all.filter(|(name, _)| !self.seen.contains(name));
        unseen
            .map(|(name, of)| {
                let begun = match of.get("type").and_then(Value::as_str) {
                    Some("object") => "{ ",
                    Some("array") => "[ ",
                    Some("string") => "\"",
                    _ => "",
                };
                (name.clone(), format!("\"{name}\": {begun}"), meaning(of))
            })
            .collect()
    }
}

fn meaning(of: &Value) -> String {
    let text = of.get("description").and_then(Value::as_str).unwrap_or_default();
    match of.get("default") {
        Some(default) => format!("{text} Default: {default}"),
        None => text.to_owned(),
    }
}

/// The values that a member may have, as far as they can be listed.
fn values(of: &Value) -> Vec<(String, String, String)> {
    let default = of.get("default");
    let mut all: Vec<Value> = of.get("enum").and_then(Value::as_array).cloned().unwrap_or_default();
    all.extend(of.get("const").cloned());
    let types: Vec<&str> = match of.get("type") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    if types.contains(&"boolean") {
        all.extend([true.into(), false.into()]);
    }
    all.extend(default.filter(|default| !default.is_null() && !all.contains(default)).cloned());
    if types.contains(&"null") {
        all.push(Value::Null);
    }
    let mut found: Vec<(String, String, String)> = all
        .iter()
        .map(|value| {
            let said = if Some(value) == default { "the default" } else { "" };
            let label = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            (label, value.to_string(), said.to_owned())
        })
        .collect();
    let begins = [("object", "{"), ("array", "[")].into_iter().filter(|(kind, _)| types.contains(kind));
    found.extend(
        begins.map(|(kind, open)| (open.to_owned(), format!("{open} "), format!("begins an {kind}"))),
    );
    found
}
