//! What each cache makes of `Vary`, `stale-while-revalidate` and `stale-if-error`, asked by one client.

use std::{
    thread,
    time::{Duration, Instant},
};

use selvage_measure::crowd::{Answer, Origin, Plan, Swarm};

use crate::subjects::Subject;

/// How long every fetch but the first takes.
const LATER_TAKES: Duration = Duration::from_millis(800);
/// An answer that takes longer has waited for the origin.
const AT_ONCE: Duration = Duration::from_millis(400);
/// Longer than what is fresh for a second, also where a cache counts whole seconds.
const EXPIRED: Duration = Duration::from_millis(2200);
const VARY: &str = "/vary";
const WHILE: &str = "/stale-while-revalidate";
const ERROR: &str = "/stale-if-error";

/// What came of it.
pub struct Promises {
    subject: Subject,
    variants: bool,
    revalidates: &'static str,
    serves_for_error: &'static str,
    cache_status: Option<String>,
}

/// The body says how many requests for the path came before, and so from which fetch an answer is.
fn script(path: &str, before: usize) -> Plan {
    let (control, more) = match path {
        VARY => ("max-age=3600", "vary: x-variant\r\n"),
        WHILE => ("max-age=1, stale-while-revalidate=60", ""),
        _ => ("max-age=1, stale-if-error=60", ""),
    };
    let fails = path == ERROR && before > 0;
    Plan {
        delay: if path == WHILE && before > 0 { LATER_TAKES } else { Duration::ZERO },
        status: if fails { 503 } else { 200 },
        fields: if fails { String::new() } else { format!("cache-control: {control}\r\n{more}") },
        body: before.to_string().into_bytes(),
        ..Plan::default()
    }
}

/// One client that asks and waits for the answer.
struct Client(Swarm);

impl Client {
    fn ask(&mut self, path: &str, variant: &str) -> (Answer, Duration) {
        let request = format!("GET {path} HTTP/1.1\r\nhost: herd.example\r\nx-variant: {variant}\r\n\r\n");
        let asked = Instant::now();
        let mut finished = self.0.ask(0, request.as_bytes(), asked);
        while finished.is_none() && asked.elapsed() < Duration::from_secs(10) {
            self.0.poll(asked + Duration::from_secs(10), |done| finished = Some(done));
        }
        let finished = finished.unwrap_or_else(|| panic!("no answer for {path} within 10 s"));
        let answer = finished.answer.unwrap_or_else(|problem| panic!("{path}: {problem}"));
        (answer, finished.latency)
    }
}

/// Asks a subject.
pub fn measure(subject: Subject, members: &str) -> Promises {
    let origin = Origin::start(script);
    let refresh = r#""defaults": { "refresh": { "cluster": "origin" } }"#;
    let members = if members.is_empty() { refresh } else { members };
    let stage = subject.start(&origin, members);
    let mut client = Client(Swarm::open(&stage.addresses, 1));
    for variant in ["a", "b"] {
        client.ask(VARY, variant);
    }
    // Some write behind.
    thread::sleep(Duration::from_millis(300));
    let (again, _) = client.ask(VARY, "a");
    let (other, _) = client.ask(VARY, "b");
    for path in [WHILE, ERROR] {
        client.ask(path, "");
    }
    thread::sleep(EXPIRED);
    let (stale, took) = client.ask(WHILE, "");
    let errors = [client.ask(ERROR, "").0.status, {
        thread::sleep(Duration::from_millis(300));
        client.ask(ERROR, "").0.status
    }];
    thread::sleep(LATER_TAKES);
    let renewed = origin.fetches(WHILE).len() > 1;
    Promises {
        subject,
        variants: (again.body(), other.body()) == (b"0", b"1"),
        revalidates: match (stale.body() == b"0" && took < AT_ONCE, renewed) {
            (true, true) => "stale at once, renewed in the background",
            (true, false) => "stale at once, not renewed",
            (false, _) => "waits for the origin",
        },
        serves_for_error: match errors {
            [200, 200] => "stale",
            [200, _] => "stale once, then the error",
            _ => "the error",
        },
        cache_status: Some(again.cache_status()).filter(|status| !status.is_empty()),
    }
}

impl Promises {
    /// What is not as it should be; empty for what is not ours.
    pub fn faults(&self) -> Vec<String> {
        let kept =
            self.variants && self.revalidates.ends_with("background") && self.serves_for_error == "stale";
        if self.subject.is_ours() && !kept { vec![self.row()] } else { Vec::new() }
    }

    /// A line for the terminal.
    pub fn line(&self) -> String {
        self.row().trim().to_owned()
    }

    fn row(&self) -> String {
        format!(
            "| {} | {} | {} | {} | {} |\n",
            self.subject.title(),
            if self.variants { "both kept" } else { "not stored" },
            self.revalidates,
            self.serves_for_error,
            self.cache_status.as_ref().map_or("none".to_owned(), |status| format!("`{status}`")),
        )
    }
}

/// The table of this part.
pub fn render(promises: &[Promises]) -> String {
    let rows: String = promises.iter().map(Promises::row).collect();
    format!(
        "## What the origin promises\n\n\
         One client. Two variants of a response with `Vary`; one that is fresh for a second with `stale-while-revalidate`, of an origin that\n\
         then takes {} ms; one with `stale-if-error`, of an origin that then says 503; and `Cache-Status` on a hit. nginx has\n\
         `proxy_cache_background_update` and `proxy_cache_use_stale`, Varnish a VCL that gives up a fetch in the background that failed.\n\n\
         | cache | `Vary` | `stale-while-revalidate` | `stale-if-error` | `Cache-Status` |\n|---|---|---|---|---|\n{rows}",
        LATER_TAKES.as_millis()
    )
}
