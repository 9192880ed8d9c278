//! Sessions on the real Envoy, in a real Redis, made by the real middleware of applications.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use selvage_rig::envoy::Gateway;
use selvage_rig::redis::{Bridge, Part};
use selvage_rig::scripted::{Answer, Origin, Received};
use selvage_rig::sessions::{Application, NOBODYS, compare, config, id_of, logs_out, seen, with_secrets};
use selvage_rig::uploads::Recorder;
use selvage_rig::upstash::Upstash;
use serde_json::Value;

use super::{assert_says, becomes};

/// A thousand sessions of many kinds: the filter sees what the middleware sees, and nothing else sets a field.
#[test]
fn the_filter_and_the_middleware_make_the_same_of_each_cookie() {
    let bridge = Bridge::start();
    let application = Application::start(bridge.redis_port(), 1000);
    assert!(application.made.len() >= 1000);
    let begin = |remote: &str| with_secrets(Gateway::with(&config("", remote, ""))).origin(&application.url);
    let gateway = begin("").bridge(bridge.port()).start();
    let upstash = Upstash::start(bridge.redis_port(), "token");
    let other = begin(r#", "dialect": "upstash", "credentials_env": "SELVAGE_REMOTE_CREDENTIALS""#)
        .environment("SELVAGE_REMOTE_CREDENTIALS", "token")
        .bridge(upstash.port())
        .start();
    let mut with_fields = BTreeSet::new();
    for (gateway, every) in [(&gateway, 1), (&other, 7)] {
        let compared = compare(&application, gateway, every);
        assert_eq!(compared.differences, [""; 0]);
        with_fields.extend(compared.with_fields);
    }
    for none in NOBODYS {
        assert!(!with_fields.contains(none), "{none}");
    }
    for some in [
        "plain",
        "number",
        "unicode",
        "nested",
        "big",
        "aged",
        "regenerated",
        "rotated",
        "for ever",
        "twice, the second forged",
        "not escaped",
        "among others",
        "in quotation marks",
    ] {
        assert!(with_fields.contains(some), "{some}");
    }
    gateway.assert_sound();
    other.assert_sound();
}

/// A session that the middleware keeps alive lives, although the time in its record has passed; the filter keeps sessions alive as the
/// middleware does.
#[test]
fn a_session_lives_as_long_as_redis_keeps_it() {
    let bridge = Bridge::start();
    let application = Application::start(bridge.redis_port(), 40);
    let cookie = application.cookie("aged");
    let id = id_of(cookie);
    let key = format!("sess:{id}");
    let settings = config(r#", "touch": "1h", "copy": "0s""#, "", "");
    let gateway =
        with_secrets(Gateway::with(&settings)).origin(&application.url).bridge(bridge.port()).start();
    // The middleware asks too: it keeps what it has for as long as its own record says.
    let origin = Origin::start();
    origin.otherwise(|_| Answer::ok("content"));
    let alone = with_secrets(Gateway::with(&settings)).origin(origin.url()).bridge(bridge.port()).start();
    assert!(bridge.command(&format!("EXPIRE {key} 100")).contains('1'));
    alone.get("/").header("cookie", cookie).send();
    let ttl = || bridge.command(&format!("TTL {key}")).trim().trim_start_matches(':').parse::<i64>().unwrap();
    becomes(ttl, |ttl| *ttl > 3_500);
    // Its record says that it has ended, and Redis has it all the same.
    let old =
        r#"{"cookie":{"originalMaxAge":60000,"expires":"2020-01-01T00:00:00.000Z"},"user":{"id":"still"}}"#;
    assert!(bridge.command(&format!("SET {key} '{old}' EX 1000")).contains("OK"));
    let (want, got) = seen(&gateway.get("/?a").header("cookie", cookie).send());
    assert_eq!((&want[0], got), (&Value::from("still"), want.clone()));
    gateway.assert_sound();
    alone.assert_sound();
}

/// The fields of a request as an origin has received it.
fn fields(received: &Received) -> [Option<String>; 2] {
    ["x-user-id", "x-plan"].map(|name| received.header(name))
}

fn told(origin: &Origin, path: &str) -> [Option<String>; 2] {
    fields(origin.received(path).last().unwrap())
}

/// Who logs out at the application, which purges the session at one Envoy, is nobody at the other one.
#[test]
fn a_logout_is_heard_by_the_other_envoy() {
    let bridge = Bridge::start();
    let application = Application::start(bridge.redis_port(), 40);
    // No copy ends by itself.
    let settings = config(r#", "copy": "60s""#, "", "");
    let fleet = [(); 2].map(|()| {
        with_secrets(Gateway::with(&settings)).origin(&application.url).bridge(bridge.port()).start()
    });
    let took = logs_out(&application, application.cookie("plain"), &fleet[0], &fleet[1]);
    println!("the other Envoy knew it for {} ms more", took.as_millis());
    fleet.iter().for_each(Gateway::assert_sound);
}

/// What clients send of these fields comes nowhere, by whatever way the request takes.
#[test]
fn no_client_can_say_what_only_a_session_may() {
    let (origin, bridge) = (Origin::start(), Bridge::start());
    origin.otherwise(|_| Answer::ok("content"));
    let rules = r#", "rules": [
        { "name": "out", "match": { "paths": ["/out/*"] }, "bypass": true },
        { "name": "off", "match": { "paths": ["/off/*"] }, "bypass": true, "cache_status": "off", "session": null },
        { "name": "watch", "match": { "paths": ["/watch/*"] }, "shadow": true } ]"#;
    let gateway = with_secrets(Gateway::with(&config("", "", rules)))
        .origin(origin.url())
        .bridge(bridge.port())
        .start();
    let spellings = ["x-user-id", "X-User-Id", "X_USER_ID", "x-user_id", "x.user.id", "x-plan", "X_Plan"];
    for folder in ["/a", "/out", "/off", "/watch"] {
        for (nth, method) in ["GET", "HEAD", "POST", "OPTIONS", "PUT"].iter().enumerate() {
            for cookie in ["", "connect.sid=s%3Aabc.def", "connect.sid=abc"] {
                let path = format!("{folder}/{nth}");
                let mut ask = gateway.ask(method, &path).header("cookie", cookie);
                for name in spellings {
                    ask = ask.header(name, "root");
                }
                ask.send();
                let received = origin.received(&path);
                let names = received.last().unwrap().fields.iter().map(|(name, _)| name.to_ascii_lowercase());
                let said: Vec<String> = names
                    .filter(|name| name.contains("user") && name.contains("id") || name.contains("plan"))
                    .collect();
                assert_eq!(said, [] as [String; 0], "{method} {path}");
            }
        }
    }
    gateway.assert_sound();
}

/// A field that `Connection` names is one that a proxy takes off: it must not be ours.
#[test]
fn a_client_cannot_have_a_field_taken_off() {
    let (origin, bridge) = (Origin::start(), Bridge::start());
    origin.otherwise(|_| Answer::ok("content"));
    let settings = r#"{ "remote": { "enabled": true, "timeout": "2s" },
        "sessions": [ { "name": "web", "signed": false, "prefix": "s:", "fields": { "x-user-id": "/user/id", "x-plan": "/plan" } } ],
        "defaults": { "session": "web" },
        "rules": [ { "name": "out", "match": { "paths": ["/out/*"] }, "bypass": true } ] }"#;
    let gateway = Gateway::with(settings).origin(origin.url()).bridge(bridge.port()).start();
    let ann = r#"{"user":{"id":"ann"},"plan":"gold"}"#;
    assert!(bridge.command(&format!("SET s:a '{ann}'")).contains("OK"));
    let given = [Some("ann".to_owned()), Some("gold".to_owned())];
    for (path, connection) in
        [("/a", "x-user-id"), ("/b", "close, X-Plan"), ("/out/a", "keep-alive, x-user-id, x-plan")]
    {
        gateway.get(path).header("cookie", "connect.sid=a").header("connection", connection).send();
        assert_eq!(told(&origin, path), given, "{connection}");
    }
    for (path, connection) in [("/out/up", "Upgrade, x-user-id"), ("/up", "upgrade, X-USER-ID, x-plan")] {
        let ask = gateway.get(path).header("cookie", "connect.sid=a").header("connection", connection);
        // Envoy may refuse the upgrade; what reaches the origin has the fields.
        let response = ask.header("upgrade", "websocket").send();
        if let Some(received) = origin.received(path).last() {
            assert_eq!(fields(received), given, "{connection}");
            let named = received.header("connection").unwrap_or_default().to_ascii_lowercase();
            assert!(!named.contains("x-"), "{named}");
        } else {
            assert_ne!(response.status, 200);
        }
    }
    gateway.assert_sound();
}

/// With Redis slow, dead or lying, requests go on without the fields, or are refused, as configured, and no field is another's.
#[test]
fn without_redis_nobody_is_somebody() {
    let (origin, mut bridge) = (Origin::start(), Bridge::start());
    origin.otherwise(|_| Answer::ok("content"));
    let base = r#"{ "remote": { "enabled": true, "timeout": "200ms", "breaker": { "pause": "100ms" } },
        "sessions": [ { "name": "web", "signed": false, "copy": "0s", "on_failure": "FAILURE", "fields": { "x-user-id": "/user/id", "x-plan": "/plan" } } ],
        "defaults": { "session": "web", "bypass": true } }"#;
    let start = |word: &str, bridge: &Bridge| {
        Gateway::with(&base.replace("FAILURE", word)).origin(origin.url()).bridge(bridge.port()).start()
    };
    let (passes, refuses) = (start("pass", &bridge), start("503", &bridge));
    let ann = r#"{"user":{"id":"ann"},"plan":"gold"}"#;
    let set = |bridge: &Bridge| assert!(bridge.command(&format!("SET sess:a '{ann}'")).contains("OK"));
    set(&bridge);
    let ask = |gateway: &Gateway| {
        gateway.get("/a").header("cookie", "connect.sid=a").header("x-user-id", "root").send()
    };
    let knows =
        |gateway: &Gateway| ask(gateway).status == 200 && told(&origin, "/a")[0].as_deref() == Some("ann");
    let nobody = |what: &str| {
        for _ in 0..3 {
            assert_eq!(ask(&passes).status, 200, "{what}");
            assert_eq!(told(&origin, "/a"), [None, None], "{what}");
            let refused = ask(&refuses);
            assert_eq!(refused.status, 503, "{what}");
            assert_says(&refused, "detail=session-unknown");
        }
    };
    assert!(knows(&passes) && knows(&refuses));
    bridge.stall(Part::Redis);
    nobody("slow");
    bridge.resume(Part::Redis);
    becomes(|| knows(&passes) && knows(&refuses), |knows| *knows);
    bridge.end_webdis();
    nobody("without a bridge");
    bridge.start_webdis();
    becomes(|| knows(&passes) && knows(&refuses), |knows| *knows);
    bridge.end_redis();
    nobody("dead");
    bridge.start_redis();
    // It has lost what it had: there is no such session.
    becomes(|| ask(&refuses).status, |status| *status == 200);
    becomes(|| ask(&passes).status == 200 && told(&origin, "/a")[0].is_none(), |none| *none);
    // Something else lies there, or what is no session, or is too large.
    for lies in ["RPUSH sess:a x", "SET sess:a {", "SET sess:a []"] {
        bridge.command("DEL sess:a");
        bridge.command(lies);
        // A connection of the bridge that nobody has used since Redis went still says so, once.
        let status = becomes(|| ask(&refuses).status, |status| *status != 503);
        assert_eq!(status, 200, "{lies}");
        assert_eq!(told(&origin, "/a"), [None, None], "{lies}");
    }
    bridge.command("DEL sess:a");
    set(&bridge);
    becomes(|| knows(&passes) && knows(&refuses), |knows| *knows);
    // An answer to another's question is none.
    passes.assert_sound();
    refuses.assert_sound();
    let liar = Origin::start();
    liar.otherwise(|_| Answer::ok("7 v-1 - {\"user\":{\"id\":\"root\"}}"));
    let port: u16 = liar.url().rsplit(':').next().unwrap().parse().unwrap();
    let lied_to = Gateway::with(&base.replace("FAILURE", "pass")).origin(origin.url()).bridge(port).start();
    assert_eq!(ask(&lied_to).status, 200);
    assert_eq!(told(&origin, "/a"), [None, None]);
}

/// Members of a hash, with names and an id that a path or JSON would read as something else.
#[test]
fn a_hash_gives_its_members() {
    let (origin, bridge) = (Origin::start(), Bridge::start());
    origin.otherwise(|_| Answer::ok("content"));
    let settings = |remote: &str| {
        format!(
            r#"{{ "remote": {{ "enabled": true, "timeout": "2s" {remote} }},
            "sessions": [ {{ "name": "web", "signed": false, "format": "hash", "prefix": "s/:.+",
                "fields": {{ "x-user-id": "user id/.", "x-plan": "pl+an.bin" }} }} ],
            "defaults": {{ "session": "web", "bypass": true }} }}"#
        )
    };
    let upstash = Upstash::start(bridge.redis_port(), "token");
    let dialect = r#", "dialect": "upstash", "credentials_env": "SELVAGE_REMOTE_CREDENTIALS""#;
    let fleet = [
        Gateway::with(&settings("")).origin(origin.url()).bridge(bridge.port()).start(),
        Gateway::with(&settings(dialect))
            .environment("SELVAGE_REMOTE_CREDENTIALS", "token")
            .origin(origin.url())
            .bridge(upstash.port())
            .start(),
    ];
    let key = "s/:.+a%?*/b.json";
    bridge.command(&format!(r#"HSET "{key}" "user id/." "an\"n, é" pl+an.bin go:ld more x"#));
    for member in &fleet {
        member.get("/a").header("cookie", "connect.sid=a%25%3F*%2Fb.json").send();
        assert_eq!(told(&origin, "/a"), [Some("an\"n, é".to_owned()), Some("go:ld".to_owned())]);
        member.assert_sound();
    }
}

/// Limits and jobs go by who has the session, whatever is sent besides.
#[test]
fn limits_and_jobs_know_who_asks_by_the_session() {
    let (origin, bridge) = (Origin::start(), Bridge::start());
    origin.otherwise(|received| Answer::ok(received.header("x-user-id").unwrap_or_default()));
    let settings = r#"{ "remote": { "enabled": true, "timeout": "2s" },
        "sessions": [ { "name": "web", "signed": false, "prefix": "s:", "fields": { "x-user-id": "/user", "x-plan": "/plan" } } ],
        "limits": [ { "name": "each", "by": ["session:x-user-id"], "quota": 2, "window": "1h", "burst": 2,
                      "tiers": { "by": "session:x-plan", "quota": { "gold": 4 } } } ],
        "jobs": { "cluster": "origin", "by": ["session:x-user-id"], "poll": "100ms" },
        "defaults": { "session": "web", "bypass": true },
        "rules": [ { "name": "limited", "match": { "paths": ["/limited"] }, "limits": ["each"] },
                   { "name": "work", "match": { "paths": ["/tasks"] }, "jobs": "prefer" } ] }"#;
    let gateway = Gateway::with(settings).origin(origin.url()).bridge(bridge.port()).start();
    let records = [("ann-1", "ann", "gold"), ("ann-2", "ann", "gold"), ("bob", "bob", "free")];
    for (id, user, plan) in records {
        let record = format!(r#"{{"user":"{user}","plan":"{plan}"}}"#);
        assert!(bridge.command(&format!("SET s:{id} '{record}'")).contains("OK"));
    }
    let ask = |method: &str, path: &str, id: &str| {
        let ask = gateway.ask(method, path).header("cookie", format!("connect.sid={id}"));
        ask.header("x-user-id", format!("not {id}")).header("X_Plan", "gold")
    };
    let admitted = |ids: &[&str]| {
        let all = ids.iter().flat_map(|id| (0..4).map(|_| ask("GET", "/limited", id).send().status));
        all.filter(|status| *status == 200).count()
    };
    // Two sessions of one user are one caller, and all who have none are one too.
    assert_eq!([admitted(&["ann-1", "ann-2"]), admitted(&["bob"]), admitted(&["x", "y", ""])], [4, 2, 2]);
    let accepted = ask("POST", "/tasks", "ann-1").header("prefer", "respond-async").body("x").send();
    assert_eq!(accepted.status, 202, "{}", accepted.text());
    let place = accepted.header("location").unwrap();
    becomes(|| ask("GET", &place, "ann-2").send(), |told| told.text().contains(r#""state":"done""#));
    assert_eq!(ask("GET", &format!("{place}/result"), "ann-2").send().text(), "ann");
    for id in ["bob", "x", ""] {
        assert_eq!(ask("GET", &place, id).send().status, 404, "{id}");
    }
    gateway.assert_sound();
}

/// Parts of an upload come before Redis has said whose it is, and after: none is lost, whatever Envoy does with those that wait, and
/// what is wrong is refused.
#[test]
fn an_upload_waits_for_its_session_and_is_whole() {
    let bridge = Bridge::start();
    let application = Application::start(bridge.redis_port(), 40);
    let origin = Recorder::start();
    let rules = r#", "rules": [ { "name": "pictures", "match": { "paths": ["/pictures"] },
        "upload": { "types": ["image/png"], "sniff": true, "max_bytes": "4MiB" } },
      { "name": "short", "match": { "paths": ["/short"] }, "upload": { "max_bytes": 200000 } } ]"#;
    let settings = config("", "", rules);
    let gateway = with_secrets(Gateway::with(&settings)).origin(origin.url()).bridge(bridge.port()).start();
    let cookies: Vec<&String> =
        application.made.iter().filter(|(kind, _)| kind == "plain").map(|(_, cookie)| cookie).collect();
    let png = [b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec(), vec![b'x'; 3_000_000]].concat();
    let send = |nth: usize, path: &str, body: &[u8], early: usize| {
        let mut client = TcpStream::connect(gateway.address()).unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\ncookie: {}\r\ncontent-type: image/png\r\ntransfer-encoding: chunked\r\n\r\n",
            cookies[nth % cookies.len()]
        );
        let mut chunked = Vec::new();
        for part in body.chunks(60_000) {
            chunked.extend(format!("{:x}\r\n", part.len()).into_bytes());
            chunked.extend_from_slice(part);
            chunked.extend_from_slice(b"\r\n");
        }
        chunked.extend_from_slice(b"0\r\n\r\n");
        let had = origin.bytes();
        bridge.stall(Part::Redis);
        client.write_all(head.as_bytes()).unwrap();
        client.write_all(&chunked[..early.min(chunked.len())]).unwrap();
        // Nobody tells that Envoy has read it.
        thread::sleep(Duration::from_millis(50));
        bridge.resume(Part::Redis);
        let _ = client.write_all(&chunked[early.min(chunked.len())..]);
        let mut told = String::new();
        let _ = client.read_to_string(&mut told);
        let status: u16 = told.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
        (status, told, origin.bytes() - had)
    };
    for (nth, early) in [0, 1, 20, 70_000, 500_000].into_iter().enumerate() {
        let (status, told, arrived) = send(nth, "/pictures", &png, early);
        assert_eq!(status, 200, "{early}: {told}");
        assert!(arrived > png.len(), "{early}: {arrived} bytes");
        let (status, told, arrived) = send(nth, "/pictures", &[b"<html>".as_slice(), &png].concat(), early);
        assert_eq!((status, arrived), (415, 0), "{early}: {told}");
        let (status, told, arrived) = send(nth, "/short", &png, early);
        assert_eq!(status, 413, "{early}: {told}");
        assert!(arrived < 400_000, "{early}: {arrived} bytes");
    }
    gateway.assert_sound();
}
