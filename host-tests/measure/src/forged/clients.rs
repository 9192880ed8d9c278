//! The clients: each has a connection that it keeps, and asks again as soon as it is answered.

use std::{
    collections::BTreeMap,
    fmt::Write,
    net::SocketAddr,
    time::{Duration, Instant},
};

use super::judge::{Asked, Right};
use super::site::{LANGUAGES, PATHS, path};
use crate::crowd::{Finished, Swarm};
use crate::measured::gist;
use selvage_rig::chance::Dice;

/// All of them.
pub struct Clients {
    swarm: Swarm,
    dice: Dice,
    /// What each waits for the answer to, and since when.
    asked: Vec<Option<(Asked, Instant)>>,
    /// From which time on an answer counts as none.
    patience: Duration,
    /// What has become of requests.
    pub tally: Tally,
}

/// What has become of requests.
#[derive(Clone, Default)]
pub struct Tally {
    /// How many there were.
    pub requests: u64,
    /// Those of them that got what is the origin's.
    pub origins: u64,
    /// Those that got what was forged and is well-formed.
    pub accepted: u64,
    /// The longest, and what it asked for.
    pub longest: (Duration, String),
    /// What was wrong, by how often, and one of those answers.
    pub errors: BTreeMap<String, (u64, String)>,
    /// What `Cache-Status` said, by how often.
    pub said: BTreeMap<String, usize>,
}

impl Tally {
    /// How many answers were wrong.
    pub fn all_errors(&self) -> u64 {
        self.errors.values().map(|(count, _)| count).sum()
    }
}

impl Clients {
    /// So many clients of this address. They wait so long at most.
    pub fn new(address: SocketAddr, count: usize, seed: u64, patience: Duration) -> Self {
        let asked = (0..count).map(|_| None).collect();
        let swarm = Swarm::open(&[address], count);
        Self { swarm, dice: Dice::new(seed), asked, patience, tally: Tally::default() }
    }

    /// Asks and judges for this long.
    pub fn run(&mut self, lasting: Duration) {
        let end = Instant::now() + lasting;
        while Instant::now() < end {
            for number in 0..self.asked.len() {
                if self.asked[number].is_none() {
                    self.ask(number);
                }
            }
            self.take_in(end);
            self.give_up();
        }
    }

    /// Waits for the answers to what has been asked.
    pub fn finish(&mut self) {
        let end = Instant::now() + self.patience;
        while self.asked.iter().any(Option::is_some) {
            self.take_in(end);
            self.give_up();
        }
    }

    fn ask(&mut self, number: usize) {
        let (request, asked) = request(&mut self.dice);
        let now = Instant::now();
        self.asked[number] = Some((asked, now));
        if let Some(finished) = self.swarm.ask(number, &request, now) {
            self.end(finished);
        }
    }

    fn take_in(&mut self, end: Instant) {
        let mut all = Vec::new();
        self.swarm.poll(end.min(Instant::now() + LOOK), |finished| all.push(finished));
        all.into_iter().for_each(|finished| self.end(finished));
    }

    fn end(&mut self, finished: Finished) {
        let Some((asked, _)) = self.asked[finished.client].take() else { return };
        let tally = &mut self.tally;
        tally.requests += 1;
        let target = || path(asked.number);
        if finished.latency > tally.longest.0 {
            let said = finished.answer.as_ref().map(|answer| gist(&answer.cache_status()));
            tally.longest = (finished.latency, format!("{} {}", target(), said.unwrap_or_default()));
        }
        let (problem, shown) = match &finished.answer {
            Err(problem) => {
                let came = &finished.came[..finished.came.len().min(1000)];
                ((*problem).to_owned(), String::from_utf8_lossy(came).into_owned())
            }
            Ok(answer) => {
                *tally.said.entry(gist(&answer.cache_status())).or_default() += 1;
                match asked.judge(answer) {
                    Ok(Right::Origins) => {
                        tally.origins += 1;
                        return;
                    }
                    Ok(Right::Accepted) => {
                        tally.accepted += 1;
                        return;
                    }
                    Err(problem) => (problem, String::from_utf8_lossy(answer.head()).into_owned()),
                }
            }
        };
        tally.errors.entry(problem).or_insert_with(|| (0, format!("{}\n{shown}", target()))).0 += 1;
    }

    /// Whoever has waited for too long goes away.
    fn give_up(&mut self) {
        for (number, asked) in self.asked.iter_mut().enumerate() {
            if let Some((request, _)) = asked.take_if(|(_, since)| since.elapsed() > self.patience) {
                self.swarm.hang_up(number);
                self.tally.requests += 1;
                let lasted = (self.patience, format!("{} without an answer", path(request.number)));
                let error =
                    self.tally.errors.entry("no answer".to_owned()).or_insert_with(|| (0, lasted.1.clone()));
                error.0 += 1;
                self.tally.longest = lasted;
            }
        }
    }
}

/// A request, by chance.
fn request(dice: &mut Dice) -> (Vec<u8>, Asked) {
    let number = dice.below(PATHS as u64) as usize;
    let language = dice.of(&LANGUAGES);
    let mut asked =
        Asked { number, language, head: false, range: false, condition: false, only_stored: false };
    let mut fields = String::new();
    if dice.chance(500) {
        fields.push_str("accept-encoding: gzip\r\n");
    }
    match dice.below(100) {
        0..6 => asked.head = true,
        6..14 => {
            asked.range = true;
            let range = dice.of(&["0-0", "0-9", "5-", "-7", "0-99999", "99999-", "3-3"]);
            let _ = write!(fields, "range: bytes={range}\r\n");
        }
        14..24 => {
            asked.condition = true;
            fields.push_str(match dice.below(3) {
                0 => "if-none-match: *\r\n",
                1 => "if-modified-since: Sun, 06 Nov 2033 08:49:37 GMT\r\n",
                _ => "if-none-match: \"x\", W/\"11\", \"3\"\r\n",
            });
        }
        24..30 => {
            let directive = dice.of(&["no-cache", "max-age=0", "max-stale", "min-fresh=5", "only-if-cached"]);
            asked.only_stored = directive == "only-if-cached";
            let _ = write!(fields, "cache-control: {directive}\r\n");
        }
        _ => {}
    }
    let method = if asked.head { "HEAD" } else { "GET" };
    let target = path(number);
    let request = format!(
        "{method} {target} HTTP/1.1\r\nhost: forged.example\r\naccept-language: {language}\r\n{fields}\r\n"
    );
    (request.into_bytes(), asked)
}

/// How long nothing but answers is looked at.
const LOOK: Duration = Duration::from_millis(50);
