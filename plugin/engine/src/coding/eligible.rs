//! Decides which responses are stored compressed.

use crate::fields::Fields;
use crate::policy::Compression;

/// Whether a type without parameters is one of a rule's: `type/subtype`, `type/*`, or a suffix such as `+json`.
pub fn is_one_of(types: &[Box<[u8]>], essence: &[u8]) -> bool {
    let Some(slash) = essence.iter().position(|byte| *byte == b'/') else { return false };
    types.iter().any(|kind| match &**kind {
        [b'+', ..] => ends_with(essence, kind),
        [main @ .., b'/', b'*'] => essence.get(..slash).is_some_and(|own| own.eq_ignore_ascii_case(main)),
        kind => essence.eq_ignore_ascii_case(kind),
    })
}

/// Whether a type without parameters is that of JSON: `application/json`, or one with the suffix `+json` (RFC 6839 §3.1).
pub fn is_json(essence: &[u8]) -> bool {
    essence.eq_ignore_ascii_case(b"application/json")
        || essence.contains(&b'/') && ends_with(essence, b"+json")
}

/// Whether a response of `body_len` bytes may be stored compressed: a 200 of the rule's types that is long enough,
/// has no content coding yet, is no part of something, and whose sender does not forbid it (`no-transform`, RFC
/// 9110 §7.7).
///
/// A response with more than one `Content-Type`, or with none, is left alone.
pub fn eligible(status: u16, response: Fields<'_>, body_len: usize, rule: &Compression) -> bool {
    rule.enabled
        && (rule.min_bytes..=rule.max_bytes).contains(&body_len)
        && essence_of_whole(status, response).is_some_and(|essence| is_one_of(&rule.types, essence))
}

/// The type, without parameters, of a 200 that may be changed: it is whole, has no content coding, and its sender does not forbid
/// it. `None` with more than one `Content-Type`, or without.
pub fn essence_of_whole<'a>(status: u16, response: Fields<'a>) -> Option<&'a [u8]> {
    if status != 200 || forbids_transform(response) {
        return None;
    }
    let mut content_type = None;
    for (name, value) in response.iter() {
        match name {
            b"content-type" if content_type.is_some() => return None,
            b"content-type" => content_type = Some(value),
            b"content-range" => return None,
            _ => {}
        }
    }
    let coded = response.members(b"content-encoding").any(|coding| !coding.eq_ignore_ascii_case(b"identity"));
    let content_type = content_type.filter(|_| !coded)?;
    Some(content_type.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii())
}

/// Whether the sender forbids to change the content (RFC 9111 §5.2.2.6).
pub fn forbids_transform(response: Fields<'_>) -> bool {
    response.members(b"cache-control").any(|directive| directive.eq_ignore_ascii_case(b"no-transform"))
}

fn ends_with(text: &[u8], suffix: &[u8]) -> bool {
    let tail = text.len().checked_sub(suffix.len()).and_then(|start| text.get(start..));
    tail.is_some_and(|tail| tail.eq_ignore_ascii_case(suffix))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::FieldBlock;

    fn may(status: u16, fields: &[(&str, &str)], len: usize) -> bool {
        let block: FieldBlock = fields.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())).collect();
        eligible(status, block.fields(), len, &Compression::default())
    }

    #[test]
    fn text_types_are_compressed_and_others_are_not() {
        for (kind, wanted) in [
            ("text/html", true),
            ("text/html; charset=utf-8", true),
            ("Text/CSS ;x=y", true),
            ("application/json", true),
            ("application/problem+json", true),
            ("application/manifest+json", true),
            ("image/svg+xml", true),
            ("Application/Ld+JSON;v=1", true),
            ("application/javascript", true),
            ("application/wasm", true),
            ("image/png", false),
            ("application/octet-stream", false),
            ("application/jsonx", false),
            ("application/zip;x=+json", false),
            ("texts/html", false),
            ("text", false),
            ("+json", false),
            ("", false),
        ] {
            assert_eq!(may(200, &[("content-type", kind)], 2000), wanted, "{kind:?}");
        }
    }

    #[test]
    fn a_response_that_must_stay_as_it_is_stays() {
        let json = ("content-type", "application/json");
        assert!(may(200, &[json], 1024));
        assert!(may(200, &[json, ("content-encoding", "identity")], 1024));
        assert!(may(200, &[json, ("content-encoding", "")], 1024));
        assert!(!may(200, &[json], 1023), "short");
        assert!(!may(200, &[json], (1 << 20) + 1), "long");
        assert!(!may(200, &[json, ("cache-control", "max-age=5, No-Transform")], 1024), "no-transform");
        for status in [203, 204, 206, 301, 304, 404, 500] {
            assert!(!may(status, &[json], 1024), "{status}");
        }
        for (name, value) in [
            ("content-encoding", "gzip"),
            ("content-encoding", "br"),
            ("content-encoding", "identity, zstd"),
            ("content-range", "bytes 0-9/10"),
            ("content-type", "application/json"),
        ] {
            assert!(!may(200, &[json, (name, value)], 1024), "{name}: {value}");
        }
        assert!(!may(200, &[], 1024), "no type");
    }

    #[test]
    fn the_rule_has_the_last_word() {
        let block: FieldBlock = [(&b"content-type"[..], &b"image/x-raw"[..])].into_iter().collect();
        let decide = |rule: &Compression| eligible(200, block.fields(), 10, rule);
        let images =
            Compression { types: vec![Box::from(&b"IMAGE/*"[..])], min_bytes: 10, ..Compression::default() };
        assert!(decide(&images));
        assert!(!decide(&Compression { enabled: false, ..images.clone() }));
        assert!(!decide(&Compression { min_bytes: 11, ..images.clone() }));
        assert!(!decide(&Compression { types: Vec::new(), ..images }));
    }
}
