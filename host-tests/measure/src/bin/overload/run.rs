//! One subject under one load.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use selvage_measure::crowd::HOST;
use selvage_measure::measured::reloaded;
use selvage_measure::open_loop::Sample;
use selvage_rig::envoy::Gateway;

use crate::seen::Seen;
use crate::servers::Servers;
use crate::subjects::Subject;
use crate::traffic::{Kind, STORED, offer};

/// What is offered, and for how long.
pub struct Offer<'a> {
    pub kinds: &'a [Kind],
    /// How long it counts, after [`WARM_UP`].
    pub lasting: Duration,
    /// From when to when the origin is slower, as it counts.
    pub slow: Option<(Duration, Duration)>,
    pub seed: u64,
}

/// What came of it.
pub struct Run {
    pub title: String,
    pub samples: Vec<Sample>,
    pub lasting: Duration,
    /// The limit as the metrics had it, from time to time.
    pub limits: Vec<u64>,
    /// What the gauges of the pool had at the end. `None`: there is no pool.
    pub left: Option<u64>,
    /// What went wrong with Envoy itself.
    pub unsound: Option<String>,
}

/// Before anything counts: limits are found, connections opened.
pub const WARM_UP: Duration = Duration::from_secs(5);
/// Gauges are exported with the tick.
const SETTLES: Duration = Duration::from_secs(10);
const LOOKS_EVERY: Duration = Duration::from_millis(500);

impl Run {
    /// Measures a subject with an origin and an Envoy of its own.
    pub fn of(title: &str, subject: &Subject, offered: &Offer<'_>) -> Result<Self, String> {
        eprintln!("selvage: {title}");
        let slow = offered.slow.map(|(from, to)| (WARM_UP + from, WARM_UP + to));
        let servers = Servers::start(offered.seed, slow);
        let gateway = subject.start(&servers.origin.url())?;
        if offered.kinds.iter().any(|kind| kind.stored) {
            let mut connection = gateway.connect();
            for number in 0..STORED {
                let ask = connection.get(&format!("/stored/{number}")).header("host", HOST);
                assert_eq!(connection.send(ask).status, 200);
            }
        }
        let whole = WARM_UP + offered.lasting;
        let ended = AtomicBool::new(false);
        let (samples, limits) = thread::scope(|scope| {
            let watch = scope.spawn(|| watched(&gateway, subject, &ended));
            servers.begin();
            let samples = offer(gateway.address(), offered.kinds, whole, offered.seed);
            ended.store(true, Ordering::SeqCst);
            (samples, watch.join().unwrap())
        });
        Ok(Self {
            title: title.to_owned(),
            samples,
            lasting: offered.lasting,
            limits,
            left: subject.has_pool().then(|| left(&gateway)),
            unsound: reloaded(&gateway),
        })
    }

    /// Figures of some kinds, or of all if none is named.
    pub fn seen(&self, kinds: &[usize]) -> Seen {
        self.seen_from(kinds, Duration::ZERO, self.lasting)
    }

    /// The same for a part of the time that counts.
    pub fn seen_from(&self, kinds: &[usize], from: Duration, to: Duration) -> Seen {
        Seen::of(&self.samples, kinds, WARM_UP + from, WARM_UP + to)
    }
}

/// The limits that the metrics have after the warm-up.
fn watched(gateway: &Gateway, subject: &Subject, ended: &AtomicBool) -> Vec<u64> {
    let mut limits = Vec::new();
    let begun = Instant::now();
    while subject.has_pool() && !ended.load(Ordering::SeqCst) {
        thread::sleep(LOOKS_EVERY);
        if begun.elapsed() >= WARM_UP {
            limits.push(gateway.stat("pool.origin.limit"));
        }
    }
    limits
}

/// What the pool's gauges have when nothing is under way any more.
pub fn left(gateway: &Gateway) -> u64 {
    let gauges = || -> u64 {
        let words = ["in-flight", "waiting-high", "waiting-normal", "waiting-low"];
        words.iter().map(|word| gateway.stat(&format!("pool.origin.{word}"))).sum()
    };
    let end = Instant::now() + SETTLES;
    loop {
        let now = gauges();
        if now == 0 || Instant::now() >= end {
            return now;
        }
        thread::sleep(Duration::from_millis(100));
    }
}
