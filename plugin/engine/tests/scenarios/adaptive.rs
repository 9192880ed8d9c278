//! Lifetimes by how often each response is seen to change (`ttl.adaptive`).

use selvage_engine::cache::Cache;

use crate::gateway::{Answer, Gateway, Origin, origin};

const ADAPTIVE: &str = r#"{"defaults":{"ttl":{"adaptive":{"min":"10s","max":"1h"}}}}"#;

fn says_nothing(body: &str) -> Origin {
    origin(200).body(body)
}

/// For how long a response that has just been stored is fresh, in seconds.
fn ttl(answer: &Answer) -> u64 {
    let status = answer.cache_status();
    let told = status.split("ttl=").nth(1).unwrap_or_else(|| panic!("{status}"));
    told.split(';').next().unwrap().trim().parse().unwrap()
}

/// Asks for it whenever it has expired, as often as told; `version` is what the origin has at a second. Gives the last moment.
fn ask_often(
    gateway: &mut Gateway,
    path: &str,
    mut at: u64,
    times: u32,
    version: impl Fn(u64) -> u64,
) -> (u64, u64) {
    let mut last = 0;
    for _ in 0..times {
        let body = format!("version {}", version(at));
        gateway.get(path).at(at).forwarded(says_nothing(&body));
        last = 0;
        while gateway.get(path).at(at + last).sent_is_hit() {
            last += 1;
        }
        at += last;
    }
    (at, last)
}

trait SentIsHit {
    fn sent_is_hit(self) -> bool;
}

impl SentIsHit for crate::gateway::Call<'_> {
    fn sent_is_hit(self) -> bool {
        self.header("cache-control", "only-if-cached").answered().cache_status().contains("; hit")
    }
}

#[test]
fn what_stays_the_same_is_kept_longer_and_longer_and_what_changes_is_not() {
    let mut gateway = Gateway::with(ADAPTIVE);
    let (_, first) = ask_often(&mut gateway, "/steady", 0, 1, |_| 1);
    assert_eq!(first, 10, "nothing is known yet");
    let (at, steady) = ask_often(&mut gateway, "/steady", 100, 60, |_| 1);
    assert!(steady > 100, "{steady}");
    let (_, restless) = ask_often(&mut gateway, "/restless", at, 150, |at| at / 5);
    assert!(restless < 40, "{restless}");
}

#[test]
fn all_workers_learn_together_and_so_does_the_next_configuration() {
    let mut gateway = Gateway::of_workers(2, ADAPTIVE);
    let mut at = 0;
    for nth in 0..40 {
        gateway.get("/a").worker(nth % 2).at(at).forwarded(says_nothing("same"));
        at += 4000;
    }
    let answer = gateway.get("/a").worker(1).at(at).forwarded(says_nothing("same"));
    assert_eq!(ttl(&answer), 3600, "no longer than max");
    gateway.workers[0] = Cache::new(crate::gateway::policy(ADAPTIVE));
    let answer = gateway.get("/a").at(at + 4000).forwarded(says_nothing("same"));
    assert!(ttl(&answer) > 3000);
}

#[test]
fn a_confirmation_counts_even_with_another_tag_and_a_new_content_is_a_change() {
    let mut gateway = Gateway::with(r#"{"defaults":{"ttl":{"adaptive":{"min":"10s","max":"30d"}}}}"#);
    let weak = |version: u32| says_nothing(&version.to_string()).header("etag", &format!("W/\"{version}\""));
    gateway.get("/a").at(0).forwarded(weak(1));
    let (mut at, mut last) = (0, 10);
    for _ in 0..30 {
        at += last + 10;
        let answer = gateway.get("/a").at(at).validates(origin(304).header("etag", "W/\"1\""));
        let now = ttl(&answer);
        assert!(now >= last, "{now} {last}");
        last = now;
    }
    assert!(last > 100, "{last}");
    let before = last;
    for version in 2..5 {
        at += last + 10;
        gateway.get("/a").at(at).validates(weak(version));
        last = ttl(&gateway.get("/a").at(at).hit());
    }
    at += 100_000;
    let after = ttl(&gateway.get("/a").at(at).validates(weak(5)));
    assert!(after < before, "{after} {before}");
}

#[test]
fn what_the_origin_says_is_obeyed_unless_the_rule_passes_it_over() {
    let mut gateway = Gateway::with(ADAPTIVE);
    for at in [0, 1000, 2000] {
        let answer =
            gateway.get("/a").at(at).forwarded(says_nothing("same").header("cache-control", "max-age=5"));
        assert_eq!(ttl(&answer), 5);
    }
    let over = r#"{"defaults":{"ttl":{"adaptive":{"min":"20s","override":true}}}}"#;
    let mut gateway = Gateway::with(over);
    let answer = gateway.get("/a").at(0).forwarded(says_nothing("same").header("cache-control", "max-age=5"));
    assert_eq!(ttl(&answer), 20);
    gateway
        .get("/b")
        .at(0)
        .forwarded(says_nothing("same").header("cache-control", "no-store"))
        .detail("no-store");
    let fixed = r#"{"defaults":{"ttl":{"override":"7s","statuses":{"404":"3s"},"adaptive":{}}}}"#;
    let mut gateway = Gateway::with(fixed);
    assert_eq!(ttl(&gateway.get("/a").at(0).forwarded(says_nothing("same"))), 7);
}

#[test]
fn errors_are_no_evidence_and_a_purge_is_a_change() {
    let errors = r#"{"defaults":{"ttl":{"statuses":{"503":"1s"},"adaptive":{"min":"10s","max":"1h"}}}}"#;
    let mut gateway = Gateway::with(errors);
    let (at, before) = ask_often(&mut gateway, "/a", 0, 30, |_| 1);
    gateway.get("/a").at(at).forwarded(origin(503).body("oh"));
    let answer = gateway.get("/a").at(at + 5).forwarded(says_nothing("version 1"));
    assert!(ttl(&answer) + 1 >= before, "{before}");
}

#[test]
fn each_variant_has_a_lifetime_of_its_own() {
    let mut gateway = Gateway::with(ADAPTIVE);
    let mut at = 0;
    for nth in 0..40 {
        for (language, body) in [("de", "gleich".to_owned()), ("en", format!("version {nth}"))] {
            let answer = says_nothing(&body).header("vary", "accept-language");
            gateway.get("/a").header("accept-language", language).at(at).forwarded(answer);
        }
        at += 4000;
    }
    let mut fresh = |language: &str| {
        let mut last = 0;
        while gateway.get("/a").header("accept-language", language).at(at - 4000 + last).sent_is_hit() {
            last += 1;
        }
        last
    };
    let (german, english) = (fresh("de"), fresh("en"));
    assert!(german > 4 * english, "{german} {english}");
}

#[test]
fn explain_says_what_the_lifetime_is_worked_out_from() {
    let mut gateway = Gateway::with(ADAPTIVE);
    gateway.workers[0].set_admin_auth(selvage_engine::purge::admin_auth::AdminAuth::Open);
    ask_often(&mut gateway, "/a", 0, 10, |_| 1);
    let at = 100_000;
    gateway.get("/a").at(at).forwarded(says_nothing("version 1"));
    let answer =
        gateway.get("/.selvage/explain?url=https%3A%2F%2Fexample.com%2Fa").at(at).answered().status(200);
    let told = String::from_utf8_lossy(answer.bytes()).into_owned();
    for part in [
        "by how often it changes (ttl.adaptive of the rule)",
        "changes every ",
        "0.0 changes in ",
        "5 of 100 answers of the rule",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
}

const IN_BACKGROUND: &str = r#"{"remote":{"enabled":true},"defaults":{"refresh":{"cluster":"origin"},
    "ttl":{"adaptive":{"min":"10s","max":"1h"}}}}"#;

fn may_be_stale(body: &str) -> Origin {
    let tag = format!("\"{body}\"");
    says_nothing(body).header("cache-control", "stale-while-revalidate=100").header("etag", &tag)
}

/// Has it refreshed in the background so often, each time a second after its end. Gives its last lifetime, and when it was stored.
fn refreshed_often(gateway: &mut Gateway, times: u64, answer: impl Fn(u64) -> Origin) -> (u64, u64) {
    gateway.get("/a").at(0).forwarded(may_be_stale("version 0"));
    let (mut at, mut lifetime) = (0, 10);
    for nth in 1..=times {
        at += lifetime + 1;
        gateway.get("/a").at(at).hit().detail("stale-while-revalidate");
        gateway.asks_about_refreshes(0, at * 1000);
        let refresh = gateway.refreshes(0, at);
        gateway.renews(0, refresh, at, answer(nth));
        lifetime = ttl(&gateway.get("/a").at(at).hit());
    }
    (lifetime, at)
}

#[test]
fn what_is_refreshed_in_the_background_is_looked_at_too() {
    let confirmed = |_| origin(304).header("etag", "\"version 0\"");
    let (steady, _) = refreshed_often(&mut Gateway::with(IN_BACKGROUND), 60, confirmed);
    assert!(steady > 100, "{steady}");
    let sent_again = |_| may_be_stale("version 0");
    let (sent_again, _) = refreshed_often(&mut Gateway::with(IN_BACKGROUND), 60, sent_again);
    assert_eq!(sent_again, steady);
    let (restless, _) =
        refreshed_often(&mut Gateway::with(IN_BACKGROUND), 60, |nth| may_be_stale(&format!("version {nth}")));
    assert!(restless < 20, "{restless}");
    // What fails is no look at it.
    let mut gateway = Gateway::with(IN_BACKGROUND);
    let (before, at) = refreshed_often(&mut gateway, 60, confirmed);
    gateway.get("/a").at(at + before + 1).hit();
    gateway.asks_about_refreshes(0, (at + before + 1) * 1000);
    let refresh = gateway.refreshes(0, at + before + 1);
    gateway.renews(0, refresh, at + before + 1, origin(503).body("away"));
    let after = gateway.get("/a").at(at + before + 102).forwarded(may_be_stale("version 0"));
    assert!(ttl(&after) >= before, "{before} {}", ttl(&after));
}

#[test]
fn another_envoy_obeys_the_lifetime_that_comes_with_it_and_learns_by_itself() {
    let mut one = Gateway::with(IN_BACKGROUND);
    let (lifetime, at) = refreshed_often(&mut one, 60, |_| origin(304).header("etag", "\"version 0\""));
    one.sends();
    let mut two = Gateway::with(IN_BACKGROUND);
    two.redis = one.redis.clone();
    let there = two.get("/a").at(at + 5).hit().detail("remote");
    assert_eq!(ttl(&there), lifetime - 5);
    // It has looked at nothing yet, with and without a remote store.
    for dead in [false, true] {
        two.redis.dead = dead;
        let path = format!("/other/{dead}");
        assert_eq!(ttl(&two.get(&path).at(at).forwarded(says_nothing("a"))), 10);
    }
    assert_eq!(ttl(&two.get("/a").at(at + lifetime + 200).forwarded(says_nothing("version 0"))), 10);
}

#[test]
fn it_learns_while_it_only_watches() {
    let watching = r#"{"defaults":{"shadow":true,"ttl":{"adaptive":{"min":"10s","max":"1h"}}}}"#;
    let mut gateway = Gateway::with(watching);
    for nth in 0..40 {
        gateway.get("/a").at(nth * 4000).forwarded(says_nothing("same"));
    }
    gateway.workers[0] = Cache::new(crate::gateway::policy(ADAPTIVE));
    assert_eq!(ttl(&gateway.get("/a").at(160_000).forwarded(says_nothing("same"))), 3600);
}
