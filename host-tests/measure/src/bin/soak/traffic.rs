//! What clients and operators ask, and what must come.

use std::time::Duration;

use selvage_engine::coding::gzip::inflate;
use selvage_measure::crowd::Answer;
use selvage_rig::chance::{Dice, Zipf};

use crate::site::{etag, is_content, size};
use crate::stage::TOKEN;

/// Objects: several times as many as the stores hold.
pub const OBJECTS: usize = 30_000;
/// The exponent of Zipf's law.
pub const SKEW: f64 = 0.8;
/// Pages that are stale for seconds and may stand in for a dead origin for a day: they never fail.
const LANDMARKS: usize = 24;
const LANGUAGES: [&str; 5] = ["de", "en", "fr", "ja", "pt"];
/// What the pages of the operators' interface are, all of which can be asked for at any time.
const PAGES: [&str; 7] = ["health", "stats", "report", "recommendations", "resources", "config", "warm"];

/// Chooses requests.
pub struct Traffic {
    zipf: Zipf,
    dice: Dice,
    purges: usize,
    keeps: bool,
}

/// A request and what is wanted of it.
pub struct Asked {
    /// As it is sent.
    pub bytes: Vec<u8>,
    /// What must come.
    pub wanted: Wanted,
    /// The client goes away after so long, if it has no answer by then.
    pub leaves: Option<Duration>,
}

/// What must come.
pub enum Wanted {
    /// What is named so, of this size; or its beginning.
    Content { label: String, size: usize, part: Option<usize> },
    /// The same, and no outage is an excuse, as long as something is stored. The worker stores are empty after another
    /// configuration, and the node's is small.
    Always { label: String, size: usize },
    /// The same, or that it has not changed.
    Known { label: String, size: usize },
    /// A head.
    Head,
    /// What is this client's alone.
    Own(String),
    /// A success.
    Done,
}

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// What was wanted, and whether the cache answered.
    Good { hit: bool },
    /// The origin could not be asked, or failed.
    Unanswered(u16),
    /// What must not be.
    Wrong(String),
}

impl Traffic {
    /// The same for the same seed. A plugin that `keeps` its landmarks has them whatever happens.
    pub fn new(seed: u64, keeps: bool) -> Self {
        Self { zipf: Zipf::new(OBJECTS, SKEW), dice: Dice::new(seed), purges: 0, keeps }
    }

    /// The next request of a client.
    pub fn next(&mut self) -> Asked {
        let object = self.zipf.choose(&mut self.dice);
        let few = self.dice.below(200) as usize;
        let chance = self.dice.below(1000);
        let leaves = Duration::from_millis(20 + 10 * self.dice.below(25));
        let (path, gzip) = (format!("/object/{object}"), "accept-encoding: gzip\r\n");
        match chance {
            0..=19 => {
                let number = few % LANDMARKS;
                let label = format!("/landmark/{number}");
                let bytes = request("GET", &label, "");
                if !self.keeps {
                    return Asked::content(bytes, label, size(number));
                }
                Asked { bytes, wanted: Wanted::Always { label, size: size(number) }, leaves: None }
            }
            20..=79 => {
                let language = LANGUAGES[few % LANGUAGES.len()];
                let path = format!("/variant/{}", object % 500);
                let fields = format!("accept-language: {language}\r\n{}", if few < 60 { gzip } else { "" });
                let bytes = request("GET", &path, &fields);
                Asked::content(bytes, format!("{path} {language}"), size(object % 500))
            }
            80..=109 => Asked { bytes: request("HEAD", &path, ""), wanted: Wanted::Head, leaves: None },
            110..=139 => {
                let part = 50 + few;
                let bytes = request("GET", &path, &format!("range: bytes=0-{}\r\n", part - 1));
                let wanted = Wanted::Content { label: path, size: size(object), part: Some(part) };
                Asked { bytes, wanted, leaves: None }
            }
            140..=159 => {
                let fields = format!("if-none-match: {}\r\n", etag(&path, 0));
                let bytes = request("GET", &path, &fields);
                Asked { bytes, wanted: Wanted::Known { label: path, size: size(object) }, leaves: None }
            }
            160..=209 => {
                let own = format!("user={}", self.dice.number());
                let field = if few < 100 { "cookie" } else { "authorization" };
                let bytes = request("GET", &format!("/account/{few}"), &format!("{field}: {own}\r\n"));
                Asked { bytes, wanted: Wanted::Own(own), leaves: None }
            }
            210..=217 => Asked::done(request("POST", &path, "content-length: 0\r\n")),
            218..=232 => {
                let query = format!("q={}", few % 50);
                let fields = format!("content-length: {}\r\n", query.len());
                let mut bytes = [request("POST", "/search", &fields), query.clone().into_bytes()].concat();
                // Some go away in the middle of their body.
                let leaves = (few < 40).then_some(leaves);
                bytes.truncate(bytes.len() - usize::from(leaves.is_some()));
                Asked { leaves, ..Asked::content(bytes, format!("/search {query}"), size(0)) }
            }
            233..=252 => {
                let path = format!("/stream/{}", 60 + few % 40);
                let asked = Asked::content(request("GET", &path, ""), path, size(60 + few % 40));
                Asked { leaves: (few < 80).then_some(leaves), ..asked }
            }
            253..=272 => {
                let path = format!("/slow/{}", few % 10);
                let asked = Asked::content(request("GET", &path, ""), path, size(few % 10));
                Asked { leaves: (few < 80).then_some(leaves), ..asked }
            }
            273..=277 => {
                let fields = format!("selvage-explain: {TOKEN}\r\n");
                Asked::content(request("GET", &path, &fields), path, size(object))
            }
            278..=279 if few < 100 => {
                let page = PAGES[few % PAGES.len()];
                Asked::done(request("GET", &format!("/.selvage/{page}"), &authorization()))
            }
            278..=279 => {
                let target = format!("/.selvage/explain?url=http://soak.example{path}");
                Asked::done(request("GET", &target, &authorization()))
            }
            _ => {
                let fields = if chance.is_multiple_of(3) { gzip } else { "" };
                Asked::content(request("GET", &path, fields), path, size(object))
            }
        }
    }

    /// The next of the purges: of a URL, a tag, a prefix, each in turn hard and soft, and then something to warm.
    pub fn purge(&mut self) -> Asked {
        let object = self.zipf.choose(&mut self.dice);
        let soft = self.purges % 2 == 1;
        let (target, what) = match self.purges / 2 % 4 {
            0 => ("purge", format!(r#""urls":["http://soak.example/object/{object}"],"soft":{soft}"#)),
            1 => ("purge", format!(r#""tags":["tag-{}"],"soft":{soft}"#, object / 50)),
            2 => (
                "purge",
                format!(r#""prefixes":["soak.example/object/{}"],"soft":{soft}"#, object.max(10) / 10),
            ),
            _ => ("warm", format!(r#""urls":["http://soak.example/object/{object}"]"#)),
        };
        self.purges += 1;
        let body = format!("{{{what}}}");
        let fields = format!("{}content-length: {}\r\n", authorization(), body.len());
        Asked::done([request("POST", &format!("/.selvage/{target}"), &fields), body.into_bytes()].concat())
    }
}

impl Asked {
    fn content(bytes: Vec<u8>, label: String, size: usize) -> Self {
        Self { bytes, wanted: Wanted::Content { label, size, part: None }, leaves: None }
    }

    fn done(bytes: Vec<u8>) -> Self {
        Self { bytes, wanted: Wanted::Done, leaves: None }
    }
}

fn authorization() -> String {
    format!("authorization: Bearer {TOKEN}\r\n")
}

fn request(method: &str, target: &str, fields: &str) -> Vec<u8> {
    format!("{method} {target} HTTP/1.1\r\nhost: soak.example\r\n{fields}\r\n").into_bytes()
}

impl Wanted {
    /// Whether it is a question that a cache may answer.
    pub fn is_lookup(&self) -> bool {
        !matches!(self, Self::Own(_) | Self::Done)
    }

    /// What an answer is.
    pub fn judge(&self, answer: &Answer) -> Outcome {
        let said = answer.cache_status();
        let hit = said.contains("; hit");
        let good = Outcome::Good { hit };
        let wrong = |what: &str| Outcome::Wrong(format!("{what}: {} {said}", answer.status));
        let body = match answer.field("content-encoding") {
            Some(b"gzip") => match inflate(answer.body(), 1 << 20) {
                Ok(body) => body,
                Err(_) => return wrong("gzip that cannot be read"),
            },
            _ => answer.body().to_vec(),
        };
        match (self, answer.status) {
            (Self::Always { label, size }, 200) if is_content(&body, label, *size, None) => good,
            (Self::Always { .. }, 200) => wrong("wrong body"),
            (Self::Always { .. }, _) if said.contains("fwd=stale") => wrong("nothing stale stood in"),
            (_, 500 | 502 | 503 | 504) => Outcome::Unanswered(answer.status),
            (Self::Done, 200 | 202) | (Self::Head, 200) | (Self::Known { .. }, 304) => good,
            (Self::Own(own), 200) if !hit && body == own.as_bytes() => good,
            (Self::Own(_), 200) => wrong("another's content"),
            (Self::Content { label, size, .. } | Self::Known { label, size }, 200) => {
                if is_content(&body, label, *size, None) { good } else { wrong("wrong body") }
            }
            (Self::Content { label, size, part: Some(part) }, 206) => {
                if is_content(&body, label, *size, Some(*part)) { good } else { wrong("wrong part") }
            }
            _ => wrong("status"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_asks_the_same_of_everything_there_is() {
        let draw = |seed| {
            let mut traffic = Traffic::new(seed, true);
            let mut asked: Vec<Vec<u8>> = (0..5000).map(|_| traffic.next().bytes).collect();
            asked.extend((0..8).map(|_| traffic.purge().bytes));
            asked
        };
        let asked = draw(7);
        assert_eq!(asked, draw(7));
        assert_ne!(asked, draw(8));
        for begin in [
            "GET /object/",
            "HEAD /object/",
            "POST /object/",
            "GET /variant/",
            "GET /landmark/",
            "GET /account/",
            "POST /search",
            "GET /stream/",
            "GET /slow/",
            "GET /.selvage/",
            "POST /.selvage/purge",
            "POST /.selvage/warm",
        ] {
            assert!(asked.iter().any(|bytes| bytes.starts_with(begin.as_bytes())), "{begin}");
        }
    }
}
