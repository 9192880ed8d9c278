//! Sends the cache's own requests to origins, by calls of the root context: they outlive the stream that gave rise to
//! them.

use std::marker::PhantomData;

use hashbrown::HashMap;
use selvage_engine::cache::Refresh;
use selvage_engine::cache::{Cache, Moment};
use selvage_engine::exchange::{NotSent, RemoteAnswer};
use selvage_engine::fields::Fields;
use selvage_engine::host::Host;
use selvage_engine::host::{CasMismatch, SharedData};
use selvage_engine::insight::held::Held;
use selvage_engine::time::Timestamp;

use crate::breakers::Breakers;
use crate::host::{Calls, Level, NotCalled};
use crate::remote::{Asker, Remote};
use crate::stream::BuildIdHasher;

/// The requests of one plugin that are under way.
pub struct Refreshes<H> {
    pending: HashMap<u32, (Refresh, u64), BuildIdHasher>,
    /// Those about which the remote store is being asked, by numbers of their own, and the last of these.
    asking: HashMap<u32, Refresh, BuildIdHasher>,
    number: u32,
    complained: bool,
    host: PhantomData<H>,
}

impl<H> Default for Refreshes<H> {
    fn default() -> Self {
        Self {
            pending: HashMap::default(),
            asking: HashMap::default(),
            number: 0,
            complained: false,
            host: PhantomData,
        }
    }
}

impl<H: Calls> Refreshes<H> {
    /// The hash of what a call brings.
    pub fn brings(&self, token: u32) -> Option<u128> {
        self.pending.get(&token).map(|(refresh, _)| refresh.brings())
    }

    /// Sends those that wait, as far as calls may be under way.
    pub fn send(&mut self, cache: &mut Cache, now: Timestamp) {
        while self.pending.len() < MOST_UNDER_WAY {
            let mut moment = Moment { now, host: &mut Called::<H>(PhantomData) };
            let Some(refresh) = cache.next_refresh(&mut moment) else { return };
            match H::http_call(&refresh.cluster, &refresh.request, &[], refresh.timeout) {
                Ok(token) => {
                    refresh.sent(cache);
                    self.pending.insert(token, (refresh, H::micros()));
                }
                Err(NotCalled::UnknownCluster) => {
                    if !std::mem::replace(&mut self.complained, true) {
                        let cluster = &refresh.cluster;
                        H::log(
                            Level::Warn,
                            &format!("the cluster {cluster:?} cannot be called to fetch; clients do it"),
                        );
                    }
                    refresh.not_sent(NotSent::UnknownCluster, cache, &mut moment);
                }
                Err(NotCalled::Unreachable) => refresh.not_sent(NotSent::Unreachable, cache, &mut moment),
            }
        }
    }

    /// Asks the remote store about those that wait for it. One that cannot be asked about goes without.
    pub fn ask(
        &mut self,
        remote: &mut Remote<H>,
        breakers: &mut Breakers<H>,
        cache: &mut Cache,
        now: Timestamp,
    ) {
        let mut moment = Moment { now, host: &mut Called::<H>(PhantomData) };
        while let Some(refresh) = cache.next_question(&mut moment) {
            self.number = self.number.wrapping_add(1);
            let asker = Asker::Refresh(self.number);
            let asked = refresh
                .question()
                .is_some_and(|(hash, claim)| remote.look_up(asker, hash, claim, breakers, cache, now));
            if asked {
                self.asking.insert(self.number, refresh);
            } else {
                refresh.told(RemoteAnswer::Nothing, cache, &mut moment);
            }
        }
    }

    /// The refresh of this number, about which the remote store was asked.
    pub fn take_asking(&mut self, number: u32) -> Option<Refresh> {
        self.asking.remove(&number)
    }

    /// The refresh that a token stands for, if it is one of ours, and when it was sent.
    pub fn take(&mut self, token: u32) -> Option<(Refresh, u64)> {
        self.pending.remove(&token)
    }

    /// Calls under way.
    pub fn calls(&self) -> usize {
        self.pending.len()
    }

    /// Calls under way and since when the oldest is.
    pub fn held(&self, now: Timestamp) -> Held {
        let oldest = self.pending.values().map(|(_, sent)| *sent).min();
        let oldest = oldest.map(|micros| Timestamp::from_millis(micros / 1000));
        Held::since(self.pending.len(), oldest, now)
    }

    /// Takes in the answer, of which there is no head if the connection broke or it was longer than Envoy's
    /// `http.async_response_buffer_limit`.
    pub fn answered(refresh: Refresh, head: Option<Vec<u8>>, body: &[u8], cache: &mut Cache, now: Timestamp) {
        let mut moment = Moment { now, host: &mut Called::<H>(PhantomData) };
        let head = head.as_deref().and_then(Fields::parse);
        let Some(head) = head else { return refresh.cut_off(cache, &mut moment) };
        match of_envoy(head) {
            Some(status) => refresh.unanswered(status, cache, &mut moment),
            None => refresh.answered(head, body, cache, &mut moment),
        }
    }
}

/// The status of Envoy's own answer when nothing came of a call: the origin's has a field that this one lacks.
pub fn of_envoy(head: Fields<'_>) -> Option<u16> {
    if head.get(BY_UPSTREAM).is_some() {
        return None;
    }
    match head.get(b":status") {
        Some(b"503") => Some(503),
        Some(b"504") => Some(504),
        _ => None,
    }
}

/// The host while the answer to a call is at hand, which is no stream's response.
struct Called<H>(PhantomData<H>);

impl<H: Calls> SharedData for Called<H> {
    fn get(&mut self, key: &str) -> Option<(Vec<u8>, u32)> {
        H::shared_data(key)
    }

    fn set(&mut self, key: &str, value: &[u8], cas: u32) -> Result<(), CasMismatch> {
        H::set_shared_data(key, value, cas)
    }
}

impl<H: Calls> Host for Called<H> {
    fn origin_answered(&mut self) -> bool {
        true
    }
}

const BY_UPSTREAM: &[u8] = b"x-envoy-upstream-service-time";
/// Calls of a worker under way at once. Their answers are held whole.
const MOST_UNDER_WAY: usize = 64;
