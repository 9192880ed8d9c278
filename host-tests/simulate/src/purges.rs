//! Purges: what operators want to be gone, and how soon it must be.

use crate::client::Ask;
use crate::origin::Stamp;
use crate::world::World;

/// What an operator wants.
#[derive(Clone, Debug)]
pub struct Purge {
    pub what: What,
    pub soft: bool,
    /// By which worker of which node it was accepted, and when.
    pub node: usize,
    pub worker: usize,
    pub at: u64,
    /// How many requests the origin had seen by then: of two things in one millisecond one is the first.
    pub fetches: usize,
}

/// What is to be gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A page, by `PURGE`.
    Page(usize),
    /// A page, by its URL in a list.
    Url(usize),
    /// All pages of a group, by their tag.
    Tag(usize),
    /// All answers of a model, by its name.
    Model(usize),
    /// The pages whose numbers begin with this digit.
    Prefix(usize),
    All,
}

impl What {
    /// Of pages, and of questions.
    pub const GROUPS: usize = 3;

    fn covers(self, page: usize) -> bool {
        match self {
            Self::Page(purged) | Self::Url(purged) => page == purged,
            Self::Tag(group) | Self::Model(group) => page % Self::GROUPS == group,
            Self::Prefix(digit) => page.to_string().starts_with(&digit.to_string()),
            Self::All => true,
        }
    }

    /// The body of the request for it; none for `PURGE`.
    pub fn body(self, soft: bool) -> String {
        let what = match self {
            Self::Page(_) => return String::new(),
            Self::Url(page) => format!(r#""urls":["https://example.com/page/{page}"]"#),
            Self::Tag(group) => format!(r#""tags":["g{group}"]"#),
            Self::Model(group) => format!(r#""tags":["model:g{group}"]"#),
            Self::Prefix(digit) => format!(r#""prefixes":["example.com/page/{digit}"]"#),
            Self::All => r#""all":true"#.to_owned(),
        };
        format!(r#"{{{what},"soft":{soft}}}"#)
    }
}

impl Purge {
    /// The head of the operator's request.
    pub fn head(&self) -> Vec<(String, Vec<u8>)> {
        let (method, path) = match self.what {
            What::Page(page) => ("PURGE", format!("/page/{page}")),
            _ => ("POST", "/.selvage/purge".to_owned()),
        };
        let mut fields = vec![
            (":method", method.to_owned()),
            (":scheme", "https".to_owned()),
            (":authority", "example.com".to_owned()),
            (":path", path),
        ];
        if self.soft {
            fields.push(("selvage-purge", "soft".to_owned()));
        }
        fields.into_iter().map(|(name, value)| (name.to_owned(), value.into_bytes())).collect()
    }
}

/// The tags that the origin gives a page.
pub fn tags(page: usize) -> String {
    format!("page g{}", page % What::GROUPS)
}

impl World {
    /// An operator purges.
    pub fn purge(&mut self) {
        let page = self.dice.below(self.pages.len() as u64) as usize;
        let what = match self.dice.below(10) {
            0..=8 if self.tenants.is_some() => What::Model(page % What::GROUPS),
            0..=3 => What::Page(page),
            4 | 5 => What::Url(page),
            6 | 7 => What::Tag(page % What::GROUPS),
            8 => What::Prefix(page),
            _ => What::All,
        };
        let soft = self.dice.chance(400);
        let purge = Purge { what, soft, node: 0, worker: 0, at: self.now, fetches: self.sent.len() };
        self.note(|_| format!("an operator purges: {what:?}, soft: {soft}"));
        let ask = Ask { method: "PURGE", ..Ask::plain(page) };
        let body = what.body(soft).into_bytes();
        let place = self.any_worker();
        self.begin_with(ask, Some(purge), body, place);
    }

    /// An operator is answered.
    pub fn purged(&mut self, id: usize, status: u16) {
        let Some(purge) = self.streams[id].purge.clone() else { return };
        self.summary.purged += 1;
        self.index_known.clear();
        if status != 200 {
            return self.violate("a purge is accepted", format!("stream {id} got {status}"));
        }
        // Redis may be away just now, or nobody asks it.
        if self.redis.mood != crate::redis::Mood::Well {
            self.trouble.push(self.now);
        }
        self.purges.push(purge);
    }

    /// A response of the cache: is none of it purged?
    pub fn check_purged(&mut self, id: usize, stamp: &Stamp, cache_status: &str, validated: bool) {
        // The origin has confirmed it for this very request.
        if validated && self.streams[id].answer.as_ref().is_some_and(|answer| answer.status == 304) {
            return;
        }
        // It has asked the origin itself, and would get the same without a cache.
        if cache_status.contains("fwd-status=200") && !cache_status.contains("collapsed") {
            return;
        }
        let sent = self.sent.get(stamp.fetch).copied().unwrap_or(0);
        let fresh =
            cache_status.split("; ").filter_map(|part| part.strip_prefix("ttl=")?.parse::<i64>().ok());
        let fresh = fresh.into_iter().any(|seconds| seconds >= 1);
        let covers = |purge: &&Purge| {
            purge.what.covers(stamp.page)
                && (sent < purge.at || sent == purge.at && stamp.fetch < purge.fetches)
                && (fresh || !purge.soft)
                && self.is_due(id, purge)
        };
        let Some(purge) = self.purges.iter().find(covers).cloned() else { return };
        // Confirmed by the origin after the purge, it is as good as new.
        let confirmed = self.confirmed.get(&stamp.etag()).into_iter().flatten().any(|sent| *sent > purge.at);
        if !confirmed {
            let text = format!(
                "stream {id} got {stamp:?}, sent for at {sent} ms: {cache_status}, in spite of {purge:?}"
            );
            self.violate(if purge.soft { SOFT } else { HARD }, text);
        }
    }

    /// Whether the worker of a stream must know of a purge by now.
    fn is_due(&self, id: usize, purge: &Purge) -> bool {
        let vm = self.streams[id].vm;
        let within = if (vm.node, vm.worker) == (purge.node, purge.worker) {
            0
        } else if vm.node == purge.node {
            self.setting.staleness()
        } else if !self.setting.remote {
            return false;
        } else {
            let calm = self.setting.staleness() + self.setting.poll + SPREAD;
            // What was lost is said and asked again, at ever longer intervals.
            let troubled = self.trouble.iter().any(|at| *at + AFTER_TROUBLE > purge.at && *at <= self.now);
            if troubled {
                return self.has_settled(purge);
            }
            calm
        };
        self.now > purge.at + within
    }

    /// Whether a purge that met trouble must be known everywhere by now.
    fn has_settled(&self, purge: &Purge) -> bool {
        // A purge that was not written yet dies with its VM.
        let lost = self.summary.restarted > 0;
        let last = self.trouble.iter().rfind(|at| **at <= self.now).copied().unwrap_or(0);
        !lost && self.now > purge.at.max(last) + AFTER_TROUBLE
    }
}

/// The field with the tags of a response.
pub const TAGS: &str = "surrogate-key";
pub const STRIPPED: &str = "clients do not see tags";
const HARD: &str = "what was purged is gone";
const SOFT: &str = "what was purged softly is stale";
/// Without trouble another node knows after two ticks, four calls to Redis and a few milliseconds.
pub const SPREAD: u64 = 250;
/// The longest interval after which a call is repeated, the breaker's longest pause, the time for which a worker that asks
/// is believed to do so, the patience with a number that nobody has written, and the slowest look for what is new.
const AFTER_TROUBLE: u64 = 3_200 + 2_500 + 2_000 + 5_000 + 350;
