//! What happens to the first fetch: what is asked before the herd and by it, what the origin does, what is wanted.

use std::time::{Duration, SystemTime};

use httpdate::fmt_http_date;
use selvage_measure::crowd::{Plan, get_with};
use selvage_rig::scripted::Received;

/// How many clients there are.
pub const CLIENTS: usize = 4000;
/// How long the origin takes, in milliseconds.
pub const ORIGIN_TAKES: u64 = 500;
/// The leader goes away after so long; what breaks off does so so long after its head.
pub const LATER: u64 = 100;
/// How many clients ask for a body that takes its time: half of them first, each for a key of its own.
const SLOW_CLIENTS: usize = 16;
/// How long such a body takes, in milliseconds.
pub const BODY_TAKES: u64 = 4000;
/// What a request waits for such a body (`coalesce.body_wait`), in milliseconds.
const BODY_WAIT: u64 = 250;
/// What 4,000 fetches at once may cost beyond what the origin takes: see the rows of Envoy without a cache.
const ALL_FETCH: u64 = 500;
/// How much longer the 99th percentile may be.
const SLACK: u64 = 150;
const BODY_BYTES: usize = 2048;
const LANGUAGES: [&str; 8] = ["cs", "da", "de", "el", "en", "es", "fi", "fr"];
const TAG: &str = "\"one\"";

/// What happens to the first fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// The first thing that is asked of the processes at all: V8 has not compiled the filter's hot paths yet.
    Started,
    Cold,
    /// The response is stored before anybody asks: what 4,000 answers at once cost.
    Stored,
    LeaderLeaves,
    LeaderGets500,
    NoStore,
    BreaksOff,
    /// The leader has the response already, and the origin would say 304.
    LeaderKnows,
    /// A client with a cookie got a response of its own before.
    PrivateBefore,
    /// As many herds as languages, on the same path.
    Variants,
    SlowBody,
}

/// What is known of a scenario before it is tried.
pub struct Facts {
    pub scenario: Scenario,
    pub path: &'static str,
    pub title: &'static str,
    pub opening: Opening,
    /// How many clients may be short of their 200.
    pub short: usize,
    /// How many fetches there may be.
    pub fetches: usize,
    /// The bound of the 99th percentile in ms; what the machine takes, without any waiting, has none.
    pub p99: Option<u64>,
}

/// What comes before the herd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    Nothing,
    /// One request, whose response is stored.
    Stored,
    /// A request to each Envoy is answered. Their fetches are not counted.
    Taught,
    /// The first half of the herd, or its first client: the others ask when the origin has been asked.
    Leads,
}

/// All, in the table's order.
pub const SCENARIOS: [Facts; 11] = [
    Facts {
        scenario: Scenario::Started,
        path: "/just-started",
        title: "cold key, first herd since the start",
        opening: Opening::Nothing,
        short: 0,
        fetches: 1,
        p99: Some(ORIGIN_TAKES + SLACK),
    },
    Facts {
        scenario: Scenario::Cold,
        path: "/cold",
        title: "cold key",
        opening: Opening::Nothing,
        short: 0,
        fetches: 1,
        p99: Some(ORIGIN_TAKES + SLACK),
    },
    Facts {
        scenario: Scenario::Stored,
        path: "/stored",
        title: "already stored",
        opening: Opening::Stored,
        short: 0,
        fetches: 1,
        p99: None,
    },
    Facts {
        scenario: Scenario::LeaderLeaves,
        path: "/leader-leaves",
        title: "the leader's client leaves after 100 ms",
        opening: Opening::Leads,
        short: 0,
        fetches: 2,
        p99: Some(LATER + ORIGIN_TAKES + SLACK),
    },
    Facts {
        scenario: Scenario::LeaderGets500,
        path: "/leader-gets-500",
        title: "the first fetch gets 500",
        opening: Opening::Nothing,
        // One client gets the 500, and one other asks again.
        short: 1,
        fetches: 2,
        p99: Some(2 * ORIGIN_TAKES + SLACK),
    },
    Facts {
        scenario: Scenario::NoStore,
        path: "/no-store",
        title: "it turns out `no-store`",
        opening: Opening::Nothing,
        short: 0,
        fetches: CLIENTS,
        // As many fetches again as there are clients take their time; in line they would take minutes.
        p99: Some(2 * ORIGIN_TAKES + ALL_FETCH),
    },
    Facts {
        scenario: Scenario::BreaksOff,
        path: "/breaks-off",
        title: "the origin resets half way through the first body",
        opening: Opening::Nothing,
        short: 1,
        fetches: 2,
        p99: Some(2 * ORIGIN_TAKES + LATER + SLACK),
    },
    Facts {
        scenario: Scenario::LeaderKnows,
        path: "/leader-knows",
        title: "the leader asks with `If-None-Match`, and the tag fits",
        opening: Opening::Leads,
        short: 0,
        fetches: 1,
        p99: Some(ORIGIN_TAKES + SLACK),
    },
    Facts {
        scenario: Scenario::PrivateBefore,
        path: "/private-before",
        title: "a client with a cookie got a `private` one before",
        opening: Opening::Taught,
        short: 0,
        fetches: 1,
        p99: Some(ORIGIN_TAKES + SLACK),
    },
    Facts {
        scenario: Scenario::Variants,
        path: "/variants",
        title: "8 languages at once, `Vary` known from another",
        opening: Opening::Taught,
        short: 0,
        fetches: LANGUAGES.len(),
        // About one time of the origin: one language after the other would be eight.
        p99: Some(ORIGIN_TAKES * 3 / 2),
    },
    Facts {
        scenario: Scenario::SlowBody,
        path: "/slow-body",
        title: "head at once, body after 4 s; 8 times 2 clients, time to the head",
        opening: Opening::Leads,
        short: 0,
        fetches: SLOW_CLIENTS,
        p99: Some(BODY_WAIT + SLACK),
    },
];

impl Scenario {
    /// How many clients ask.
    pub fn clients(self) -> usize {
        if self == Self::SlowBody { SLOW_CLIENTS } else { CLIENTS }
    }

    /// How many of them ask before the others.
    pub fn leaders(self) -> usize {
        if self == Self::SlowBody { SLOW_CLIENTS / 2 } else { 1 }
    }

    /// The target of a client, below the herd's path.
    pub fn target(self, path: &str, client: usize) -> String {
        match self {
            Self::SlowBody => format!("{path}/{}", pair(client)),
            _ => path.to_owned(),
        }
    }

    /// What a client of the herd sends.
    pub fn request(self, path: &str, client: usize) -> Vec<u8> {
        let fields = match self {
            Self::LeaderKnows if client == 0 => format!("if-none-match: {TAG}\r\n"),
            Self::Variants => format!("accept-language: {}\r\n", language(client)),
            _ => String::new(),
        };
        get_with(&self.target(path, client), &fields)
    }

    /// What is sent before the herd.
    pub fn lesson(self, path: &str) -> Vec<u8> {
        let fields = match self {
            Self::PrivateBefore => "cookie: session=1\r\n",
            Self::Variants => "accept-language: tlh\r\n",
            _ => "",
        };
        get_with(path, fields)
    }

    /// The content that a client of the herd must get.
    pub fn wanted(self, path: &str, client: usize) -> Vec<u8> {
        let language = if self == Self::Variants { language(client) } else { "" };
        body(&self.target(path, client), language)
    }

    /// Whether 304 is as good for this client as 200.
    pub fn has_it(self, client: usize) -> bool {
        self == Self::LeaderKnows && client == 0
    }
}

/// The pair of a client that asks for a slow body. The second of a pair asks the Envoy of the first, or, where there are two
/// Envoys and clients take turns, in half of the pairs the other one.
fn pair(client: usize) -> usize {
    let pairs = SLOW_CLIENTS / 2;
    if client < pairs { client } else { (client - pairs) ^ ((client - pairs) / (pairs / 2)) }
}

fn language(client: usize) -> &'static str {
    LANGUAGES[client % LANGUAGES.len()]
}

/// What the origin does in this part.
pub fn script(request: &Received) -> Plan {
    let (path, before) = (request.target.as_str(), request.before);
    let below = |facts: &&Facts| path.strip_prefix(facts.path).is_some_and(|rest| rest.starts_with('/'));
    let facts = SCENARIOS.iter().find(below);
    let scenario = facts.map(|facts| facts.scenario);
    let language = request.header("accept-language").filter(|_| scenario == Some(Scenario::Variants));
    let control = match scenario {
        Some(Scenario::NoStore) => "no-store",
        Some(Scenario::PrivateBefore) if request.header("cookie").is_some() => "private",
        _ => "max-age=3600",
    };
    let mut plan = Plan {
        delay: Duration::from_millis(ORIGIN_TAKES),
        status: 200,
        fields: format!(
            "cache-control: {control}\r\ndate: {}\r\ncontent-type: application/octet-stream\r\n{}",
            fmt_http_date(SystemTime::now()),
            if language.is_some() { "vary: accept-language\r\n" } else { "" },
        ),
        body: body(path, &language.unwrap_or_default()),
        ..Plan::default()
    };
    match scenario {
        Some(Scenario::LeaderGets500) if before == 0 => {
            plan = Plan { status: 500, fields: String::new(), body: b"broken".to_vec(), ..plan };
        }
        Some(Scenario::BreaksOff) if before == 0 => {
            plan.breaks = Some((BODY_BYTES / 2, Duration::from_millis(LATER)));
        }
        Some(Scenario::LeaderKnows) => {
            plan.fields += &format!("etag: {TAG}\r\n");
            if request.header("if-none-match").as_deref() == Some(TAG) {
                plan.status = 304;
            }
        }
        Some(Scenario::SlowBody) => {
            plan.delay = Duration::ZERO;
            plan.rests = Some((BODY_BYTES / 2, Duration::from_millis(BODY_TAKES)));
        }
        _ => {}
    }
    plan
}

/// What the body of a path in a language is.
fn body(path: &str, language: &str) -> Vec<u8> {
    [path, language].concat().bytes().cycle().take(BODY_BYTES).collect()
}
