//! `envoy/examples`: what Envoy can start is started, the rest is held against the published schema where there is one.

use std::{
    fs,
    io::Write,
    net::TcpStream,
    process::{Command, Stdio},
};

use selvage_host_tests::envoy::{Gateway, Refused, Response, Running, repository};
use selvage_host_tests::redis::free_port;
use selvage_host_tests::scripted::{Answer, Origin};
use serde_json::Value;

use crate::{assert_hit, assert_says, becomes};

const TOKEN: &str = "a-token-of-some-length";

fn text(name: &str) -> String {
    fs::read_to_string(repository().join("envoy/examples").join(name)).unwrap()
}

/// The documents of a YAML file.
fn documents(name: &str) -> Vec<Value> {
    let text = text(name);
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
fn the_filter_in_the_readme_is_that_of_the_bootstrap_and_takes_its_configurations() {
    let read = |text: &str| serde_yaml_ng::from_str::<Value>(text).unwrap();
    let readme = fs::read_to_string(repository().join("README.md")).unwrap();
    let snippet = readme.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let snippet = read(snippet)["http_filters"][0].clone();
    let bootstrap = fs::read_to_string(repository().join("envoy/bootstrap/local.yaml")).unwrap();
    let bootstrap = read(&bootstrap);
    assert_within(&snippet, &manager(&bootstrap)["http_filters"][0], "http_filters[0]");
    let written = snippet["typed_config"]["config"]["configuration"]["value"].as_str().unwrap();
    let examples = readme.split("```json\n").skip(1).filter_map(|rest| rest.split("```").next());
    for configuration in examples.chain([written]) {
        assert_eq!(refused(&read(configuration)), None, "{configuration}");
    }
}

/// Envoy's settings for clients in a bootstrap.
fn manager(bootstrap: &Value) -> &Value {
    &bootstrap["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
}

#[test]
fn every_bootstrap_sets_the_clients_their_limits() {
    let local = &documents("../bootstrap/local.yaml")[0];
    for name in ["../bootstrap/redis-tls.yaml", "routes.yaml", "compose/envoy.yaml"] {
        let other = &documents(name)[0];
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
    // Istio merges the same into its own.
    let patches = documents("istio.yaml")[1]["spec"]["configPatches"].take();
    for patch in patches.as_array().unwrap() {
        assert_within(&patch["patch"]["value"]["typed_config"], manager(local), "typed_config");
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

#[test]
fn what_istio_gets_is_as_its_schema_says() {
    let package = repository().join(".node/istio/node_modules/@kubernetes-models/istio");
    assert!(package.is_dir(), "no @kubernetes-models/istio: ./host-tests/run e2e installs it");
    let verdict = |resource: &Value| {
        let mut command = Command::new("node");
        command.arg(repository().join("host-tests/tests/e2e/examples.mjs")).arg(&package);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(resource.to_string().as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    let resources = documents("istio.yaml");
    for resource in &resources {
        assert_eq!(verdict(resource), "", "{}", resource["kind"]);
    }
    let mut plugin = resources[0].clone();
    plugin["spec"]["failStrategy"] = "FAIL_LATER".into();
    plugin["spec"]["vmConfig"]["environment"] = Value::Array(Vec::new());
    let faults = verdict(&plugin);
    assert!(
        faults.contains("spec/failStrategy must be equal") && faults.contains("unknown: environment"),
        "{faults}"
    );
    let mut clients = resources[1].clone();
    clients["spec"]["configPatches"][0]["applyTo"] = "NETWORK".into();
    assert!(verdict(&clients).contains("applyTo must be equal"), "{}", verdict(&clients));
}

/// What the filter does not like about a configuration.
fn refused(configuration: &Value) -> Option<String> {
    let builder = selvage_host_tests::Gateway::with(&configuration.to_string());
    let started = builder.environment("SELVAGE_ADMIN_TOKEN", TOKEN).try_start();
    started.err().map(|refused| refused.text())
}

#[test]
fn what_kubernetes_gets_is_a_configuration_that_the_filter_takes_and_the_image_that_is_built() {
    let dockerfile = text("Dockerfile");
    let (comments, steps): (Vec<&str>, Vec<&str>) =
        dockerfile.lines().partition(|line| line.starts_with('#'));
    // One layer with one file of this name, as Envoy Gateway and Istio look for it. The source is what `wasm-target/build` makes.
    assert_eq!(steps, ["FROM scratch", "COPY selvage.wasm ./plugin.wasm"]);
    let image = "registry.example.com/selvage:0.1.0";
    assert!(comments.iter().any(|line| line.contains(&format!("--tag {image} target"))));

    let istio = &documents("istio.yaml")[0];
    assert_eq!(
        (&istio["apiVersion"], &istio["kind"]),
        (&"extensions.istio.io/v1alpha1".into(), &"WasmPlugin".into())
    );
    assert_eq!(istio["spec"]["url"], format!("oci://{image}"));

    let gateway = documents("envoy-gateway.yaml");
    let kinds = ["EnvoyExtensionPolicy", "EnvoyProxy", "ClientTrafficPolicy"];
    assert_eq!(gateway.len(), kinds.len());
    for (document, kind) in gateway.iter().zip(kinds) {
        assert_eq!(document["apiVersion"], "gateway.envoyproxy.io/v1alpha1");
        assert_eq!(document["kind"], kind);
    }
    let wasm = &gateway[0]["spec"]["wasm"][0];
    assert_eq!((&wasm["code"]["type"], &wasm["code"]["image"]["url"]), (&"Image".into(), &image.into()));
    // No registry has its schema: the members that the definition in its repository has.
    assert_members(&gateway[0]["spec"], &["targetRefs", "wasm"]);
    assert_members(&gateway[0]["spec"]["targetRefs"][0], &["group", "kind", "name", "sectionName"]);
    assert_members(wasm, &["name", "rootID", "code", "config", "failOpen", "env"]);
    assert_members(&wasm["code"], &["type", "http", "image", "pullPolicy"]);
    assert_members(&wasm["code"]["image"], &["url", "sha256", "pullSecretRef", "tls"]);
    assert_members(&wasm["env"], &["hostKeys"]);
    let clients = &gateway[2]["spec"];
    assert_eq!(clients["targetRefs"], gateway[0]["spec"]["targetRefs"]);
    assert_members(clients, &["targetRefs", "headers", "timeout", "connection", "path", "http2"]);
    assert_eq!(clients["headers"], serde_json::json!({ "withUnderscoresAction": "DropHeader" }));
    let timeouts = &["requestReceivedTimeout", "idleTimeout", "streamIdleTimeout"];
    assert_members(&clients["timeout"]["http"], timeouts);

    // The token's variable comes from the proxy's environment to the VM's to the configuration.
    let container = &gateway[1]["spec"]["provider"]["kubernetes"]["envoyDeployment"]["container"];
    let variable = &container["env"][0]["name"];
    assert_eq!(&wasm["env"]["hostKeys"][0], variable);
    assert_eq!(&wasm["config"]["admin"]["token_env"], variable);
    let of_istio = &istio["spec"]["vmConfig"]["env"][0];
    assert_eq!((&of_istio["name"], &of_istio["valueFrom"]), (variable, &"HOST".into()));

    for configuration in [&wasm["config"], &istio["spec"]["pluginConfig"]] {
        assert_eq!(refused(configuration), None);
        // Neither sets `allow_on_headers_stop_iteration`, without which a request whose body is keyed is not let in.
        assert!(!configuration.to_string().contains("\"body\":"), "{configuration}");
    }
    assert!(refused(&serde_json::json!({ "rulez": [] })).is_some());
}

#[track_caller]
fn assert_members(value: &Value, known: &[&str]) {
    for name in value.as_object().unwrap().keys() {
        assert!(known.contains(&name.as_str()), "{name} is none of {known:?}");
    }
}
