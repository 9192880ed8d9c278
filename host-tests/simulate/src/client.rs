//! Clients and what they ask for.

use selvage_engine::fields::FieldBlock;
use selvage_rig::chance::Dice;

use crate::node::Class;
use crate::tenants::Question;

/// One request.
#[derive(Clone, Debug)]
pub struct Ask {
    pub method: &'static str,
    pub page: usize,
    /// 0: none.
    pub language: u64,
    /// 0: none.
    pub theme: u64,
    /// 0: nobody.
    pub user: u64,
    /// The user is told by `Authorization` and not by a cookie.
    pub authorization: bool,
    pub no_cache: bool,
    pub range: bool,
    /// It has the present version already, or another one.
    pub tag: Option<String>,
    /// It comes from a cache of the same key space.
    pub nested: bool,
    /// How much it matters, if it says so.
    pub priority: Option<&'static str>,
    /// Whose it is, by its key. 0: it has none.
    pub key: u64,
    /// It is a question of a tenant.
    pub question: Option<Question>,
}

impl Ask {
    pub fn random(dice: &mut Dice, page: usize) -> Self {
        let user = if dice.chance(150) { dice.between(1, 3) } else { 0 };
        Self {
            method: match dice.below(100) {
                0..=3 => "POST",
                4..=7 => "HEAD",
                _ => "GET",
            },
            page,
            language: dice.below(4),
            theme: dice.below(2),
            user,
            authorization: user > 0 && dice.chance(300),
            no_cache: dice.chance(25),
            range: dice.chance(25),
            tag: None,
            nested: false,
            priority: None,
            key: 0,
            question: None,
        }
    }

    /// A GET of anybody.
    pub const fn plain(page: usize) -> Self {
        let (method, language, theme, user) = ("GET", 0, 0, 0);
        let (authorization, no_cache, range, tag, nested) = (false, false, false, None, false);
        let (priority, key, question) = (None, 0, None);
        Self {
            method,
            page,
            language,
            theme,
            user,
            authorization,
            no_cache,
            range,
            tag,
            nested,
            priority,
            key,
            question,
        }
    }

    /// It may lead others or wait for them.
    pub fn coalesces(&self) -> bool {
        self.may_lead() && !self.range && self.tag.is_none()
    }

    /// Others may wait for it, though perhaps it would not wait itself.
    pub fn may_lead(&self) -> bool {
        self.method == "GET" && !self.authorization && !self.no_cache && !self.nested
    }

    /// It tells who sends it.
    pub const fn is_identified(&self) -> bool {
        self.user > 0
    }

    /// Its class in a pool: 0 goes first.
    pub fn rank(&self) -> usize {
        match self.priority {
            Some("high") => 0,
            Some("low") => 2,
            _ => 1,
        }
    }

    /// Says whose it is, and how much it matters.
    pub fn introduce(&mut self, dice: &mut Dice) {
        self.priority = dice.of(&[None, None, Some("normal"), Some("high"), Some("low")]);
        self.key = dice.below(4);
    }

    /// What of it may select among stored responses.
    pub const fn class(&self) -> Class {
        let Self { language, theme, user, authorization, .. } = *self;
        Class { language, theme, user, authorization }
    }

    /// Its head.
    pub fn head(&self) -> Vec<(String, Vec<u8>)> {
        let mut fields = vec![
            (":method", self.method.to_owned()),
            (":scheme", "https".to_owned()),
            (":authority", "example.com".to_owned()),
            (":path", self.question.map_or_else(|| path(self.page), |question| question.path())),
        ];
        if self.language > 0 {
            fields.push(("x-lang", self.language.to_string()));
        }
        if self.theme > 0 {
            fields.push(("x-theme", self.theme.to_string()));
        }
        if self.user > 0 && self.authorization {
            fields.push(("authorization", format!("Bearer {}", self.user)));
        } else if self.user > 0 {
            fields.push(("cookie", format!("id={}", self.user)));
        }
        fields.extend(self.question.iter().flat_map(Question::fields));
        fields.extend(self.priority.map(|priority| ("x-class", priority.to_owned())));
        if self.key > 0 {
            fields.push(("x-key", self.key.to_string()));
        }
        if self.no_cache {
            fields.push(("cache-control", "no-cache".to_owned()));
        }
        if let Some(tag) = &self.tag {
            fields.push(("if-none-match", tag.clone()));
        }
        if self.range {
            fields.push(("range", "bytes=0-9".to_owned()));
        }
        fields.into_iter().map(|(name, value)| (name.to_owned(), value.into_bytes())).collect()
    }
}

/// The path of a page.
pub fn path(page: usize) -> String {
    format!("/page/{page}")
}

/// What an origin reads in a request.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    pub method: String,
    pub page: usize,
    pub language: u64,
    pub theme: u64,
    pub user: u64,
    /// `If-None-Match`.
    pub condition: Option<String>,
    pub authorization: bool,
}

impl Asked {
    pub fn read<'a>(fields: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Self {
        let mut asked = Self::default();
        for (name, value) in fields {
            let value = String::from_utf8_lossy(value).into_owned();
            let number = |prefix: &str| value.strip_prefix(prefix)?.parse().ok();
            match name {
                b":method" => asked.method = value,
                b":path" => asked.page = number("/page/").unwrap_or(0) as usize,
                b"x-lang" => asked.language = number("").unwrap_or(0),
                b"x-theme" => asked.theme = number("").unwrap_or(0),
                b"cookie" => asked.user = number("id=").unwrap_or(0),
                b"authorization" => {
                    (asked.user, asked.authorization) = (number("Bearer ").unwrap_or(0), true);
                }
                b"if-none-match" => asked.condition = Some(value),
                _ => {}
            }
        }
        asked
    }

    /// Whether the client, or the cache, has what this tag is of.
    pub fn has(&self, etag: &str) -> bool {
        self.condition.as_ref().is_some_and(|tags| tags.split(", ").any(|tag| tag == etag))
    }
}

/// A field block as the host hands it over.
pub fn block<'a>(fields: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Vec<u8> {
    let fields: FieldBlock = fields.into_iter().map(|(name, value)| (name.as_bytes(), value)).collect();
    let mut block = Vec::new();
    fields.write_with(&[], &mut block);
    block
}

/// A field block of texts.
pub fn text_block(fields: &[(&str, String)]) -> Vec<u8> {
    block(fields.iter().map(|(name, value)| (*name, value.as_bytes())))
}
