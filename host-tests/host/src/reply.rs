//! Replies that do not come from an upstream, shaped as Envoy shapes them.

use crate::Headers;

/// What `proxy_send_local_response` asked for, or what the host answers for a broken upstream.
#[derive(Clone, Debug)]
pub(crate) struct LocalReply {
    pub(crate) status: u32,
    pub(crate) details: String,
    pub(crate) headers: Headers,
    pub(crate) body: Vec<u8>,
}

impl LocalReply {
    /// Envoy's own answer when the upstream breaks before its headers.
    pub(crate) fn upstream_reset() -> Self {
        Self {
            status: 503,
            details: "upstream_reset_before_response_started{connection_termination}".to_owned(),
            headers: Headers::new(),
            body: b"upstream connect error or disconnect/reset before headers. reset reason: connection termination"
                .to_vec(),
        }
    }

    /// Envoy's own answer to a request of which more gathers than it holds.
    pub(crate) fn too_large() -> Self {
        Self {
            status: 413,
            details: "request_payload_too_large".to_owned(),
            headers: Headers::new(),
            body: b"Payload Too Large".to_vec(),
        }
    }

    /// The header map that the encoder filters see: length and type follow the body, whatever the filter passed.
    pub(crate) fn shaped_headers(&self) -> Headers {
        let mut headers = Headers::new().with(":status", &self.status.to_string());
        for (name, value) in self.headers.raw() {
            headers.push_raw(name.to_vec(), value.to_vec());
        }
        if self.body.is_empty() {
            headers.remove("content-length");
            headers.remove("content-type");
        } else {
            headers.set("content-length", self.body.len().to_string());
            if !headers.contains("content-type") {
                headers.add("content-type", "text/plain");
            }
        }
        headers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_body_takes_length_and_type_away() {
        let headers = Headers::from([("content-type", "a/b"), ("content-length", "9"), ("etag", "\"1\"")]);
        let reply = LocalReply { status: 304, details: String::new(), headers, body: Vec::new() };
        assert_eq!(reply.shaped_headers(), Headers::from([(":status", "304"), ("etag", "\"1\"")]));
    }

    #[test]
    fn a_body_sets_its_length_and_a_default_type() {
        let reply = LocalReply {
            status: 200,
            details: String::new(),
            headers: Headers::new(),
            body: b"abc".to_vec(),
        };
        let expected =
            Headers::from([(":status", "200"), ("content-length", "3"), ("content-type", "text/plain")]);
        assert_eq!(reply.shaped_headers(), expected);
    }
}
