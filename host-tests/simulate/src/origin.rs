//! The origin: pages whose versions change, and what it answers.

use selvage_rig::chance::Dice;

/// One resource.
#[derive(Clone, Debug)]
pub struct Page {
    /// Seconds.
    pub lifetime: u64,
    pub while_revalidate: u64,
    pub if_error: u64,
    pub etag: bool,
    /// Another content for each language.
    pub by_language: bool,
    /// Every other version names one more field in its `Vary`, which makes no difference.
    pub by_theme: bool,
    /// Another content for each user.
    pub personal: bool,
    pub public: bool,
    /// Never to be stored.
    pub forbidden: bool,
    pub bytes: usize,
    /// Errors of a thousand answers.
    pub errors: u64,
    /// Full answers of a thousand that are not the page, or not for all.
    pub fickle: u64,
    /// Until when the origin fails most of the time.
    pub failing_until: u64,
    /// Its answers say what type they are of.
    pub typed: bool,
    /// Answers of a thousand that take longer than anybody waits.
    pub slow: u64,
    /// When each version was published, in milliseconds; the first at 0.
    pub published: Vec<u64>,
}

impl Page {
    pub fn random(dice: &mut Dice) -> Self {
        let personal = dice.chance(150);
        let troubled = dice.chance(300);
        Self {
            lifetime: dice.of(&[0, 1, 1, 2, 2, 5, 10, 60]),
            while_revalidate: dice.of(&[0, 0, 0, 1, 5]),
            if_error: dice.of(&[0, 0, 0, 2, 20, 20]),
            etag: dice.chance(500),
            by_language: dice.chance(300),
            by_theme: dice.chance(500),
            personal,
            public: !personal && dice.chance(300),
            forbidden: dice.chance(80),
            bytes: dice.of(&[0, 20, 200, 200, 1500, 1500, 3000, 9000]),
            errors: if troubled { 250 } else { 10 },
            fickle: dice.of(&[0, 0, 30, 150, 300]),
            failing_until: 0,
            typed: dice.chance(500),
            slow: if dice.chance(250) { 200 } else { 10 },
            published: vec![0],
        }
    }

    /// The present version.
    pub fn version(&self) -> usize {
        self.published.len() - 1
    }

    /// The fields that select among its responses, by the present version.
    pub fn vary(&self) -> Option<&'static str> {
        match (self.by_language, self.by_theme && self.version() % 2 == 1) {
            (true, true) => Some("x-lang, x-theme"),
            (true, false) => Some("x-lang"),
            (false, true) => Some("x-theme"),
            (false, false) => None,
        }
    }

    pub fn cache_control(&self) -> String {
        if self.forbidden {
            return "no-store".to_owned();
        }
        let mut text = format!("max-age={}", self.lifetime);
        for (name, seconds) in
            [("stale-while-revalidate", self.while_revalidate), ("stale-if-error", self.if_error)]
        {
            if seconds > 0 {
                text += &format!(", {name}={seconds}");
            }
        }
        if self.public {
            text += ", public";
        }
        text
    }
}

/// Where a content comes from. Every response has it in a field, and its content is made of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    pub page: usize,
    pub version: usize,
    /// 0 where the language makes no difference.
    pub language: u64,
    /// 0 where the user makes no difference.
    pub user: u64,
    /// The node that fetched it.
    pub node: usize,
    /// The request that fetched it, counted over all.
    pub fetch: usize,
}

impl Stamp {
    pub fn text(&self) -> String {
        let Self { page, version, language, user, node, fetch } = self;
        format!("{page}.{version}.{language}.{user}.{node}.{fetch}")
    }

    /// The same for every fetch of the same content.
    pub fn etag(&self) -> String {
        let Self { page, version, language, user, .. } = self;
        format!("\"{page}.{version}.{language}.{user}\"")
    }

    pub fn parse(text: &[u8]) -> Option<Self> {
        let mut parts = std::str::from_utf8(text).ok()?.split('.');
        let mut next = || parts.next()?.parse::<usize>().ok();
        let (page, version, language, user, node, fetch) =
            (next()?, next()?, next()?, next()?, next()?, next()?);
        Some(Self { page, version, language: language as u64, user: user as u64, node, fetch })
    }

    /// The content, `bytes` long.
    pub fn content(&self, bytes: usize) -> Vec<u8> {
        let text = self.text() + ";";
        text.bytes().cycle().take(bytes).collect()
    }
}

/// What comes back to one request.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub fields: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    /// Parts that the body comes in.
    pub parts: usize,
    /// The connection breaks before the last part.
    pub cut: bool,
    pub trailers: bool,
    /// The host made it, since the origin could not be reached.
    pub unreachable: bool,
}

impl Answer {
    pub fn bare(status: u16) -> Self {
        let fields = Vec::new();
        Self { status, fields, body: Vec::new(), parts: 0, cut: false, trailers: false, unreachable: false }
    }

    /// No event follows the head.
    pub const fn ends_with_head(&self) -> bool {
        self.parts == 0 && !self.cut && !self.trailers
    }

    /// The `nth` part of the body.
    pub fn part(&self, nth: usize) -> &[u8] {
        let size = self.body.len().div_ceil(self.parts.max(1)).max(1);
        let start = (nth * size).min(self.body.len());
        &self.body[start..(start + size).min(self.body.len())]
    }
}
