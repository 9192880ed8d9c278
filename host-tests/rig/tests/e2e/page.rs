//! The operators' page in a real browser, on what `envoy/run` starts and prints.

use selvage_rig::envoy::{Gateway, Response};
use selvage_rig::scripted::{Answer, Gate, Origin};
use serde_json::Value;

use super::{becomes, browser};

/// What `page.mjs` saw.
pub(super) fn browse(url: &str, token: &str, arguments: &[&str]) -> Value {
    browser::look("page.mjs", url, &[&[token], arguments].concat())
}

#[test]
fn an_operator_logs_in_sees_the_figures_and_purges() {
    let origin = Origin::start();
    origin.on("/a", |received| Answer::fresh(format!("answer {}", received.before)));
    let gateway = Gateway::by_default().origin(origin.url()).start();
    let only =
        |word: &str| gateway.printed(word).pop().unwrap_or_else(|| panic!("no {word}:\n{}", gateway.log()));
    let (url, token) = (only("page"), only("token"));
    // The browser's host is part of the key.
    let host = gateway.address().to_string();
    let get = || gateway.get("/a").header("host", &host).send();
    get();
    assert_eq!(becomes(get, Response::is_hit).text(), "answer 0");
    // One request in 16 is counted for the top keys, in each worker for itself.
    (0..200).for_each(|_| drop(get()));

    let seen = browse(&url, &token, &["use", "/a"]);

    // Before the login there is a form, nothing else, and the browser was sent to the page's own path.
    assert_eq!(seen["at_login"]["figures"], false, "{seen:#}");
    assert_eq!(seen["at_login"]["address"], url.as_str());
    assert_eq!(
        (&seen["refused"]["figures"], &seen["refused"]["kept"]),
        (&Value::from(false), &Value::from(0))
    );
    assert_eq!(seen["refused"]["said"], "The token is refused.");

    // After it every panel has what its path answers, or says that there is no such path.
    assert_eq!(seen["login_hidden"], true);
    let asked = |path: &str| {
        let bearer = format!("Bearer {token}");
        gateway.get(&format!("/.selvage/{path}")).header("authorization", bearer).send().status
    };
    let report = asked("report") == 200;
    for (panel, text) in seen["panels"].as_object().unwrap() {
        let text = text.as_str().unwrap();
        assert!(!text.is_empty() && (!report || !text.starts_with("The report")), "{panel}: {text}");
    }
    if report {
        let of = |panel: &str| seen["panels"][panel].as_str().unwrap().to_owned();
        assert!(
            of("rate").contains('%') && of("outcomes").contains("hit ") && of("tiers").contains("worker ")
        );
        assert!(of("top").contains("/a"), "{}", of("top"));
        assert!(seen["plots"].as_u64() > Some(2), "{seen:#}");
    }
    assert_eq!(seen["unlabelled"], Value::Array(Vec::new()), "fields without a label");
    assert_eq!(seen["too_wide"], 0, "at the width of a phone");

    // What it purges is gone.
    assert_eq!(seen["purged"], "purged: 1");
    assert!(
        seen["not_purged"].as_str().unwrap().starts_with("refused (400): urls[0]: "),
        "{}",
        seen["not_purged"]
    );
    becomes(get, |answer| answer.is_hit() && answer.text() == "answer 1");
    let explained = seen["explained"].as_str().unwrap();
    assert!(
        !explained.is_empty() && (asked("explain") == 404 || explained != "not available here"),
        "{explained}"
    );

    assert_eq!(seen["left"]["login"], true);
    assert_eq!((&seen["left"]["figures"], &seen["left"]["drawn"]), (&Value::from(false), &Value::from("")));
    assert_eq!(seen["left"]["kept"], 0, "the token stays after the log-out");

    // Nobody else was asked for anything, and the page's policy was never broken.
    assert_eq!(seen["complaints"], Value::Array(Vec::new()));
    let inside = url.trim_end_matches('/');
    for request in seen["requests"].as_array().unwrap() {
        let (_, target) = request.as_str().unwrap().split_once(' ').unwrap();
        assert!(target.starts_with(inside), "{target}");
    }
    assert_eq!(browse(&url, &token, &["everything"])["purged"], "purged: 1");
    becomes(get, |answer| answer.text() == "answer 2");
    assert_eq!(origin.count("/favicon.ico"), 0);
    assert_eq!(origin.count("/.selvage/"), 0);
    gateway.assert_sound();
}

const TOKEN: &str = "a-token-of-some-length";
/// One place at the origin and nobody waits; two requests of a key.
const ADMISSION: &str = r#"{ "admin": { "token_env": "SELVAGE_ADMIN_TOKEN" },
    "pools": [ { "name": "api", "fixed": 1, "queue": { "requests": 0 } } ],
    "limits": [ { "name": "per-key", "by": ["header:x-key"], "quota": 2, "window": "1h", "burst": 2 } ],
    "rules": [ { "name": "slow", "match": { "paths": ["/slow/*"] }, "admission": { "pool": "api", "priority": "high" } },
               { "name": "limited", "match": { "paths": ["/limited"] }, "limits": ["per-key"] } ] }"#;

#[test]
fn an_operator_sees_what_pools_and_limits_do() {
    let (origin, gate) = (Origin::start(), Gate::new());
    let waits = gate.clone();
    origin.on("/slow/a", move |_| Answer::ok("slow").waits_for(&waits));
    origin.on("/limited", |_| Answer::fresh("limited"));
    let gateway = Gateway::with(ADMISSION).origin(origin.url()).environment("SELVAGE_ADMIN_TOKEN", TOKEN);
    let gateway = gateway.workers(1).start();
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| gateway.get("/slow/a").send());
        becomes(|| gateway.stat("pool.api.in-flight"), |there| *there == 1);
        for _ in 0..2 {
            assert_eq!(gateway.get("/slow/b").send().status, 503);
        }
        let ask = || gateway.get("/limited").header("x-key", "one").send().status;
        let answers: Vec<u16> = (0..5).map(|_| ask()).collect();
        assert_eq!(answers, [200, 200, 429, 429, 429]);
        becomes(|| gateway.stat("limit_requests.per-key.refused"), |counted| *counted == 3);
        becomes(|| gateway.stat("pool_shed.api.high"), |counted| *counted == 2);

        let seen =
            browse(&format!("http://{}/.selvage/", gateway.address()), TOKEN, &["admission", "/limited"]);
        let of = |panel: &str| seen[panel].as_str().unwrap().to_owned();
        let (pools, limits) = (of("pools"), of("limits"));
        assert!(pools.contains("api\t") && pools.contains("1 of 1"), "{pools}");
        // Of the highest class two, for a full queue.
        assert_eq!(pools.matches("\t2").count(), 2, "{pools}");
        assert!(limits.contains("per-key\t2\t3\t0\t"), "{limits}");
        let key = limits.split("\t").find_map(|cell| cell.trim().split_once(" (3)")).unwrap().0.to_owned();
        let key = key.lines().next_back().unwrap();
        assert!(key.len() == 16 && key.bytes().all(|byte| byte.is_ascii_hexdigit()), "{limits}");
        assert!(of("resources").contains("api in_flight 1 share 1"), "{}", of("resources"));
        assert!(of("explained").contains("\"per-key\": 2 in 3600 s"), "{}", of("explained"));
        assert_eq!(seen["complaints"], Value::Array(Vec::new()));
        gate.open();
        assert_eq!(slow.join().unwrap().text(), "slow");
    });
    // Prometheus has them by pool and by limit.
    let text = gateway.admin("/stats/prometheus");
    for (name, labels, value) in [
        ("selvage_pool_shed", ["class=\"high\"", "pool=\"api\""], 2),
        ("selvage_pool_shed_for", ["reason=\"full\"", "pool=\"api\""], 2),
        ("selvage_limit_requests", ["limit=\"per-key\"", "result=\"refused\""], 3),
    ] {
        let fits = |line: &&str| {
            line.starts_with(&format!("{name}{{"))
                && labels.iter().all(|label| line.contains(label))
                && line.ends_with(&format!(" {value}"))
        };
        assert!(text.lines().any(|line| fits(&line)), "no {name} in\n{text}");
    }
    gateway.assert_sound();
}
