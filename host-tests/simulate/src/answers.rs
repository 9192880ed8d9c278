//! What the origin answers, and when.

use crate::client::Asked;
use crate::limits::QUOTA_LEFT;
use crate::origin::{Answer, Stamp};
use crate::purges::tags;
use crate::world::World;

impl World {
    /// The origin's version, its answer, and when that comes.
    pub fn origin_does(
        &mut self,
        asked: &Asked,
        node: usize,
        sent: u64,
        stream: Option<usize>,
    ) -> (usize, Answer, u64) {
        self.summary.fetched += 1;
        self.sent.push(sent);
        self.came.push(None);
        let version = self.pages[asked.page].version();
        let roll = self.dice.below(1000);
        let page = &self.pages[asked.page];
        let (slow, fickle) = (page.slow, page.fickle);
        let errors = if self.now < page.failing_until { 800 } else { page.errors };
        let get = asked.method == "GET";
        let mut answer;
        if roll < errors / 2 {
            answer = Answer { unreachable: true, ..Answer::bare(503) };
        } else if roll < errors {
            answer = Answer::bare(self.dice.of(&[500, 502, 503]));
            if get && self.dice.chance(500) {
                (answer.body, answer.parts) = (b"broken".to_vec(), 1);
            }
        } else if asked.method == "POST" {
            let version = self.publish(asked.page);
            if let Some(stream) = stream {
                self.streams[stream].published = Some(version);
            }
            answer = Answer::bare(self.dice.of(&[200, 204, 303]));
        } else if get && self.dice.chance(fickle) {
            answer = self.something_else(asked, node);
        } else {
            answer = self.content(asked, node, sent);
        }
        if answer.status == 200 && get && self.dice.chance(errors / 4) {
            answer.cut = true;
            if !self.dice.chance(500) {
                answer.fields.push(("content-length", (answer.body.len() + 1).to_string()));
            }
        } else if answer.status == 200 && get {
            if self.dice.chance(700) {
                answer.fields.push(("content-length", answer.body.len().to_string()));
            }
            answer.trailers = self.dice.chance(50);
        }
        let delay = if self.dice.chance(slow) {
            self.setting.origin_slow
        } else {
            self.dice.below(self.setting.origin_delay / 2)
        };
        if !self.setting.crowd.limits.is_empty() {
            // What it says to one client is no other's.
            let nth = self.sent.len();
            answer.fields.push((QUOTA_LEFT, nth.to_string()));
            answer.fields.push(("ratelimit", format!("\"origin\";r={nth}")));
        }
        (version, answer, delay)
    }

    pub fn stamp_for(&self, of: usize, version: usize, language: u64, user: u64) -> Stamp {
        let page = &self.pages[of];
        let language = if page.by_language { language } else { 0 };
        Stamp { page: of, version, language, user: if page.personal { user } else { 0 }, node: 0, fetch: 0 }
    }

    /// A full answer that is not the page, or not for all. After that the origin may fail for a while, so that what was stored
    /// before could come back.
    fn something_else(&mut self, asked: &Asked, node: usize) -> Answer {
        if self.dice.chance(600) {
            let lasts = self.dice.of(&[500, 2000, 8000]);
            self.pages[asked.page].failing_until = self.now + lasts;
        }
        let page = &self.pages[asked.page];
        let (etag, bytes, cache_control) = (page.etag, page.bytes, page.cache_control());
        let (vary, version) = (page.vary(), page.version());
        let stamp = self.stamp_for(asked.page, version, asked.language, asked.user);
        let stamp = Stamp { node, fetch: self.sent.len() - 1, ..stamp };
        let no_store = || ("cache-control", "no-store".to_owned());
        let mut answer = match self.dice.below(6) {
            0 => Answer { fields: vec![no_store()], ..Answer::bare(410) },
            1 => Answer { fields: vec![no_store()], ..Answer::bare(404) },
            2 => Answer { fields: vec![no_store(), ("location", "/".to_owned())], ..Answer::bare(301) },
            3 => Answer {
                fields: vec![("cache-control", "private, max-age=60".to_owned())],
                ..Answer::bare(200)
            },
            4 => Answer {
                fields: vec![("cache-control", cache_control), ("set-cookie", "a=1".to_owned())],
                ..Answer::bare(200)
            },
            _ => Answer { fields: vec![("cache-control", cache_control)], ..Answer::bare(404) },
        };
        answer.fields.extend(vary.map(|names| ("vary", names.to_owned())));
        if answer.status == 200 {
            if etag {
                answer.fields.push(("etag", stamp.etag()));
            }
            answer.body = stamp.content(bytes);
            answer.parts = if bytes == 0 { 0 } else { self.dice.between(1, 3) as usize };
        }
        answer.fields.push(("surrogate-key", tags(asked.page)));
        answer.fields.push(("x-stamp", stamp.text()));
        answer
    }

    fn content(&mut self, asked: &Asked, node: usize, sent: u64) -> Answer {
        let page = &self.pages[asked.page];
        let stamp = self.stamp_for(asked.page, page.version(), asked.language, asked.user);
        let stamp = Stamp { node, fetch: self.sent.len() - 1, ..stamp };
        let mut answer = Answer::bare(200);
        if page.typed {
            answer.fields.push(("content-type", "text/plain".to_owned()));
        }
        answer.fields.push(("cache-control", page.cache_control()));
        answer.fields.push(("surrogate-key", tags(asked.page)));
        answer.fields.extend(page.vary().map(|names| ("vary", names.to_owned())));
        if page.etag {
            let etag = stamp.etag();
            let same = asked.has(&etag);
            if same {
                self.confirmed.entry(etag.clone()).or_default().push(sent);
            }
            answer.fields.push(("etag", etag));
            if same {
                answer.status = 304;
                return answer;
            }
        }
        answer.fields.push(("x-stamp", stamp.text()));
        if asked.method == "GET" {
            answer.body = stamp.content(page.bytes);
            answer.parts = if page.bytes == 0 { 0 } else { self.dice.between(1, 3) as usize };
        }
        answer
    }
}
