//! A request as the cache sees it: one pass over the fields, nothing copied.

use crate::cache_control::RequestDirectives;
use crate::fields::Fields;
use crate::firewall::Marks;
use crate::uri;

/// The head of a request. Everything borrows from its block.
#[derive(Clone, Copy, Debug, Default)]
pub struct Request<'a> {
    /// All fields, pseudo-headers included.
    pub fields: Fields<'a>,
    /// `:method`, case-sensitive.
    pub method: &'a [u8],
    /// `:scheme`.
    pub scheme: &'a [u8],
    /// `:authority`, or `host` if there is none.
    pub authority: &'a [u8],
    /// `:path`: path and query as received.
    pub target: &'a [u8],
    /// What the client asks of caches.
    pub directives: RequestDirectives,
    /// `Range`.
    pub range: Option<&'a [u8]>,
    /// `If-Range`.
    pub if_range: Option<&'a [u8]>,
    /// There is an `If-None-Match` or an `If-Modified-Since`.
    pub conditional: bool,
    /// There is an `If-Match` or an `If-Unmodified-Since`: one that fails is for the origin to judge.
    pub origin_precondition: bool,
    /// There is an `Authorization`.
    pub authorization: bool,
    /// There is a `Proxy-Authorization`, or a field that is treated as `Authorization` once [`Request::marked`] was asked.
    pub credentials: bool,
    /// There is a field that switches a framework to another response, once [`Request::marked`] was asked.
    pub switches: bool,
    /// There is a `Cookie`.
    pub cookie: bool,
    /// `X-Forwarded-Proto`: the scheme that the origin may be told.
    pub forwarded_proto: Option<&'a [u8]>,
    /// There is a `CDN-Loop`.
    pub cdn_loop: bool,
    /// There is an `Expect`.
    pub expect: bool,
    /// The client wants to change the protocol.
    pub upgrade: bool,
    /// `Selvage-Explain`, a field of Selvage's own: somebody wants to know what becomes of the request, and shows a token.
    pub explain: Option<&'a [u8]>,
    /// A body follows the head.
    pub has_body: bool,
}

impl<'a> Request<'a> {
    /// Reads the head. Missing pseudo-headers are empty, which no later step takes for a cacheable request.
    pub fn read(fields: Fields<'a>, has_body: bool) -> Self {
        let mut request = Self { fields, has_body, ..Self::default() };
        let mut host: &[u8] = b"";
        let (mut cache_control, mut pragma_no_cache) = (false, false);
        for (name, value) in fields.iter() {
            match name {
                b":method" => request.method = value,
                b":scheme" => request.scheme = value,
                b":authority" => request.authority = value,
                b":path" => request.target = value,
                b"host" => host = value,
                b"cookie" => request.cookie = true,
                b"authorization" => request.authorization = true,
                b"proxy-authorization" => request.credentials = true,
                b"cache-control" => {
                    cache_control = true;
                    request.directives.add_line(value);
                }
                b"pragma" => pragma_no_cache |= value.trim_ascii().eq_ignore_ascii_case(b"no-cache"),
                b"if-none-match" | b"if-modified-since" => request.conditional = true,
                b"if-match" | b"if-unmodified-since" => request.origin_precondition = true,
                b"x-forwarded-proto" => request.forwarded_proto = Some(value),
                b"cdn-loop" => request.cdn_loop = true,
                b"expect" => request.expect = true,
                b"upgrade" => request.upgrade = true,
                b"range" => request.range = Some(value),
                b"if-range" => request.if_range = Some(value),
                b"selvage-explain" => request.explain = Some(value),
                _ => {}
            }
        }
        if request.authority.is_empty() {
            request.authority = host;
        }
        // RFC 9111 §5.4: Pragma stands in for an absent Cache-Control.
        request.directives.no_cache |= pragma_no_cache && !cache_control;
        request
    }

    /// Notes what the lists of a cache make of its fields.
    #[inline]
    pub const fn mark(&mut self, marks: Marks) {
        self.credentials |= marks.credentials;
        self.switches |= marks.switches;
    }

    /// The same with what the lists of a cache make of its fields.
    #[must_use]
    pub const fn marked(mut self, marks: Marks) -> Self {
        self.mark(marks);
        self
    }

    /// The marks that it has.
    pub const fn marks(&self) -> Marks {
        Marks { credentials: self.credentials, switches: self.switches }
    }

    /// The kind of method, as far as caching goes.
    pub fn method_kind(&self) -> MethodKind {
        match self.method {
            b"GET" => MethodKind::Get,
            b"HEAD" => MethodKind::Head,
            b"OPTIONS" | b"TRACE" | b"QUERY" | b"PROPFIND" | b"REPORT" | b"SEARCH" => MethodKind::OtherSafe,
            _ => MethodKind::Unsafe,
        }
    }

    /// Whether this is a HEAD request.
    pub fn is_head(&self) -> bool {
        self.method == b"HEAD"
    }

    /// The path without the query.
    pub fn path(&self) -> &'a [u8] {
        uri::split_path(self.target).0
    }
}

/// Methods by what they mean to a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MethodKind {
    /// Answered from the store and stored.
    Get,
    /// Answered from the store.
    Head,
    /// Safe, so it invalidates nothing (RFC 9110 §9.2.1).
    OtherSafe,
    /// Unsafe or unknown: a successful one invalidates (RFC 9111 §4.4).
    Unsafe,
}
