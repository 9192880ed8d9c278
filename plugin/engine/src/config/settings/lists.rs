//! The long lists that settings hold if nothing is written.

/// The names as a setting holds them.
pub(super) fn all(list: &[&str]) -> Vec<Box<[u8]>> {
    list.iter().map(|name| name.as_bytes().into()).collect()
}

/// Fields that some origins let override what the key is made of, or that their frameworks send to themselves: storing the
/// answer would poison the cache for others.
pub const TAINTING: [&str; 33] = [
    "forwarded",
    "x-forwarded-host",
    "x-forwarded-scheme",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-ssl",
    "x-forwarded-server",
    "x-host",
    "x-http-host-override",
    "x-original-host",
    "x-original-url",
    "x-original-uri",
    "x-forwarded-path",
    "x-original-method",
    "x-rewrite-url",
    "x-scheme",
    "x-url-scheme",
    "front-end-https",
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
    "x-matched-path",
    "x-now-route-matches",
    "x-invoke-path",
    "x-invoke-query",
    "x-invoke-output",
    "x-invoke-status",
    "x-invoke-error",
    "x-middleware-subrequest",
    "x-middleware-rewrite",
    "x-vercel-sc-host",
    "x-react-router-spa-mode",
    "x-react-router-prerender-data",
];

/// Fields with which browsers ask a framework for something else than the page: data, a part of it, or a prefetch.
pub const SWITCHES: [&str; 12] = [
    "rsc",
    "next-router-state-tree",
    "next-router-prefetch",
    "next-router-segment-prefetch",
    "next-url",
    "next-action",
    "x-middleware-prefetch",
    "x-nextjs-data",
    "x-inertia",
    "x-pjax",
    "hx-request",
    "turbo-frame",
];

/// Fields beside `Authorization` and `Cookie` that say who asks: keys and tokens of APIs, and what identity proxies add.
pub const CREDENTIALS: [&str; 35] = [
    "x-authorization",
    "x-api-key",
    "x-apikey",
    "api-key",
    "apikey",
    "x-api-token",
    "x-auth-token",
    "x-access-token",
    "x-session-token",
    "x-session-id",
    "x-amz-security-token",
    "x-amzn-oidc-identity",
    "x-amzn-oidc-data",
    "x-goog-api-key",
    "ocp-apim-subscription-key",
    "x-litellm-api-key",
    "x-portkey-api-key",
    "x-portkey-virtual-key",
    "x-portkey-config",
    "cf-aig-authorization",
    "helicone-auth",
    "x-forwarded-client-cert",
    "x-goog-iap-jwt-assertion",
    "x-ms-client-principal",
    "cf-access-jwt-assertion",
    "x-jwt-assertion",
    "x-id-token",
    "x-user",
    "x-user-id",
    "x-remote-user",
    "remote-user",
    "x-forwarded-user",
    "x-forwarded-email",
    "x-forwarded-access-token",
    "x-auth-request-user",
];

/// Fields that name tags: of Fastly and others, of several CDNs, of Varnish, and of RFC 9875.
pub const TAGGING: [&str; 4] = ["surrogate-key", "cache-tag", "xkey", "cache-groups"];

/// Texts, and the other types whose content is not compressed already by its nature.
pub const COMPRESSIBLE: [&str; 16] = [
    "text/*",
    "+json",
    "+xml",
    "application/json",
    "application/javascript",
    "application/x-javascript",
    "application/ecmascript",
    "application/xml",
    "application/graphql",
    "application/x-ndjson",
    "application/yaml",
    "application/wasm",
    "application/vnd.ms-fontobject",
    "font/ttf",
    "font/otf",
    "image/bmp",
];
