//! What a batch asks for.

use super::target;
use crate::config::written::{Written, quote};
use crate::policy::Batch;

/// One part.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// What the client calls it.
    pub(crate) id: Box<str>,
    /// What it asks for, or why it may not.
    pub(crate) get: Result<Get, Refused>,
}

/// A GET.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Get {
    /// Path and query.
    pub(crate) target: Box<str>,
    /// Fields of its own, their names in lower case.
    pub(crate) fields: Vec<(Box<str>, Box<str>)>,
}

/// Why a part may not be asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    /// The status that it is answered with.
    pub(crate) status: u16,
    /// For people.
    pub(crate) why: String,
}

impl Refused {
    fn new(status: u16, why: impl Into<String>) -> Self {
        Self { status, why: why.into() }
    }
}

/// Reads the body of a batch.
///
/// # Errors
/// Why nothing of it may be asked for. What is wrong with one part alone is that part's.
pub(crate) fn read(body: &[u8], settings: &Batch) -> Result<Vec<Part>, String> {
    let written: Written = serde_json::from_slice(body).map_err(|fault| format!("no JSON: {fault}"))?;
    let Written::Object(members) = written else {
        return Err("an object with \"requests\" is wanted".into());
    };
    let mut requests = None;
    for (name, value) in members {
        match (&*name, value) {
            ("requests", Written::List(list)) if requests.is_none() => requests = Some(list),
            ("requests", _) => return Err("requests: one list is wanted".into()),
            (name, _) => return Err(format!("{}: not known", quote(name))),
        }
    }
    let requests = requests.ok_or("an object with \"requests\" is wanted")?;
    if requests.is_empty() || requests.len() > settings.parts {
        return Err(format!("requests: 1 to {} parts, and these are {}", settings.parts, requests.len()));
    }
    let mut parts: Vec<Part> = Vec::with_capacity(requests.len());
    for (nth, request) in requests.into_iter().enumerate() {
        let part = part(request, settings).map_err(|why| format!("requests[{nth}].{why}"))?;
        if parts.iter().any(|known| known.id == part.id) {
            return Err(format!("requests[{nth}].id: {} again", quote(&part.id)));
        }
        parts.push(part);
    }
    Ok(parts)
}

/// Reads one part. What makes it unclear what is wanted is an error of the whole.
fn part(request: Written, settings: &Batch) -> Result<Part, String> {
    let Written::Object(members) = request else { return Err("id: an object with one is wanted".into()) };
    let (mut id, mut method, mut url, mut headers, mut content) = (None, None, None, None, false);
    let mut seen: Vec<String> = Vec::new();
    for (name, value) in members {
        if seen.contains(&name) {
            return Err(format!("{name}: stands twice"));
        }
        seen.push(name.clone());
        match (&*name, value) {
            ("id", Written::Text(text)) if (1..=LONGEST_ID).contains(&text.len()) => id = Some(text),
            ("id", _) => return Err(format!("id: a text of 1 to {LONGEST_ID} bytes is wanted")),
            ("method", Written::Text(text)) => method = Some(text),
            ("url", Written::Text(text)) => url = Some(text),
            ("headers", Written::Object(members)) => headers = Some(members),
            ("headers" | "body", Written::Null) => {}
            ("body", _) => content = true,
            ("method" | "url", _) => return Err(format!("{name}: a text is wanted")),
            ("headers", _) => return Err("headers: an object is wanted".into()),
            ("dependsOn" | "atomicityGroup", _) => {
                return Err(format!(
                    "{name}: parts do not wait for each other, and there are no transactions"
                ));
            }
            (name, _) => return Err(format!("{}: not known", quote(name))),
        }
    }
    let id: Box<str> = id.ok_or("id: one is wanted")?.into();
    let (method, url) = (method.ok_or("method: one is wanted")?, url.ok_or("url: one is wanted")?);
    Ok(Part { id, get: get(&method, url, headers.unwrap_or_default(), content, settings) })
}

fn get(
    method: &str,
    url: String,
    headers: Vec<(String, Written)>,
    content: bool,
    settings: &Batch,
) -> Result<Get, Refused> {
    if method != "GET" {
        return Err(Refused::new(405, "method: only GET"));
    }
    if let Some(why) = target::refusal(&url) {
        return Err(Refused::new(400, why));
    }
    // A batch of batches would be more than its bounds.
    if url.split('?').next().is_some_and(|path| path.as_bytes() == &*settings.path) {
        return Err(Refused::new(400, "url: no batch is part of a batch"));
    }
    if content {
        return Err(Refused::new(400, "body: a GET has none"));
    }
    let mut fields: Vec<(Box<str>, Box<str>)> = Vec::with_capacity(headers.len());
    for (name, value) in headers {
        let name = name.to_ascii_lowercase();
        if !settings.part_headers.iter().any(|known| **known == *name.as_bytes()) {
            let why = format!("headers: {} is not a part's to bring", quote(&name));
            return Err(Refused::new(400, why));
        }
        let Written::Text(value) = value else {
            return Err(Refused::new(400, format!("headers.{name}: a text is wanted")));
        };
        let plain = |byte: u8| byte == b'\t' || (0x20..=0x7e).contains(&byte);
        if value.len() > LONGEST_VALUE || !value.bytes().all(plain) {
            return Err(Refused::new(400, format!("headers.{name}: at most 4 KiB of ASCII is wanted")));
        }
        if fields.iter().any(|(known, _)| **known == *name) {
            return Err(Refused::new(400, format!("headers.{name}: stands twice")));
        }
        fields.push((name.into(), value.trim().into()));
    }
    Ok(Get { target: url.into(), fields })
}

/// In bytes.
const LONGEST_ID: usize = 128;
const LONGEST_VALUE: usize = 4 << 10;
