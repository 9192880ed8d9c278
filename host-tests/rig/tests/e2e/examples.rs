//! `envoy/examples`: what Envoy can start is started, the rest is held against the published schema where there is one.

mod kubernetes;
mod links;

use std::{fs, net::TcpStream, path::PathBuf, process::Command};

use selvage_rig::envoy::{Gateway, Refused, Response, Running, own_filter, repository, typed};
use selvage_rig::provider::Provider;
use selvage_rig::redis::free_port;
use selvage_rig::scripted::{Answer, Origin};
use serde_json::Value;

use crate::{assert_hit, assert_says, becomes};

const TOKEN: &str = "a-token-of-some-length";

fn text(name: &str) -> String {
    fs::read_to_string(repository().join("envoy/examples").join(name)).unwrap()
}

/// The documents of a YAML file. Of the local bootstrap also what it has for Redis.
fn documents(name: &str) -> Vec<Value> {
    let text = text(name).replace("#redis ", "");
    let documents = serde_yaml_ng::Deserializer::from_str(&text).map(|document| {
        let mut value = <serde_yaml_ng::Value as serde::Deserialize>::deserialize(document).unwrap();
        value.apply_merge().unwrap();
        serde_json::to_value(value).unwrap()
    });
    documents.collect()
}

/// Starts Envoy with one of the bootstraps.
fn start(name: &str, origin: &Origin, values: &[(&str, &str)]) -> Gateway {
    let builder = Gateway::with("").origin(origin.url()).environment("SELVAGE_ADMIN_TOKEN", TOKEN);
    let started: Result<_, Refused> = builder.try_start_with(&format!("../examples/{name}"), values);
    started.unwrap_or_else(|refused| panic!("{name}:\n{}", refused.output))
}

/// For how long `Cache-Status` says that it is fresh, in seconds.
fn ttl(answer: &Response) -> i64 {
    let said = answer.cache_status();
    said.split("; ").find_map(|part| part.strip_prefix("ttl=")?.parse().ok()).unwrap_or(-1)
}

/// Every member of `part` is in `whole` with the same value, but for those that each operator writes.
fn assert_within(part: &Value, whole: &Value, path: &str) {
    match (part, whole) {
        (Value::Object(part), Value::Object(whole)) => {
            for (name, value) in part {
                let path = format!("{path}.{name}");
                let found = whole.get(name).unwrap_or_else(|| panic!("{path} is not in the bootstrap"));
                assert_within(value, found, &path);
            }
        }
        _ if path.ends_with("configuration.value") => {}
        _ => assert_eq!(part, whole, "{path}"),
    }
}

#[test]
fn the_filter_on_the_page_is_that_of_the_bootstrap_and_takes_its_configurations() {
    let read = |text: &str| serde_yaml_ng::from_str::<Value>(text).unwrap();
    let page = fs::read_to_string(repository().join("plugin/docs/deploy.md")).unwrap();
    let snippet = page.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let snippet = read(snippet)["http_filters"][0].clone();
    let bootstrap = fs::read_to_string(repository().join("envoy/bootstrap/local.yaml")).unwrap();
    let bootstrap = read(&bootstrap);
    assert_within(&snippet, &manager(&bootstrap)["http_filters"][0], "http_filters[0]");
    let written = snippet["typed_config"]["config"]["configuration"]["value"].as_str().unwrap();
    let examples = page.split("```json\n").skip(1).filter_map(|rest| rest.split("```").next());
    for configuration in examples.chain([written]) {
        assert_eq!(refused(&read(configuration)), None, "{configuration}");
    }
}

/// A cluster of a bootstrap.
fn cluster<'a>(bootstrap: &'a Value, name: &str) -> &'a Value {
    let clusters = bootstrap["static_resources"]["clusters"].as_array().unwrap();
    clusters.iter().find(|cluster| cluster["name"] == name).unwrap_or_else(|| panic!("no cluster {name}"))
}

#[test]
fn the_pages_are_short_and_linked_and_their_configurations_are_taken() {
    let folder = repository().join("plugin/docs");
    let readme = fs::read_to_string(repository().join("README.md")).unwrap();
    assert!(readme.lines().count() <= 250, "the README is too long");
    let mut pages = 0;
    for page in fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
        let name = page.file_name().unwrap().to_str().unwrap();
        let text = fs::read_to_string(&page).unwrap();
        assert!(readme.contains(&format!("(plugin/docs/{name})")), "the README does not link to {name}");
        // The table of every setting is generated, and is one table.
        assert!(name == "settings.md" || text.lines().count() <= 120, "{name} is too long");
        for kind in ["json", "yaml"] {
            let begins = format!("```{kind}\n");
            for snippet in text.split(&begins).skip(1).filter_map(|rest| rest.split("```").next()) {
                let value: Value = serde_yaml_ng::from_str(snippet).unwrap();
                let names = [
                    "SELVAGE_ADMIN_TOKEN",
                    "SELVAGE_NEXT_TOKEN",
                    "SELVAGE_REMOTE_SECRET",
                    "SELVAGE_SESSION_SECRET",
                ];
                let with = names.map(|name| (name, TOKEN));
                let fault = (kind == "json").then(|| refused_with(&value, &with)).flatten();
                assert_eq!(fault, None, "{name}: {snippet}");
            }
        }
        pages += 1;
    }
    assert!(pages >= 25, "{pages}");
}

/// What the page on deploying tells to take from the bootstrap beside the filter: the words in backticks of that paragraph.
fn told_by_the_page() -> Vec<String> {
    let page = fs::read_to_string(repository().join("plugin/docs/deploy.md")).unwrap();
    let (_, rest) = page.split_once("what you want beside the filter:").unwrap();
    let paragraph = rest.split("\n\n").next().unwrap();
    paragraph.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn the_bootstraps_have_what_the_page_tells_to_have() {
    let local = &documents("../bootstrap/local.yaml")[0];
    let files = [
        ("../bootstrap/redis-tls.yaml", &["origin"][..], true),
        ("routes.yaml", &["pages", "assets"], false),
        ("llm.yaml", &["openai", "anthropic"], false),
        ("compose/envoy.yaml", &["origin"], true),
    ];
    for (name, origins, has_redis) in files {
        let other = &documents(name)[0];
        for word in told_by_the_page() {
            match word.as_str() {
                "stats_config" => assert_eq!(other[&word], local[&word], "{name}: {word}"),
                "circuit_breakers" => origins.iter().for_each(|origin| {
                    assert_eq!(
                        cluster(other, origin)[&word],
                        cluster(local, "origin")[&word],
                        "{name}: {origin}"
                    );
                }),
                // `every_bootstrap_sets_the_clients_their_limits` compares them.
                "scheme_header_transformation" | "headers_with_underscores_action" => {}
                "redis" if has_redis => {
                    let (own, model) = (cluster(other, "redis"), cluster(local, "redis"));
                    for member in ["circuit_breakers", "outlier_detection", "upstream_connection_options"] {
                        assert_eq!(own[member], model[member], "{name}: {member}");
                    }
                }
                "http.async_response_buffer_limit" if has_redis => {
                    assert_eq!(other["layered_runtime"], local["layered_runtime"], "{name}");
                }
                "redis" | "http.async_response_buffer_limit" => {}
                "--concurrency" | "refresh.cluster" | "origin" => {}
                _ => panic!("plugin/docs/deploy.md tells to have {word}: look for it in the examples"),
            }
        }
    }
    let compose = &documents("compose.yaml")[0];
    for name in ["envoy-a", "envoy-b"] {
        let command = compose["services"][name]["command"].as_array().unwrap();
        assert!(command.contains(&"--concurrency".into()), "{name}: {command:?}");
    }
}

/// Every YAML file for a reader to start or apply, by its path in the repository.
fn files_for_readers() -> Vec<String> {
    let folders = ["envoy/bootstrap", "envoy/examples", "envoy/examples/compose"];
    let entries =
        folders.iter().flat_map(|folder| fs::read_dir(repository().join(folder)).unwrap().flatten());
    let files = entries
        .map(|entry| entry.path())
        .filter(|path: &PathBuf| path.extension().is_some_and(|end| end == "yaml"));
    files.map(|path| path.strip_prefix(repository()).unwrap().to_str().unwrap().to_owned()).collect()
}

#[test]
fn what_a_header_tells_to_type_starts_envoy() {
    let mut started = Vec::new();
    for file in files_for_readers() {
        let text = fs::read_to_string(repository().join(&file)).unwrap();
        if !typed(&text).iter().any(|line| line.starts_with("envoy ")) {
            assert!(!text.contains("envoy -c"), "{file}: what is to be typed stands in a line of its own");
            continue;
        }
        let origin = Origin::start();
        origin.otherwise(|_| Answer::fresh("from the origin"));
        let port = origin.url().rsplit(':').next().unwrap().to_owned();
        // The configuration is the file's own: nothing is put in its place.
        let configuration = text.lines().find_map(|line| line.strip_suffix(" # SELVAGE_CONFIG"));
        let configuration = configuration.and_then(|line| line.split_once(": ")).map(|(_, value)| value);
        let mut values = vec![("ASSETS_PORT", port.as_str()), ("ANTHROPIC_PORT", port.as_str())];
        values.extend(configuration.map(|value| ("CONFIG", value)));
        let gateway = Gateway::by_default().origin(origin.url()).try_start_by_header(&file, &values);
        let gateway = gateway.unwrap_or_else(|refused| panic!("{file}:\n{}", refused.output));
        let hit = becomes(|| gateway.get("/assets/a").send(), Response::is_hit);
        assert_hit(&hit, "from the origin");
        // Where there is a door for operators it is locked.
        let purge = gateway.ask("PURGE", "/assets/a").send();
        assert_eq!(purge.status == 401, text.contains("token_env: "), "{file}: {}", purge.status);
        gateway.assert_sound();
        started.push(file);
    }
    started.sort();
    assert_eq!(
        started,
        ["envoy/bootstrap/local.yaml", "envoy/examples/llm.yaml", "envoy/examples/routes.yaml"]
    );
}

#[test]
fn the_header_of_the_compose_file_sets_what_the_file_needs() {
    let text = text("compose.yaml");
    let lines = typed(&text).join("\n");
    let mut needed: Vec<&str> =
        text.split("${").skip(1).filter_map(|rest| rest.split([':', '}']).next()).collect();
    needed.sort_unstable();
    needed.dedup();
    assert_eq!(needed, ["REDIS_PASSWORD", "SELVAGE_ADMIN_TOKEN"]);
    for name in needed {
        assert!(lines.lines().any(|line| line.starts_with("export ") && line.contains(&format!("{name}="))));
    }
    assert!(lines.contains("docker compose --file envoy/examples/compose.yaml up"));
}

/// Envoy's settings for clients in a bootstrap.
fn manager(bootstrap: &Value) -> &Value {
    &bootstrap["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
}

fn manager_mut(bootstrap: &mut Value) -> &mut Value {
    &mut bootstrap["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
}

#[test]
fn every_bootstrap_sets_the_clients_their_limits() {
    let local = &documents("../bootstrap/local.yaml")[0];
    for name in ["../bootstrap/redis-tls.yaml", "routes.yaml", "llm.yaml", "compose/envoy.yaml"] {
        let mut other = documents(name).swap_remove(0);
        // Who waits for a model sees that the connection lives.
        let of_streams = manager_mut(&mut other)["http2_protocol_options"].as_object_mut().unwrap();
        assert_eq!(of_streams.remove("connection_keepalive").is_some(), name == "llm.yaml");
        let other = &other;
        for member in [
            "use_remote_address",
            "scheme_header_transformation",
            "max_request_headers_kb",
            "request_headers_timeout",
            "stream_idle_timeout",
            "http2_protocol_options",
            "common_http_protocol_options",
        ] {
            assert!(!manager(local)[member].is_null(), "{member}");
            assert_eq!(manager(other)[member], manager(local)[member], "{name}: {member}");
        }
        assert_eq!(other["overload_manager"]["actions"], local["overload_manager"]["actions"], "{name}");
        assert_eq!(other["admin"]["ignore_global_conn_limit"], true, "{name}");
    }
}

#[test]
fn a_site_of_several_routes_is_cached_by_its_rules() {
    let (pages, assets) = (Origin::start(), Origin::start());
    pages.otherwise(|received| Answer::fresh(format!("page {}", received.before)));
    assets.otherwise(|received| Answer::ok(format!("asset {}", received.before)));
    let port = assets.url().rsplit(':').next().unwrap().to_owned();
    let gateway = start("routes.yaml", &pages, &[("ASSETS_PORT", &port)]);
    let get = |host: &str, target: &str| gateway.get(target).header("host", host).send();

    // Said nothing about its lifetime, so it is the rule's; the query's noise is not in the key.
    let asset = get("shop.example", "/assets/app.css?v=1&utm_source=a");
    assert!((86_390..=86_400).contains(&ttl(&asset)), "{}", asset.cache_status());
    let again = becomes(|| get("shop.example", "/assets/app.css?fbclid=x&v=1"), |answer| answer.is_hit());
    assert_hit(&again, "asset 0");

    let prices = get("shop.example", "/api/prices");
    assert!((20..=30).contains(&ttl(&prices)), "{}", prices.cache_status());
    let search =
        |words: &str| gateway.ask("POST", "/api/search").header("host", "shop.example").body(words).send();
    search("shoes");
    let hit = becomes(|| search("shoes"), |answer| answer.is_hit());
    assert!(!search("hats").is_hit());
    assert_eq!(hit.status, 200);

    assert_says(&get("shop.example", "/account/orders"), "detail=rule");
    assert_eq!(get("intranet.example.com", "/").header("cache-status"), None);

    let purge = gateway.ask("PURGE", "/assets/app.css?v=1").header("host", "shop.example");
    assert_eq!(purge.header("authorization", format!("Bearer {TOKEN}")).send().status, 200);
    gateway.assert_sound();
}

#[test]
fn a_gateway_for_two_providers_caches_counts_and_limits() {
    let (openai, anthropic) = (Provider::start(), Provider::start());
    let port = anthropic.url().rsplit(':').next().unwrap().to_owned();
    let gateway = start("llm.yaml", openai.origin(), &[("ANTHROPIC_PORT", &port)]);
    let ask = |path: &str, key: &str, body: &str| {
        let ask = gateway.ask("POST", path).header("content-type", "application/json");
        ask.header("authorization", format!("Bearer {key}")).body(body).send()
    };
    let question = r#"{"model":"gpt-4o","temperature":0,"stream":true,"max_tokens":100,"messages":[]}"#;
    for path in ["/v1/chat/completions", "/v1/messages"] {
        let first = ask(path, "a", question);
        assert!((3_590..=3_600).contains(&ttl(&first)), "{}", first.cache_status());
        let again = becomes(|| ask(path, "a", question), Response::is_hit);
        assert_eq!(again.body, first.body);
        assert!(!ask(path, "b", question).is_hit());
    }
    assert_eq!((openai.answers(), anthropic.answers()), (2, 2));
    becomes(|| gateway.stat("llm_tokens.claude-.output"), |tokens| *tokens == 4);
    assert!(gateway.stat("llm_requests.gpt-4o.estimated") > 0, "it has not told its usage");
    // Of what cannot be read all counts that was taken: who has used what he may use at once is refused by both.
    openai.origin().on("/v1/completions", |_| Answer::ok("what is this?"));
    let long = question.replace("100", "50000").replace(":0,", ":1,");
    assert_eq!(ask("/v1/completions", "c", &long).status, 200);
    let refused = ask("/v1/messages", "c", &long);
    assert_eq!(refused.status, 429);
    assert!(refused.text().contains("rate_limit_error"), "{}", refused.text());
    assert_eq!(ask("/v1/messages", "d", &long).status, 200);
    // All else is a site like any other.
    openai.origin().on("/docs", |_| Answer::fresh("a page"));
    becomes(|| gateway.get("/docs").send(), Response::is_hit);
    gateway.assert_sound();
}

/// The lines of the page on deploying from this one on, until its snippet ends; not deeper than they stand there.
fn of_the_page(first: &str) -> String {
    let page = fs::read_to_string(repository().join("plugin/docs/deploy.md")).unwrap();
    let (_, section) = page.split_once("## Off by route").unwrap();
    let (_, rest) = section.split_once(&format!("```yaml\n{first}\n")).unwrap();
    rest.split("```").next().unwrap().to_owned()
}

/// Lines that stand deeper by so many spaces.
fn deeper(by: usize, lines: &str) -> String {
    lines.lines().map(|line| format!("{}{line}\n", " ".repeat(by))).collect()
}

#[test]
fn the_filter_is_off_by_route_as_the_page_says() {
    let local = text("../bootstrap/local.yaml");
    let from = local.find("                        - match: { prefix: \"/\" }").unwrap();
    let to = from + local[from..].find("\n\n").unwrap() + 1;
    let by_route = (local[from..to].to_owned(), deeper(22, &of_the_page("routes:")));

    let own = own_filter();
    let matcher = of_the_page("http_filters:");
    // The last line stands for the filter's own configuration.
    let (before, last) = matcher.trim_end().rsplit_once('\n').unwrap();
    assert!(last.contains("filters.http.wasm.v3.Wasm"), "{last}");
    let (_, configuration) = own.split_once("                  - name: selvage\n").unwrap();
    let by_matcher = (own.clone(), deeper(16, before) + &deeper(4, configuration));

    for edit in [by_route, by_matcher] {
        let origin = Origin::start();
        origin.otherwise(|received| Answer::fresh(format!("answer {}", received.before)));
        let gateway = Gateway::with("{}").origin(origin.url());
        let gateway = gateway.try_start_edited(&[(edit.0.as_str(), edit.1.as_str())]);
        let gateway = gateway.unwrap_or_else(|refused| panic!("{}\n{}", edit.1, refused.output));
        let mut connection = gateway.connect();
        for before in 0..3 {
            let account = connection.send(connection.get("/account/orders"));
            assert_eq!(account.text(), format!("answer {before}"));
            assert_eq!(account.header("cache-status"), None);
        }
        let page = connection.get("/page");
        assert_says(&connection.send(page), "fwd=uri-miss");
        let page = connection.get("/page");
        assert_hit(&connection.send(page), "answer 0");
        gateway.assert_sound();
    }
}

#[test]
fn the_envoys_of_the_compose_file_share_a_redis() {
    let compose = &documents("compose.yaml")[0];
    let services = &compose["services"];
    for name in ["envoy-a", "envoy-b"] {
        let (command, volumes) = (&services[name]["command"], services[name]["volumes"].as_array().unwrap());
        assert_eq!(command[2], "/etc/selvage/envoy.yaml", "{name}");
        let mounts = [
            "./compose/envoy.yaml:/etc/selvage/envoy.yaml:ro",
            "../../target/selvage.wasm:/etc/selvage/selvage.wasm:ro",
        ];
        assert_eq!(volumes, &mounts, "{name}");
    }
    assert!(text("compose/envoy.yaml").contains("filename: /etc/selvage/selvage.wasm #"));

    // The same programs with the same settings, without containers: only addresses and the password are others.
    let password = "0123456789abcdef";
    let (redis, webdis) = (free_port(), free_port());
    let words = services["redis"]["command"].as_array().unwrap().iter().map(|word| word.as_str().unwrap());
    let words: Vec<&str> = words.map(|word| if word.starts_with("${") { password } else { word }).collect();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).args(["--bind", "127.0.0.1", "--port", &redis.to_string()]);
    let _redis = await_port(&command, redis);

    let target = &services["webdis"]["configs"][0]["target"];
    assert_eq!(&services["webdis"]["command"][1], target);
    let content =
        compose["configs"]["webdis"]["content"].as_str().unwrap().replace("${REDIS_PASSWORD}", password);
    let mut content: Value = serde_json::from_str(&content).unwrap();
    for (member, host, port) in [("redis", "redis", redis), ("http", "0.0.0.0", webdis)] {
        assert_eq!(content[format!("{member}_host")], host);
        content[format!("{member}_host")] = "127.0.0.1".into();
        content[format!("{member}_port")] = port.into();
    }
    let file = std::env::temp_dir().join(format!("selvage-compose-{}-{webdis}.json", std::process::id()));
    fs::write(&file, content.to_string()).unwrap();
    let mut command = Command::new("webdis");
    command.arg(&file);
    let _webdis = await_port(&command, webdis);
    let _ = fs::remove_file(file);

    let origin = Origin::start();
    origin.otherwise(|_| Answer::fresh("shared"));
    let bridge = webdis.to_string();
    let values = [("ADDRESS", "127.0.0.1"), ("BRIDGE_HOST", "127.0.0.1"), ("BRIDGE_PORT", &bridge)];
    let envoys = [0, 1].map(|_| start("compose/envoy.yaml", &origin, &values));
    let ask = |envoy: &Gateway, path: &str| envoy.get(path).header("host", "shop.example").send();
    let mut turn = 0;
    // Until it has answered its first probe the store is not used.
    becomes(
        || {
            turn += 1;
            let path = format!("/shared/{turn}");
            ask(&envoys[0], &path);
            std::thread::sleep(std::time::Duration::from_millis(100));
            ask(&envoys[1], &path)
        },
        |answer| answer.cache_status().ends_with("detail=remote"),
    );
}

fn await_port(command: &Command, port: u16) -> Running {
    let ready = |_: &Running| TcpStream::connect(("127.0.0.1", port)).ok().map(drop);
    let (running, ()) = Running::start(command)
        .ready(ready)
        .unwrap_or_else(|refused| panic!("{:?}: {}", command.get_program(), refused.output));
    running
}

#[test]
fn the_compose_file_is_as_the_compose_specification_says() {
    let package = repository().join(".python");
    assert!(package.is_dir(), "no check-jsonschema: ./host-tests/run e2e installs it");
    let mut command = Command::new("python3");
    command
        .args(["-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"])
        .env("PYTHONPATH", package);
    let output = command.arg(repository().join("envoy/examples/compose.yaml")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// What the filter does not like about a configuration.
fn refused(configuration: &Value) -> Option<String> {
    refused_with(configuration, &[("SELVAGE_ADMIN_TOKEN", TOKEN)])
}

/// The same with these variables in its environment.
fn refused_with(configuration: &Value, environment: &[(&str, &str)]) -> Option<String> {
    let mut builder = selvage_host::Gateway::with(&configuration.to_string());
    for (name, value) in environment {
        builder = builder.environment(name, value);
    }
    builder.try_start().err().map(|refused| refused.text())
}
