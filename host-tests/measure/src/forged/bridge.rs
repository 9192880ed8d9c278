//! The bridge: it plays webdis, keeps what Envoy writes, and answers with what is forged out of that.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::entries::{entry, hint};
use super::forging::{Forged, forge};
use super::random::Random;
use crate::crowd::{Origin, Plan};
use selvage_rig::scripted::Received;

/// The bridge. It listens as long as the process lives.
pub struct Bridge {
    server: Origin,
    state: Arc<Mutex<State>>,
}

struct State {
    random: Random,
    /// By their keys.
    records: HashMap<String, Vec<u8>>,
    /// Their keys as numbers.
    hashes: Vec<u128>,
    /// What it has given as an entry of the log of purges.
    entry: Vec<u8>,
    /// The last number of the log of purges that was asked for.
    last: u64,
    told: Told,
}

/// What it has answered.
#[derive(Clone, Default)]
pub struct Told {
    /// Forged answers by what was forged.
    pub forged: BTreeMap<&'static str, u64>,
    /// Lookups that found nothing, since nothing is known of the key or by chance.
    pub absent: u64,
    /// Lookups that found what Envoy had written.
    pub honest: u64,
    /// Records that Envoy has written.
    pub written: u64,
}

impl Told {
    /// How many answers were forged.
    pub fn all_forged(&self) -> u64 {
        self.forged.values().sum()
    }
}

impl Bridge {
    /// Listens on a free port. The same seed forges the same out of the same; which lookup comes when is Envoy's to say.
    pub fn start(seed: u64) -> Self {
        let random = Random::new(seed);
        let (records, hashes, told) = (HashMap::new(), Vec::new(), Told::default());
        let state = Arc::new(Mutex::new(State { random, records, hashes, entry: Vec::new(), last: 0, told }));
        let scripted = Arc::clone(&state);
        let server = Origin::forgetful(move |request| scripted.lock().unwrap().answer(request));
        Self { server, state }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.server.port()
    }

    /// What it has answered so far.
    pub fn told(&self) -> Told {
        self.state.lock().unwrap().told.clone()
    }
}

impl State {
    fn answer(&mut self, request: &Received) -> Plan {
        let target = request.target.trim_end_matches(".bin");
        let mut words = target.split('/').skip(1);
        let (command, key) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let claims = target.contains("/NX/GET/");
        match command {
            "EVAL" | "EVALSHA" => self.answer_all(target.trim_end_matches(".raw"), &request.body),
            "PING" => ok(&br#"{"PING":[true,"PONG"]}"#[..]),
            "SETEX" => {
                self.keep(key, &request.body);
                self.written(r#"{"SETEX":[true,"OK"]}"#)
            }
            "DEL" => {
                self.records.remove(key);
                self.written(r#"{"DEL":1}"#)
            }
            "SET" if !claims => {
                let added = if self.random.one_in(2) { r#"{"SET":[true,"OK"]}"# } else { r#"{"SET":null}"# };
                self.written(added)
            }
            _ if key.ends_with(":purges") => {
                let text = hint(self.last, &mut self.random);
                self.forged("hint", text)
            }
            _ if key.contains(":purge:") => {
                // The log goes on while there is an entry.
                if !self.random.one_in(3) {
                    return self.absent();
                }
                let number = key.rsplit(':').next().and_then(|number| number.parse().ok()).unwrap_or(0);
                // What is no entry is believed to be there when it comes twice.
                if self.last != number || !self.random.one_in(4) {
                    let text = entry(now(), &mut self.random);
                    let stray = self.random.one_in(16);
                    let under = format!("n{:016x}", if stray { self.random.next() } else { number });
                    self.entry = [under.as_bytes(), &text].concat();
                }
                self.last = number;
                let text = self.entry.clone();
                self.forged("purge", text)
            }
            _ => self.look_up(key),
        }
    }

    /// Several lookups, or several writes.
    fn answer_all(&mut self, target: &str, body: &[u8]) -> Plan {
        let words: Vec<&str> = target.split('/').skip(3).collect();
        let Some((count, rest)) = words.split_first() else { return self.absent() };
        let Some((keys, arguments)) = count.parse().ok().and_then(|count| rest.split_at_checked(count))
        else {
            return self.absent();
        };
        let mut values = body.get(1..).unwrap_or_default();
        let mut array = format!("*{}\r\n", keys.len()).into_bytes();
        let mut delay = Duration::ZERO;
        for (key, pair) in keys.iter().zip(arguments.chunks_exact(2)) {
            let plan = if body.is_empty() {
                self.look_up(key)
            } else {
                let length = pair.last().and_then(|length| length.parse().ok()).unwrap_or(0);
                let (record, after) = values.split_at_checked(length).unwrap_or_default();
                values = after;
                if record.is_empty() {
                    self.records.remove(*key);
                } else {
                    self.keep(key, record);
                }
                self.written("+")
            };
            delay = delay.max(plan.delay);
            array.extend_from_slice(format!("${}\r\n", plan.body.len()).as_bytes());
            array.extend_from_slice(&plan.body);
            array.extend_from_slice(b"\r\n");
        }
        // Now and then the array itself is not as it should be.
        if self.random.one_in(32) {
            match self.random.below(3) {
                0 => array.truncate(self.random.below(array.len())),
                1 => array.extend_from_slice(b"$1\r\nx\r\n"),
                _ => {
                    let at = self.random.below(array.len());
                    if let Some(byte) = array.get_mut(at) {
                        *byte ^= 1 << self.random.below(8);
                    }
                }
            }
        }
        Plan { delay, ..ok(array) }
    }

    fn look_up(&mut self, key: &str) -> Plan {
        let Some(record) = self.records.get(key) else { return self.absent() };
        match self.random.below(256) {
            0..3 => self.absent(),
            3..6 => {
                self.told.honest += 1;
                ok(record.clone())
            }
            6..11 => {
                let claim = self.claim();
                self.forged("claim", claim)
            }
            11..14 => {
                let others: Vec<&Vec<u8>> = self.records.values().take(64).collect();
                let other = (*self.random.pick(&others)).clone();
                self.forged("another's", other)
            }
            14..17 => {
                let text = *self.random.pick(&ODD);
                let mut plan = self.forged("no record", text.to_vec());
                plan.status = *self.random.pick(&[200, 200, 200, 500, 503, 403, 404, 302]);
                plan
            }
            17 => {
                let late = Duration::from_millis(30 + self.random.below(150) as u64);
                Plan { delay: late, ..self.forge(key) }
            }
            _ => self.forge(key),
        }
    }

    fn forge(&mut self, key: &str) -> Plan {
        let record = self.records.get(key).map(Vec::as_slice).unwrap_or_default();
        let Forged { bytes, what } = forge(record, &self.hashes, now(), &mut self.random);
        self.forged(what, bytes)
    }

    /// A claim of another Envoy, or what begins like one.
    fn claim(&mut self) -> Vec<u8> {
        match self.random.below(8) {
            0 => b"claim:!".to_vec(),
            1 => b"claim:".to_vec(),
            2 => [&b"claim:"[..], &self.random.bytes(5000)].concat(),
            3 => b"claim:!!".to_vec(),
            _ => format!("claim:{:016x}", self.random.next()).into_bytes(),
        }
    }

    fn keep(&mut self, key: &str, record: &[u8]) {
        self.told.written += 1;
        // What was forged may come back, freshened by the origin: it shall not grow from time to time.
        if record.len() > LARGEST {
            return;
        }
        let before = self.records.insert(key.to_owned(), record.to_vec());
        let hash = key.rsplit(':').next().and_then(|digits| u128::from_str_radix(digits, 16).ok());
        if let (None, Some(hash)) = (before, hash) {
            self.hashes.push(hash);
            self.hashes.truncate(MOST_HASHES);
        }
    }

    /// The answer to what changes something: now and then one that says otherwise.
    fn written(&mut self, text: &str) -> Plan {
        let text = if self.random.one_in(200) { *self.random.pick(&ODD) } else { text.as_bytes() };
        ok(text)
    }

    fn absent(&mut self) -> Plan {
        self.told.absent += 1;
        Plan { status: 404, ..Plan::default() }
    }

    fn forged(&mut self, what: &'static str, body: Vec<u8>) -> Plan {
        *self.told.forged.entry(what).or_default() += 1;
        ok(body)
    }
}

fn ok(body: impl Into<Vec<u8>>) -> Plan {
    Plan { status: 200, body: body.into(), ..Plan::default() }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}

/// What is no record, and no answer either.
const ODD: [&[u8]; 8] = [
    b"",
    b"S",
    b"-ERR unknown",
    b"-LOADING Redis is loading the dataset in memory",
    b"{\"GET\":[false,\"ERR\"]}",
    b"{\"SETEX\":[false,\"OOM command not allowed\"]}",
    b"SLVG\0\0\0\0\0\0\0\0",
    b"null",
];
/// Bytes of the largest record that is kept.
const LARGEST: usize = 16 << 10;
const MOST_HASHES: usize = 4096;
