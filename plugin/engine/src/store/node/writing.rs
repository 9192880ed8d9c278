//! Storing a record, and making room for it.

use super::super::Departed;
use super::account::{Account, REGIONS, Release};
use super::bucket::{self, Bucket, State, TRAILER, WAYS, Way};
use super::{ABSENT, Departures, NodeStore, PutError, SharedData, TRIES, names, release, seconds};

/// A way that this worker has taken to write to.
struct Claim {
    n: u32,
    at: usize,
    hash: u128,
    generation: u32,
    bytes: u32,
    /// The data key as it was, empty, before the way was claimed.
    data_cas: u32,
}

/// The account as last read, and what this put has freed since.
struct Ledger {
    account: Account,
    cas: u32,
    releases: Vec<Release>,
    /// Buckets that eviction has looked at.
    looked: u32,
}

/// Buckets that one put may look at for something to evict.
const EVICTION_REACH: u32 = 64;
/// Attempts at evicting from one bucket: the next bucket is as good.
const EVICTION_TRIES: usize = 4;

impl NodeStore {
    /// Stores a record until `expires_ms`, in place of the key's earlier one, which stays readable until then
    /// where a way is free.
    ///
    /// # Errors
    /// On any error no record of this put can be read; the earlier one may be gone or not.
    pub fn put(
        &mut self,
        data: &mut dyn SharedData,
        hash: u128,
        record: &[u8],
        expires_ms: u64,
        now_ms: u64,
    ) -> Result<(), PutError> {
        if self.limits.bytes == 0 {
            return Err(PutError::Disabled);
        }
        let bytes = u32::try_from(record.len().saturating_add(TRAILER)).map_err(|_| PutError::TooLarge)?;
        if record.len() > self.limits.object_bytes || u64::from(bytes) > self.limits.bytes {
            return Err(PutError::TooLarge);
        }
        if expires_ms <= now_ms {
            return Err(PutError::Expired);
        }
        let n = self.bucket_of(data, hash).ok_or(PutError::Contended)?;
        let (account, cas) = self.account(data).ok_or(PutError::Contended)?;
        let mut ledger = Ledger { account, cas, releases: Vec::new(), looked: 0 };
        let way = Way {
            state: State::Writing,
            used: false,
            hash,
            expires_ms,
            bytes,
            generation: 0,
            since_s: seconds(now_ms),
        };
        let outcome = self.put_way(data, n, way, record, now_ms, &mut ledger);
        self.settle(data, ledger.releases);
        outcome
    }

    fn put_way(
        &mut self,
        data: &mut dyn SharedData,
        n: u32,
        way: Way,
        record: &[u8],
        now_ms: u64,
        ledger: &mut Ledger,
    ) -> Result<(), PutError> {
        self.make_room(data, u64::from(way.bytes), now_ms, ledger);
        let claim = self.claim(data, n, way, now_ms, ledger)?;
        if let Err(error) = self.reserve(data, &claim, now_ms, ledger) {
            self.withdraw(data, &claim, None, ledger);
            return Err(error);
        }
        // Freed only if no audit has counted since the bytes were reserved.
        let reserved = Release {
            region: n % REGIONS,
            audits: ledger.account.region(n).audits,
            bytes: u64::from(claim.bytes),
        };
        let value = bucket::seal(record, claim.hash, claim.generation);
        if data.set(self.names.data(n, claim.at), &value, claim.data_cas).is_err() {
            self.withdraw(data, &claim, Some(reserved), ledger);
            return Err(PutError::Overtaken);
        }
        let published = self.publish(data, &claim, ledger);
        if published == Err(PutError::Contended) {
            let _ = data.set(self.names.data(n, claim.at), &[], 0);
            self.withdraw(data, &claim, Some(reserved), ledger);
        }
        published
    }

    /// Evicts until the bytes would fit, or as far as one put may look.
    fn make_room(&mut self, data: &mut dyn SharedData, bytes: u64, now_ms: u64, ledger: &mut Ledger) {
        let buckets = self.buckets.unwrap_or(1);
        while ledger.looked < EVICTION_REACH {
            let wanted = ledger.total().saturating_add(bytes).saturating_sub(self.budget.data);
            if wanted == 0 {
                return;
            }
            let n = self.hand.unwrap_or(0);
            self.hand = n.saturating_add(1).checked_rem(buckets);
            ledger.looked = ledger.looked.saturating_add(1);
            self.evict_from(data, n, wanted, now_ms, &ledger.account, &mut ledger.releases);
        }
    }

    /// Frees what has expired or was abandoned in a bucket, and then up to `wanted` bytes of what was not
    /// read since the last time. Returns the index as it is now; `None` when others were always first.
    pub(super) fn evict_from(
        &mut self,
        data: &mut dyn SharedData,
        n: u32,
        wanted: u64,
        now_ms: u64,
        account: &Account,
        releases: &mut Vec<Release>,
    ) -> Option<Bucket> {
        // Generations whose data is empty already: they must go even if they were read in the meantime.
        let mut emptied = [None; WAYS];
        for _ in 0..EVICTION_TRIES {
            let (mut index, cas) = self.load(data, n)?;
            let before = index.clone();
            let mut freed = Vec::new();
            let mut freed_bytes = 0u64;
            let mut left = Departures::default();
            let mut departed = Vec::new();
            let mut by_age: Vec<(u32, usize)> =
                index.ways.iter().enumerate().map(|(at, way)| (way.since_s, at)).collect();
            by_age.sort_unstable();
            // The first pass takes what has to go, the second what may.
            for choice in [false, true] {
                for &(_, at) in &by_age {
                    let Some((way, emptied)) = index.ways.get_mut(at).zip(emptied.get_mut(at)) else {
                        continue;
                    };
                    let expired = way.expired(now_ms);
                    let due = expired
                        || way.abandoned(seconds(now_ms))
                        || way.state != State::Empty && *emptied == Some(way.generation);
                    let spare = choice && way.state == State::Ready && freed_bytes < wanted;
                    if spare && way.used && !due {
                        way.used = false;
                    } else if due || spare {
                        let _ = data.set(self.names.data(n, at), &[], 0);
                        *emptied = Some(way.generation);
                        freed_bytes = freed_bytes.saturating_add(u64::from(way.bytes));
                        if way.state == State::Ready {
                            freed.push(release(account, n, way));
                            *(if expired { &mut left.expired } else { &mut left.evicted }) += 1;
                            departed.extend((!expired).then(|| departed_of(way)));
                        }
                        *way = Way::EMPTY;
                    }
                }
            }
            if index == before {
                return Some(index);
            }
            if self.store(data, n, &index, cas).is_ok() {
                releases.append(&mut freed);
                self.departures.evicted += left.evicted;
                departed.into_iter().for_each(|one| self.departed.note(one));
                self.departures.expired += left.expired;
                return Some(index);
            }
        }
        None
    }

    /// Takes a way of the bucket: an empty one, or else what is worth least.
    fn claim(
        &mut self,
        data: &mut dyn SharedData,
        n: u32,
        mut way: Way,
        now_ms: u64,
        ledger: &mut Ledger,
    ) -> Result<Claim, PutError> {
        // The victim of a failed attempt, whose data is empty already.
        let mut emptied = None;
        for _ in 0..TRIES {
            let (mut index, cas) = self.load(data, n).ok_or(PutError::Contended)?;
            let at = match emptied {
                Some((at, generation))
                    if index.ways.get(at).is_some_and(|way: &Way| way.generation == generation) =>
                {
                    at
                }
                _ => choose(&index, way.hash, now_ms).ok_or(PutError::Full)?,
            };
            let Some(victim) = index.ways.get(at).copied() else { return Err(PutError::Full) };
            if victim.state != State::Empty {
                let _ = data.set(self.names.data(n, at), &[], 0);
                emptied = Some((at, victim.generation));
            }
            let data_cas = match data.get(self.names.data(n, at)) {
                None => ABSENT,
                Some((value, cas)) if value.is_empty() => cas,
                Some(_) => {
                    // Either another worker has claimed the way since, or something of old lies in an empty
                    // way.
                    if data.get(self.names.bucket(n)).map_or(ABSENT, |(_, now)| now) == cas {
                        let _ = data.set(self.names.data(n, at), &[], 0);
                    }
                    continue;
                }
            };
            index.generation = index.generation.wrapping_add(1);
            way.generation = index.generation;
            if victim.state == State::Ready && victim.used {
                // All were in use: the next round starts.
                index.ways.iter_mut().for_each(|way| way.used = false);
            }
            if let Some(place) = index.ways.get_mut(at) {
                *place = way;
            }
            if self.store(data, n, &index, cas).is_ok() {
                if victim.state == State::Ready {
                    ledger.releases.push(release(&ledger.account, n, &victim));
                    if victim.expired(now_ms) {
                        self.departures.expired += 1;
                    } else if victim.hash != way.hash {
                        self.departures.evicted += 1;
                        self.departed.note(departed_of(&victim));
                    }
                }
                let Way { hash, generation, bytes, .. } = way;
                return Ok(Claim { n, at, hash, generation, bytes, data_cas });
            }
        }
        Err(PutError::Contended)
    }

    /// Enters the bytes to be written on the account, together with those freed.
    fn reserve(
        &mut self,
        data: &mut dyn SharedData,
        claim: &Claim,
        now_ms: u64,
        ledger: &mut Ledger,
    ) -> Result<(), PutError> {
        let bytes = u64::from(claim.bytes);
        for _ in 0..TRIES {
            self.make_room(data, bytes, now_ms, ledger);
            if ledger.total().saturating_add(bytes) > self.budget.data {
                return Err(PutError::Full);
            }
            let mut next = ledger.account.clone();
            ledger.releases.iter().for_each(|&release| next.release(release));
            next.reserve(claim.n, bytes);
            if data.set(names::ACCOUNT, &next.encode(), ledger.cas).is_ok() {
                ledger.releases.clear();
                ledger.account = next;
                return Ok(());
            }
            (ledger.account, ledger.cas) = self.account(data).ok_or(PutError::Contended)?;
        }
        Err(PutError::Contended)
    }

    /// Makes the written record the key's only one.
    fn publish(
        &mut self,
        data: &mut dyn SharedData,
        claim: &Claim,
        ledger: &mut Ledger,
    ) -> Result<(), PutError> {
        for _ in 0..TRIES {
            let (mut index, cas) = self.load(data, claim.n).ok_or(PutError::Contended)?;
            if !claim.holds(&index) {
                return Err(PutError::Overtaken);
            }
            let mut replaced = Vec::new();
            for (at, way) in index.ways.iter_mut().enumerate() {
                if at == claim.at {
                    way.state = State::Ready;
                } else if way.state == State::Ready && way.hash == claim.hash {
                    let _ = data.set(self.names.data(claim.n, at), &[], 0);
                    replaced.push(release(&ledger.account, claim.n, way));
                    *way = Way::EMPTY;
                }
            }
            if self.store(data, claim.n, &index, cas).is_ok() {
                ledger.releases.append(&mut replaced);
                return Ok(());
            }
        }
        Err(PutError::Contended)
    }

    /// Gives a claimed way back, if it is still ours; if not, its bytes are for the audit to find.
    fn withdraw(
        &mut self,
        data: &mut dyn SharedData,
        claim: &Claim,
        reserved: Option<Release>,
        ledger: &mut Ledger,
    ) {
        for _ in 0..TRIES {
            let Some((mut index, cas)) = self.load(data, claim.n) else { return };
            if !claim.holds(&index) {
                return;
            }
            if let Some(way) = index.ways.get_mut(claim.at) {
                *way = Way::EMPTY;
            }
            if self.store(data, claim.n, &index, cas).is_ok() {
                ledger.releases.extend(reserved);
                return;
            }
        }
    }
}

impl Claim {
    fn holds(&self, index: &Bucket) -> bool {
        index.ways.get(self.at).is_some_and(|way| {
            way.state == State::Writing && way.generation == self.generation && way.hash == self.hash
        })
    }
}

impl Ledger {
    /// The account's total once what was freed is off it.
    fn total(&self) -> u64 {
        let mut account = self.account.clone();
        self.releases.iter().for_each(|&release| account.release(release));
        account.total()
    }
}

const fn departed_of(way: &Way) -> Departed {
    Departed { hash: way.hash, bytes: way.bytes, since: way.since_s }
}

/// The way to write to; `None` when all are being written.
fn choose(index: &Bucket, hash: u128, now_ms: u64) -> Option<usize> {
    let worth = |way: &Way| match way.state {
        State::Empty => Some((0, 0)),
        State::Writing if way.abandoned(seconds(now_ms)) => Some((1, 0)),
        State::Writing => None,
        State::Ready if way.expired(now_ms) => Some((2, 0)),
        State::Ready if way.hash == hash => Some((3, 0)),
        State::Ready if !way.used => Some((4, way.since_s)),
        State::Ready => Some((5, way.since_s)),
    };
    let ranked = index.ways.iter().enumerate().filter_map(|(at, way)| worth(way).map(|worth| (worth, at)));
    ranked.min().map(|(_, at)| at)
}
