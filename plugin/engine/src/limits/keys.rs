//! Who a request is from, as a limit tells them apart: a hash.

use xxhash_rust::xxh3::xxh3_128;

use super::bucket::Rate;
use crate::callers::{Asking, value_of, write_values};
use crate::config::Limit;
use crate::sized::write_sized;

/// A limit's key, and its rate for whoever it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keyed {
    /// Of the limit and who it is.
    pub hash: u128,
    /// Of the limit alone.
    pub limit: u128,
    /// How fast the bucket fills.
    pub rate: Rate,
    /// What the request counts as, until its response says more.
    pub cost: u32,
    /// It is settled by its answer, and some of it may come back.
    pub settles: bool,
}

/// The tokens that a request to a language model may use, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reserve {
    /// Of the input.
    pub input: u64,
    /// Of the output, where the request bounds it.
    pub output: Option<u64>,
}

/// What a request counts as. Never more than could be taken at once: it would never be admitted.
fn cost_of(limit: &Limit, reserve: Option<&Reserve>, burst: u64) -> u32 {
    let Some(Reserve { input, output }) = reserve.filter(|_| limit.counts_tokens()) else {
        return limit.cost;
    };
    let tokens = input.saturating_add(output.unwrap_or(limit.cost.into()));
    u32::try_from(tokens.clamp(1, burst.max(1))).unwrap_or(u32::MAX)
}

/// The key of a request. `address` keeps the client's for the next limit.
pub(super) fn keyed(
    limit: &Limit,
    asking: &mut Asking<'_>,
    reserve: Option<&Reserve>,
    address: &mut Option<Vec<u8>>,
) -> Keyed {
    let window_ms = u64::try_from(limit.window.as_millis()).unwrap_or(u64::MAX);
    let mut text = Vec::with_capacity(64);
    write_sized(limit.name.as_bytes(), &mut text);
    // Levels are in units of the window: with another one nothing of them can be used.
    text.extend_from_slice(&window_ms.to_le_bytes());
    let limit_hash = xxh3_128(&text);
    let mut tier = None;
    if let Some(tiers) = &limit.tiers {
        let mut value = Vec::new();
        if value_of(&tiers.by, asking, address, &mut value)
            && let Ok(name) = std::str::from_utf8(&value)
            && let Some((known, _)) = tiers.quota.iter().find(|(known, _)| **known == *name)
        {
            tier = Some(&**known);
            write_sized(known.as_bytes(), &mut text);
        }
    }
    write_values(&limit.by, asking, address, &mut text);
    let (quota, burst) = limit.rate_of(tier);
    // 0 stands for no key.
    let rate = Rate::new(quota, window_ms, burst);
    let cost = cost_of(limit, reserve, rate.burst());
    Keyed { hash: xxh3_128(&text).max(1), limit: limit_hash, rate, cost, settles: limit.counts_tokens() }
}

#[cfg(feature = "limits")]
#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::fields::FieldBlock;
    use crate::request::Request;

    fn key(limit: &str, fields: &[(&str, &str)], peer: &str) -> Keyed {
        let config = format!(r#"{{"limits":[{{"name":"l","quota":100,"window":"1s",{limit}}}]}}"#);
        let config = Config::parse(config.as_bytes()).unwrap();
        let block: FieldBlock =
            [(":method", "GET"), (":path", "/A%61/../b?q"), (":authority", "Example.com:80")]
                .iter()
                .chain(fields)
                .map(|(name, value)| (name.as_bytes(), value.as_bytes()))
                .collect();
        let request = Request::read(block.fields(), false);
        let mut peer = || Some(peer.as_bytes().to_vec());
        let mut asking = Asking { request: &request, rule: "r", peer: &mut peer };
        keyed(&config.limits[0], &mut asking, None, &mut None)
    }

    #[test]
    fn an_address_counts_without_its_port_and_one_of_ipv6_by_its_network() {
        let of = |peer| key(r#""by":["ip"]"#, &[], peer).hash;
        for (one, other, same) in [
            ("192.0.2.1:5", "192.0.2.1:6", true),
            ("192.0.2.1:5", "192.0.2.2:5", false),
            ("[2001:db8::1]:5", "[2001:db8::ffff:2]:6", true),
            ("[2001:db8::1]:5", "2001:db8::7", true),
            ("[2001:db8::1]:5", "[2001:db8:0:1::1]:5", false),
            ("[::ffff:192.0.2.1]:5", "192.0.2.1:7", true),
            ("[fe80::1%eth0]:5", "[fe80::2%eth1]:6", true),
            ("", "@pipe", false),
        ] {
            assert_eq!(of(one) == of(other), same, "{one} {other}");
        }
    }

    #[test]
    fn who_has_no_value_shares_with_all_who_have_none_and_nobody_is_without_a_key() {
        let of = |by: &str, fields: &[(&str, &str)]| key(by, fields, "192.0.2.1:5").hash;
        let by = r#""by":["header:x-key"]"#;
        assert_eq!(of(by, &[]), of(by, &[("x-key", " ")]));
        assert_ne!(of(by, &[]), of(by, &[("x-key", "a")]));
        // A second line is another value, not another client's.
        assert_ne!(of(by, &[("x-key", "a"), ("x-key", "b")]), of(by, &[("x-key", "a")]));
        let by = r#""by":["cookie:id"]"#;
        assert_eq!(of(by, &[("cookie", "a=1; id=2")]), of(by, &[("cookie", "id=2"), ("cookie", "a=3")]));
        assert_eq!(of(by, &[("cookie", "a=1")]), of(by, &[("cookie", "id=")]));
        let by = r#""by":["host","path","rule"]"#;
        assert_eq!(of(by, &[]), of(by, &[("x", "y")]));
        assert_ne!(of(r#""by":["host"]"#, &[]), of(r#""by":[]"#, &[]));
    }

    #[test]
    fn a_tier_has_its_own_quota_and_its_own_bucket_and_an_unknown_one_has_none() {
        let by = r#""burst":50,"tiers":{"by":"header:x-tier","quota":{"gold":1000}}"#;
        let gold = key(by, &[("x-tier", "gold")], "192.0.2.1:5");
        assert_eq!((gold.rate.quota(), gold.rate.burst()), (1000, 500));
        let none = key(by, &[], "192.0.2.1:5");
        assert_eq!((none.rate.quota(), none.rate.burst()), (100, 50));
        assert_ne!(gold.hash, none.hash);
        assert_eq!(key(by, &[("x-tier", "platinum")], "192.0.2.1:5"), none);
    }
}
