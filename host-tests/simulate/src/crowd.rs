//! What bounds the requests of a run: a pool before the origin, and limits of what clients may ask for. Most runs have neither.

use selvage_rig::chance::Dice;

/// What a run is bounded by. Times in milliseconds.
#[derive(Clone, Debug, Default)]
pub struct Crowd {
    pub pool: Option<Pool>,
    pub limits: Vec<Limit>,
    /// So far apart are the clocks of a node's workers. They are one clock in Envoy, and limits are to bear more; of what is
    /// invalidated nothing could be said then.
    pub apart: u64,
}

/// A pool, which all requests go through.
#[derive(Clone, Debug)]
pub struct Pool {
    /// Its limit is between these; they are the same for one that is fixed.
    pub least: u32,
    pub most: u32,
    /// Requests of each class that wait in a worker.
    pub requests: u64,
    /// How long those of each class wait, the highest first.
    pub waits: [u64; 3],
    pub low_share: u64,
    /// A place is free again at the head of a response.
    pub release_at_head: bool,
    fair: bool,
    start: u32,
}

/// A limit, which counts all requests.
#[derive(Clone, Debug)]
pub struct Limit {
    /// It counts by the client's key, and else all together.
    pub by_key: bool,
    pub quota: u64,
    pub window: u64,
    pub burst: u64,
    /// Those alone that a store cannot answer.
    pub forwarded: bool,
    /// All nodes count together.
    pub fleet: bool,
}

impl Crowd {
    /// `remote`: there is a Redis.
    pub fn random(dice: &mut Dice, remote: bool) -> Self {
        let pool = dice.chance(300).then(|| Pool::random(dice));
        let mut limits = Vec::new();
        if dice.chance(300) {
            limits.push(Limit::random(dice, true));
            if dice.chance(300) {
                limits.push(Limit::random(dice, false));
            }
        }
        let apart = if limits.is_empty() { 0 } else { dice.of(&[0, 0, 0, 4, 30]) };
        for limit in &mut limits {
            limit.fleet = remote && dice.chance(500);
        }
        Self { pool, limits, apart }
    }

    /// The members that the configuration has for it: of the whole, and of its rule.
    pub fn config(&self) -> (String, String) {
        let (mut top, mut rule) = (String::new(), String::new());
        if let Some(pool) = &self.pool {
            top += &format!(r#""pools":[{}],"#, pool.config());
            let fair = if pool.fair { r#","fair_by":["header:x-key"]"# } else { "" };
            rule += &format!(r#""admission":{{"pool":"origin","priority_header":"x-class"{fair}}},"#);
        }
        if !self.limits.is_empty() {
            let limits: Vec<String> = self.limits.iter().map(Limit::config).collect();
            let names: Vec<String> = self.limits.iter().map(|limit| format!("{:?}", limit.name())).collect();
            top += &format!(r#""limits":[{}],"#, limits.join(","));
            rule += &format!(r#""limits":[{}],"#, names.join(","));
        }
        (top, rule)
    }

    /// Whether requests tell of which class they are, and whose.
    pub fn any(&self) -> bool {
        self.pool.is_some() || !self.limits.is_empty()
    }

    /// No request waits longer for a place.
    pub fn longest_wait(&self) -> u64 {
        let longest = |pool: &Pool| pool.waits.iter().max().map_or(0, |wait| wait + WOKEN_WITHIN);
        self.pool.as_ref().map_or(0, longest)
    }
}

impl Pool {
    fn random(dice: &mut Dice) -> Self {
        let fixed = dice.of(&[1, 2, 3, 4, 4, 8]);
        let (least, most) = if dice.chance(600) { (fixed, fixed) } else { (dice.of(&[1, 2, 4]), 10) };
        Self {
            least,
            most,
            requests: dice.of(&[0, 1, 3, 8]),
            waits: [dice.of(&[500, 2000]), dice.of(&[100, 500]), dice.of(&[50, 200, 1000])],
            low_share: dice.of(&[0, 0, 5, 40]),
            release_at_head: dice.chance(200),
            fair: dice.chance(500),
            start: dice.of(&[4, 10]),
        }
    }

    fn config(&self) -> String {
        let Self { least, most, requests, waits: [high, normal, low], low_share, start, .. } = self;
        let limit = if least == most {
            format!(r#""fixed":{most}"#)
        } else {
            format!(r#""min":{least},"max":{most},"start":{start}"#)
        };
        let release = if self.release_at_head { "head" } else { "end" };
        format!(
            r#"{{"name":"origin",{limit},"release":"{release}","low_share":{low_share},"queue":{{"requests":{requests},
            "wait":{{"high":"{high}ms","normal":"{normal}ms","low":"{low}ms"}}}}}}"#
        )
    }
}

impl Limit {
    fn random(dice: &mut Dice, by_key: bool) -> Self {
        Self {
            by_key,
            quota: dice.of(&[1, 5, 20]) * if by_key { 1 } else { 3 },
            window: dice.of(&[500, 1000, 4000]),
            burst: dice.of(&[1, 3, 10]) * if by_key { 1 } else { 3 },
            forwarded: dice.chance(400),
            fleet: false,
        }
    }

    /// As clients are told it.
    pub const fn name(&self) -> &'static str {
        if self.by_key { "per-key" } else { "all" }
    }

    fn config(&self) -> String {
        let Self { quota, window, burst, .. } = self;
        let by = if self.by_key { r#""header:x-key""# } else { "" };
        let counts = if self.forwarded { "forwarded" } else { "requests" };
        let scope = if self.fleet { "fleet" } else { "node" };
        format!(
            r#"{{"name":"{}","by":[{by}],"quota":{quota},"window":"{window}ms","burst":{burst},"counts":"{counts}",
            "scope":"{scope}"}}"#,
            self.name()
        )
    }

    /// After so long without a request the whole burst is there. What a worker that died held is forgotten by then.
    pub const fn rest(&self) -> u64 {
        let forgotten = if self.fleet { FORGOTTEN_BY_REDIS } else { FORGOTTEN_WITHIN };
        (self.burst * self.window).div_ceil(self.quota) + forgotten
    }
}

/// Who has waited enough is found at a tick, and woken with a few others at a time.
pub const WOKEN_WITHIN: u64 = 120;
/// See `limits/lease.rs` of the engine: the epoch in which it was lent and the next, what a node and a worker remember beside.
const FORGOTTEN_BY_REDIS: u64 = 2500;
/// See `limits/ways.rs` of the engine.
const FORGOTTEN_WITHIN: u64 = 1100;
