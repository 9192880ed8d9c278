//! Very many objects through small budgets.

use std::{env, fmt::Write, thread};

use selvage_rig::envoy::Gateway;
use selvage_rig::scripted::{Answer, Origin};

const OBJECT_BYTES: usize = 2048;
const SAMPLES: usize = 20;
const CLIENTS: usize = 4;
/// What may come on top in the second half: Envoy's own buffers, and the allocators' slack.
const GROWTH_KIB: u64 = 24 * 1024;

/// The content for a number: 2 kB that name it.
fn content(number: usize) -> Vec<u8> {
    let mut content = format!("object {number};").into_bytes();
    content.resize(OBJECT_BYTES, b'a' + (number % 26) as u8);
    content
}

fn number_of(target: &str) -> usize {
    target.rsplit('/').next().unwrap().parse().unwrap()
}

#[test]
fn memory_stays_bounded_and_hits_stay_right() {
    let objects: usize = env::var("SELVAGE_MEMORY_OBJECTS").map_or(20_000, |number| number.parse().unwrap());
    let origin = Origin::start();
    origin.otherwise(|request| Answer::fresh(content(number_of(&request.target))));
    origin.forget();
    // A short run must fill the budgets too, or it would show nothing.
    let budget = if objects >= 100_000 { "64MiB" } else { "8MiB" };
    let configuration = format!(r#"{{"worker": {{"bytes": "{budget}"}}, "node": {{"bytes": "{budget}"}}}}"#);
    let gateway = Gateway::with(&configuration).origin(origin.url()).start();
    let mut samples = vec![(0, gateway.resident_kib(), 0)];
    let step = objects.div_ceil(SAMPLES);
    let mut hits = 0;
    for sample in 0..SAMPLES {
        let (first, last) = (sample * step, ((sample + 1) * step).min(objects));
        hits += thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS)
                .map(|client| {
                    let gateway = &gateway;
                    scope.spawn(move || visit(gateway, (first + client..last).step_by(CLIENTS)))
                })
                .collect();
            clients.into_iter().map(|client| client.join().unwrap()).sum::<usize>()
        });
        samples.push((last, gateway.resident_kib(), hits));
    }
    let mut table = String::from("  objects  resident KiB     hits\n");
    for (objects, resident, hits) in &samples {
        writeln!(table, "{objects:9} {resident:13} {hits:8}").unwrap();
    }
    println!("budgets of {budget} a worker and for the node, 2 workers\n{table}");
    gateway.assert_sound();
    // Each object is asked for twice in a row, so nearly all second requests are hits.
    assert!(hits > objects * 9 / 10, "only {hits} hits\n{table}");
    let half = samples[SAMPLES / 2].1;
    let most = samples[SAMPLES / 2..].iter().map(|(_, resident, _)| *resident).max().unwrap();
    assert!(most <= half + GROWTH_KIB, "it grew by {} KiB in the second half\n{table}", most - half);
}

/// Asks for each object twice, and now and then for one of long ago; gives the number of hits.
fn visit(gateway: &Gateway, numbers: impl Iterator<Item = usize>) -> usize {
    let mut connection = gateway.connect();
    let mut hits = 0;
    for (turn, number) in numbers.enumerate() {
        // A new connection now and then, so that every client meets both workers.
        if turn % 50 == 49 {
            connection = gateway.connect();
        }
        let mut wanted = vec![number, number];
        if turn % 10 == 0 {
            wanted.push(number / 2);
        }
        for number in wanted {
            let response = connection.send(connection.get(&format!("/objects/{number}")));
            assert_eq!(response.status, 200, "{}", response.cache_status());
            assert!(
                response.body == content(number),
                "{number}: {} {:.40}",
                response.cache_status(),
                response.text()
            );
            hits += usize::from(response.is_hit());
        }
    }
    hits
}
