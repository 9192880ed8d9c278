//! The OpenAPI document of the operators' interface, and what answers and examples have that is not as it says.

use std::fs;

use serde_json::{Value, json};

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

    /// What in a value is not as a schema of the document says, each fault with its place.
    fn faults(&self, schema: &Value, value: &Value) -> Vec<String> {
        // References lead into the document.
        let mut root = self.0.clone();
        root["allOf"] = json!([schema]);
        let validator = jsonschema::draft202012::new(&root).unwrap();
        validator.iter_errors(value).map(|fault| format!("{}: {fault}", fault.instance_path())).collect()
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
        let Some(example) = self.example() else { return Vec::new() };
        let schema = self.of.pointer("/requestBody/content/application~1json/schema").unwrap();
        self.document.faults(schema, example)
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
        self.document.faults(schema, &value)
    }
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_as_the_schema_says_is_a_fault_with_its_place() {
        let document = OpenApi(json!({ "n": { "type": "integer", "minimum": 1 } }));
        let schema = json!({ "type": "object", "required": ["a"], "additionalProperties": false,
            "properties": { "a": { "type": "array", "items": { "$ref": "#/n" } } } });
        assert_eq!(document.faults(&schema, &json!({ "a": [1, 2] })), Vec::<String>::new());
        for (bad, place) in
            [(json!({}), ": "), (json!({ "a": [1, 0] }), "/a/1: "), (json!({ "a": [], "c": 1 }), ": ")]
        {
            let faults = document.faults(&schema, &bad);
            assert_eq!(faults.len(), 1, "{bad}: {faults:?}");
            assert!(faults[0].starts_with(place), "{faults:?}");
        }
    }

    #[test]
    fn the_examples_of_the_document_are_as_it_says() {
        let document = OpenApi::of_operators();
        for operation in document.operations() {
            assert_eq!(operation.faults_of_example(), Vec::<String>::new(), "{}", operation.path);
        }
    }
}
