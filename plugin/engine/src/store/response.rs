//! A stored response and the terms on which it may be used again.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use crate::cache_control::ResponseDirectives;
use crate::fields::{FieldBlock, Fields};
use crate::freshness::{Freshness, Schedule};
use crate::host::IN_BROWSER;
use crate::policy::{Cookies, Rule, SetCookie};
use crate::request::Request;
use crate::store::form::Gzip;
use crate::time::Timestamp;

/// A complete response, ready to be sent. Immutable: freshening makes a new one that shares the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredResponse {
    /// Canonical key, with the selecting part if it is a variant.
    pub key: Rc<[u8]>,
    /// Final status code, 200 to 999.
    pub status: u16,
    /// What its directives say about later use.
    pub terms: Terms,
    /// Its times.
    pub schedule: Schedule,
    /// Its fields as the origin sent them, without those that are never stored.
    pub fields: FieldBlock,
    /// Its content; compressed if there is `gzip`.
    pub body: Body,
    /// The form for clients that take gzip, if it is stored compressed.
    pub gzip: Option<Box<Gzip>>,
    /// The fields of the form without white space, if its content is JSON that is kept so: its own are the origin's.
    pub minified: Option<Box<FieldBlock>>,
    /// How long it took to fetch or to freshen, in milliseconds; 0 if another worker did, or it was not measured.
    pub took_millis: u32,
    /// When it was asked of the origin, or last validated there: purges of this time or later cover it.
    pub generation: Timestamp,
    /// Hashes of its tags, sorted (see [`tags`](crate::tags)).
    pub tags: Rc<[u64]>,
    /// The purges that it has been found to outlive (see [`Log::judge`](crate::purge::log::Log::judge)); not part of it.
    pub outlives: Outlives,
}

/// How many purges of a worker's log a response has been found to outlive. Equal to any other: it is a note in the margin.
#[derive(Clone, Debug, Default)]
pub struct Outlives(pub Cell<u64>);

impl PartialEq for Outlives {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Outlives {}

impl StoredResponse {
    /// The same response stored as `compressed`, the gzip form of its content. `None` if that is no gzip member.
    pub fn compressed(&self, compressed: Vec<u8>) -> Option<Self> {
        let gzip = Gzip::of(self.own_fields().fields(), &compressed)?;
        let mut terms = self.terms;
        terms.set(Terms::GZIP, true);
        Some(Self { terms, gzip: Some(Box::new(gzip)), body: Body::new(compressed), ..self.clone() })
    }

    /// The fields of its content as it is kept, in no coding.
    #[inline]
    pub fn own_fields(&self) -> &FieldBlock {
        match &self.minified {
            Some(fields) if !IN_BROWSER => fields,
            _ => &self.fields,
        }
    }

    /// Whether its content is JSON that is kept without white space.
    #[inline]
    pub const fn is_minified(&self) -> bool {
        !IN_BROWSER && self.minified.is_some()
    }

    /// Length of the content in bytes, without a coding.
    pub fn content_length(&self) -> usize {
        self.gzip.as_ref().map_or(self.body.len(), |gzip| gzip.length)
    }

    /// The first `ETag`, as sent.
    pub fn etag(&self) -> Option<&[u8]> {
        self.fields.fields().get(b"etag")
    }

    /// The first `Last-Modified`, as sent.
    pub fn last_modified(&self) -> Option<&[u8]> {
        self.fields.fields().get(b"last-modified")
    }

    /// Whether it can be validated (RFC 9111 §4.3.1).
    pub fn has_validator(&self) -> bool {
        self.etag().is_some() || self.last_modified().is_some()
    }

    /// When it is of no use any more. One with a validator can be brought back to life for a while.
    pub fn dead_at(&self) -> Timestamp {
        let keep = if self.has_validator() { KEEP_FOR_VALIDATION } else { Duration::ZERO };
        self.schedule.dead_at(keep)
    }

    /// Freshness at `now`; one that must always be validated is never fresh.
    pub fn freshness(&self, now: Timestamp) -> Freshness {
        if self.terms.contains(Terms::ALWAYS_VALIDATE) {
            return Freshness::Stale { by: self.schedule.age(now) };
        }
        self.schedule.freshness(now)
    }

    /// Whether this response may answer a request that carries credentials. One that the origin has not
    /// marked as shared answers only requests without any, or those for which the key tells them apart.
    pub fn may_answer(&self, request: &Request<'_>, rule: &Rule) -> bool {
        // What its client wants as the origin has it is kept otherwise (RFC 9111 §5.2.1.6).
        if self.is_minified() && request.directives.no_transform {
            return false;
        }
        if self.terms.contains(Terms::SHARED)
            || !(request.authorization || request.credentials || request.cookie)
        {
            return true;
        }
        let keyed = |name: &[u8]| rule.key.headers.iter().any(|listed| **listed == *name);
        let authorization_ok = self.terms.contains(Terms::DESPITE_AUTHORIZATION)
            || !request.credentials && (!request.authorization || keyed(b"authorization"));
        let cookie_ok = !request.cookie
            || rule.cookies == Cookies::Ignore
            || self.terms.contains(Terms::SELECTED_BY_COOKIE)
            || keyed(b"cookie");
        authorization_ok && cookie_ok
    }

    /// Bytes it costs a budget.
    pub fn weight(&self) -> usize {
        let gzip = self.gzip.as_ref().map_or(0, |gzip| gzip.fields.byte_len() + size_of::<Gzip>());
        let minified = self
            .minified
            .as_ref()
            .filter(|_| !IN_BROWSER)
            .map_or(0, |fields| fields.byte_len() + size_of::<FieldBlock>());
        let tags = size_of_val(&*self.tags) + minified;
        self.key.len() + self.fields.byte_len() + gzip + tags + self.body.held_bytes() + size_of::<Self>()
    }
}

/// What the directives of a stored response mean for later uses: a small set of flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms(u16);

impl Terms {
    /// Must be validated before every use (`no-cache`).
    pub const ALWAYS_VALIDATE: Self = Self(1);
    /// The origin says outright that it is for everybody.
    pub const SHARED: Self = Self(2);
    /// Stale use is forbidden, whatever the client accepts.
    pub const FORBIDS_STALE: Self = Self(4);
    /// `Cookie` is one of the fields that select it.
    pub const SELECTED_BY_COOKIE: Self = Self(8);
    /// It may answer requests with `Authorization` (RFC 9111 §3.5).
    pub const DESPITE_AUTHORIZATION: Self = Self(16);

    /// It is not sent to the remote store.
    pub const LOCAL: Self = Self(32);
    /// Its body is stored as gzip.
    pub const GZIP: Self = Self(64);
    /// The client that it came for was told `Vary: Accept-Encoding` on top of the origin's fields; so are all others,
    /// even if compression turned out not to be worth it.
    pub const ADDS_VARY: Self = Self(128);

    /// Its body is JSON without white space.
    pub const MINIFIED: Self = Self(256);

    /// The terms that `directives` set.
    pub fn of(directives: &ResponseDirectives) -> Self {
        let mut terms = Self::default();
        terms.set(Self::ALWAYS_VALIDATE, directives.no_cache);
        terms.set(Self::SHARED, directives.for_everybody());
        terms.set(Self::DESPITE_AUTHORIZATION, directives.despite_authorization());
        terms.set(Self::FORBIDS_STALE, directives.forbids_stale() || directives.implies_no_stale());
        terms
    }

    /// Whether all flags of `other` are set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Sets or clears the flags of `other`.
    pub fn set(&mut self, other: Self, on: bool) {
        if on { self.0 |= other.0 } else { self.0 &= !other.0 }
    }

    /// As two bytes, for records.
    pub const fn bits(self) -> [u8; 2] {
        self.0.to_le_bytes()
    }

    /// From the bytes of a record. `None` if there are flags that this release does not know.
    pub const fn from_bits(bits: [u8; 2]) -> Option<Self> {
        if bits[1] > 1 { None } else { Some(Self(u16::from_le_bytes(bits))) }
    }
}

/// The content of a response: a part of a shared buffer, so that a record read from the node store is used
/// where it lies.
#[derive(Clone, Debug, Default)]
pub struct Body {
    buffer: Rc<Vec<u8>>,
    start: usize,
}

impl Body {
    /// All of `bytes`.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self { buffer: Rc::new(bytes), start: 0 }
    }

    /// The bytes of `buffer` from `start` on; empty if there are none.
    pub fn tail(buffer: Vec<u8>, start: usize) -> Self {
        Self { buffer: Rc::new(buffer), start }
    }

    /// The content.
    pub fn as_slice(&self) -> &[u8] {
        self.buffer.get(self.start..).unwrap_or_default()
    }

    /// Length of the content in bytes.
    pub fn len(&self) -> usize {
        self.buffer.len().saturating_sub(self.start)
    }

    /// The content, in memory of its own if others share it.
    pub fn into_bytes(self) -> Vec<u8> {
        match Rc::try_unwrap(self.buffer) {
            Ok(bytes) if self.start == 0 => bytes,
            Ok(bytes) => bytes.get(self.start..).unwrap_or_default().to_vec(),
            Err(shared) => shared.get(self.start..).unwrap_or_default().to_vec(),
        }
    }

    /// Whether there is no content.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether both are the same bytes of memory.
    pub fn is_same(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.buffer, &other.buffer) && self.start == other.start
    }

    /// Bytes of memory behind it.
    fn held_bytes(&self) -> usize {
        self.buffer.capacity()
    }
}

impl PartialEq for Body {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for Body {}

/// Copies the fields of a response that its rule lets be stored. A missing `Date` becomes the time of arrival
/// (RFC 9110 §6.6.1).
pub fn storable_fields(response: Fields<'_>, received: Timestamp, rule: &Rule) -> FieldBlock {
    let with_set_cookie = rule.set_cookie == SetCookie::Store;
    let mut block: FieldBlock = response
        .iter()
        .filter(|(name, _)| !crate::storability::is_kept_out(name, response))
        .filter(|(name, _)| with_set_cookie || *name != b"set-cookie")
        .filter(|(name, _)| !rule.tags.strips(name))
        .filter(|(name, _)| !is_of_the_account(name, rule))
        .collect();
    if response.get(b"date").is_none() {
        block.push(b"date", received.to_http_date().as_bytes());
    }
    block.shrink_to_fit();
    block
}

/// Whether a field says on whose account a language model was asked.
fn is_of_the_account(name: &[u8], rule: &Rule) -> bool {
    #[cfg(feature = "llm")]
    return rule.stores_answers() && crate::storability::answers::is_of_the_account(name);
    #[cfg(not(feature = "llm"))]
    false
}

/// How long a stale response with a validator is kept, for a 304 to bring it back to life.
const KEEP_FOR_VALIDATION: Duration = Duration::from_secs(3600);
