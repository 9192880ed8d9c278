//! The examples for Kubernetes: no server runs here, so they are held against published schemas and against our bootstraps.

use std::{
    fs,
    io::Write,
    process::{Command, Stdio},
};

use selvage_rig::envoy::{envoy_program, repository, typed};
use serde_json::{Value, json};

use super::{assert_within, cluster, documents, manager, refused, text, told_by_the_page};

/// What is wrong with a resource by the schema in this package of npm.
fn verdict(package: &str, resource: &Value) -> String {
    let folder = repository().join(format!(".node/{package}/node_modules/@kubernetes-models/{package}"));
    assert!(folder.is_dir(), "no @kubernetes-models/{package}: ./host-tests/run e2e installs it");
    let mut command = Command::new("node");
    command.arg(repository().join("host-tests/rig/tests/e2e/examples.mjs")).arg(&folder);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(resource.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

/// The resource of a kind, and with a name where there are several.
fn resource(file: &str, kind: &str, name: &str) -> Value {
    let resources = documents(file);
    let found = resources.into_iter().find(|one| one["kind"] == kind && one["metadata"]["name"] == name);
    found.unwrap_or_else(|| panic!("{file} has no {kind} {name}"))
}

#[test]
fn what_istio_gets_is_as_its_schema_says() {
    let resources = documents("istio.yaml");
    for resource in &resources {
        assert_eq!(verdict("istio", resource), "", "{}", resource["kind"]);
    }
    let mut plugin = resources[0].clone();
    plugin["spec"]["failStrategy"] = "FAIL_LATER".into();
    plugin["spec"]["vmConfig"]["environment"] = Value::Array(Vec::new());
    let faults = verdict("istio", &plugin);
    assert!(
        faults.contains("spec/failStrategy must be equal") && faults.contains("unknown: environment"),
        "{faults}"
    );
    let mut clients = resources[1].clone();
    clients["spec"]["configPatches"][0]["applyTo"] = "NETWORK".into();
    let faults = verdict("istio", &clients);
    assert!(faults.contains("applyTo must be equal"), "{faults}");
}

#[test]
fn what_envoy_gateway_gets_is_as_its_schema_says() {
    for resource in &documents("envoy-gateway.yaml") {
        assert_eq!(verdict("envoy-gateway", resource), "", "{}", resource["kind"]);
    }
    let mut proxy = resource("envoy-gateway.yaml", "EnvoyProxy", "selvage");
    proxy["spec"]["bootstrap"]["type"] = "Patch".into();
    proxy["spec"]["provider"]["kubernetes"]["envoyDeployment"]["container"]["environment"] = json!([]);
    let faults = verdict("envoy-gateway", &proxy);
    assert!(
        faults.contains("bootstrap/type must be equal") && faults.contains("unknown: environment"),
        "{faults}"
    );
}

/// Envoy takes this part of a bootstrap.
fn assert_taken(part: &Value) {
    let file = std::env::temp_dir().join(format!("selvage-part-{}.json", std::process::id()));
    fs::write(&file, part.to_string()).unwrap();
    let mut command = Command::new(envoy_program());
    command.args(["--mode", "validate", "--disable-hot-restart", "-l", "error", "-c"]).arg(&file);
    let output = command.output().unwrap();
    let _ = fs::remove_file(file);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn what_kubernetes_gets_has_what_the_page_tells_to_have() {
    let local = &documents("../bootstrap/local.yaml")[0];
    let bootstrap =
        resource("envoy-gateway.yaml", "EnvoyProxy", "selvage")["spec"]["bootstrap"]["value"].take();
    let gateway: Value = serde_yaml_ng::from_str(bootstrap.as_str().unwrap()).unwrap();
    let patch = resource("istio.yaml", "EnvoyFilter", "selvage-bootstrap")["spec"]["configPatches"][0].take();
    assert_eq!(patch["applyTo"], "BOOTSTRAP");
    let istio = &patch["patch"]["value"];
    let rule = |name: &str| resource("istio.yaml", "DestinationRule", name)["spec"]["trafficPolicy"].take();
    let limits = |name: &str| cluster(local, name)["circuit_breakers"]["thresholds"][0].clone();
    let clients = resource("envoy-gateway.yaml", "ClientTrafficPolicy", "selvage");
    for word in told_by_the_page() {
        match word.as_str() {
            "stats_config" => {
                assert_eq!(gateway[&word], local[&word]);
                assert_eq!(istio[&word], local[&word]);
            }
            "circuit_breakers" => {
                let limits = limits("origin");
                let spec = resource("envoy-gateway.yaml", "BackendTrafficPolicy", "selvage")["spec"].take();
                assert_eq!(spec["targetRefs"], clients["spec"]["targetRefs"]);
                let pool = &rule("selvage-shop")["connectionPool"];
                let breaker = &spec["circuitBreaker"];
                assert_eq!(
                    [&breaker["maxConnections"], &pool["tcp"]["maxConnections"]],
                    [&limits["max_connections"]; 2]
                );
                let pending = [&breaker["maxPendingRequests"], &pool["http"]["http1MaxPendingRequests"]];
                assert_eq!(pending, [&limits["max_pending_requests"]; 2]);
                let under_way = [&breaker["maxParallelRequests"], &pool["http"]["http2MaxRequests"]];
                assert_eq!(under_way, [&limits["max_requests"]; 2]);
            }
            "redis" => {
                let (own, model) = (cluster(&gateway, "redis"), cluster(local, "redis"));
                for member in [
                    "circuit_breakers",
                    "outlier_detection",
                    "upstream_connection_options",
                    "connect_timeout",
                ] {
                    assert_eq!(own[member], model[member], "{member}");
                }
                let (limits, policy) = (limits("redis"), rule("selvage-redis"));
                let pool = &policy["connectionPool"];
                assert_eq!(pool["tcp"]["maxConnections"], limits["max_connections"]);
                assert_eq!(pool["http"]["http1MaxPendingRequests"], limits["max_pending_requests"]);
                assert_eq!(pool["http"]["http2MaxRequests"], limits["max_requests"]);
                assert_eq!(pool["http"]["maxRetries"], limits["max_retries"]);
                let outliers = &model["outlier_detection"];
                assert_eq!(policy["outlierDetection"]["consecutive5xxErrors"], outliers["consecutive_5xx"]);
                assert_eq!(policy["outlierDetection"]["baseEjectionTime"], outliers["base_ejection_time"]);
                assert_eq!(
                    policy["outlierDetection"]["maxEjectionPercent"],
                    outliers["max_ejection_percent"]
                );
            }
            // Envoy Gateway lets nobody change `layered_runtime`, and says so.
            "http.async_response_buffer_limit" => {
                let of =
                    |bootstrap: &Value| bootstrap["layered_runtime"]["layers"][0]["static_layer"].clone();
                assert_eq!(of(istio), of(local));
                assert!(gateway.get("layered_runtime").is_none());
            }
            "headers_with_underscores_action" => {
                assert_eq!(clients["spec"]["headers"], json!({ "withUnderscoresAction": "DropHeader" }));
            }
            "--concurrency" => {
                let proxy = resource("envoy-gateway.yaml", "EnvoyProxy", "selvage");
                assert!(proxy["spec"]["concurrency"].is_u64());
            }
            // Istio's patches are compared with the bootstrap; Envoy Gateway cannot, and says so.
            "scheme_header_transformation" | "refresh.cluster" | "origin" => {}
            _ => panic!("plugin/docs/deploy.md tells to have {word}: look for it in the examples"),
        }
    }
    assert_taken(&gateway);
    assert_taken(istio);
}

#[test]
fn the_clients_of_istio_have_the_limits_of_the_bootstrap() {
    let local = &documents("../bootstrap/local.yaml")[0];
    let patches = resource("istio.yaml", "EnvoyFilter", "selvage-clients")["spec"]["configPatches"].take();
    for patch in patches.as_array().unwrap() {
        assert_within(&patch["patch"]["value"]["typed_config"], manager(local), "typed_config");
    }
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
    let kinds = ["EnvoyExtensionPolicy", "EnvoyProxy", "ClientTrafficPolicy", "BackendTrafficPolicy"];
    assert_eq!(gateway.len(), kinds.len());
    for (document, kind) in gateway.iter().zip(kinds) {
        assert_eq!(document["apiVersion"], "gateway.envoyproxy.io/v1alpha1");
        assert_eq!(document["kind"], kind);
    }
    let wasm = &gateway[0]["spec"]["wasm"][0];
    assert_eq!((&wasm["code"]["type"], &wasm["code"]["image"]["url"]), (&"Image".into(), &image.into()));
    // The token's variable comes from the proxy's environment to the VM's to the configuration.
    let container = &gateway[1]["spec"]["provider"]["kubernetes"]["envoyDeployment"]["container"];
    let variable = &container["env"][0]["name"];
    let secret = &container["env"][0]["valueFrom"]["secretKeyRef"];
    for file in ["envoy-gateway.yaml", "istio.yaml"] {
        let text = text(file);
        let lines = typed(&text).join("\n");
        let (name, key) = (secret["name"].as_str().unwrap(), secret["key"].as_str().unwrap());
        assert!(lines.contains(&format!("create secret generic {name} --from-literal={key}=")), "{lines}");
        assert!(lines.contains(&format!("kubectl apply --filename envoy/examples/{file}")), "{lines}");
    }
    // `kubectl set env --from` makes of the key a name for the environment.
    let made = secret["key"].as_str().unwrap().to_uppercase().replace('-', "_");
    assert!(text("istio.yaml").contains("--from=secret/selvage --prefix=SELVAGE_"));
    assert_eq!(variable, &format!("SELVAGE_{made}"));
    assert_eq!(&wasm["env"]["hostKeys"][0], variable);
    assert_eq!(&wasm["config"]["admin"]["token_env"], variable);
    let of_istio = &istio["spec"]["vmConfig"]["env"][0];
    assert_eq!((&of_istio["name"], &of_istio["valueFrom"]), (variable, &"HOST".into()));

    // Each names the cluster that its resources make.
    assert_eq!(wasm["config"]["remote"], json!({ "enabled": true, "cluster": "redis" }));
    let rule = resource("istio.yaml", "DestinationRule", "selvage-redis");
    let remote = &istio["spec"]["pluginConfig"]["remote"];
    assert_eq!(remote["cluster"], format!("outbound|7379||{}", rule["spec"]["host"].as_str().unwrap()));

    for configuration in [&wasm["config"], &istio["spec"]["pluginConfig"]] {
        assert_eq!(refused(configuration), None);
        // Neither sets `allow_on_headers_stop_iteration`, without which a request whose body is keyed is not let in.
        assert!(!configuration.to_string().contains("\"body\":"), "{configuration}");
    }
    assert!(refused(&json!({ "rulez": [] })).is_some());
}
