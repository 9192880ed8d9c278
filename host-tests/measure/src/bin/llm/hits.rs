//! C2, answers from the store: how fast, how many of a core, and whether they are what was stored.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use selvage_measure::crowd::{Answer, Swarm};
use selvage_measure::measured::{millis, reloaded};
use selvage_measure::targets::Row;

use crate::Report;
use crate::litellm::LiteLlm;
use crate::site::{Form, STORED, provider, question, start, stream};
use crate::stream::Figures;

/// Connections for the latency, each with one request at a time.
const FEW: usize = 8;
/// Connections that keep the cores busy.
const MANY: usize = 64;
const LONGEST_P50: f64 = 1.0;
const LEAST_OF_A_CORE: f64 = 10_000.0;
/// What has to be stored is by then.
const STORED_WITHIN: Duration = Duration::from_secs(10);

/// All of it.
pub fn measure(lasting: Duration, report: &mut Report) -> Result<(), String> {
    let provider = provider();
    let ours = start(&provider)?;
    let peer = LiteLlm::start(&provider.url())?;
    let part = lasting / 6;
    for (form, name) in [(Form::Json, "as JSON"), (Form::Events, "as a stream")] {
        let title = format!("C2, hits {name}");
        eprintln!("selvage: {title}");
        let request = question(form, STORED);
        let stored = stored(ours.address(), &request)?;
        let same = |body: &[u8]| body == stored;
        let own = load(ours.address(), &request, &same, (FEW, part), || ours.processor_time())?;
        let many = load(ours.address(), &request, &same, (MANY, part), || ours.processor_time())?;
        let other = match &peer {
            Some(peer) => {
                let again = self::stored(peer.address(), &request)?;
                compare(form, &stored, Some(&again), report);
                // It writes the time into each.
                let same = |body: &[u8]| body.len() == again.len();
                Some(load(peer.address(), &request, &same, (FEW, part), || peer.processor_time())?)
            }
            None => {
                compare(form, &stored, None, report);
                None
            }
        };
        rows(&title, name, (own, many, other), report);
    }
    report.targets.unsound("C2, hits", reloaded(&ours));
    Ok(())
}

fn rows(title: &str, name: &str, figures: (Figures, Figures, Option<Figures>), report: &mut Report) {
    let (mut own, mut many, mut other) = figures;
    let (p50, p99) = (own.latency(0.5), own.latency(0.99));
    let of_a_core = many.of_a_core().unwrap_or_default();
    report.runs += &own.line(&format!("{title}, {FEW} connections"));
    report.runs += &many.line(&format!("{title}, {MANY} connections"));
    let (mut slow, mut few) = ("–".to_owned(), "–".to_owned());
    if let Some(other) = &mut other {
        report.runs += &other.line(&format!("{title}, {FEW} connections, LiteLLM"));
        slow = format!("LiteLLM: {:.1}, p99 {:.1} ms", other.latency(0.5), other.latency(0.99));
        few = format!("LiteLLM: {:.0}", other.of_a_core().unwrap_or_default());
    }
    report.targets.row(Row {
        scenario: "C2",
        what: format!("a hit {name}, {FEW} connections: p50"),
        target: format!("≤ {LONGEST_P50} ms"),
        measured: format!("{p50:.2}, p99 {p99:.2} ms"),
        peer: slow,
        met: p50 <= LONGEST_P50,
    });
    report.targets.row(Row {
        scenario: "C2",
        what: format!("hits {name} in a second of a core, {MANY} connections"),
        target: format!("≥ {LEAST_OF_A_CORE}"),
        measured: format!("{of_a_core:.0}"),
        peer: few,
        met: of_a_core >= LEAST_OF_A_CORE,
    });
}

/// Whether a stream that comes again is the one that was stored.
fn compare(form: Form, ours: &[u8], theirs: Option<&Vec<u8>>, report: &mut Report) {
    if form == Form::Json {
        return;
    }
    let sent = stream();
    let told = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        let thought = if text.contains("reasoning_content") { "with" } else { "without" };
        format!(
            "{} bytes, {} events, {thought} `reasoning_content`",
            bytes.len(),
            text.matches("data: ").count()
        )
    };
    let is_same = ours == sent.as_bytes();
    report.targets.row(Row {
        scenario: "C2",
        what: "a stream that comes again from the store".into(),
        target: format!("as it was sent: {}", told(sent.as_bytes())),
        measured: if is_same { "the same bytes".into() } else { told(ours) },
        peer: theirs.map_or("–".to_owned(), |theirs| format!("LiteLLM: {}", told(theirs))),
        met: is_same,
    });
}

/// Asks until the answer comes from the store, of each worker too, and gives it.
fn stored(address: SocketAddr, request: &[u8]) -> Result<Vec<u8>, String> {
    let mut swarm = Swarm::new(&[address], MANY);
    let until = Instant::now() + STORED_WITHIN;
    let mut ask = |client: usize| -> Result<Answer, String> {
        let mut got = swarm.ask(client, request, Instant::now()).map(|done| done.answer);
        while got.is_none() {
            if Instant::now() > until {
                return Err("no answer".to_owned());
            }
            swarm.poll(until, |done| got = Some(done.answer));
        }
        got.unwrap_or(Err("no answer")).map_err(str::to_owned)
    };
    // One after the other: a stream is stored when it has ended.
    loop {
        let answer = ask(0)?;
        if answer.status != 200 {
            return Err(format!("asked for a hit: {}", String::from_utf8_lossy(answer.body())));
        }
        let is_hit = answer.cache_status().contains("; hit") || answer.field("x-litellm-cache-key").is_some();
        if is_hit {
            (1..MANY.min(FEW * 2)).try_for_each(|client| ask(client).map(drop))?;
            return Ok(answer.body().to_vec());
        }
        if Instant::now() > until {
            return Err("the answer is not stored".to_owned());
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// Clients that each ask again when they have their answer, which is `same` as the one that was stored.
fn load(
    address: SocketAddr,
    request: &[u8],
    same: &dyn Fn(&[u8]) -> bool,
    (clients, lasting): (usize, Duration),
    processor: impl Fn() -> Duration,
) -> Result<Figures, String> {
    let mut swarm = Swarm::open(&[address], clients);
    let mut idle: Vec<usize> = (0..clients).collect();
    let (mut figures, mut wrong) = (Figures::default(), None);
    let (begun, used) = (Instant::now(), processor());
    while begun.elapsed() < lasting && wrong.is_none() {
        for client in idle.drain(..) {
            if swarm.ask(client, request, Instant::now()).is_some() {
                return Err("cannot connect".to_owned());
            }
        }
        swarm.poll(begun + lasting, |done| match &done.answer {
            Ok(answer) if answer.status == 200 && same(answer.body()) => {
                figures.latencies.push(millis(done.latency));
                idle.push(done.client);
            }
            Ok(answer) => {
                wrong = Some(format!("{}: {}", answer.status, String::from_utf8_lossy(answer.body())))
            }
            Err(problem) => wrong = Some((*problem).to_owned()),
        });
    }
    (figures.lasting, figures.processor) = (begun.elapsed(), Some(processor().saturating_sub(used)));
    wrong.map_or(Ok(figures), |wrong| Err(format!("a hit was another answer: {wrong}")))
}
