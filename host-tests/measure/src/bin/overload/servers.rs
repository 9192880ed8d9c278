//! An origin of a few servers that each take their time for one request, first come first served.

use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use selvage_measure::crowd::{Origin, Plan};
use selvage_rig::chance::Dice;

/// So many requests are served at once.
pub const SERVERS: usize = 8;
/// How long one takes on average, and by how much of that it may be more or less.
pub const SERVICE: Duration = Duration::from_millis(40);
pub const SPREAD: f64 = 0.2;
/// How much slower it may become.
pub const SLOWER: u32 = 3;

/// An origin that runs.
pub struct Servers {
    pub origin: Origin,
    began: Arc<OnceLock<Instant>>,
}

impl Servers {
    /// Starts it. From the one moment of the load to the other it is slower.
    ///
    /// A server does what it was asked for even if nobody waits for it any more, as programs do. So the moment at which an
    /// answer will be there is known when its request comes.
    pub fn start(seed: u64, slow: Option<(Duration, Duration)>) -> Self {
        let began = Arc::new(OnceLock::<Instant>::new());
        let beginning = Arc::clone(&began);
        let servers = std::sync::Mutex::new((Dice::new(seed), [Instant::now(); SERVERS]));
        let origin = Origin::forgetful(move |request| {
            let mut servers = servers.lock().unwrap();
            let (dice, free) = &mut *servers;
            let now = Instant::now();
            let next = free.iter_mut().min().unwrap();
            let starts = now.max(*next);
            let since = beginning.get().map(|began| starts.saturating_duration_since(*began));
            let slower = slow.zip(since).is_some_and(|((from, to), at)| at >= from && at < to);
            let part = 1.0 - SPREAD + 2.0 * SPREAD * dice.fraction();
            let takes = SERVICE.mul_f64(part) * if slower { SLOWER } else { 1 };
            *next = starts + takes;
            Plan { delay: *next - now, ..answer(&request.target) }
        });
        Self { origin, began }
    }

    /// The load begins.
    pub fn begin(&self) {
        let _ = self.began.set(Instant::now());
    }
}

/// Below `/stored/` is what may be stored and served stale; all else may not be.
pub fn answer(target: &str) -> Plan {
    let stored = target.starts_with("/stored/");
    let control = if stored { "max-age=0, stale-if-error=3600\r\netag: \"1\"" } else { "no-store" };
    Plan {
        status: 200,
        fields: format!("cache-control: {control}\r\n"),
        body: b"served\n".to_vec(),
        ..Plan::default()
    }
}
