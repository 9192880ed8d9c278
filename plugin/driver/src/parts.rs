//! Parts of batches: requests that come from no stream. Each has a number as if it were one, by which it waits for a fetch, a
//! place in a pool, or the remote store; its way to the origin is a call of the root context, which outlives the batch.

use std::marker::PhantomData;
use std::rc::Rc;

use hashbrown::HashMap;
use selvage_engine::cache::Moment;
use selvage_engine::exchange::{Called, Part, PartStep, RemoteAnswer, Wake};
use selvage_engine::fields::Fields;
use selvage_engine::host::{CasMismatch, Host, SharedData};
use selvage_engine::stats::Word;
use selvage_engine::time::Timestamp;

use crate::breakers::Breakers;
use crate::host::{Calls, Level};
use crate::metrics;
use crate::refreshes::of_envoy;
use crate::remote::Asker;
use crate::root::Root;
use crate::stream::BuildIdHasher;

/// Those of one plugin that have begun.
pub struct Parts<H> {
    begun: HashMap<u32, Begun, BuildIdHasher>,
    /// Calls under way, by token, and the parts.
    calls: HashMap<u32, u32, BuildIdHasher>,
    last: u32,
    complained: bool,
    host: PhantomData<H>,
}

/// One part.
struct Begun {
    part: Part,
    /// The address that its batch came from.
    peer: Option<Rc<[u8]>>,
    /// The cluster that was called for it.
    cluster: Option<Rc<str>>,
    /// No client waits for it.
    is_job: bool,
}

impl<H> Default for Parts<H> {
    fn default() -> Self {
        Self {
            begun: HashMap::default(),
            calls: HashMap::default(),
            last: 0,
            complained: false,
            host: PhantomData,
        }
    }
}

impl<H> Parts<H> {
    /// Numbers of parts are as far from those of streams as can be, of which this is the newest.
    fn keep_away_from(&mut self, context: u32) {
        if self.begun.is_empty() {
            self.last = context ^ 1 << 31;
        }
    }

    /// Whether a number is that of a part.
    pub fn has(&self, number: u32) -> bool {
        !self.begun.is_empty() && self.begun.contains_key(&number)
    }

    /// The part that a token stands for, if it is of one of these.
    pub fn take_call(&mut self, token: u32) -> Option<u32> {
        self.calls.remove(&token)
    }

    /// Parts that have begun.
    pub fn len(&self) -> usize {
        self.begun.len()
    }

    fn of_jobs(&self) -> usize {
        self.begun.values().filter(|begun| begun.is_job).count()
    }

    fn number(&mut self) -> u32 {
        loop {
            self.last = self.last.wrapping_add(1);
            if !self.begun.contains_key(&self.last) {
                return self.last;
            }
        }
    }
}

impl<H: Calls> Root<H> {
    /// Begins with those that are to be asked for, as far as that many may be under way. `newest` is the newest stream of the VM.
    pub fn begin_parts(&mut self, newest: u32, breakers: &mut Breakers<H>, now: Timestamp) {
        if !self.cache.has_parts() {
            return;
        }
        self.parts.keep_away_from(newest);
        while self.parts.len() < MOST_BEGUN
            && let Some(task) = self.cache.next_part(self.parts.of_jobs() < MOST_OF_JOBS)
        {
            let (peer, is_job) = (task.peer.clone(), task.is_job);
            let mut host = OfPart::<H>::new(peer.clone(), None, false);
            let (part, step) = Part::begin(task, &mut self.cache, &mut Moment { now, host: &mut host });
            let number = self.parts.number();
            self.go_on(number, Begun { part, peer, cluster: None, is_job }, step, breakers, now);
        }
    }

    /// A part need not wait any more.
    pub fn wake_part(&mut self, number: u32, wake: Wake, breakers: &mut Breakers<H>, now: Timestamp) {
        let Some(mut begun) = self.parts.begun.remove(&number) else { return };
        let mut host = OfPart::<H>::new(begun.peer.clone(), None, false);
        match begun.part.woken(wake, &mut self.cache, &mut Moment { now, host: &mut host }) {
            Some(step) => self.go_on(number, begun, step, breakers, now),
            None => {
                self.parts.begun.insert(number, begun);
            }
        }
    }

    /// The remote store has answered a part. What it says is given back if nobody has asked.
    pub fn tell_part(
        &mut self,
        number: u32,
        answer: RemoteAnswer,
        breakers: &mut Breakers<H>,
        now: Timestamp,
    ) -> Option<RemoteAnswer> {
        let Some(mut begun) = self.parts.begun.remove(&number) else { return Some(answer) };
        let mut host = OfPart::<H>::new(begun.peer.clone(), None, false);
        if begun.part.leaves_remote(&mut self.cache, &mut Moment { now, host: &mut host }) {
            return Some(answer);
        }
        match begun.part.told(answer, &mut self.cache, &mut Moment { now, host: &mut host }) {
            Ok(step) => {
                self.go_on(number, begun, step, breakers, now);
                None
            }
            Err(answer) => {
                self.parts.begun.insert(number, begun);
                Some(answer)
            }
        }
    }

    /// The call for a part has ended. There is no head if the connection broke, or the answer was longer than Envoy keeps.
    pub fn part_called(
        &mut self,
        number: u32,
        head: Option<&[u8]>,
        content: Option<&[u8]>,
        breakers: &mut Breakers<H>,
        now: Timestamp,
    ) {
        let Some(mut begun) = self.parts.begun.remove(&number) else { return };
        let head = head.and_then(Fields::parse);
        let by_origin = head.is_some_and(|head| of_envoy(head).is_none());
        let called = match (head, content) {
            (Some(head), Some(content)) => Called::Answer { head, content },
            _ => Called::CutOff,
        };
        let mut host = OfPart::<H>::new(begun.peer.clone(), begun.cluster.clone(), by_origin);
        let step = begun.part.called(called, &mut self.cache, &mut Moment { now, host: &mut host });
        self.go_on(number, begun, step, breakers, now);
    }

    /// Does what a step says.
    fn go_on(
        &mut self,
        number: u32,
        mut begun: Begun,
        mut step: PartStep,
        breakers: &mut Breakers<H>,
        now: Timestamp,
    ) {
        loop {
            match step {
                PartStep::Call { cluster, request, body, timeout } => {
                    match H::http_call(&cluster, &request, &body, timeout) {
                        Ok(token) => {
                            self.parts.calls.insert(token, number);
                            begun.cluster = Some(cluster);
                            break;
                        }
                        Err(_) => {
                            if !std::mem::replace(&mut self.parts.complained, true) {
                                let text =
                                    format!("the cluster {cluster:?} cannot be called for parts of batches");
                                H::log(Level::Warn, &text);
                            }
                            let mut host = OfPart::<H>::new(begun.peer.clone(), Some(cluster), false);
                            let mut moment = Moment { now, host: &mut host };
                            step = begun.part.called(Called::NotMade, &mut self.cache, &mut moment);
                        }
                    }
                }
                PartStep::AskRemote { hash, claim } => {
                    self.remote.listen(|| self.wake.bell());
                    let asker = Asker::Stream(number);
                    if self.remote.look_up(asker, hash, claim, breakers, &mut self.cache, now) {
                        break;
                    }
                    let mut host = OfPart::<H>::new(begun.peer.clone(), None, false);
                    let mut moment = Moment { now, host: &mut host };
                    match begun.part.told(RemoteAnswer::Nothing, &mut self.cache, &mut moment) {
                        Ok(next) => step = next,
                        Err(_) => break,
                    }
                }
                PartStep::AwaitFill { hash, until } => {
                    self.waiters.add(hash, number, until, now);
                    break;
                }
                PartStep::AwaitMoment { at } => {
                    self.waiters.poll(number, at);
                    break;
                }
                PartStep::AwaitSlot { ticket } => {
                    self.waiters.queue(ticket, number);
                    break;
                }
                PartStep::Done => {
                    // What limits want to know is asked as after each request.
                    self.remote.send_leases(breakers, &mut self.cache, now);
                    return;
                }
            }
        }
        self.pace.quicken(now);
        self.remote.send_leases(breakers, &mut self.cache, now);
        self.parts.begun.insert(number, begun);
    }
}

/// The host, as a part sees it: no stream is at hand.
struct OfPart<H> {
    peer: Option<Rc<[u8]>>,
    cluster: Option<Rc<str>>,
    by_origin: bool,
    host: PhantomData<H>,
}

impl<H> OfPart<H> {
    const fn new(peer: Option<Rc<[u8]>>, cluster: Option<Rc<str>>, by_origin: bool) -> Self {
        Self { peer, cluster, by_origin, host: PhantomData }
    }
}

impl<H: Calls> SharedData for OfPart<H> {
    fn get(&mut self, key: &str) -> Option<(Vec<u8>, u32)> {
        H::shared_data(key)
    }

    fn set(&mut self, key: &str, value: &[u8], cas: u32) -> Result<(), CasMismatch> {
        H::set_shared_data(key, value, cas)
    }
}

impl<H: Calls> Host for OfPart<H> {
    fn origin_answered(&mut self) -> bool {
        self.by_origin
    }

    fn cluster_name(&mut self) -> Option<Vec<u8>> {
        self.cluster.as_ref().map(|name| name.as_bytes().to_vec())
    }

    fn peer(&mut self) -> Option<Vec<u8>> {
        self.peer.as_ref().map(|peer| peer.to_vec())
    }

    fn micros(&mut self) -> u64 {
        H::micros()
    }

    fn note(&mut self, line: &str) {
        H::log(Level::Info, line);
    }

    fn metric(&mut self, word: Word) -> u64 {
        metrics::read::<H>(word)
    }

    fn metric_of(&mut self, owner: &str, word: Word) -> u64 {
        metrics::read_of::<H>(owner, word)
    }
}

/// Parts of a worker that have begun and not ended. The others wait for these.
const MOST_BEGUN: usize = 128;
/// Of them, those that no client waits for.
const MOST_OF_JOBS: usize = MOST_BEGUN / 2;
