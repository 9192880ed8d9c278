//! In which content coding responses are stored and handed out.

use super::{Cache, Found, Moment};
use crate::coding::eligible::eligible;
use crate::coding::gzip;
use crate::coding::minify::{may_be_minified, minified_head, minify};
use crate::coding::negotiate::{Acceptable, Choice};
use crate::fields::Fields;
use crate::host::IN_BROWSER;
use crate::policy::Rule;
use crate::request::Request;
use crate::store::form::{Form, wants_gzip};
use crate::store::response::{Body, StoredResponse, Terms};

impl Cache {
    /// The form of a stored response that the client gets. `None` if its content is damaged.
    pub fn form_of(&mut self, stored: &StoredResponse, request: &Request<'_>) -> Option<Form> {
        match &stored.gzip {
            None => Some(Form::AsStored),
            Some(_) if wants_gzip(request) => Some(Form::Gzip),
            Some(_) => self.identity_of(stored).map(Form::Identity),
        }
    }

    /// The content of a stored response as the origin sent it. `None` if it is damaged.
    pub(crate) fn identity_of(&mut self, stored: &StoredResponse) -> Option<Body> {
        match &stored.gzip {
            None => Some(stored.body.clone()),
            Some(gzip) => self.inflated.get(&stored.body, gzip.length),
        }
    }

    /// What was found, and its form for the client. What cannot be given to it is dropped from the stores.
    pub fn in_a_form(
        &mut self,
        found: Found,
        request: &Request<'_>,
        moment: &mut Moment<'_>,
    ) -> (Found, Form) {
        let Found::Response { stored, hash, .. } = &found else { return (found, Form::AsStored) };
        match self.form_of(stored, request) {
            Some(form) => (found, form),
            None => {
                self.stats.count("event", "bad-record");
                self.forget(*hash, moment);
                (Found::Nothing, Form::AsStored)
            }
        }
    }

    /// The response in the coding in which it is stored: compressed, if its rule and itself allow that, the requests
    /// that `names` select can take it, and it saves a tenth.
    pub fn coded(
        &mut self,
        response: StoredResponse,
        names: &[Box<[u8]>],
        request: Fields<'_>,
        rule: &Rule,
        moment: &mut Moment<'_>,
    ) -> StoredResponse {
        let response = self.minified(response, rule);
        let (fields, body) = (response.fields.fields(), response.body.as_slice());
        // The variant of those that take no gzip would be inflated for each of them.
        let selected = names.iter().any(|name| **name == *b"accept-encoding")
            && Acceptable::parse(request).choose() == Choice::Identity;
        if selected || !eligible(response.status, fields, body.len(), &rule.compression) {
            return response;
        }
        let begun = moment.host.micros();
        let compressed = gzip::compress(body, rule.compression.level);
        self.stats.sample("duration_us", "compress", moment.host.micros().saturating_sub(begun));
        let [before, after] = words_for(fields.get(b"content-type").unwrap_or_default());
        let (whole, small) = (body.len(), compressed.len());
        let kept = if gzip::worth_it(whole, small) { response.compressed(compressed) } else { None };
        self.stats.count("compression", if kept.is_some() { "kept" } else { "not-worth-it" });
        if kept.is_some() {
            self.stats.add("compression_bytes", before, whole as u64);
            self.stats.add("compression_bytes", after, small as u64);
        }
        kept.unwrap_or(response)
    }
}

impl Cache {
    /// The response without white space, if it is JSON and its rule wants that. What a rule that only watches has is compared
    /// with what the origin sends, and answers of language models are replayed byte for byte.
    fn minified(&mut self, mut response: StoredResponse, rule: &Rule) -> StoredResponse {
        let wanted = !IN_BROWSER && rule.compression.minify_json && !rule.shadow && !rule.stores_answers();
        if !wanted
            || response.body.len() > rule.compression.max_bytes
            || !may_be_minified(response.status, response.fields.fields())
        {
            return response;
        }
        let before = response.body.len() as u64;
        match minify(std::mem::take(&mut response.body).into_bytes()) {
            Ok(mut small) => {
                small.shrink_to_fit();
                self.stats.count("minified", "kept");
                self.stats.add("minified_bytes", "in", before);
                self.stats.add("minified_bytes", "out", small.len() as u64);
                response.body = Body::new(small);
                response.minified = Some(Box::new(minified_head(response.fields.fields())));
                response.terms.set(Terms::MINIFIED, true);
            }
            Err(body) => {
                self.stats.count("minified", "as-it-was");
                response.body = Body::new(body);
            }
        }
        response
    }
}

/// The words under which the bytes of a type are counted, before and after.
fn words_for(content_type: &[u8]) -> [&'static str; 2] {
    let has = |part: &[u8]| content_type.windows(part.len()).any(|window| window.eq_ignore_ascii_case(part));
    if has(b"json") {
        ["in.json", "out.json"]
    } else if has(b"html") {
        ["in.html", "out.html"]
    } else if has(b"javascript") || has(b"ecmascript") {
        ["in.script", "out.script"]
    } else if has(b"css") {
        ["in.css", "out.css"]
    } else if has(b"xml") {
        ["in.xml", "out.xml"]
    } else if has(b"image/") || has(b"font") {
        ["in.image", "out.image"]
    } else {
        ["in.other", "out.other"]
    }
}
