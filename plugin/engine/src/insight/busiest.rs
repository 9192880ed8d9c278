//! The keys that are asked for most, and the paths that fall apart into many keys: counted among some of the requests, in a
//! bounded space.
//!
//! The counters are those of the space-saving algorithm: a key that finds no counter takes the smallest one over with its
//! count, so that no key counts for less than it was asked for, and what it may count for too much is known.

use xxhash_rust::xxh3::xxh3_64;

use crate::request::Request;
use crate::stats::ONE_OF;

/// The counters of one worker.
#[derive(Debug, Default)]
pub struct Busiest {
    keys: Vec<Counted<u128, ()>>,
    paths: Vec<Counted<u64, Window>>,
    noted: u32,
}

/// One counter.
#[derive(Debug)]
struct Counted<H, W> {
    hash: H,
    text: Box<str>,
    count: u32,
    /// So much of the count may be of others.
    inherited: u32,
    window: W,
}

/// The last requests of a path.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    /// A bit for each of 64 groups of keys.
    keys: u64,
    noted: u32,
    answered: u32,
    /// What the last full window showed.
    shown: Option<Spread>,
}

/// A key that is asked for often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Its URL, shortened.
    pub url: Box<str>,
    /// About how often it was asked for, of late.
    pub requests: u64,
    /// It was asked for at least so often, a lower bound, subject to sampling error.
    pub at_least: u64,
}

/// A path whose requests have many keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wide {
    /// The URL without its query.
    pub path: Box<str>,
    /// Its last requests that were counted.
    pub spread: Spread,
}

/// How the requests of a path are spread over keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spread {
    /// Requests that were counted.
    pub requests: u32,
    /// Those among them that a store answered.
    pub answered: u32,
    /// About how many keys they have.
    pub keys: u32,
}

impl Busiest {
    /// Counts a request; `answered` from a store.
    pub fn note(&mut self, hash: u128, request: &Request<'_>, answered: bool) {
        count(&mut self.keys, MOST_KEYS, hash, || url(request, request.target));
        let path = request.path();
        if path.len() < request.target.len() {
            // The authority is not in its normal form: a path may count twice.
            let of_path = xxh3_64(request.authority) ^ xxh3_64(path).rotate_left(1);
            if let Some(counted) = count(&mut self.paths, MOST_PATHS, of_path, || url(request, path)) {
                counted.window.note(hash, answered);
            }
        }
        self.noted += 1;
        if self.noted >= HALVED_AFTER {
            self.noted = 0;
            halve(&mut self.keys);
            halve(&mut self.paths);
        }
    }

    /// The keys that are asked for most, the busiest first.
    pub fn keys(&self, most: usize) -> Vec<Key> {
        let mut keys: Vec<Key> = self.keys.iter().map(Counted::key).collect();
        keys.sort_by_key(|key| std::cmp::Reverse((key.requests, key.at_least)));
        keys.truncate(most);
        keys
    }

    /// The paths whose last requests were nearly all for different keys, and hardly answered by a store.
    pub fn wide(&self) -> impl Iterator<Item = Wide> {
        self.paths.iter().filter_map(|path| {
            let spread = path.window.shown?;
            let wide = spread.keys * 2 > spread.requests && spread.answered * 2 < spread.requests;
            wide.then(|| Wide { path: path.text.clone(), spread })
        })
    }
}

impl<W> Counted<u128, W> {
    fn key(&self) -> Key {
        let times = |count: u32| u64::from(count) * u64::from(ONE_OF);
        let at_least = times(self.count.saturating_sub(self.inherited));
        Key { url: self.text.clone(), requests: times(self.count), at_least }
    }
}

impl Window {
    fn note(&mut self, hash: u128, answered: bool) {
        self.keys |= 1 << ((hash >> 64) % 64);
        self.noted += 1;
        self.answered += u32::from(answered);
        if self.noted >= WINDOW {
            // Linear counting: of the groups that no key fell into one sees how many keys there are.
            let empty = (!self.keys).count_ones().max(1);
            let keys = 64.0 * (64.0 / f64::from(empty)).ln();
            let keys = (keys.round() as u32).min(self.noted);
            let shown = Some(Spread { requests: self.noted, answered: self.answered, keys });
            *self = Self { shown, ..Self::default() };
        }
    }
}

fn count<H: Copy + PartialEq, W: Default>(
    counters: &mut Vec<Counted<H, W>>,
    most: usize,
    hash: H,
    text: impl FnOnce() -> Box<str>,
) -> Option<&mut Counted<H, W>> {
    let at = match counters.iter().position(|counted| counted.hash == hash) {
        Some(at) => at,
        None => {
            let mut new = Counted { hash, text: text(), count: 0, inherited: 0, window: W::default() };
            if counters.len() < most {
                counters.push(new);
                counters.len() - 1
            } else {
                let (at, least) = counters.iter_mut().enumerate().min_by_key(|(_, counted)| counted.count)?;
                new.count = least.count;
                new.inherited = least.count;
                *least = new;
                at
            }
        }
    };
    let counted = counters.get_mut(at)?;
    counted.count = counted.count.saturating_add(1);
    Some(counted)
}

/// What was asked for long ago counts less and less.
fn halve<H, W>(counters: &mut Vec<Counted<H, W>>) {
    for counted in counters.iter_mut() {
        counted.count /= 2;
        counted.inherited /= 2;
    }
    counters.retain(|counted| counted.count > 0);
}

/// A URL of a request, with this target, to be shown.
pub(super) fn url(request: &Request<'_>, target: &[u8]) -> Box<str> {
    shown(&[request.scheme, b"://", request.authority, target].concat())
}

/// A text to be shown; a long one is cut off.
pub(super) fn shown(text: &[u8]) -> Box<str> {
    let mut text = String::from_utf8_lossy(text).into_owned();
    if text.len() > LONGEST_URL {
        text.truncate(text.floor_char_boundary(LONGEST_URL));
        text.push('…');
    }
    text.into()
}

const MOST_KEYS: usize = 64;
const MOST_PATHS: usize = 16;
const HALVED_AFTER: u32 = 8192;
/// Requests of a path that are looked at together.
const WINDOW: u32 = 64;
/// Bytes of a URL that are kept.
const LONGEST_URL: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key;

    fn ask(busiest: &mut Busiest, target: &str, answered: bool) {
        let request = Request {
            scheme: b"https",
            authority: b"a.test",
            target: target.as_bytes(),
            ..Request::default()
        };
        busiest.note(key::hash(target.as_bytes()), &request, answered);
    }

    #[test]
    fn the_busiest_keys_are_found_among_many_in_a_bounded_space() {
        let mut busiest = Busiest::default();
        for n in 0..4000 {
            ask(&mut busiest, &format!("/one-of-many/{n}"), true);
            if n % 4 == 0 {
                ask(&mut busiest, "/hot", true);
            }
            if n % 10 == 0 {
                ask(&mut busiest, "/warm", true);
            }
        }
        assert_eq!(busiest.keys.len(), MOST_KEYS);
        let keys = busiest.keys(2);
        let urls: Vec<&str> = keys.iter().map(|key| &*key.url).collect();
        assert_eq!(urls, ["https://a.test/hot", "https://a.test/warm"]);
        for (key, asked) in keys.iter().zip([1000 * 16, 400 * 16]) {
            assert!(key.at_least <= asked && asked <= key.requests, "{key:?}");
        }
    }

    #[test]
    fn a_path_is_wide_if_its_requests_differ_in_the_query_and_nothing_answers_them() {
        let mut busiest = Busiest::default();
        for n in 0..64 {
            ask(&mut busiest, &format!("/search?session={n}"), false);
            ask(&mut busiest, &format!("/page?n={}", n % 5), false);
            ask(&mut busiest, &format!("/many?n={n}"), true);
            ask(&mut busiest, &format!("/path/{n}"), false);
        }
        let wide: Vec<Wide> = busiest.wide().collect();
        assert_eq!(wide.len(), 1, "{wide:?}");
        assert_eq!(&*wide[0].path, "https://a.test/search");
        let Spread { requests, answered, keys } = wide[0].spread;
        assert_eq!((requests, answered), (64, 0));
        assert!((45..=64).contains(&keys), "{keys}");
    }

    #[test]
    fn what_was_busy_long_ago_is_forgotten() {
        let mut busiest = Busiest::default();
        ask(&mut busiest, "/old", true);
        for _ in 0..2 * HALVED_AFTER {
            ask(&mut busiest, "/new", true);
        }
        let keys = busiest.keys(9);
        assert_eq!(keys.len(), 1, "{keys:?}");
        assert!(keys[0].requests <= u64::from(2 * HALVED_AFTER * ONE_OF));
    }

    #[test]
    fn a_long_url_is_shortened() {
        let mut busiest = Busiest::default();
        ask(&mut busiest, &"/é".repeat(1000), true);
        let url = &busiest.keys(1)[0].url;
        assert!(url.len() <= LONGEST_URL + 3 && url.ends_with('…'), "{url}");
    }
}
