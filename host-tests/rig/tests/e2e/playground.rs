//! The playground in a real browser: the page as it is shipped, out of a file and as `envoy/run` serves it.

mod seeded;

use std::process::Command;
use std::{env, fs};

use selvage_rig::chance::Dice;
use selvage_rig::envoy::{Gateway, repository};
use serde_json::Value;

use super::browser;

/// The page out of its file: it needs no server.
fn file() -> String {
    let page = selvage_wasm_target::playground().unwrap_or_else(|fault| panic!("{fault}"));
    format!("file://{}", page.display())
}

/// What `playground.mjs` saw. Nobody was asked for anything but the page, and its policy was never broken.
fn visit(url: &str, arguments: &[&str]) -> Value {
    let seen = look(url, arguments);
    assert_eq!(seen["complaints"], Value::Array(Vec::new()));
    for request in seen["requests"].as_array().unwrap() {
        let (_, target) = request.as_str().unwrap().split_once(' ').unwrap();
        assert_eq!(target.split('#').next(), Some(url), "{seen:#}");
    }
    seen
}

fn look(url: &str, arguments: &[&str]) -> Value {
    browser::look("playground.mjs", url, arguments)
}

fn has(text: &Value, part: &str) {
    assert!(text.as_str().unwrap().contains(part), "{part}: {text:#}");
}

#[test]
fn every_lesson_shows_what_it_says() {
    let lessons = fs::read(repository().join("plugin/playground/lessons.json")).unwrap();
    let lessons: Vec<Value> = serde_json::from_slice(&lessons).unwrap();
    let seen = visit(&file(), &["lessons"]);
    assert_eq!(seen["shown"].as_object().unwrap().len(), 20);
    for (nth, lesson) in lessons.iter().enumerate() {
        let shown = &seen["shown"][lesson["name"].as_str().unwrap()];
        let title = format!("Lesson {} of 20: {}", nth + 1, lesson["title"].as_str().unwrap());
        assert_eq!(shown["title"], title);
        for (step, line) in lesson["steps"].as_array().unwrap().iter().zip(shown["lines"].as_array().unwrap())
        {
            match step["expect"]["cache_status"].as_str() {
                Some(expected) => assert_eq!(*line, format!("Cache-Status: {expected}"), "{title}"),
                None => has(line, "purged"),
            }
        }
    }
}

#[test]
fn the_faults_of_a_configuration_stand_beside_it_with_their_places() {
    let seen = visit(&file(), &["faults"]);
    for fault in [
        "(3)",
        "rulez found an unknown member",
        "defaults.cookies found \"none\"",
        "defaults.ttl.default found \"soon\"",
    ] {
        has(&seen["told"], fault);
    }
    has(&seen["verdict"], "Envoy would refuse the configuration");
    has(&seen["broken"], "configuration found EOF");
    // A fault leads to its member.
    assert_eq!(seen["marked"], "\"default\"");
    assert_eq!(seen["mended"], "");
    has(&seen["line"], "Cache-Status: Selvage; fwd=uri-miss");
}

#[test]
fn the_time_line_is_dragged_and_says_what_comes() {
    let seen = visit(&file(), &["line"]);
    for part in [
        "0 s to 5 min: from the store",
        "5 min to 7.5 min: stale (stale-while-revalidate)",
        "7.5 min to 15 min: stale (disconnected)",
    ] {
        has(&Value::from(seen["lines"].as_str().unwrap().replace('\u{a0}', " ")), part);
    }
    let dragged = seen["dragged"]["said"].as_str().unwrap();
    let minutes: f64 = dragged.trim_start_matches("in ").split('\u{a0}').next().unwrap().parse().unwrap();
    assert!((5.5..7.0).contains(&minutes), "{dragged}");
    has(&seen["dragged"]["later"], "stale and served while it is renewed: by a call");
    has(&seen["dragged"]["later"], "300 s from max-age=300 of cache-control");
    has(&seen["end"], "stands in for an origin that cannot be reached");
}

#[test]
fn a_link_holds_the_whole_scene_and_no_link_breaks_the_page() {
    let seen = visit(&file(), &["link"]);
    assert_eq!(seen["before"], seen["after"]);
    assert_eq!(seen["shown"], "GET https://shop.example/ü?a=b#c\naccept: */*");
    let others = &seen["others"];
    for refused in ["cut", "nonsense", "other"] {
        has(&others[refused]["said"], "The link cannot be read");
        has(&others[refused]["scene"], "https://example.com/a");
    }
    // Mail programs break long lines.
    assert_eq!((&others["wrapped"]["scene"], &others["wrapped"]["said"]), (&seen["after"], &Value::from("")));
    has(&others["plain"]["scene"], "https://a.test/<b>");
    assert_eq!(others["hostile"]["said"], "");
    assert_eq!(seen["same"], true, "{seen:#}");
}

#[test]
fn the_page_outlives_its_engine() {
    let seen = visit(&file(), &["trapped"]);
    has(&seen["said"], "The engine has failed");
    has(&seen["line"], "Cache-Status: Selvage; fwd=uri-miss");
    has(&seen["key"], "/after");
    assert_eq!(seen["then"], "");
}

#[test]
fn a_visit_needs_no_mouse() {
    let seen = visit(&file(), &["keyboard"]);
    has(&seen["proposed"], "cookies ");
    assert_eq!(seen["config"], r#"{ "defaults": { "cookies": "ignore" } }"#);
    has(&seen["later"], "in ");
    assert_eq!((&seen["closed"], &seen["focused"]), (&Value::from(true), &Value::from("paste")));
}

#[test]
fn nothing_is_cut_off_on_a_telephone() {
    for (case, beyond) in visit(&file(), &["narrow"])["wide"].as_object().unwrap() {
        assert_eq!(*beyond, 0, "{case}");
    }
}

#[test]
fn axe_finds_nothing() {
    let axe = repository().join(".node/axe/node_modules/axe-core/axe.min.js");
    assert!(axe.is_file(), "no axe: ./host-tests/run e2e installs it");
    let seen = visit(&file(), &["axe", axe.to_str().unwrap()]);
    // Each in light and dark, wide and narrow.
    assert!(seen["looked"].as_u64() > Some(80), "{seen:#}");
    assert_eq!(seen["found"], Value::Object(serde_json::Map::new()), "{seen:#}");
}

/// Configurations, and exchanges under each.
const CONFIGURATIONS: usize = 20;
const EXCHANGES: usize = 500;

#[test]
fn verdicts_of_ten_thousand_exchanges_are_those_of_the_command() {
    let folder = env::temp_dir().join(format!("selvage-verdicts-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let mut dice = Dice::new(18);
    for nth in 0..CONFIGURATIONS {
        fs::write(folder.join(format!("{nth}.json")), seeded::configuration(nth)).unwrap();
        fs::write(folder.join(format!("{nth}.har")), seeded::archive(EXCHANGES, &mut dice)).unwrap();
    }
    visit(&file(), &["verdicts", folder.to_str().unwrap(), &CONFIGURATIONS.to_string()]);
    let (mut compared, mut words) = (0, std::collections::BTreeSet::new());
    for nth in 0..CONFIGURATIONS {
        let path = |kind: &str| folder.join(format!("{nth}.{kind}"));
        let output = Command::new(env!("CARGO"))
            .args(["run", "--quiet", "--package", "selvage-explain", "--", "--json", "--config"])
            .arg(path("json"))
            .arg("--har")
            .arg(path("har"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let (native, browser) =
            (String::from_utf8(output.stdout).unwrap(), fs::read_to_string(path("browser")).unwrap());
        for (number, (native, browser)) in native.lines().zip(browser.lines()).enumerate() {
            assert_eq!(native, browser, "configuration {nth}, exchange {number}");
            let told: Value = serde_json::from_str(native).unwrap();
            for note in told["verdict"].as_array().unwrap() {
                words.extend(note["word"].as_str().map(str::to_owned));
            }
            compared += 1;
        }
        assert_eq!(native.lines().count(), browser.lines().count());
    }
    assert_eq!(compared, CONFIGURATIONS * EXCHANGES);
    // They are not all alike.
    assert!(words.len() >= 25, "{words:?}");
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn envoy_run_serves_it_and_the_operators_page_opens_an_exchange_there() {
    let gateway = Gateway::by_default().with_playground().start();
    let only =
        |word: &str| gateway.printed(word).pop().unwrap_or_else(|| panic!("no {word}:\n{}", gateway.log()));
    let (page, token, playground) = (only("page"), only("token"), only("playground"));
    let seen = look(&page, &["operators", &token, &playground]);
    let scene = &seen["scene"];
    let host = gateway.address().to_string();
    let request = format!("GET http://{host}/fresh?a=<b>&c=\"d\"\naccept-language: de\ncookie: a=b");
    assert_eq!(scene["steps"][0]["request"], request.as_str());
    assert_eq!(scene["steps"][0]["response"], "HTTP/1.1 200\nset-cookie: c=d");
    has(&seen["verdict"], "set-cookie");
    // The configuration came along, in as many words as one would have written.
    let config: Value = serde_json::from_str(scene["config"].as_str().unwrap()).unwrap();
    assert_eq!(config["defaults"]["refresh"]["cluster"], "origin");
    assert_eq!(config["admin"]["token_env"], "SELVAGE_ADMIN_TOKEN");
    assert!(scene["config"].as_str().unwrap().len() < 600, "{}", scene["config"]);
    // It knows of the operators' page nothing but that.
    assert_eq!((&seen["opener"], &seen["kept"]), (&Value::from("null"), &Value::from(0)));
    assert!(!seen["scene"].to_string().contains(&token));
    assert_eq!(seen["complaints"], Value::Array(Vec::new()));
    // Served, it asks for no more than out of its file, and may ask for nothing.
    let served = visit(&playground, &["lessons"]);
    assert_eq!(served["requests"].as_array().unwrap().len(), 1);
    let tried = look(&playground, &["look"]);
    assert_eq!(tried["evaluated"], "connect-src", "{tried:#}");
    has(&tried["policy"], "default-src 'none'");
    gateway.assert_sound();
}
