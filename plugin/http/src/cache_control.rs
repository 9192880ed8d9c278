//! Parses cache directives: `Cache-Control` of requests and responses (RFC 9111 §5.2, RFC 5861), and targeted
//! fields such as `CDN-Cache-Control`, which are structured fields (RFC 9213).

use std::time::Duration;

use crate::fields::{Fields, list_members};
use crate::vary::is_token_byte;

/// What a response allows a shared cache to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResponseDirectives {
    /// `max-age`: freshness lifetime. Zero when it cannot be read, so that a mistake makes a response stale.
    pub max_age: Option<Duration>,
    /// `s-maxage`: freshness lifetime in shared caches; wins over `max-age`. Zero when it cannot be read.
    pub s_maxage: Option<Duration>,
    /// `stale-while-revalidate` (RFC 5861 §3).
    pub stale_while_revalidate: Option<Duration>,
    /// `stale-if-error` (RFC 5861 §4).
    pub stale_if_error: Option<Duration>,
    /// `no-store`.
    pub no_store: bool,
    /// `no-cache`, also when it names fields: the safe reading of RFC 9111 §5.2.2.4.
    pub no_cache: bool,
    /// `private`, also when it names fields (§5.2.2.7).
    pub private: bool,
    /// `public`.
    pub public: bool,
    /// `must-revalidate`.
    pub must_revalidate: bool,
    /// `proxy-revalidate`.
    pub proxy_revalidate: bool,
    /// `must-understand`.
    pub must_understand: bool,
    /// `no-transform`.
    pub no_transform: bool,
    /// The directives came from a targeted field (RFC 9213), so `Cache-Control` and `Expires` do not count.
    pub targeted: bool,
    /// The field does not parse. What restricts was looked for anywhere in it, and no lifetime out of it is believed.
    pub malformed: bool,
}

impl ResponseDirectives {
    /// The directives that apply to this cache: those of the first field of `targets` that is present and
    /// valid, else those of `Cache-Control` (RFC 9213 §2.2).
    pub fn read(response: Fields<'_>, targets: &[Box<[u8]>]) -> Self {
        let mut restrictions = Self::default();
        for (nth, target) in targets.iter().enumerate() {
            if response.get(target).is_none() {
                continue;
            }
            if let Some(mut found) = Self::read_targeted(response, target) {
                let before = targets.iter().take(nth);
                before.flat_map(|target| response.all(target)).for_each(|line| found.restrict(line));
                return found;
            }
            // A targeted field that does not parse is passed over, but for what it restricts.
            response.all(target).for_each(|line| restrictions.restrict(line));
        }
        let mut found = restrictions;
        let mut malformed = false;
        for line in response.all(b"cache-control") {
            for member in list_members(line) {
                match split_directive(member) {
                    Some((name, argument)) => {
                        found.apply(name, argument.map_or(Argument::None, Argument::Text));
                    }
                    None => malformed = true,
                }
            }
        }
        if malformed {
            return found.doubted(response);
        }
        found
    }

    /// What remains of a `Cache-Control` that does not parse.
    #[cold]
    fn doubted(self, response: Fields<'_>) -> Self {
        let mut doubted = Self {
            malformed: true,
            // What is known of its lifetime is that it cannot be known (§4.2.1).
            max_age: Some(Duration::ZERO),
            s_maxage: None,
            stale_while_revalidate: None,
            stale_if_error: None,
            public: false,
            must_understand: false,
            ..self
        };
        response.all(b"cache-control").for_each(|line| doubted.restrict(line));
        doubted
    }

    /// Takes in every restrictive word that stands by itself anywhere in a text that does not parse.
    fn restrict(&mut self, text: &[u8]) {
        let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        for word in text.split(|byte| !is_part(byte)) {
            if let Some(directive) = Directive::named(word).filter(|directive| directive.restricts()) {
                self.set(directive);
            }
        }
    }

    /// `None` if the field is absent, empty, or not a structured dictionary whose members have the right types.
    fn read_targeted(response: Fields<'_>, name: &[u8]) -> Option<Self> {
        let mut lines = response.all(name);
        let first = lines.next()?;
        let mut joined = first.to_vec();
        for line in lines {
            joined.extend_from_slice(b", ");
            joined.extend_from_slice(line);
        }
        let dictionary: sfv::Dictionary = sfv::Parser::new(&joined).parse().ok()?;
        if dictionary.is_empty() {
            return None;
        }
        let mut found = Self { targeted: true, ..Self::default() };
        for (key, entry) in &dictionary {
            let sfv::ListEntry::Item(item) = entry else { return None };
            let argument = match &item.bare_item {
                sfv::BareItem::Boolean(true) => Argument::None,
                // `no-store=?0` is spelled out as not applying.
                sfv::BareItem::Boolean(false) => continue,
                sfv::BareItem::Integer(number) => Argument::Number(i64::from(*number)),
                _ => Argument::WrongType,
            };
            if !found.apply(key.as_str().as_bytes(), argument) {
                return None;
            }
        }
        Some(found)
    }

    /// Takes one directive in. `false` if its argument has the wrong type for a targeted field.
    fn apply(&mut self, name: &[u8], argument: Argument<'_>) -> bool {
        let Some(directive) = Directive::named(name) else { return true };
        match directive {
            Directive::MaxAge => shorten(&mut self.max_age, argument),
            Directive::SMaxage => shorten(&mut self.s_maxage, argument),
            Directive::StaleWhileRevalidate => shorten(&mut self.stale_while_revalidate, argument),
            Directive::StaleIfError => shorten(&mut self.stale_if_error, argument),
            flag => {
                self.set(flag);
                true
            }
        }
    }

    /// Sets the flag of a directive that has no lifetime.
    const fn set(&mut self, directive: Directive) {
        match directive {
            Directive::NoStore => self.no_store = true,
            Directive::NoCache => self.no_cache = true,
            Directive::Private => self.private = true,
            Directive::Public => self.public = true,
            Directive::MustRevalidate => self.must_revalidate = true,
            Directive::ProxyRevalidate => self.proxy_revalidate = true,
            Directive::MustUnderstand => self.must_understand = true,
            Directive::NoTransform => self.no_transform = true,
            Directive::MaxAge
            | Directive::SMaxage
            | Directive::StaleWhileRevalidate
            | Directive::StaleIfError => {}
        }
    }

    /// The origin says outright that the response is for everybody.
    pub fn for_everybody(&self) -> bool {
        // One that cannot be read is zero, and allows nothing.
        self.public || self.s_maxage.is_some_and(|lifetime| !lifetime.is_zero())
    }

    /// A response to a request with `Authorization` may be reused for others (RFC 9111 §3.5).
    pub fn despite_authorization(&self) -> bool {
        self.for_everybody() || self.must_revalidate && !self.malformed
    }

    /// Stale use is forbidden in so many words, even when the origin fails (RFC 9111 §4.2.4).
    pub fn forbids_stale(&self) -> bool {
        self.must_revalidate || self.proxy_revalidate || self.no_cache
    }

    /// `s-maxage` implies `proxy-revalidate` (§5.2.2.10), which stands unless the origin names a stale use itself.
    pub fn implies_no_stale(&self) -> bool {
        self.s_maxage.is_some()
    }
}

/// What a request asks of caches (RFC 9111 §5.2.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestDirectives {
    /// `no-cache`, or `Pragma: no-cache` without any `Cache-Control` (§5.4).
    pub no_cache: bool,
    /// `no-store`.
    pub no_store: bool,
    /// `only-if-cached`.
    pub only_if_cached: bool,
    /// `max-age`: the greatest age wanted. `None` when it cannot be read.
    pub max_age: Option<Duration>,
    /// `min-fresh`: the freshness that must remain.
    pub min_fresh: Option<Duration>,
    /// `max-stale`: the staleness accepted; [`Duration::MAX`] without an argument.
    pub max_stale: Option<Duration>,
    /// `no-transform`: the content is wanted as the origin sent it.
    pub no_transform: bool,
}

impl RequestDirectives {
    /// Takes one `Cache-Control` line in.
    pub fn add_line(&mut self, line: &[u8]) {
        for member in list_members(line) {
            let Some((name, argument)) = split_directive(member) else {
                self.restrict(member);
                continue;
            };
            let seconds = argument.and_then(delta_seconds);
            if name.eq_ignore_ascii_case(b"no-cache") {
                self.no_cache = true;
            } else if name.eq_ignore_ascii_case(b"no-store") {
                self.no_store = true;
            } else if name.eq_ignore_ascii_case(b"only-if-cached") {
                self.only_if_cached = true;
            } else if name.eq_ignore_ascii_case(b"max-age") {
                self.max_age = seconds;
            } else if name.eq_ignore_ascii_case(b"min-fresh") {
                self.min_fresh = seconds;
            } else if name.eq_ignore_ascii_case(b"no-transform") {
                self.no_transform = true;
            } else if name.eq_ignore_ascii_case(b"max-stale") {
                // One that cannot be read accepts nothing.
                self.max_stale = if argument.is_some() { seconds } else { Some(Duration::MAX) };
            }
        }
    }

    /// Takes in what a member that does not parse asks for all the same: never an older answer.
    #[cold]
    fn restrict(&mut self, member: &[u8]) {
        let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        for word in member.split(|byte| !is_part(byte)) {
            self.no_cache |= word.eq_ignore_ascii_case(b"no-cache");
            self.no_store |= word.eq_ignore_ascii_case(b"no-store");
        }
    }

    /// Whether nothing is asked.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The non-negative whole seconds of RFC 9111 §1.2.2, plain or quoted. Values past 2³¹ mean 2³¹.
/// `None` for anything else, a sign or a fraction included.
pub fn delta_seconds(text: &[u8]) -> Option<Duration> {
    let digits = text.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(text);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let seconds = digits
        .iter()
        .fold(0u64, |sum, digit| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0')))
        .min(LONGEST_DELTA);
    Some(Duration::from_secs(seconds))
}

/// The response directives this cache acts on.
#[derive(Clone, Copy)]
enum Directive {
    NoStore,
    NoCache,
    Private,
    Public,
    MustRevalidate,
    ProxyRevalidate,
    MustUnderstand,
    NoTransform,
    MaxAge,
    SMaxage,
    StaleWhileRevalidate,
    StaleIfError,
}

impl Directive {
    /// Whether it can only take something away from what a cache may do. `must-understand` can give something.
    const fn restricts(self) -> bool {
        matches!(
            self,
            Self::NoStore
                | Self::NoCache
                | Self::Private
                | Self::MustRevalidate
                | Self::ProxyRevalidate
                | Self::NoTransform
        )
    }

    fn named(name: &[u8]) -> Option<Self> {
        const NAMES: [(&[u8], Directive); 12] = [
            (b"no-store", Directive::NoStore),
            (b"no-cache", Directive::NoCache),
            (b"private", Directive::Private),
            (b"public", Directive::Public),
            (b"must-revalidate", Directive::MustRevalidate),
            (b"proxy-revalidate", Directive::ProxyRevalidate),
            (b"must-understand", Directive::MustUnderstand),
            (b"no-transform", Directive::NoTransform),
            (b"max-age", Directive::MaxAge),
            (b"s-maxage", Directive::SMaxage),
            (b"stale-while-revalidate", Directive::StaleWhileRevalidate),
            (b"stale-if-error", Directive::StaleIfError),
        ];
        NAMES.iter().find(|(known, _)| name.eq_ignore_ascii_case(known)).map(|(_, directive)| *directive)
    }
}

/// A directive's argument as it was written.
enum Argument<'a> {
    None,
    Text(&'a [u8]),
    Number(i64),
    WrongType,
}

/// Lowers `slot` to the argument: of several values the shortest counts, and an unreadable one is zero, since
/// RFC 9111 §4.2.1 wants doubtful freshness treated as staleness. `false` if a structured field's member has
/// the wrong type.
fn shorten(slot: &mut Option<Duration>, argument: Argument<'_>) -> bool {
    let value = match argument {
        Argument::Text(text) => delta_seconds(text).unwrap_or_default(),
        Argument::Number(number) => {
            Duration::from_secs(u64::try_from(number).unwrap_or_default().min(LONGEST_DELTA))
        }
        Argument::None => Duration::ZERO,
        Argument::WrongType => return false,
    };
    *slot = Some(slot.map_or(value, |earlier| earlier.min(value)));
    true
}

/// `name=argument` with the argument optional and white space beside the `=` passed over. `None` if the name is no token,
/// or the argument neither one word nor one quoted string: then nobody can tell where the directive ends.
fn split_directive(member: &[u8]) -> Option<(&[u8], Option<&[u8]>)> {
    let (name, argument) = match member.iter().position(|byte| *byte == b'=') {
        Some(at) => (member.get(..at).unwrap_or_default().trim_ascii(), member.get(at + 1..)),
        None => (member, None),
    };
    let argument = argument.map(<[u8]>::trim_ascii);
    let is_name = !name.is_empty() && name.iter().all(|byte| is_token_byte(*byte));
    (is_name && argument.is_none_or(is_argument)).then_some((name, argument))
}

/// A word, or one quoted string. Words are read more laxly than tokens: `ext=a/b` is clear enough.
fn is_argument(text: &[u8]) -> bool {
    let Some(quoted) = text.strip_prefix(b"\"") else {
        return !text.iter().any(|byte| byte.is_ascii_whitespace() || matches!(byte, b'"' | b';' | b'='));
    };
    let mut escaped = false;
    let end = quoted.iter().position(|byte| match byte {
        _ if escaped => {
            escaped = false;
            false
        }
        b'\\' => {
            escaped = true;
            false
        }
        byte => *byte == b'"',
    });
    end.is_some_and(|end| end + 1 == quoted.len())
}

/// RFC 9111 §1.2.2: a value that cannot be represented becomes 2³¹.
const LONGEST_DELTA: u64 = 1 << 31;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::FieldBlock;

    fn read(lines: &[(&str, &str)]) -> ResponseDirectives {
        let block: FieldBlock = lines.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())).collect();
        ResponseDirectives::read(block.fields(), &[Box::from(&b"cdn-cache-control"[..])])
    }

    fn max_age(value: &str) -> Option<u64> {
        read(&[("cache-control", value)]).max_age.map(|age| age.as_secs())
    }

    #[test]
    fn max_age_corner_cases() {
        for (value, seconds) in [
            ("max-age=60", Some(60)),
            ("MaX-aGe=60", Some(60)),
            ("max-age=\"60\"", Some(60)),
            ("max-age=0060", Some(60)),
            ("max-age=-60", Some(0)),
            ("max-age=6.5", Some(0)),
            ("max-age='60'", Some(0)),
            ("max-age=a60", Some(0)),
            ("max-age=60a", Some(0)),
            ("max-age", Some(0)),
            ("max-age=", Some(0)),
            ("max-age =60", Some(60)),
            ("max-age= 60", Some(60)),
            ("max-age=99999999999999999999999", Some(1 << 31)),
            ("max-age=60, max-age=30", Some(30)),
            ("max-age=1, max-age=1800", Some(1)),
            ("ext=\"max-age=60\", max-age=1", Some(1)),
            ("ext=\"max-age=60\"", None),
            (",, foobar ,max-age=60,", Some(60)),
        ] {
            assert_eq!(max_age(value), seconds, "{value}");
        }
    }

    #[test]
    fn a_targeted_field_replaces_cache_control_whole() {
        let found = read(&[("cache-control", "no-store"), ("cdn-cache-control", "max-age=60")]);
        assert!(found.targeted && !found.no_store);
        assert_eq!(found.max_age, Some(Duration::from_secs(60)));
        assert!(read(&[("cache-control", "max-age=60"), ("cdn-cache-control", "no-store")]).no_store);
        let large = read(&[("cdn-cache-control", "max-age=99999999999")]);
        assert_eq!(large.max_age, Some(Duration::from_secs(1 << 31)));
    }

    #[test]
    fn an_invalid_targeted_field_is_ignored() {
        for value in ["max-age=60, &&&&", "max-age=\"60\"", "max-age=(60)", "", "MaX-AgE=60"] {
            let found = read(&[("cache-control", "no-store"), ("cdn-cache-control", value)]);
            assert!(found.no_store && !found.targeted, "{value}");
        }
    }

    #[test]
    fn request_directives_are_read() {
        let mut request = RequestDirectives::default();
        request.add_line(b"max-age=0, max-stale, min-fresh=5, only-if-cached");
        assert_eq!(request.max_age, Some(Duration::ZERO));
        assert_eq!(request.max_stale, Some(Duration::MAX));
        assert_eq!(request.min_fresh, Some(Duration::from_secs(5)));
        assert!(request.only_if_cached && !request.no_cache);
    }
}
