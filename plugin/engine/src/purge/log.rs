//! What was purged, as far as this worker knows, and what that means for a stored response.
//!
//! The log holds a moment for each thing that was purged, not for each response that this covers. It is bounded: when
//! there is no room the oldest leave together, and every response that one of them may have covered counts as covered.

use std::collections::{BTreeMap, VecDeque};

use super::{EVERY_NAMESPACE, Mode, Purge, What, url_hash};
use crate::key;
use crate::store::response::StoredResponse;
use crate::tags::ANY;
use crate::time::Timestamp;

/// What purges mean for a stored response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Stands,
    /// It is stale.
    Stale {
        /// Since then.
        since: Timestamp,
    },
    /// It must not be used.
    Gone,
}

/// The purges of one namespace.
#[derive(Debug, Default)]
pub struct Log {
    namespace: u64,
    /// Nothing that was asked for later is covered by anything.
    newest: Timestamp,
    /// How often something was added.
    added: u64,
    tags: Marks,
    urls: Marks,
    /// Authority, path and mark.
    prefixes: Prefixes,
    /// The newest prefix, and what covers every response: purges of everything, and prefixes that had no room.
    newest_prefix: Timestamp,
    all: Mark,
    /// Ids of the last purges, against hearing of them again.
    heard: VecDeque<u64>,
}

type Prefixes = Vec<(Box<[u8]>, Box<[u8]>, Mark)>;

/// The newest hard and soft purge of one thing; zero if there was none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Mark {
    hard: Timestamp,
    soft: Timestamp,
}

impl Mark {
    fn of(mode: Mode, at: Timestamp) -> Self {
        match mode {
            Mode::Hard => Self { hard: at, ..Self::default() },
            Mode::Soft => Self { soft: at, ..Self::default() },
        }
    }

    fn join(&mut self, other: Self) {
        self.hard = self.hard.max(other.hard);
        self.soft = self.soft.max(other.soft);
    }

    fn newest(self) -> Timestamp {
        self.hard.max(self.soft)
    }

    fn verdict(self, generation: Timestamp) -> Verdict {
        if self.hard >= generation {
            Verdict::Gone
        } else if self.soft >= generation {
            Verdict::Stale { since: self.soft }
        } else {
            Verdict::Stands
        }
    }
}

/// Marks by hash, at most [`MOST_MARKS`].
#[derive(Debug, Default)]
struct Marks {
    by_hash: BTreeMap<u64, Mark>,
    /// The newest of all.
    newest: Mark,
    /// The newest that have left for want of room.
    floor: Mark,
    /// The hashes that were purged last, and when: most of what is stored was asked for after all others.
    recent: VecDeque<(u64, Timestamp)>,
    /// What was asked for later than this is covered by `recent` alone.
    before_recent: Timestamp,
}

impl Marks {
    fn add(&mut self, hash: u64, mark: Mark) {
        if self.by_hash.len() >= MOST_MARKS && !self.by_hash.contains_key(&hash) {
            self.shed();
        }
        self.by_hash.entry(hash).or_default().join(mark);
        self.newest.join(mark);
        if self.recent.len() >= MOST_RECENT
            && let Some((_, at)) = self.recent.pop_front()
        {
            self.before_recent = self.before_recent.max(at);
        }
        self.recent.push_back((hash, mark.newest()));
    }

    /// The marks of `hashes`, which are sorted, for what was asked for at `generation`.
    fn of(&self, hashes: &[u64], generation: Timestamp) -> Mark {
        let mut mark = Mark::default();
        if generation > self.before_recent {
            for (hash, at) in &self.recent {
                if *at >= generation && hashes.binary_search(hash).is_ok() {
                    mark.join(self.get(*hash));
                }
            }
        } else {
            hashes.iter().for_each(|hash| mark.join(self.get(*hash)));
        }
        mark
    }

    /// The oldest eighth leaves at once, so that each purge pays only a few steps for it.
    fn shed(&mut self) {
        let mut times: Vec<Timestamp> = self.by_hash.values().map(|mark| mark.newest()).collect();
        let nth = times.len() / 8;
        if nth >= times.len() {
            return;
        }
        let (_, cut, _) = times.select_nth_unstable(nth);
        let (cut, floor) = (*cut, &mut self.floor);
        self.by_hash.retain(|_, mark| {
            let stays = mark.newest() > cut;
            if !stays {
                floor.join(*mark);
            }
            stays
        });
    }

    fn get(&self, hash: u64) -> Mark {
        self.by_hash.get(&hash).copied().unwrap_or_default()
    }
}

impl Log {
    /// Nothing was purged. Purges of other namespaces than this will not count.
    pub fn new(namespace: u64) -> Self {
        Self { namespace, ..Self::default() }
    }

    /// Takes a purge in. `false` if it is of another namespace.
    pub fn add(&mut self, purge: &Purge) -> bool {
        if purge.namespace != self.namespace && purge.namespace != EVERY_NAMESPACE {
            return false;
        }
        let mark = Mark::of(purge.mode, purge.at);
        match &purge.what {
            What::Url(hash) => self.urls.add(*hash, mark),
            What::Tag(hash) => self.tags.add(*hash, mark),
            What::Prefix { authority, path } => self.add_prefix(authority, path, mark),
            What::All => self.all.join(mark),
        }
        self.newest = self.newest.max(purge.at);
        self.added += 1;
        true
    }

    /// What was asked for at this time or before counts as purged: it is not known what was.
    pub fn raise_floor(&mut self, to: Timestamp) {
        self.all.join(Mark::of(Mode::Hard, to));
        self.newest = self.newest.max(to);
        self.added += 1;
    }

    fn add_prefix(&mut self, authority: &[u8], path: &[u8], mark: Mark) {
        self.newest_prefix = self.newest_prefix.max(mark.newest());
        if let Some((_, _, known)) =
            self.prefixes.iter_mut().find(|(a, p, _)| **a == *authority && **p == *path)
        {
            known.join(mark);
            return;
        }
        if self.prefixes.len() >= MOST_PREFIXES {
            let oldest = self.prefixes.iter().enumerate().min_by_key(|(_, (_, _, mark))| mark.newest());
            if let Some(at) = oldest.map(|(at, _)| at) {
                let (_, _, gone) = self.prefixes.swap_remove(at);
                self.all.join(gone);
            }
        }
        self.prefixes.push((authority.into(), path.into(), mark));
    }

    /// What the purges mean for a stored response.
    #[inline]
    pub fn judge(&self, stored: &StoredResponse) -> Verdict {
        // The hot path: it is newer than any purge, or nothing was purged since it was judged.
        if self.newest < stored.generation || stored.outlives.0.get() == self.added {
            return Verdict::Stands;
        }
        let verdict = self.mark_of(stored.generation, &stored.key, &stored.tags).verdict(stored.generation);
        if verdict == Verdict::Stands {
            stored.outlives.0.set(self.added);
        }
        verdict
    }

    /// Whether what has a tag and was asked for at this time is covered, by purges of the tag or of everything.
    pub fn covers_tag(&self, tag: u64, generation: Timestamp) -> bool {
        let newest = || self.all.newest().max(self.tags.floor.newest()).max(self.tags.get(tag).newest());
        self.newest >= generation && newest() >= generation
    }

    /// Whether what has a key and tags, and was asked for at this time, is covered by any purge.
    pub fn covers(&self, generation: Timestamp, key: &[u8], tags: &[u64]) -> bool {
        self.newest >= generation && self.mark_of(generation, key, tags).newest() >= generation
    }

    /// The marks of all purges that may cover what has a key and tags, and was asked for at this time.
    #[cold]
    fn mark_of(&self, generation: Timestamp, key: &[u8], tags: &[u64]) -> Mark {
        let mut mark = self.all;
        if self.tags.newest.newest() >= generation && !tags.is_empty() {
            mark.join(self.tags.floor);
            // It sorts first.
            let any = tags.first() == Some(&ANY);
            mark.join(if any { self.tags.newest } else { self.tags.of(tags, generation) });
        }
        if self.urls.newest.newest() >= generation {
            mark.join(self.urls.floor);
            mark.join(self.urls.get(url_hash(key)));
        }
        if self.newest_prefix >= generation {
            let authority = key::authority_of(key).unwrap_or_default();
            let target = key::target_of(key).unwrap_or_default();
            for (host, path, purged) in &self.prefixes {
                if **host == *authority && target.starts_with(path) {
                    mark.join(*purged);
                }
            }
        }
        mark
    }

    /// Whether the purge with this id has been heard of; if not, it has now. Without an id each is another.
    pub fn hear(&mut self, id: u64) -> bool {
        if id == 0 {
            return false;
        }
        if self.heard.contains(&id) {
            return true;
        }
        if self.heard.len() >= MOST_HEARD {
            self.heard.pop_front();
        }
        self.heard.push_back(id);
        false
    }
}

/// Tags, and as many URLs, that are remembered as purged: 24 bytes each, and what a tree adds.
const MOST_MARKS: usize = 65_536;
/// Purges that are looked through one by one, which costs the same however many tags a response has.
const MOST_RECENT: usize = 256;
/// Prefixes that are remembered as purged; each lookup of something older tries them all.
const MOST_PREFIXES: usize = 64;
const MOST_HEARD: usize = 2048;

#[cfg(test)]
mod tests {
    use std::rc::Rc;
    use std::time::Duration;

    use super::*;
    use crate::fields::FieldBlock;
    use crate::freshness::Schedule;
    use crate::key::KeyBuilder;
    use crate::policy::Query;
    use crate::purge::hash_of_url;
    use crate::store::response::{Body, Outlives, Terms};

    fn stored(url: (&str, &str), tags: &[u64], generation: u64) -> StoredResponse {
        let mut key = Vec::new();
        KeyBuilder::new(&mut key).resource(b"https", url.0.as_bytes(), url.1.as_bytes(), &Query::default());
        let at = Timestamp::from_millis(generation);
        StoredResponse {
            key: Rc::from(key.as_slice()),
            status: 200,
            terms: Terms::default(),
            schedule: Schedule {
                born: at,
                received: at,
                lifetime: Duration::from_secs(60),
                while_revalidate: Duration::ZERO,
                if_error: Duration::ZERO,
                disconnected: Duration::ZERO,
            },
            fields: FieldBlock::new(),
            body: Body::default(),
            gzip: None,
            minified: None,
            took_millis: 0,
            generation: at,
            tags: tags.into(),
            outlives: Outlives::default(),
        }
    }

    fn purge(what: What, mode: Mode, at: u64) -> Purge {
        Purge { what, mode, at: Timestamp::from_millis(at), namespace: 5, id: 0 }
    }

    fn prefix(authority: &str, path: &str) -> What {
        What::Prefix { authority: authority.as_bytes().into(), path: path.as_bytes().into() }
    }

    #[test]
    fn the_last_purges_and_those_before_them_cover_the_same() {
        let mut log = Log::new(5);
        let of = |tag: u64, at: u64| purge(What::Tag(tag), Mode::Hard, at);
        // More than are looked through one by one, and one that comes late.
        (1..600).for_each(|n| assert!(log.add(&of(n, 1000 + n))));
        assert!(log.add(&of(7, 1100)));
        for n in [1, 7, 299, 300, 400, 599] {
            let at = if n == 7 { 1100 } else { 1000 + n };
            for tags in [&[n][..], &[n, 5000], &[1, 2, 3, n].map(|tag| tag.max(n))] {
                assert_eq!(log.judge(&stored(("a.test", "/"), tags, at)), Verdict::Gone, "{n}");
            }
            assert_eq!(log.judge(&stored(("a.test", "/"), &[n], at + 1)), Verdict::Stands, "{n}");
        }
    }

    #[test]
    fn a_purge_covers_what_was_asked_for_at_its_time_or_before() {
        let url = || What::Url(hash_of_url(b"a.test", b"/x?y"));
        for what in [url(), What::Tag(7), prefix("a.test", "/x"), What::All] {
            let mut log = Log::new(5);
            assert!(log.add(&purge(what.clone(), Mode::Hard, 100)));
            for (generation, verdict) in [(99, Verdict::Gone), (100, Verdict::Gone), (101, Verdict::Stands)] {
                let entry = stored(("a.test", "/x?y"), &[3, 7], generation);
                assert_eq!(log.judge(&entry), verdict, "{what:?} {generation}");
            }
            let other = log.judge(&stored(("b.test", "/z"), &[3], 50));
            assert_eq!(other == Verdict::Gone, what == What::All, "{what:?}");
        }
    }

    #[test]
    fn what_outlived_some_purges_is_judged_by_the_next() {
        let mut log = Log::new(5);
        let entry = stored(("a.test", "/"), &[7], 50);
        for (tag, verdict) in [(6, Verdict::Stands), (7, Verdict::Gone)] {
            log.add(&purge(What::Tag(tag), Mode::Hard, 100));
            assert_eq!([log.judge(&entry), log.judge(&entry)], [verdict; 2]);
        }
        let entry = stored(("a.test", "/"), &[], 150);
        log.add(&purge(What::Tag(6), Mode::Hard, 200));
        assert_eq!(log.judge(&entry), Verdict::Stands);
        log.raise_floor(Timestamp::from_millis(200));
        assert_eq!(log.judge(&entry), Verdict::Gone);
    }

    #[test]
    fn a_soft_purge_makes_stale_and_a_hard_one_wins() {
        let mut log = Log::new(5);
        let entry = stored(("a.test", "/"), &[7], 50);
        log.add(&purge(What::Tag(7), Mode::Soft, 100));
        assert_eq!(log.judge(&entry), Verdict::Stale { since: Timestamp::from_millis(100) });
        log.add(&purge(What::All, Mode::Hard, 60));
        assert_eq!(log.judge(&entry), Verdict::Gone);
        let later = stored(("a.test", "/"), &[7], 70);
        assert_eq!(log.judge(&later), Verdict::Stale { since: Timestamp::from_millis(100) });
    }

    #[test]
    fn another_namespace_is_not_meant() {
        let mut log = Log::new(6);
        assert!(!log.add(&purge(What::All, Mode::Hard, 100)));
        assert_eq!(log.judge(&stored(("a.test", "/"), &[], 1)), Verdict::Stands);
    }

    #[test]
    fn what_has_no_room_counts_as_purging_too_much_and_never_too_little() {
        let mut log = Log::new(5);
        let most = MOST_MARKS as u64;
        for n in 0..most + 1 {
            log.add(&purge(What::Tag(n + 1), Mode::Hard, 1000 + n));
        }
        assert!(log.tags.by_hash.len() <= MOST_MARKS);
        assert_eq!(log.judge(&stored(("a.test", "/"), &[1], 900)), Verdict::Gone, "its purge has left");
        assert_eq!(
            log.judge(&stored(("a.test", "/"), &[most + 9], 900)),
            Verdict::Gone,
            "it may have been purged"
        );
        assert_eq!(log.judge(&stored(("a.test", "/"), &[], 900)), Verdict::Stands, "no tag, no purge by tag");
        assert_eq!(log.judge(&stored(("a.test", "/"), &[most + 9], 1000 + most)), Verdict::Stands);
        for n in 0..=MOST_PREFIXES as u64 {
            log.add(&purge(prefix("p.test", &format!("/{n}/")), Mode::Soft, 500_000 + n));
        }
        let covered = |generation| log.judge(&stored(("a.test", "/"), &[], generation));
        assert_eq!(covered(500_000), Verdict::Stale { since: Timestamp::from_millis(500_000) });
        assert_eq!(covered(500_001), Verdict::Stands);
    }

    #[test]
    fn tags_that_are_not_known_are_covered_by_every_tag() {
        let mut log = Log::new(5);
        log.add(&purge(What::Tag(7), Mode::Hard, 100));
        assert_eq!(log.judge(&stored(("a.test", "/"), &[ANY, 3], 100)), Verdict::Gone);
    }
}
