//! Single inputs that are asked for together.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use selvage_measure::targets::Row;
use selvage_rig::envoy::Gateway;
use selvage_rig::provider::Provider;

use crate::Report;

const PATH: &str = "/v1/embeddings";
/// Single inputs that come at once.
const AT_ONCE: usize = 32;
const ROUNDS: usize = 20;
/// How long the first waits for others, and how much more any may wait.
const WINDOW: Duration = Duration::from_millis(10);
const MORE: Duration = Duration::from_millis(5);

fn start(provider: &Provider, merge: &str) -> Result<Gateway, String> {
    let config = format!(
        r#"{{ "rules": [ {{ "name": "vectors", "match": {{ "paths": ["/v1/*"] }},
              "llm": {{ "api": "openai", "cache": {{}}, "embeddings": {{ "by_input": true, "cluster": "origin"{merge} }} }} }} ] }}"#
    );
    let builder = Gateway::with(&config).workers(1).origin(provider.url());
    builder.try_start().map_err(|refused| format!("Envoy did not start:\n{}", refused.output))
}

/// Asks for new inputs at once, over and over. Gives the calls of a round at most, and what each client waited, ascending.
fn ask(provider: &Provider, gateway: &Gateway, name: &str) -> Result<(usize, Vec<Duration>), String> {
    let (mut most, mut waited) = (0, Vec::new());
    for round in 0..ROUNDS {
        let before = provider.origin().count(PATH);
        let barrier = Barrier::new(AT_ONCE);
        let took: Vec<Result<Duration, String>> = thread::scope(|scope| {
            let clients: Vec<_> = (0..AT_ONCE)
                .map(|nth| {
                    let (barrier, body) =
                        (&barrier, format!(r#"{{"model":"embed-t","input":"{name} {round} {nth}"}}"#));
                    scope.spawn(move || {
                        let mut connection = gateway.connect();
                        barrier.wait();
                        let begun = Instant::now();
                        let response = connection.send(gateway.ask("POST", PATH).body(body));
                        let took = begun.elapsed();
                        if response.status == 200 {
                            Ok(took)
                        } else {
                            Err(format!("{} at {nth}", response.status))
                        }
                    })
                })
                .collect();
            clients.into_iter().map(|client| client.join().unwrap()).collect()
        });
        waited.extend(took.into_iter().collect::<Result<Vec<_>, String>>()?);
        most = most.max(provider.origin().count(PATH) - before);
    }
    waited.sort_unstable();
    Ok((most, waited))
}

/// Asks with a window and without.
pub fn measure(report: &mut Report) -> Result<(), String> {
    let provider = Provider::start();
    let alone = start(&provider, "")?;
    let together = start(&provider, r#", "merge": { "window": "10ms", "inputs": 32 }"#)?;
    let (_, without) = ask(&provider, &alone, "alone")?;
    let (calls, with) = ask(&provider, &together, "together")?;
    let half = |waited: &[Duration]| waited[waited.len() / 2];
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    report.targets.row(Row {
        scenario: "C5",
        what: format!(
            "{AT_ONCE} single inputs at once, {ROUNDS} times, at one worker: calls of a time at most"
        ),
        target: "1".to_owned(),
        measured: calls.to_string(),
        peer: "LiteLLM: one for each".to_owned(),
        met: calls == 1,
    });
    report.targets.row(Row {
        scenario: "C5",
        what: "what a client waits for that, p50, beside the same without a window".to_owned(),
        target: format!("≤ it + {} + {} ms", ms(WINDOW), ms(MORE)),
        measured: format!("{:.1}, without {:.1} ms", ms(half(&with)), ms(half(&without))),
        peer: "–".to_owned(),
        met: half(&with) <= half(&without) + WINDOW + MORE,
    });
    for gateway in [&alone, &together] {
        gateway.assert_sound();
    }
    Ok(())
}
