//! The terms under which answers of language models are stored, made from those of their rule.

use crate::config::{Compression, Etag, FieldName, LlmCache, Rule, SetCookie, Ttl};
use crate::policy::BodyKey;

/// Sets what else a rule says right for what it stores: answers of language models, and nothing else.
pub(super) fn set_terms(rule: &mut Rule) {
    let Some(LlmCache { ttl, .. }) = rule.llm.as_ref().and_then(|llm| llm.cache.as_ref()) else { return };
    rule.ttl = Ttl { r#override: Some(*ttl), jitter: rule.ttl.jitter, ..Ttl::default() };
    rule.statuses = Some(vec![200]);
    // Providers set cookies for the connection with every answer; no other client gets them.
    rule.set_cookie = SetCookie::Strip;
    rule.targeted = Vec::new();
    rule.post_answers_get = false;
    // An answer comes again byte for byte.
    rule.etag = Etag::Off;
    rule.compression = Compression { enabled: false, ..Compression::default() };
    rule.range.fill = false;
    // Requests go on without it.
    rule.vary.ignore.push((*b"accept-encoding").into());
    let body = rule.key.body.take();
    let max_bytes = body.map_or(MAX_BODY, |body| body.max_bytes);
    rule.key.body = Some(BodyKey {
        methods: vec![(*b"POST").into()],
        inline_bytes: 0,
        max_bytes,
        #[cfg(not(all(target_arch = "wasm32", target_os = "unknown")))]
        json: None,
    });
    for name in VERSIONS {
        let name: FieldName = name.as_bytes().into();
        if !rule.key.headers.contains(&name) {
            rule.key.headers.push(name);
        }
    }
}

/// Fields that choose the version of an API, and on whose account it is asked.
const VERSIONS: [&str; 5] =
    ["anthropic-version", "anthropic-beta", "openai-beta", "openai-organization", "openai-project"];

/// Of a request's body, unless `key.body` says otherwise. A part of it may be large too, and Envoy answers 413 where more
/// than its `per_connection_buffer_limit_bytes`, 1 MiB, is held.
pub(crate) const MAX_BODY: usize = 512 << 10;
