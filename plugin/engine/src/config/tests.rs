use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::reference::{Form, Least, Member, rule_only, settings, top};
use super::schema::schema;
use super::*;

fn faults(json: &str) -> Vec<String> {
    let faults = Config::parse(json.as_bytes()).expect_err(json);
    faults.iter().map(ConfigError::to_string).collect()
}

fn parse(json: &str) -> Config {
    Config::parse(json.as_bytes()).unwrap_or_else(|faults| panic!("{json}: {faults:?}"))
}

#[test]
fn nothing_written_is_the_default() {
    for json in ["", "  \n", "{}", r#"{"worker":{},"node":{},"defaults":{"ttl":{}},"rules":[]}"#] {
        assert_eq!(parse(json), Config::default(), "{json:?}");
    }
}

#[test]
fn a_full_configuration_is_read() {
    let config = parse(
        r#"{
            "name": "edge", "worker": { "bytes": "10MB", "entries": 1000.0 }, "node": { "bytes": 0, "poll": 1 },
            "defaults": { "ttl": { "default": "60s", "statuses": { "404": "10s", "301": 60.0 } },
                          "key": { "query": { "order": "sort", "except": ["utm_*"] } } },
            "rules": [
                { "name": "llm", "match": { "hosts": ["AI.example.com"], "methods": ["POST"] },
                  "ttl": { "default": null, "override": "5m" },
                  "key": { "query": { "only": ["v"] }, "headers": ["Accept"],
                           "body": { "methods": ["POST", "QUERY"], "inline_bytes": 256.0 } },
                  "statuses": [404, 200], "set_cookie": "strip" },
                { "name": "all", "key": { "query": { "except": null } } } ]
        }"#,
    );
    let seconds = Duration::from_secs;
    assert_eq!((&*config.name, config.worker.bytes, config.worker.entries), ("edge", 10_000_000, 1000));
    assert_eq!((config.node.bytes, config.node.poll), (0, seconds(1)));
    assert_eq!(config.defaults.ttl.statuses, [(301, seconds(60)), (404, seconds(10))]);
    let [llm, all] = &config.rules[..] else { panic!("two rules") };
    assert_eq!(llm.matching.hosts.as_deref(), Some(&[b"ai.example.com"[..].into()][..]));
    assert_eq!((llm.rule.ttl.default, llm.rule.ttl.r#override), (None, Some(seconds(300))));
    assert_eq!(llm.rule.ttl.statuses, config.defaults.ttl.statuses, "what a rule does not write it inherits");
    assert_eq!(llm.rule.key.query.order, QueryOrder::Sort);
    assert_eq!(llm.rule.key.query.choice, QueryChoice::Only(vec![QueryName::Exact(b"v"[..].into())]));
    assert_eq!(llm.rule.key.headers, [b"accept"[..].into()]);
    assert_eq!(
        llm.rule.key.body.as_ref().map(|body| (body.inline_bytes, body.max_bytes)),
        Some((256, 65_536))
    );
    assert_eq!(llm.rule.statuses, Some(vec![200, 404]));
    assert_eq!(llm.rule.set_cookie, SetCookie::Strip);
    assert_eq!(all.rule.key.query.choice, QueryChoice::All, "null takes back what is inherited");
    assert_eq!(all.rule.ttl.default, Some(seconds(60)));
}

#[test]
fn all_faults_are_told_at_once_with_path_find_and_remedy() {
    let told = faults(
        r#"{
            "wrker": {}, "worker": { "bytes": "701MiB", "entries": -1 }, "node": 5, "name": "é",
            "rules": [
                { "name": "a", "ttl": { "default": "30 parsecs", "max": 1e300 } },
                { "name": "a", "match": { "hosts": [] }, "bypass": "yes", "bypass": true },
                { "key": { "headers": ["Connection", ":path", "x"], "query": { "only": ["a"], "except": ["b"] } } },
                7 ]
        }"#,
    );
    for wanted in [
        r#"wrker: found an unknown member "wrker", allowed: "name", "namespace", "worker", "node", "remote", "admin", "purge", "warm", "foresight", "batch", "jobs", "defaults", "pools", "limits", "models", "budgets", "sessions", "rules" (did you mean "worker"?)"#,
        r#"name: found "é", allowed: 1 to 128 printable ASCII characters"#,
        r#"worker.bytes: found "701MiB", allowed: a size such as "64KiB", "64MiB", "1GiB" or whole bytes, from "0B" to "700MiB""#,
        "worker.entries: found -1, allowed: a whole number from 1 to 4194304",
        "node: found 5, allowed: an object",
        r#"rules[0].ttl.default: found "30 parsecs", allowed: a duration such as "30s", "5m", "1h" or whole seconds, from "0s" to "3650d", or null"#,
        r#"rules[1].name: found "a" again, allowed: a name that no other rule has"#,
        "rules[1].match.hosts: found a list of 0, allowed: a list of 1 to 64",
        r#"rules[1].bypass: found "yes", allowed: true or false"#,
        "rules[1].bypass: found the member again, allowed: each member once",
        "rules[2].name: found nothing, allowed: a name of 1 to 128",
        r#"rules[2].key.headers[0]: found "Connection", allowed: a request field name such as"#,
        r#"rules[2].key.headers[1]: found ":path", allowed: a request field name such as"#,
        r#"rules[2].key.query: found both "only" and "except", allowed: one of "only" and "except""#,
        "rules[3]: found 7, allowed: an object",
    ] {
        assert!(told.iter().any(|fault| fault.starts_with(wanted)), "{wanted}\n{}", told.join("\n"));
    }
    assert!(told.iter().any(|fault| fault.starts_with("rules[0].ttl.max: found 1e+300, ")), "{told:?}");
    assert_eq!(told.len(), 16, "{}", told.join("\n"));
}

#[test]
fn what_is_no_json_or_too_long_is_one_fault() {
    for (json, wanted) in [
        ("{", "configuration: found EOF while parsing an object at line 1 column 1, allowed: JSON"),
        ("[]", "configuration: found a list of 0, allowed: an object"),
        ("null", "configuration: found null, allowed: an object"),
        (&" 1".repeat(CONFIG_BYTES), "configuration: found 2097152 bytes, allowed: at most"),
        (&"[".repeat(100_000), "configuration: found recursion limit exceeded"),
    ] {
        let told = faults(json);
        assert!(told.len() == 1 && told[0].starts_with(wanted), "{told:?}");
    }
}

#[test]
fn a_hundred_faults_are_told_of_any_number() {
    let members: Vec<String> = (0..5000).map(|n| format!("\"m{n}\":0")).collect();
    assert_eq!(faults(&format!("{{{}}}", members.join(","))).len(), 100);
}

#[test]
fn each_wrong_example_is_refused_with_path_and_allowed_values() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../host-tests/fixtures/config");
    let read =
        |path: PathBuf| std::fs::read_to_string(&path).unwrap_or_else(|_| panic!("{}", path.display()));
    let expected = read(folder.join("expected.txt"));
    let mut tried = BTreeSet::new();
    for line in expected.lines() {
        let (file, fragment) = line.split_once('\t').expect(line);
        let told = faults(&read(folder.join(file))).join("\n");
        assert!(told.contains(fragment), "{file}: {fragment}\n{told}");
        tried.insert(file.to_owned());
    }
    let files =
        std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    let wrong: BTreeSet<String> = files.filter(|name| name.starts_with("bad-")).collect();
    assert_eq!(tried, wrong);
    assert!(wrong.len() > 15, "{wrong:?}");
}

/// The configuration with one member written, in each place where the member may stand.
fn written(member: &Member, place: &str, value: Value) -> Value {
    let mut names: Vec<&str> = place.split('.').filter(|name| !name.is_empty()).collect();
    let listed = names.first().and_then(|name| name.strip_suffix("[]"));
    names.retain(|name| !name.ends_with("[]"));
    names.extend(member.path.split('.'));
    let mut json = value;
    for name in names.into_iter().rev() {
        let mut object = json!({ name: json });
        if name == "body" && object["body"].is_object() && object["body"].get("methods").is_none() {
            object["body"]["methods"] = json!(["POST"]);
        }
        if name == "llm" && object["llm"].is_object() && object["llm"].get("api").is_none() {
            object["llm"]["api"] = json!("openai");
        }
        if name == "fallback"
            && let Some(fallback) = object["fallback"].as_object_mut()
        {
            let calls = fallback.get("on").is_some_and(|on| on.to_string().contains("429"));
            for (needed, value) in [("header", json!("x-b")), ("value", json!("b")), ("on", json!(["open"]))]
            {
                fallback.entry(needed).or_insert(value);
            }
            if calls {
                fallback.entry("cluster").or_insert(json!("c"));
            }
        }
        if name == "embeddings" && object["embeddings"].get("merge").is_some_and(Value::is_object) {
            object["embeddings"]["cluster"] = json!("c");
            object["embeddings"]["by_input"] = json!(true);
        }
        if object.pointer("/llm/embeddings/by_input") == Some(&json!(true)) {
            object["llm"]["cache"] = json!({});
        }
        if name == "admission" && object["admission"].is_object() && object["admission"].get("pool").is_none()
        {
            object["admission"]["pool"] = json!("p");
        }
        if name == "jobs" && object["jobs"].is_object() && object["jobs"].get("cluster").is_none() {
            object["jobs"]["cluster"] = json!("c");
        }
        json = object;
    }
    let pool = json.pointer("/admission/pool").or(json.pointer("/defaults/admission/pool")).cloned();
    if listed == Some("limits") {
        let mut limit = a_limit("l");
        if member.path == "cost" {
            limit["burst"] = json!(1_000_000);
        }
        limit.as_object_mut().unwrap().extend(json.as_object().unwrap().clone());
        json = json!({ "limits": [limit] });
        if member.path == "scope" {
            json["remote"] = json!({ "enabled": true });
        }
    } else if listed == Some("models") {
        let mut model = a_model("m");
        model.as_object_mut().unwrap().extend(json.as_object().unwrap().clone());
        json = json!({ "models": [model] });
    } else if listed == Some("sessions") {
        let mut session = a_session("s");
        // One of the two must be told.
        match member.path.as_str() {
            "signed" if json["signed"] == false => session["secret_env"] = json!([]),
            "secret_env" if json["secret_env"] == json!([]) => session["signed"] = json!(false),
            _ => {}
        }
        session.as_object_mut().unwrap().extend(json.as_object().unwrap().clone());
        json = json!({ "remote": { "enabled": true }, "sessions": [session] });
    } else if listed == Some("budgets") {
        let mut budget = a_budget("b");
        if member.path == "tokens" {
            budget["money"] = json!(null);
        }
        if json.pointer("/alert").is_some_and(|alert| alert.is_object() && alert.get("cluster").is_none()) {
            json["alert"]["cluster"] = json!("c");
        }
        budget.as_object_mut().unwrap().extend(json.as_object().unwrap().clone());
        // One of the two must be told.
        match member.path.as_str() {
            "tokens" if json["tokens"].is_null() => budget["money"] = json!(5),
            "money" if json["money"].is_null() => budget["tokens"] = json!(5),
            _ => {}
        }
        json = json!({ "budgets": [budget] });
        if member.path == "scope" {
            json["remote"] = json!({ "enabled": true });
        }
    } else if let Some(listed) = listed {
        if json.get("name").is_none() {
            json["name"] = json!("r");
        }
        json = json!({ listed: [json] });
    }
    if let Some(Value::String(pool)) = pool {
        json["pools"] = json!([{ "name": pool }]);
    }
    if member.path == "sessions" {
        json["remote"] = json!({ "enabled": true });
    }
    let session = json.pointer("/rules/0/session").or(json.pointer("/defaults/session"));
    if let Some(Value::String(name)) = session.cloned() {
        json["remote"] = json!({ "enabled": true });
        json["sessions"] = json!([a_session(&name)]);
    }
    if member.path == "limits" && !place.is_empty() {
        json["limits"] = json!([a_limit("x-a")]);
    }
    if member.path == "budgets" && !place.is_empty() && json.to_string().contains("x-a") {
        json["budgets"] = json!([a_budget("x-a")]);
        let rule = if place == "defaults" { &mut json["defaults"] } else { &mut json["rules"][0] };
        rule["llm"] = json!({ "api": "openai" });
    }
    if member.path == "jobs" && !place.is_empty() && !json.to_string().contains("\"off\"") {
        json["jobs"] = json!({ "cluster": "c" });
    }
    if json["jobs"].is_object() {
        json["remote"] = json!({ "enabled": true });
    }
    json
}

fn a_limit(name: &str) -> Value {
    json!({ "name": name, "quota": 3_000_000, "window": "1s" })
}

fn a_session(name: &str) -> Value {
    json!({ "name": name, "secret_env": ["SECRET"], "fields": { "x-a": "/a" } })
}

fn a_budget(name: &str) -> Value {
    json!({ "name": name, "money": 5 })
}

fn a_model(name: &str) -> Value {
    json!({ "name": name, "input": 1.25, "output": 7 })
}

fn all_members() -> Vec<(&'static str, Member)> {
    let at =
        |place: &'static str, members: Vec<Member>| members.into_iter().map(move |member| (place, member));
    at("", top())
        .chain(at("rules[]", rule_only()))
        .chain(at("rules[]", settings()))
        .chain(at("defaults", settings()))
        .chain(listed())
        .collect()
}

/// The members of objects in lists that are no rules.
fn listed() -> Vec<(&'static str, Member)> {
    let mut members = Vec::new();
    for member in top() {
        if let Form::Objects(_, called, own) = member.form {
            let place = match called {
                "pools" => "pools[]",
                "models" => "models[]",
                "budgets" => "budgets[]",
                "sessions" => "sessions[]",
                _ => "limits[]",
            };
            members.extend(own.into_iter().map(|member| (place, member)));
        }
    }
    members
}

/// Values that the member's form allows, and values that it does not.
fn examples(member: &Member) -> (Vec<Value>, Vec<Value>) {
    let good = |texts: &[&str]| texts.iter().map(|text| json!([text])).collect::<Vec<_>>();
    let many = |item: fn(usize) -> Value, count: usize| Value::Array((0..count).map(item).collect());
    let ranged = |least: u64, most: u64| {
        (vec![json!(least), json!(most)], vec![json!(least.checked_sub(1)), json!(most + 1), json!(0.5)])
    };
    let millis = |bounds: &limits::Millis| {
        let text = |millis: u64| json!(format!("{millis}ms"));
        (
            vec![text(*bounds.start()), text(*bounds.end()), json!(bounds.end() / 1000)],
            vec![text(bounds.end() + 1), json!(-1), json!("1"), json!("1 s"), json!([])],
        )
    };
    let texts = match member.path.as_str() {
        "match.hosts" => good(&["a.test", "*.a.test", "*"]),
        "match.paths" => good(&["/a", "/a/*", "*.css"]),
        "match.methods" => good(&["GET", "M-SEARCH"]),
        "secret_env" => good(&["A", "B_2"]),
        "llm.cache.ignore" => good(&["user", "a b"]),
        "admission.fair_by" => good(&["ip", "host", "path", "rule", "header:x-a", "cookie:a"]),
        "key.body.methods" => good(&["POST", "QUERY"]),
        "by" => good(&["ip", "header:x-a", "cookie:a", "host", "path", "rule"]),
        "jobs.by" => good(&["ip", "header:x-a", "cookie:a", "host"]),
        "compression.types" | "upload.types" => good(&["text/html", "text/*", "+json"]),
        _ => good(&["x-a"]),
    };
    let of = |form: &Form| examples(&Member { form: form.clone(), path: member.path.clone(), ..unknown() });
    match &member.form {
        Form::Object => (vec![json!({})], vec![json!(null), json!([]), json!(1)]),
        Form::Nullable(form) => {
            let (mut good, mut bad) = of(form);
            good.push(json!(null));
            bad.retain(|value| *value != json!(null));
            (good, bad)
        }
        Form::Rules => (
            vec![json!([]), many(|index| json!({ "name": format!("r{index}") }), limits::RULES)],
            vec![
                json!({}),
                json!(null),
                many(|index| json!({ "name": format!("r{index}") }), limits::RULES + 1),
            ],
        ),
        Form::Objects(most, "limits", _) => {
            let limits =
                |count: usize| Value::Array((0..count).map(|nth| a_limit(&format!("l{nth}"))).collect());
            (vec![json!([]), limits(*most)], vec![json!({}), json!(null), limits(most + 1)])
        }
        Form::Objects(most, "budgets", _) => {
            let budgets =
                |count: usize| Value::Array((0..count).map(|nth| a_budget(&format!("b{nth}"))).collect());
            (vec![json!([]), budgets(*most)], vec![json!({}), json!(null), budgets(most + 1)])
        }
        Form::Objects(most, "sessions", _) => {
            let sessions =
                |count: usize| Value::Array((0..count).map(|nth| a_session(&format!("s{nth}"))).collect());
            let twice = json!([a_session("s"), a_session("s")]);
            (vec![json!([]), sessions(*most)], vec![json!({}), json!(null), sessions(most + 1), twice])
        }
        Form::Objects(most, "models", _) => {
            let models =
                |count: usize| Value::Array((0..count).map(|nth| a_model(&format!("m{nth}"))).collect());
            let twice = json!([a_model("m"), a_model("m")]);
            (vec![json!([]), models(*most)], vec![json!({}), json!(null), models(most + 1), twice])
        }
        Form::Objects(most, ..) => {
            let object = |index| json!({ "name": format!("o{index}") });
            let twice = json!([object(1), object(1)]);
            (
                vec![json!([]), many(object, *most)],
                vec![json!({}), json!(null), many(object, most + 1), twice],
            )
        }
        Form::ByName(_) if member.path == "fields" => (
            vec![json!({ "x-a": "/a" }), json!({ "X-A": "/a/b", "x-b": "/a~1b~0" })],
            vec![
                json!({}),
                json!([]),
                json!(null),
                json!({ "x-a": "a" }),
                json!({ "a b": "/a" }),
                json!({ "cookie": "/a" }),
            ],
        ),
        Form::ByName(_) => (
            vec![json!({}), json!({ "a": 1, "b c": 2 })],
            vec![json!([]), json!(null), json!({ "a": "1" }), json!({ "": 1 })],
        ),
        Form::Switch => (vec![json!(true), json!(false)], vec![json!("true"), json!(1), json!(null)]),
        Form::Whole(bounds) => ranged(*bounds.start(), *bounds.end()),
        #[cfg(feature = "llm")]
        Form::Amount(most) => (
            vec![json!(0), json!(most), json!(0.000_000_001), json!("2.5"), json!("3")],
            vec![json!(most + 1), json!(-1), json!("1e-10"), json!("x"), json!("-1"), json!([]), json!(null)],
        ),
        Form::Size(bounds) => {
            let (mut good, mut bad) = ranged(*bounds.start(), *bounds.end());
            good.push(json!(format!("{}B", bounds.end())));
            bad.extend([json!(format!("{}B", bounds.end() + 1)), json!("1TB"), json!("x"), json!(null)]);
            (good, bad)
        }
        Form::Duration(bounds) => {
            let (good, mut bad) = millis(bounds);
            bad.push(json!(null));
            (good, bad)
        }
        Form::Word(words) => (words.iter().map(|word| json!(word)).collect(), vec![json!("no"), json!(null)]),
        Form::Text(pattern) if pattern.words == "moment" => {
            let good = ["1970-01-01T00:00:00Z", "2028-02-29T02:00:00Z", "2100-12-31T23:59:59Z"];
            let bad = [
                "",
                "1969-12-31T23:59:59Z",
                "2101-01-01T00:00:00Z",
                "2026-02-29T02:00:00Z",
                "2100-02-29T02:00:00Z",
                "2026-12-01T02:00:00+00:00",
                "2026-12-01T02:00:00.0Z",
            ];
            let mut bad: Vec<Value> = bad.iter().map(|text| json!(text)).collect();
            bad.extend([json!(1_796_090_400), json!(null)]);
            (good.iter().map(|text| json!(text)).collect(), bad)
        }
        Form::Text(pattern) if pattern.words == "values" => {
            let bad = ["", "header:", "header:host", "header:a b", "session:a", "IP"];
            let mut bad: Vec<Value> = bad.iter().map(|text| json!(text)).collect();
            bad.extend([json!(1), json!(null)]);
            (vec![json!("ip"), json!(format!("header:{}", "x".repeat(128)))], bad)
        }
        Form::Text(pattern) if pattern.words == "path" => {
            let longest = format!("/{}", "x".repeat(pattern.chars - 1));
            let longer = format!("{longest}x");
            let bad = ["", "a", "/a b", "/a#b", &longer].map(|text| json!(text));
            (vec![json!("/"), json!("/a?b=c"), json!(longest)], bad.into())
        }
        Form::Text(pattern) if pattern.words == "path without a query" => {
            let longest = format!("/{}", "x".repeat(pattern.chars - 1));
            let longer = format!("{longest}x");
            let bad = ["", "a", "/a b", "/a#b", "/a?b=c", &longer].map(|text| json!(text));
            (vec![json!("/"), json!("/a/b"), json!(longest)], bad.into())
        }
        Form::Text(pattern) if pattern.words == "URLs" => {
            let bad = ["", "a.test/x", "ftp://a.test/", "http:///x", "http://u@a.test/"];
            let mut bad: Vec<Value> = bad.iter().map(|text| json!(text)).collect();
            bad.push(json!(1));
            (vec![json!("https://a.test"), json!("http://127.0.0.1:10001/?a")], bad)
        }
        Form::Text(pattern) => (
            vec![json!("a"), json!("x".repeat(pattern.chars))],
            vec![json!(""), json!("x".repeat(pattern.chars + 1)), json!(1), json!(null)],
        ),
        Form::List(_, most, item) if member.path == "warm.urls" => {
            let Form::Text(pattern) = &**item else { panic!("URLs are texts") };
            let url = |index| json!(format!("http://a.test/{index}"));
            let all = |count: usize| Value::Array((0..count).map(url).collect());
            let long = format!("http://a.test/{}", "x".repeat(pattern.chars));
            let mut good = good(&["https://a.test", "http://a.test/b?c"]);
            good.extend([json!([]), all(*most)]);
            let same = good[0][0].clone();
            let bad = ["a.test/x", "ftp://a.test/", "http:///x", "http://u@a.test/", &long];
            let mut bad: Vec<Value> = bad.iter().map(|text| json!([text])).collect();
            bad.extend([json!("http://a.test/"), json!(null), json!([same, same]), all(most + 1)]);
            (good, bad)
        }
        Form::List(least, most, item) => {
            let (mut good, mut bad) = match &**item {
                Form::Text(pattern) => {
                    let long = format!("/{}", "X".repeat(pattern.chars));
                    let same = texts[0][0].clone();
                    let many = many(|index| json!(format!("A{index}")), most + 1);
                    let bad = vec![json!("x-a"), json!([1]), json!([""]), json!([long]), json!([same, same])];
                    (texts, bad.into_iter().chain([many]).collect())
                }
                Form::Whole(bounds) => {
                    let beyond = [bounds.start() - 1, bounds.end() + 1];
                    let bad = beyond.into_iter().map(|number| json!([number])).chain([json!(["200"])]);
                    (vec![json!([bounds.start(), bounds.end()])], bad.collect::<Vec<_>>())
                }
                Form::Word(words) => {
                    let same = words[0];
                    let bad = vec![json!(same), json!(["no"]), json!([1]), json!([same, same])];
                    (vec![json!(words), json!([same])], bad)
                }
                other => panic!("{}: no list has items of {other:?}", member.path),
            };
            bad.push(json!(null));
            if *least == Least::Empty { &mut good } else { &mut bad }.push(json!([]));
            (good, bad)
        }
        Form::ByStatus(lifetime) => {
            let Form::Duration(bounds) = &**lifetime else { panic!("lifetimes are durations") };
            let good = vec![json!({}), json!({ "200": "1s", "599": bounds.end() / 1000 })];
            let bad = [r#"{"199":"1s"}"#, r#"{"4xx":"1s"}"#, r#"{"0404":"1s"}"#, r#"{"404":null}"#, "[]"];
            (good, bad.iter().map(|json| serde_json::from_str(json).unwrap()).collect())
        }
    }
}

/// A member that no configuration has.
fn unknown() -> Member {
    Member { path: "~".into(), form: Form::Switch, default: String::new(), required: false, meaning: "" }
}

#[test]
fn the_reader_takes_every_described_member_within_its_bounds_and_refuses_it_beyond() {
    for (place, member) in all_members() {
        let (good, bad) = examples(&member);
        for value in good {
            parse(&written(&member, place, value).to_string());
        }
        for value in bad {
            let json = written(&member, place, value).to_string();
            let path = format!("{place}.{}", member.path).replace("[]", "[0]");
            let path = path.trim_start_matches('.');
            assert!(faults(&json).iter().any(|fault| fault.starts_with(path)), "{json}");
        }
    }
}

#[test]
fn every_described_default_is_the_codes_and_every_member_changes_something() {
    for (place, member) in all_members() {
        let bare = match place {
            "rules[]" | "defaults" if member.path == "limits" => {
                parse(&written(&member, place, json!([])).to_string())
            }
            "rules[]" => parse(r#"{"rules":[{"name":"r"}]}"#),
            "pools[]" => parse(r#"{"pools":[{"name":"r"}]}"#),
            "limits[]" if member.path == "scope" => {
                parse(&written(&member, place, json!("node")).to_string())
            }
            "limits[]" if member.path == "cost" => parse(&written(&member, place, json!(1)).to_string()),
            "limits[]" => parse(&json!({ "limits": [a_limit("l")] }).to_string()),
            "models[]" => parse(&json!({ "models": [a_model("m")] }).to_string()),
            "sessions[]" if member.path == "secret_env" => {
                parse(&written(&member, place, json!([])).to_string())
            }
            "sessions[]" => {
                parse(&json!({ "remote": { "enabled": true }, "sessions": [a_session("s")] }).to_string())
            }
            "" if member.path == "sessions" => parse(r#"{"remote":{"enabled":true}}"#),
            "budgets[]" if member.path == "scope" => {
                parse(&written(&member, place, json!("node")).to_string())
            }
            "budgets[]" if member.path == "money" => parse(&written(&member, place, Value::Null).to_string()),
            "budgets[]" => parse(&json!({ "budgets": [a_budget("b")] }).to_string()),
            _ => Config::default(),
        };
        // Below an object that may be null there is a default only once the object is written.
        let nullable = all_members().into_iter().filter(|(at, above)| {
            let is_below = member.path.strip_prefix(&*above.path).is_some_and(|rest| rest.starts_with('.'));
            *at == place && is_below && matches!(above.form, Form::Nullable(_))
        });
        let bare = match nullable.max_by_key(|(_, above)| above.path.len()) {
            Some((_, above)) => parse(&written(&above, place, json!({})).to_string()),
            None => bare,
        };
        if let Ok(default) = serde_json::from_str::<Value>(&member.default) {
            assert_eq!(parse(&written(&member, place, default).to_string()), bare, "{}", member.path);
        }
        if !matches!(member.form, Form::Object) {
            let (good, _) = examples(&member);
            let changes =
                good.into_iter().any(|value| parse(&written(&member, place, value).to_string()) != bare);
            assert!(changes, "{place} {}", member.path);
        }
    }
}

/// The names that the reader knows at a place, from its own message about an unknown one.
fn names_known_to_the_reader(place: &str) -> BTreeSet<String> {
    let told = faults(&written(&unknown(), place, json!(1)).to_string());
    let (_, allowed) =
        told.iter().find_map(|fault| fault.split_once("unknown member \"~\", allowed: ")).expect(place);
    // Behind the names may stand where others belong.
    let allowed = allowed.split(" (").next().unwrap_or_default();
    allowed.split(", ").map(|name| name.trim_matches('"').to_owned()).collect()
}

/// Every object of the schema with its place and the names of its members.
fn objects<'s>(schema: &'s Value, node: &'s Value, place: &str, found: &mut Vec<(String, BTreeSet<String>)>) {
    let resolve = |node: &'s Value| {
        let name = node.get("$ref").and_then(Value::as_str);
        name.map(|name| schema.pointer(name.trim_start_matches('#')).expect(name))
    };
    let own = node.get("properties").and_then(Value::as_object).into_iter().flatten();
    let shared = resolve(node).and_then(|part| part["properties"].as_object()).into_iter().flatten();
    let members: Vec<(&String, &Value)> = own.chain(shared).collect();
    if node.get("propertyNames").is_some() {
        return;
    }
    if !members.is_empty() {
        let closed = node.get("additionalProperties").or(node.get("unevaluatedProperties"));
        assert_eq!(closed, Some(&json!(false)), "{place}");
        found.push((place.to_owned(), members.iter().map(|(name, _)| (*name).clone()).collect()));
    }
    for (name, member) in members {
        assert!(member["description"].is_string(), "{place}.{name}");
        objects(schema, member, &format!("{place}.{name}"), found);
        if name == "rules" {
            objects(schema, resolve(&member["items"]).expect("rule"), &format!("{place}.rules[]"), found);
        } else if member["items"].get("properties").is_some() {
            objects(schema, &member["items"], &format!("{place}.{name}[]"), found);
        }
    }
}

#[test]
fn the_schema_and_the_reader_know_the_same_members() {
    let schema: Value = serde_json::from_str(COMMITTED).unwrap();
    let mut found = Vec::new();
    objects(&schema, &schema, "", &mut found);
    assert_eq!(found.len(), 23 + 2 * 22, "{found:?}");
    for (place, names) in found {
        assert_eq!(names_known_to_the_reader(&place), names, "{place}");
    }
}

#[test]
fn the_committed_schema_is_the_one_that_the_code_makes() {
    if std::env::var_os("SELVAGE_RENEW_SCHEMA").is_some() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config.schema.json");
        std::fs::write(path, format!("{:#}\n", schema())).unwrap();
        return;
    }
    let committed: Value = serde_json::from_str(COMMITTED).unwrap();
    assert!(committed == schema(), "renew it: SELVAGE_RENEW_SCHEMA=1 cargo test -p selvage-engine schema");
}

const COMMITTED: &str = include_str!("../../config.schema.json");

#[test]
fn the_settings_page_has_the_table_of_every_setting() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/settings.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (before, rest) =
        page.split_once(TABLE_BEGIN).expect("the page has the mark of the table's beginning");
    let (written, after) = rest.split_once(TABLE_END).expect("the page has the mark of the table's end");
    let table = format!("\n\n{}\n\n", super::reference::markdown().trim());
    if std::env::var_os("SELVAGE_RENEW_SCHEMA").is_some() {
        std::fs::write(path, [before, TABLE_BEGIN, &table, TABLE_END, after].concat()).unwrap();
        return;
    }
    assert!(
        written == table,
        "renew it: SELVAGE_RENEW_SCHEMA=1 cargo test -p selvage-engine table_of_every_setting"
    );
}

const TABLE_BEGIN: &str =
    "<!-- config: made by SELVAGE_RENEW_SCHEMA=1 cargo test -p selvage-engine table_of_every_setting -->";
const TABLE_END: &str = "<!-- /config -->";

#[cfg(not(any(feature = "operators", feature = "playground")))]
#[test]
fn without_operators_their_settings_are_refused() {
    assert!(Config::parse(br#"{"admin":{}}"#).is_ok(), "nothing is asked for");
    let errors = Config::parse(br#"{"admin":{"open":true,"hosts":["example.com"]}}"#).unwrap_err();
    let told: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(told, ["admin: found settings, allowed: none: this module was built without operators"]);
}
