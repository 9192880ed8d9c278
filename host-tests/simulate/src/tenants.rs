//! Tenants who ask language models: none of them ever gets what another was answered, unless a rule says that they share
//! (<https://github.com/theopenco/llmgateway/pull/3758>).
//!
//! These runs are worlds of their own, in which all that is asked for is a question: by `Authorization`, `x-api-key` and
//! cookies of several tenants, under rules that share by nothing, by a field, and among all; as OpenAI's and Anthropic's
//! clients ask, for a stream or for JSON. All else is as in the others: waiting, Redis, purges, clients that leave, VMs that die.

use selvage_rig::chance::Dice;

use crate::client::Ask;
use crate::origin::{Answer, Stamp};
use crate::purges::What;
use crate::world::World;

/// Who asks. 0 is nobody, or none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tenant {
    authorization: u64,
    key: u64,
    cookie: u64,
    team: u64,
}

/// Who shares, by the rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// Those with the same credentials and cookies.
    Own,
    /// Those with the same credentials.
    OwnCookieless,
    /// Those of one team with the same cookies.
    Team,
    /// All with the same cookies.
    Cookie,
    /// All.
    Everyone,
}

/// What is asked, by whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    sharing: Sharing,
    anthropic: bool,
    stream: bool,
    number: usize,
    tenant: Tenant,
}

/// An answer that the provider has sent.
pub struct Told {
    question: Question,
    body: Vec<u8>,
    /// It was complete, and came to its end.
    whole: bool,
}

/// What is known of a world of tenants.
#[derive(Default)]
pub struct Tenants {
    /// Those who ask.
    who: Vec<Tenant>,
    sharings: Vec<Sharing>,
    /// By the number of their fetches.
    told: Vec<Option<Told>>,
}

const SHARINGS: [Sharing; 5] =
    [Sharing::Own, Sharing::OwnCookieless, Sharing::Team, Sharing::Cookie, Sharing::Everyone];

impl Sharing {
    const fn name(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::OwnCookieless => "cookieless",
            Self::Team => "team",
            Self::Cookie => "cookie",
            Self::Everyone => "everyone",
        }
    }

    /// What of a tenant tells it from those with whom it does not share.
    const fn class(self, tenant: Tenant) -> Tenant {
        let Tenant { authorization, key, cookie, team } = tenant;
        match self {
            Self::Own => Tenant { authorization, key, cookie, team: 0 },
            Self::OwnCookieless => Tenant { authorization, key, cookie: 0, team: 0 },
            Self::Team => Tenant { authorization: 0, key: 0, cookie, team },
            Self::Cookie => Tenant { authorization: 0, key: 0, cookie, team: 0 },
            Self::Everyone => Tenant { authorization: 0, key: 0, cookie: 0, team: 0 },
        }
    }

    fn rule(self, api: &str, path: &str, coalesce: &str) -> String {
        let (share, cookies) = match self {
            Self::Own => ("", ""),
            Self::OwnCookieless => ("", r#""cookies":"ignore","#),
            Self::Team => (r#""share":["x-team"],"#, ""),
            Self::Cookie => (r#""share":[],"#, ""),
            Self::Everyone => (r#""share":[],"#, r#""cookies":"ignore","#),
        };
        let name = self.name();
        format!(
            r#"{{"name":"{name}-{api}","match":{{"paths":["/{name}/{path}/*"]}},{cookies}"llm":{{"api":"{api}","usage":"count","cache":{{{share}"when":"all","coalesce":"{coalesce}"}}}}}}"#
        )
    }
}

/// The rules of such a world, for its configuration.
pub fn rules(dice: &mut Dice) -> String {
    let coalesce = dice.of(&["json", "all", "none"]);
    let both = |sharing: &Sharing| {
        [sharing.rule("openai", "v1", coalesce), sharing.rule("anthropic", "a", coalesce)].join(",")
    };
    format!(r#","rules":[{}]"#, SHARINGS.iter().map(both).collect::<Vec<_>>().join(","))
}

impl Tenants {
    pub fn random(dice: &mut Dice) -> Self {
        let count = dice.between(2, 8);
        let tenant = |dice: &mut Dice| Tenant {
            authorization: dice.below(4),
            key: if dice.chance(300) { dice.below(3) } else { 0 },
            cookie: if dice.chance(300) { dice.below(3) } else { 0 },
            team: dice.below(3),
        };
        let who = (0..count).map(|_| tenant(dice)).collect();
        let sharings = (0..dice.between(1, 3)).map(|_| dice.of(&SHARINGS)).collect();
        Self { who, sharings, told: Vec::new() }
    }
}

impl Question {
    /// The same to those who share.
    fn class(&self) -> Self {
        Self { tenant: self.sharing.class(self.tenant), ..*self }
    }

    pub fn path(&self) -> String {
        let api = if self.anthropic { "a/messages" } else { "v1/chat/completions" };
        format!("/{}/{api}", self.sharing.name())
    }

    /// The fields that say who asks.
    pub fn fields(&self) -> Vec<(&'static str, String)> {
        let Tenant { authorization, key, cookie, team } = self.tenant;
        let mut fields = vec![("content-type", "application/json".to_owned())];
        let mut add = |name, number: u64, text: String| {
            if number > 0 {
                fields.push((name, text))
            }
        };
        add("authorization", authorization, format!("Bearer {authorization}"));
        add("x-api-key", key, format!("k{key}"));
        add("cookie", cookie, format!("session={cookie}"));
        add("x-team", team, format!("t{team}"));
        fields
    }

    /// In one of its spellings.
    fn body(&self, dice: &mut Dice) -> Vec<u8> {
        let Self { number, stream, .. } = self;
        let model = model(*number);
        let label = dice.below(100);
        let text = match dice.below(3) {
            0 => format!(r#"{{"model":"{model}","stream":{stream},"seed":{number},"messages":[]}}"#),
            1 => {
                format!(r#"{{ "messages": [], "seed": {number}.0, "stream": {stream}, "model": "{model}" }}"#)
            }
            _ => format!(
                r#"{{"user":"u{label}","model":"{model}","seed":{number}e0,"stream":{stream},"messages":[ ]}}"#
            ),
        };
        text.into_bytes()
    }

    /// The answer of a fetch.
    fn answer(&self, fetch: usize, flaw: Flaw) -> Vec<u8> {
        let model = model(self.number);
        let (reason, stop) = match flaw {
            Flaw::Refused => ("content_filter", "refusal"),
            _ => ("stop", "end_turn"),
        };
        let mut text = match (self.anthropic, self.stream) {
            (false, false) => format!(
                r#"{{"model":"{model}","choices":[{{"index":0,"message":{{"content":"fetch {fetch}."}},"finish_reason":"{reason}"}}]}}"#
            ),
            (true, false) => format!(
                r#"{{"type":"message","model":"{model}","content":[{{"type":"text","text":"fetch {fetch}."}}],"stop_reason":"{stop}"}}"#
            ),
            (false, true) => format!(
                "data: {{\"model\":\"{model}\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"fetch {fetch}.\"}},\"finish_reason\":\"{reason}\"}}]}}\n\ndata: [DONE]\n\n"
            ),
            (true, true) => format!(
                "event: message_start\ndata: {{\"type\":\"message_start\",\"message\":{{\"model\":\"{model}\"}}}}\n\n\
                 event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{{\"type\":\"text_delta\",\"text\":\"fetch {fetch}.\"}}}}\n\n\
                 event: message_delta\ndata: {{\"type\":\"message_delta\",\"delta\":{{\"stop_reason\":\"{stop}\"}}}}\n\n\
                 event: message_stop\ndata: {{\"type\":\"message_stop\"}}\n\n"
            ),
        };
        if flaw == Flaw::Short {
            text.truncate(text.len() * 2 / 3);
        }
        text.into_bytes()
    }
}

/// What may be wrong with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    None,
    /// Its framing is whole, and it is not.
    Short,
    Refused,
}

/// The model that a question is for.
fn model(number: usize) -> String {
    format!("g{}", number % What::GROUPS)
}

impl World {
    /// A tenant asks.
    pub fn tenant_asks(&mut self, page: usize) {
        let Some(tenants) = &self.tenants else { return };
        let (sharings, who) = (tenants.sharings.clone(), tenants.who.clone());
        let question = Question {
            sharing: self.dice.of(&sharings),
            anthropic: self.dice.chance(300),
            stream: self.dice.chance(400),
            number: page,
            tenant: self.dice.of(&who),
        };
        let body = question.body(&mut self.dice);
        let no_cache = self.dice.chance(25);
        let ask = Ask { method: "POST", question: Some(question), no_cache, ..Ask::plain(page) };
        let place = self.any_worker();
        self.begin_with(ask, None, body, place);
    }

    /// What the provider does with a question that reaches it, and when that comes.
    pub fn provider_does(&mut self, question: Question, sent: u64) -> (Answer, u64) {
        self.summary.fetched += 1;
        self.sent.push(sent);
        self.came.push(None);
        let fetch = self.sent.len() - 1;
        let dice = &mut self.dice;
        let delay = match dice.chance(20) {
            true => self.setting.origin_slow,
            false => dice.below(self.setting.origin_delay / 2),
        };
        let mut told = None;
        let mut answer = match dice.below(100) {
            0..=1 => Answer { unreachable: true, ..Answer::bare(503) },
            2..=4 => Answer {
                body: b"{\"error\":{}}".to_vec(),
                parts: 1,
                ..Answer::bare(dice.of(&[429, 500, 529]))
            },
            roll => {
                let flaw = match roll {
                    5..=8 => Flaw::Short,
                    9..=11 => Flaw::Refused,
                    _ => Flaw::None,
                };
                let body = question.answer(fetch, flaw);
                let parts = dice.between(1, 4) as usize;
                let (cut, trailers) = (dice.chance(40), dice.chance(40));
                let whole = flaw == Flaw::None && !cut;
                told = Some(Told { question, body: body.clone(), whole });
                Answer { body, parts, cut, trailers, ..Answer::bare(200) }
            }
        };
        let kind = if question.stream { "text/event-stream" } else { "application/json" };
        answer.fields.push(("content-type", kind.to_owned()));
        answer.fields.push(("cache-control", "no-store".to_owned()));
        answer.fields.push(("set-cookie", format!("of={fetch}")));
        if let Some(tenants) = &mut self.tenants {
            tenants.told.resize_with(fetch + 1, || None);
            tenants.told[fetch] = told;
        }
        (answer, delay)
    }

    /// The cache answers a tenant.
    pub fn check_tenant(&mut self, id: usize, question: Question, (status, body): (u16, &[u8]), line: &str) {
        let text = String::from_utf8_lossy(body).into_owned();
        if status == 503 && self.setting.breaker && line.contains("origin-open") {
            return;
        }
        let number = text.split("fetch ").nth(1).and_then(|rest| rest.split('.').next());
        let fetch = number.and_then(|number| number.parse::<usize>().ok());
        let Some((tenants, fetch)) = self.tenants.as_ref().zip(fetch) else {
            return self.violate(OTHERS, format!("stream {id} got {status}: {text:?}: {line}"));
        };
        let problem = match tenants.told.get(fetch) {
            Some(Some(told)) if told.question.class() != question.class() => {
                Some(format!("what {:?} was answered", told.question))
            }
            Some(Some(told)) if !told.whole => Some("what was not complete".to_owned()),
            Some(Some(told)) if told.body != body || status != 200 => Some(format!("{status}, other bytes")),
            Some(Some(_)) => None,
            _ => Some("what nobody has sent".to_owned()),
        };
        if let Some(problem) = problem {
            return self.violate(OTHERS, format!("stream {id} asked {question:?} and got {problem}: {line}"));
        }
        self.summary.shared += 1;
        let stamp = Stamp { page: question.number, version: 0, language: 0, user: 0, node: 0, fetch };
        self.check_purged(id, &stamp, line, false);
    }
}

const OTHERS: &str = "no tenant gets what another was answered, and nothing that is not complete comes again";
