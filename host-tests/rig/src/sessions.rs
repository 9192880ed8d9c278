//! Sessions as applications make them: by express-session, kept in Redis by connect-redis.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::envoy::{Ask, Builder, Gateway, Response, repository};

/// The secrets that cookies are signed with, by the variables that Envoy has them in.
const SECRETS: [(&str, &str); 2] = [
    ("SELVAGE_SESSION_SECRET", "keyboard cat"),
    ("SELVAGE_SESSION_SECRET_OLD", "the one before, with a , in it"),
];

/// An Envoy that knows the secrets.
#[must_use]
pub fn with_secrets(builder: Builder) -> Builder {
    SECRETS.iter().fold(builder, |builder, (name, value)| builder.environment(name, value))
}

/// Sessions as the middleware keeps them, with more members of the object, of `remote` and of the configuration.
pub fn config(session: &str, remote: &str, more: &str) -> String {
    format!(
        r#"{{ "admin": {{ "open": true }},
            "remote": {{ "enabled": true, "timeout": "2s", "breaker": {{ "pause": "100ms" }} {remote} }},
            "sessions": [ {{ "name": "web", "secret_env": ["SELVAGE_SESSION_SECRET", "SELVAGE_SESSION_SECRET_OLD"],
                "fields": {{ "x-user-id": "/user/id", "x-plan": "/plan" }} {session} }} ],
            "defaults": {{ "session": "web" }} {more} }}"#
    )
}

/// An application with the middleware. It ends with this.
pub struct Application {
    /// Where it listens.
    pub url: String,
    /// What the cookies are of, and they.
    pub made: Vec<(String, String)>,
    child: Child,
}

impl Application {
    /// Starts one that makes so many sessions, of all kinds.
    ///
    /// # Panics
    /// If the middleware is not installed, or the application does not start.
    pub fn start(redis_port: u16, count: usize) -> Self {
        let folder = repository().join(".node/sessions");
        assert!(folder.join("node_modules/connect-redis").is_dir(), "./host-tests/run e2e installs it");
        let mut child = Command::new("node")
            .arg(repository().join("host-tests/rig/tests/e2e/sessions.mjs"))
            .arg(folder)
            .args([redis_port.to_string(), count.to_string()])
            .envs(SECRETS)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let told: Value = serde_json::from_str(&line).unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let made = told["made"].as_array().unwrap();
        let made = made.iter().map(|one| (text(&one["kind"]), text(&one["cookie"]))).collect();
        Self { url: text(&told["url"]), made, child }
    }

    /// The first cookie of a kind.
    ///
    /// # Panics
    /// If there is none.
    pub fn cookie(&self, kind: &str) -> &str {
        &self.made.iter().find(|(known, _)| known == kind).unwrap().1
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The id of the session that a cookie names.
///
/// # Panics
/// If it names none.
pub fn id_of(cookie: &str) -> &str {
    cookie.split("%3A").nth(1).unwrap().split('.').next().unwrap()
}

/// What the application has seen of a request: what its middleware makes of the cookie, and what fields came.
///
/// # Panics
/// If fields of these have come in any other spelling.
pub fn seen(response: &Response) -> (Value, Value) {
    let mut told: Value =
        serde_json::from_str(&response.text()).unwrap_or_else(|_| panic!("{}", response.text()));
    assert!(
        told["spoofed"]
            .as_array()
            .unwrap()
            .iter()
            .all(|name| matches!(name.as_str(), Some("x-user-id" | "x-plan"))),
        "{told}"
    );
    (told["want"].take(), told["got"].take())
}

/// The kinds of cookies that name no session, whatever they look like.
pub const NOBODYS: [&str; 7] = [
    "destroyed",
    "given up",
    "signed by a stranger",
    "not signed",
    "forged",
    "twice, the first forged",
    "empty",
];

/// What the filter has made of cookies, beside what the middleware does.
#[derive(Default)]
pub struct Compared {
    /// Cookies that were shown.
    pub shown: usize,
    /// Where they differ.
    pub differences: Vec<String>,
    /// The kinds of which some were given a user.
    pub with_fields: BTreeSet<String>,
}

/// Shows every so many of the cookies to an Envoy, with fields that only a session may give.
pub fn compare(application: &Application, gateway: &Gateway, every: usize) -> Compared {
    let mut compared = Compared::default();
    let mut connection = gateway.connect();
    for (nth, (kind, cookie)) in application.made.iter().enumerate().filter(|(nth, _)| nth % every == 0) {
        let ask = connection.get(&format!("/?{nth}")).header("cookie", cookie);
        let (want, got) = seen(&connection.send(ask.header("x-user-id", "root").header("X_Plan", "gold")));
        compared.shown += 1;
        if got != want {
            compared.differences.push(format!("{kind}: {cookie}: {got} and not {want}"));
        }
        if got[0].is_string() {
            compared.with_fields.insert(kind.clone());
        }
    }
    compared
}

/// The user that an Envoy gives a request with this cookie.
pub fn user(member: &Gateway, cookie: &str) -> Value {
    seen(&member.get("/?who").header("cookie", cookie).send()).1[0].clone()
}

/// Logs out at the application, which purges the session at one Envoy. How long another one has known it after that.
///
/// # Panics
/// If it knows it for ever, or had not known it.
pub fn logs_out(application: &Application, cookie: &str, told: &Gateway, other: &Gateway) -> Duration {
    for member in [told, other] {
        // Both workers of each know it.
        for _ in 0..20 {
            assert!(user(member, cookie).is_string());
        }
    }
    let address = application.url.trim_start_matches("http://").parse().unwrap();
    let logout = Ask::new(address, "POST", "/logout").header("cookie", cookie).send();
    assert_eq!(logout.status, 200);
    assert!(user(other, cookie).is_string(), "a copy is gone by until it is purged");
    let begun = Instant::now();
    let body = format!(r#"{{"tags":["session:{}"]}}"#, id_of(cookie));
    let purged = told.ask("POST", "/.selvage/purge").header("host", "localhost").body(body).send();
    assert_eq!(purged.status, 200, "{}", purged.text());
    // Twenty in a row that neither worker knows it any more.
    let (mut last_known, mut in_a_row) = (begun, 0);
    while in_a_row < 20 {
        if user(other, cookie).is_null() {
            in_a_row += 1;
        } else {
            (last_known, in_a_row) = (Instant::now(), 0);
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "it is known for ever");
    }
    assert!((0..20).all(|_| user(told, cookie).is_null()));
    last_known.duration_since(begun)
}
