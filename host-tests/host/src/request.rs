//! A client's request.

use crate::Headers;

/// A request as Envoy's codec hands it to the filter chain.
#[derive(Clone, Debug)]
pub struct Request {
    pub(crate) headers: Headers,
    pub(crate) chunks: Vec<Vec<u8>>,
    pub(crate) trailers: Option<Headers>,
    pub(crate) properties: Vec<(String, Vec<u8>)>,
}

impl Request {
    /// A request for `http://cache.test` and that path.
    pub fn new(method: &str, path: &str) -> Self {
        let headers = Headers::from([
            (":method", method),
            (":scheme", "http"),
            (":authority", "cache.test"),
            (":path", path),
        ]);
        Self { headers, chunks: Vec::new(), trailers: None, properties: Vec::new() }
    }

    /// A GET.
    pub fn get(path: &str) -> Self {
        Self::new("GET", path)
    }

    /// Adds a header line; a pseudo header (`:authority`, `:scheme`…) is replaced.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        if name.starts_with(':') {
            self.headers.set(name, value);
        } else {
            self.headers.add(name, value);
        }
        self
    }

    /// Adds a body chunk; the last one ends the request unless trailers follow.
    #[must_use]
    pub fn body(mut self, chunk: impl AsRef<[u8]>) -> Self {
        self.chunks.push(chunk.as_ref().to_vec());
        self
    }

    /// Ends with this trailer.
    #[must_use]
    pub fn trailer(mut self, name: &str, value: &str) -> Self {
        self.trailers.get_or_insert_default().add(name, value);
        self
    }

    /// What `proxy_get_property` returns for a dotted path such as `xds.route_name`.
    #[must_use]
    pub fn property(mut self, path: &str, value: impl AsRef<[u8]>) -> Self {
        self.properties.push((path.to_owned(), value.as_ref().to_vec()));
        self
    }
}
