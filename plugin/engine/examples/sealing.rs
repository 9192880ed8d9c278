//! What `remote.secret_env` costs a hit of the remote store, and a record that is sent there; beside it what else is done with
//! the same bytes. As Envoy runs it, in the V8 of Node:
//!
//! ```text
//! RUSTFLAGS='-C target-feature=+simd128,+bulk-memory,+sign-ext,+nontrapping-fptoint' \
//!   cargo build --profile wasm --target wasm32-wasip1 -p selvage-engine --example sealing
//! node --no-warnings -e 'const w=new(require("wasi").WASI)({version:"preview1"});
//!   WebAssembly.instantiate(require("fs").readFileSync(process.argv[1]),w.getImportObject()).then(m=>w.start(m.instance))' \
//!   target/wasm32-wasip1/wasm/examples/sealing.wasm
//! ```

use std::hint::black_box;
use std::rc::Rc;
use std::time::{Duration, Instant};

use selvage_engine::fields::FieldBlock;
use selvage_engine::freshness::Schedule;
use selvage_engine::remote::seal::Seal;
use selvage_engine::store::Slot;
use selvage_engine::store::record::{Verify, decode, encode};
use selvage_engine::store::response::{Body, Outlives, StoredResponse, Terms};
use selvage_engine::time::Timestamp;

const KEY: &str = "selvage:v1:0123456789abcdef0123456789abcdef";
const ROUNDS: usize = 15;

fn main() {
    let Ok(seal) = Seal::new("a secret of the fleet".replace(' ', "-").as_str()) else { return };
    println!(
        "| a body of | read, us | verified and read, us | of reading | written, us | written and signed, us | of writing |"
    );
    println!("|---|---|---|---|---|---|---|");
    for size in [1_000, 10_000, 60_000] {
        let slot = response(size);
        let record = encode(&slot);
        let signed = seal.sign(KEY, &record);
        let [mut reads, mut verifies, mut writes, mut signs] = [const { Vec::new() }; 4];
        let times = 20_000_000 / (size + 4_000);
        // In turns, so that a busy machine is busy for all of them.
        for _ in 0..ROUNDS {
            reads.push(micros(times, || decode(black_box(record.clone()), Verify::Whole).is_ok()));
            verifies.push(micros(times, || {
                let opened = seal.open(KEY, black_box(signed.clone()));
                opened.is_some_and(|record| decode(record, Verify::Whole).is_ok())
            }));
            writes.push(micros(times, || !encode(black_box(&slot)).is_empty()));
            signs.push(micros(times, || !seal.sign(KEY, &encode(black_box(&slot))).is_empty()));
        }
        let [read, verified, written, signed] = [reads, verifies, writes, signs].map(median);
        println!(
            "| {} kB | {read:.1} | {verified:.1} | {:.1} | {written:.1} | {signed:.1} | {:.1} |",
            size / 1000,
            verified / read,
            signed / written
        );
    }
}

fn micros(times: usize, act: impl Fn() -> bool) -> f64 {
    let begun = Instant::now();
    let done = (0..times).filter(|_| act()).count();
    let micros = begun.elapsed().as_secs_f64() * 1e6;
    if done == times { micros / times as f64 } else { f64::NAN }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn response(size: usize) -> Slot {
    let now = Timestamp::from_secs(1_800_000_000);
    let fields: FieldBlock = [
        (&b"cache-control"[..], &b"public, max-age=3600"[..]),
        (b"content-type", b"image/webp"),
        (b"etag", b"\"5f8d-1c2b\""),
        (b"date", b"Fri, 15 Jan 2027 08:00:00 GMT"),
        (b"server", b"origin"),
    ]
    .into_iter()
    .collect();
    let mut noise = 1u64;
    let body = (0..size).map(|_| {
        noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        noise.to_be_bytes()[0]
    });
    Slot::Response(Rc::new(StoredResponse {
        key: Rc::from(&b"https www.example.com /assets/pictures/2026/11/header.webp?width=1200"[..]),
        status: 200,
        terms: Terms::SHARED,
        schedule: Schedule {
            born: now,
            received: now,
            lifetime: Duration::from_secs(3600),
            while_revalidate: Duration::ZERO,
            if_error: Duration::ZERO,
            disconnected: Duration::ZERO,
        },
        fields,
        body: Body::new(body.collect()),
        gzip: None,
        minified: None,
        took_millis: 0,
        generation: now,
        tags: Rc::from([]),
        outlives: Outlives::default(),
    }))
}
