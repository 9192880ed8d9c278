//! Checks JSON against the schemas of an OpenAPI document: as much of JSON Schema (draft 2020-12) as such a document of ours
//! uses. A keyword that is not known here is a fault of the document, so that nothing in it goes unchecked.

use std::fs;

use serde_json::{Map, Value};

use crate::envoy::repository;

/// An OpenAPI document.
#[derive(Debug, Clone)]
pub struct OpenApi(Value);

/// One method of one path.
#[derive(Debug, Clone, Copy)]
pub struct Operation<'a> {
    /// The path.
    pub path: &'a str,
    /// The method, in capitals.
    pub method: Method,
    document: &'a OpenApi,
    of: &'a Value,
}

/// A method that the document may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// GET.
    Get,
    /// POST.
    Post,
}

impl Method {
    /// As it stands in a request.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
        }
    }
}

impl OpenApi {
    /// That of the operators' interface.
    ///
    /// # Panics
    /// It is not there, or is not JSON.
    pub fn of_operators() -> Self {
        let text = fs::read(repository().join("plugin/openapi.json")).unwrap();
        Self(serde_json::from_slice(&text).unwrap())
    }

    /// Everything that can be asked.
    ///
    /// # Panics
    /// There is a method that this module does not know.
    pub fn operations(&self) -> Vec<Operation<'_>> {
        let mut operations = Vec::new();
        for (path, methods) in members(&self.0["paths"]) {
            for (method, of) in members(methods) {
                let method = match method.as_str() {
                    "get" => Method::Get,
                    "post" => Method::Post,
                    other => panic!("{path}: {other}"),
                };
                operations.push(Operation { path, method, document: self, of });
            }
        }
        operations
    }

    fn resolve<'a>(&'a self, value: &'a Value) -> &'a Value {
        let Some(reference) = value.get("$ref").and_then(Value::as_str) else { return value };
        let pointer = reference.strip_prefix('#').unwrap();
        self.0.pointer(pointer).unwrap_or_else(|| panic!("{reference} leads nowhere"))
    }

    fn faults(&self, schema: &Value, value: &Value, place: &str, faults: &mut Vec<String>) {
        if schema.get("$ref").is_some() {
            self.faults(self.resolve(schema), value, place, faults);
        }
        for (keyword, wanted) in members(schema) {
            let count = |list: Option<usize>, wanted: &Value| list.zip(wanted.as_u64().map(|n| n as usize));
            let holds = match keyword.as_str() {
                "$ref" | "description" => true,
                "type" => match wanted {
                    Value::Array(any) => any.iter().any(|one| is_of(value, one)),
                    one => is_of(value, one),
                },
                "const" => value == wanted,
                "enum" => wanted.as_array().unwrap().contains(value),
                "minimum" => value.as_f64().is_none_or(|value| value >= wanted.as_f64().unwrap()),
                "maximum" => value.as_f64().is_none_or(|value| value <= wanted.as_f64().unwrap()),
                "minItems" => {
                    count(value.as_array().map(Vec::len), wanted).is_none_or(|(n, least)| n >= least)
                }
                "maxItems" => count(value.as_array().map(Vec::len), wanted).is_none_or(|(n, most)| n <= most),
                "minProperties" => {
                    count(value.as_object().map(Map::len), wanted).is_none_or(|(n, least)| n >= least)
                }
                "required" => {
                    for name in wanted.as_array().unwrap().iter().map(|name| name.as_str().unwrap()) {
                        if value.is_object() && value.get(name).is_none() {
                            faults.push(format!("{place}.{name} is missing"));
                        }
                    }
                    true
                }
                "items" => {
                    for (nth, item) in value.as_array().into_iter().flatten().enumerate() {
                        self.faults(wanted, item, &format!("{place}[{nth}]"), faults);
                    }
                    true
                }
                "properties" => {
                    for (name, schema) in members(wanted) {
                        if let Some(member) = value.get(name) {
                            self.faults(schema, member, &format!("{place}.{name}"), faults);
                        }
                    }
                    true
                }
                "additionalProperties" => {
                    let known = schema.get("properties");
                    let known = |name: &str| known.is_some_and(|known| known.get(name).is_some());
                    for (name, member) in
                        value.as_object().into_iter().flatten().filter(|(name, _)| !known(name))
                    {
                        match wanted {
                            Value::Bool(true) => {}
                            Value::Bool(false) => {
                                faults.push(format!("{place}.{name} is not in the document"))
                            }
                            schema => self.faults(schema, member, &format!("{place}.{name}"), faults),
                        }
                    }
                    true
                }
                other => panic!("{place}: the keyword {other} is not known"),
            };
            if !holds {
                faults.push(format!("{place}: {value} is not as {keyword} {wanted} wants"));
            }
        }
    }
}

impl<'a> Operation<'a> {
    /// The example of a request's content.
    pub fn example(&self) -> Option<&'a Value> {
        self.of.pointer("/requestBody/content/application~1json/example")
    }

    /// The path with the examples of its parameters.
    pub fn target(&self) -> String {
        let parameters = self.of["parameters"].as_array().into_iter().flatten();
        let query: Vec<String> = parameters
            .map(|one| format!("{}={}", one["name"].as_str().unwrap(), one["example"].as_str().unwrap()))
            .collect();
        if query.is_empty() { self.path.to_owned() } else { format!("{}?{}", self.path, query.join("&")) }
    }

    /// Whether it is for those with the token alone.
    pub fn is_guarded(&self) -> bool {
        self.of.get("security").is_none()
    }

    /// The statuses that it may be answered with.
    pub fn statuses(&self) -> Vec<u16> {
        members(&self.of["responses"]).map(|(status, _)| status.parse().unwrap()).collect()
    }

    /// What is wrong with the example of the request's content.
    pub fn faults_of_example(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if let Some(example) = self.example() {
            let schema = self.of.pointer("/requestBody/content/application~1json/schema").unwrap();
            self.document.faults(schema, example, "example", &mut faults);
        }
        faults
    }

    /// What is wrong with an answer.
    pub fn faults(&self, status: u16, content_type: Option<&str>, body: &[u8]) -> Vec<String> {
        let response = &self.of["responses"][status.to_string()];
        if response.is_null() {
            return vec![format!("{status} is not in the document: {}", String::from_utf8_lossy(body))];
        }
        let response = self.document.resolve(response);
        let Some(content) = response.get("content") else { return Vec::new() };
        let (wanted, content) = members(content).next().unwrap();
        if content_type != Some(wanted) {
            return vec![format!("{content_type:?} is not {wanted}")];
        }
        let Some(schema) = content.get("schema") else { return Vec::new() };
        let Ok(value) = serde_json::from_slice(body) else { return vec!["no JSON".to_owned()] };
        let mut faults = Vec::new();
        self.document.faults(schema, &value, "answer", &mut faults);
        faults
    }
}

fn is_of(value: &Value, kind: &Value) -> bool {
    match kind.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64(),
        other => panic!("the type {other} is not known"),
    }
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn faults(schema: Value, value: Value) -> Vec<String> {
        let document = OpenApi(json!({ "n": { "type": "integer", "minimum": 1 } }));
        let mut faults = Vec::new();
        document.faults(&schema, &value, "it", &mut faults);
        faults
    }

    #[test]
    fn what_is_not_as_the_schema_says_is_a_fault_with_its_place() {
        let schema = json!({ "type": "object", "description": "d", "required": ["a", "b"], "additionalProperties": false,
            "properties": { "a": { "type": "array", "maxItems": 2, "items": { "$ref": "#/n" } }, "b": { "enum": ["x", "y"] } } });
        let good = json!({ "a": [1, 2], "b": "x" });
        assert_eq!(faults(schema.clone(), good), Vec::<String>::new());
        for (bad, place) in [
            (json!([]), "it: "),
            (json!({ "a": [] }), "it.b is missing"),
            (json!({ "a": [1, 0], "b": "x" }), "it.a[1]: "),
            (json!({ "a": [1, 1.5], "b": "x" }), "it.a[1]: "),
            (json!({ "a": [1, 2, 3], "b": "x" }), "it.a: "),
            (json!({ "a": [], "b": "z" }), "it.b: "),
            (json!({ "a": [], "b": "x", "c": 1 }), "it.c is not in the document"),
        ] {
            let faults = faults(schema.clone(), bad.clone());
            assert_eq!(faults.len(), 1, "{bad}: {faults:?}");
            assert!(faults[0].starts_with(place), "{faults:?}");
        }
        let nullable =
            json!({ "type": ["object", "null"], "minProperties": 1, "additionalProperties": { "const": 1 } });
        assert_eq!(faults(nullable.clone(), json!(null)), Vec::<String>::new());
        assert_eq!(faults(nullable.clone(), json!({})).len(), 1);
        assert_eq!(faults(nullable, json!({ "a": 2 })).len(), 1);
    }

    #[test]
    #[should_panic(expected = "the keyword pattern is not known")]
    fn a_keyword_that_is_not_checked_is_refused() {
        faults(json!({ "pattern": "x" }), json!("x"));
    }

    #[test]
    fn the_examples_of_the_document_are_as_it_says() {
        let document = OpenApi::of_operators();
        for operation in document.operations() {
            assert_eq!(operation.faults_of_example(), Vec::<String>::new(), "{}", operation.path);
        }
    }
}
