//! What `POST /.selvage/warm` may carry: JSON, read whole or refused with the place of the fault.

use serde_json::Value;

use crate::purge::request::{Fault, LONGEST_BODY, MOST_ITEMS};
use crate::url::Url;

/// Reads a body: `{"urls": [...]}`, 1 to [`MOST_ITEMS`].
///
/// # Errors
/// The first [`Fault`]; nothing of what was sent is in it.
pub fn parse(body: &[u8]) -> Result<Vec<Url>, Fault> {
    let fault = |path: &str, allowed| Err(Fault { path: path.into(), allowed });
    if body.len() > LONGEST_BODY {
        return fault("body", "at most 256 KiB");
    }
    let Ok(Value::Object(members)) = serde_json::from_slice(body) else {
        return fault("body", "a JSON object");
    };
    if members.keys().any(|name| name != "urls") {
        return fault("body", "the member urls");
    }
    let Some(Value::Array(list)) = members.get("urls") else { return fault("urls", "a list of strings") };
    if !(1..=MOST_ITEMS).contains(&list.len()) {
        return fault("urls", "1 to 256 URLs");
    }
    let mut urls = Vec::with_capacity(list.len());
    for (at, value) in list.iter().enumerate() {
        match value.as_str().and_then(|text| Url::parse(text.as_bytes())) {
            Some(url) => urls.push(url),
            None => return fault(&format!("urls[{at}]"), URL),
        }
    }
    Ok(urls)
}

const URL: &str =
    "a URL with scheme such as \"https://example.com/a?b\", at most 8192 visible ASCII characters";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_names_urls_and_every_fault_is_told_with_its_place() {
        let urls = parse(br#"{"urls":["https://a.test/x","http://b.test"]}"#).unwrap();
        assert_eq!(urls.len(), 2);
        let many = format!(r#"{{"urls":[{}"http://a.test/"]}}"#, r#""http://a.test/","#.repeat(MOST_ITEMS));
        for (body, place) in [
            ("", "body"),
            ("[]", "body"),
            ("{}", "urls"),
            (r#"{"urls":[]}"#, "urls"),
            (r#"{"urls":"http://a.test/"}"#, "urls"),
            (r#"{"urls":["http://a.test/"],"all":true}"#, "body"),
            (r#"{"urls":["http://a.test/","a.test/"]}"#, "urls[1]"),
            (r#"{"urls":[7]}"#, "urls[0]"),
            (&many, "urls"),
            (&" ".repeat(LONGEST_BODY + 1), "body"),
        ] {
            assert_eq!(parse(body.as_bytes()).unwrap_err().path, place, "{}", body.get(..40).unwrap_or(body));
        }
    }
}
