//! A gateway as its clients see it: one or more workers, a clock that stands where the test puts it, and an origin
//! that says what it is told to.
//!
//! ```text
//! gateway.get("/a").at(0).miss(origin(200).header("cache-control", "max-age=60"));
//! gateway.get("/a").at(59).hit().age(59);
//! gateway.get("/a").at(60).validates(origin(304)).detail("validated");
//! ```

use std::rc::Rc;

use selvage_engine::cache::Refresh;
use selvage_engine::cache::{Cache, JoinedCall, Moment, Under};
use selvage_engine::config::Config;
use selvage_engine::exchange::{
    Directive, Event, Exchange, Fetched, NotSent, RemoteAnswer, Reply, RequestEdit, Wake,
};
use selvage_engine::fields::{FieldBlock, Fields};
use selvage_engine::policy::Policy;
use selvage_engine::purge::request::Asked;
use selvage_engine::remote::claim::{self, Claim};
use selvage_engine::remote::queue::Task;
use selvage_engine::stats::list;
use selvage_engine::time::Timestamp;

use crate::redis::Redis;
use crate::shared::Shared;

/// Requests that do not wait for one another, so that several for one key are under way at once.
pub const ALONE: &str = r#"{"defaults":{"coalesce":{"enabled":false}}}"#;

/// Second 0 of every scenario, in seconds since 1970.
const START: u64 = 1_800_000_000;

/// The HTTP-date of a second of the scenario; negative ones lie before its start.
pub fn date(second: i64) -> String {
    Timestamp::from_secs(START.checked_add_signed(second).unwrap()).to_http_date()
}

/// A millisecond of the scenario.
pub fn moment(millis: u64) -> Timestamp {
    Timestamp::from_millis(START * 1000 + millis)
}

/// A field block as the host hands it over.
pub fn block<N: AsRef<[u8]>, V: AsRef<[u8]>>(fields: &[(N, V)]) -> Vec<u8> {
    let fields: FieldBlock = fields.iter().map(|(name, value)| (name.as_ref(), value.as_ref())).collect();
    let mut block = Vec::new();
    fields.write_with(&[], &mut block);
    block
}

/// The policy of a configuration that is known to be good.
pub fn policy(config: &str) -> Rc<Policy> {
    let config = Config::parse(config.as_bytes()).unwrap_or_else(|faults| panic!("{config}: {faults:?}"));
    Rc::new(config.into())
}

/// Some workers and what they share.
pub struct Gateway {
    pub workers: Vec<Cache>,
    pub shared: Shared,
    pub redis: Redis,
}

/// What a call has brought: a head and a body, or nothing.
fn fetched(origin: Option<&(Vec<u8>, Vec<u8>)>) -> Fetched<'_> {
    origin
        .map_or(Fetched::Nothing, |(head, body)| Fetched::Answer { head: Fields::parse(head).unwrap(), body })
}

impl Gateway {
    /// One worker.
    pub fn with(config: &str) -> Self {
        Self::of_workers(1, config)
    }

    /// Several workers.
    pub fn of_workers(count: usize, config: &str) -> Self {
        let policy = policy(config);
        let cache = |nth| {
            let mut cache = Cache::new(Rc::clone(&policy));
            cache.seed_pools(nth as u64);
            cache
        };
        let workers = (0..count).map(cache).collect();
        Self { workers, shared: Shared::default(), redis: Redis::default() }
    }

    pub fn get(&mut self, path: &str) -> Call<'_> {
        self.request("GET", path)
    }

    pub fn head(&mut self, path: &str) -> Call<'_> {
        self.request("HEAD", path)
    }

    pub fn post(&mut self, path: &str) -> Call<'_> {
        self.request("POST", path)
    }

    pub fn request(&mut self, method: &str, path: &str) -> Call<'_> {
        Call {
            gateway: self,
            method: method.to_owned(),
            path: path.to_owned(),
            scheme: "https",
            authority: "example.com".to_owned(),
            fields: Vec::new(),
            body: Vec::new(),
            worker: 0,
            millis: 0,
            asks_later: false,
        }
    }

    /// What waits to be sent to the remote store is sent.
    pub fn sends(&mut self) {
        for worker in &mut self.workers {
            while let Some(mut task) = worker.next_remote_task(moment(0)) {
                if let Task::Replicate { hash, record, .. } = &mut task {
                    *record = worker.signed(*hash, record).into_owned();
                }
                self.redis.take(task);
            }
        }
    }

    /// The response to a request that left earlier comes at the second `at`.
    pub fn answers(&mut self, flight: Flight, at: u64, origin: Origin) -> Answer {
        self.answers_at_millis(flight, at * 1000, origin)
    }

    fn answers_in_time(&mut self, flight: Flight, origin: Origin) -> Answer {
        let millis = flight.millis + origin.after_millis;
        self.answers_at_millis(flight, millis, origin)
    }

    fn answers_at_millis(&mut self, mut flight: Flight, millis: u64, origin: Origin) -> Answer {
        let (worker, exchange) = (flight.worker, &mut flight.exchange);
        let mut fields = vec![(":status".to_owned(), origin.status.to_string())];
        fields.extend(origin.fields.iter().cloned());
        let head = block(&fields);
        let head = Fields::parse(&head).unwrap();
        let bodiless = origin.body.is_empty() && !origin.trailers && !origin.cut;
        self.shared.unreachable = origin.unreachable;
        let directive =
            self.feed(worker, exchange, millis, Event::Response { head, end_of_stream: bodiless });
        let (cache_status, vary, strip, recast) = match directive {
            Directive::Respond(reply) => return Answer::of_reply(&reply),
            Directive::Relay { cache_status, vary, strip, add, recast } => {
                let text = |line| String::from_utf8(line).unwrap();
                fields.extend(add.into_iter().map(|(name, line)| (name.to_owned(), text(line))));
                (cache_status, vary, strip, recast)
            }
            // Nothing is kept of the exchange, so nothing is done to the response.
            Directive::Pass => (None, false, Vec::new(), None),
            other => panic!("a response was answered with {other:?}"),
        };
        let mut body = Vec::new();
        let last = origin.body.len().wrapping_sub(1);
        for (nth, chunk) in origin.body.iter().enumerate() {
            let end_of_stream = nth == last && !origin.trailers && !origin.cut;
            match self.feed(worker, exchange, millis, Event::Body { chunk, end_of_stream }) {
                Directive::Replace(part) => body.extend(part),
                _ => body.extend(chunk),
            }
        }
        if origin.trailers {
            self.feed(worker, exchange, millis, Event::Trailers);
        }
        self.feed(worker, exchange, millis, Event::Ended);
        assert!(exchange.is_over(), "the exchange goes on after its end");
        fields.retain(|(name, _)| !strip.iter().any(|gone| **gone == *name.as_bytes()));
        if vary {
            fields.push(("vary".to_owned(), "Accept-Encoding".to_owned()));
        }
        if let Some(line) = cache_status {
            fields.push(("cache-status".to_owned(), String::from_utf8(line).unwrap()));
        }
        let mut answer = Answer { status: origin.status, fields, body };
        if let Some(recast) = recast {
            let gone =
                |name: &str| recast.remove.contains(&name) || recast.set.iter().any(|(set, _)| *set == name);
            answer.status = recast.status;
            answer.fields.retain(|(name, _)| !gone(name));
            for (name, value) in &recast.set {
                answer.fields.push(((*name).to_owned(), String::from_utf8(value.clone()).unwrap()));
            }
            answer.body = answer.body.get(recast.window.clone()).unwrap().to_vec();
        }
        answer
    }

    /// The origin confirms what is not there, and is called for all of it. Gives the request.
    #[track_caller]
    pub fn calls_for_all(&mut self, flight: &mut Flight, at: u64, origin: Origin) -> Vec<(String, String)> {
        self.calls(flight, at, origin).0
    }

    /// The origin's answer is held for a call. Gives the head of the call and its body.
    #[track_caller]
    pub fn calls(&mut self, flight: &mut Flight, at: u64, origin: Origin) -> (Vec<(String, String)>, String) {
        let mut fields = vec![(":status".to_owned(), origin.status.to_string())];
        fields.extend(origin.fields.iter().cloned());
        let head = block(&fields);
        let head = Fields::parse(&head).unwrap();
        self.shared.unreachable = origin.unreachable;
        let event = Event::Response { head, end_of_stream: true };
        let directive = self.feed(flight.worker, &mut flight.exchange, at * 1000, event);
        let Directive::Fetch { request, body, .. } = directive else {
            panic!("it was answered with {directive:?}")
        };
        assert!(flight.exchange.awaits_fetch());
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let fields = Fields::parse(&request).unwrap();
        (fields.iter().map(|(name, value)| (text(name), text(value))).collect(), text(&body))
    }

    /// What was called has nothing better: what has come is passed on, with these fields more.
    #[track_caller]
    pub fn passes_on(
        &mut self,
        flight: &mut Flight,
        at: u64,
        origin: Option<Origin>,
    ) -> Vec<(String, String)> {
        let origin = origin.map(|origin| (origin.head(), origin.body.concat()));
        let fetched = fetched(origin.as_ref());
        match self.feed(flight.worker, &mut flight.exchange, at * 1000, Event::Fetched(fetched)) {
            Directive::Relay { cache_status, add, .. } => {
                let text = |line| String::from_utf8(line).unwrap();
                let said = cache_status.map(|line| ("cache-status".to_owned(), text(line)));
                said.into_iter()
                    .chain(add.into_iter().map(|(name, line)| (name.to_owned(), text(line))))
                    .collect()
            }
            other => panic!("it was answered with {other:?}"),
        }
    }

    /// The answer to that call; `None` if there is none.
    #[track_caller]
    pub fn fetches(&mut self, mut flight: Flight, at: u64, origin: Option<Origin>) -> Answer {
        let origin = origin.map(|origin| (origin.head(), origin.body.concat()));
        let fetched = fetched(origin.as_ref());
        let event = Event::Fetched(fetched);
        match self.feed(flight.worker, &mut flight.exchange, at * 1000, event) {
            Directive::Respond(reply) => Answer::of_reply(&reply),
            other => panic!("it was answered with {other:?}"),
        }
    }

    /// What comes of the call that is made for a request, which is held; `None` if there is no answer.
    pub fn calls_back(&mut self, called: Called, at: u64, origin: Option<Origin>) -> Sent {
        let mut flight = Flight { millis: at * 1000, ..called.flight };
        assert!(flight.exchange.awaits_inputs());
        let origin = origin.map(|origin| (origin.head(), origin.body.concat()));
        let fetched = fetched(origin.as_ref());
        let directive = self.feed(flight.worker, &mut flight.exchange, at * 1000, Event::Fetched(fetched));
        flight.meets(self, directive, false)
    }

    /// The same of one that is answered by it, and has a place at the origin until its stream ends.
    #[track_caller]
    pub fn calls_back_and_ends(&mut self, called: Called, at: u64, origin: Option<Origin>) -> Answer {
        let mut flight = called.flight;
        let origin = origin.map(|origin| (origin.head(), origin.body.concat())).unwrap();
        let fetched = Fetched::Answer { head: Fields::parse(&origin.0).unwrap(), body: &origin.1 };
        let event = Event::Fetched(fetched);
        let directive = self.feed(flight.worker, &mut flight.exchange, at * 1000, event);
        let Directive::Respond(reply) = directive else { panic!("it was met with {directive:?}") };
        // Its own reply passes by.
        let head = block(&[(":status", "200"), ("content-type", "application/json")]);
        let head = Fields::parse(&head).unwrap();
        let passes = Event::Response { head, end_of_stream: false };
        assert_eq!(self.feed(flight.worker, &mut flight.exchange, at * 1000, passes), Directive::Pass);
        assert!(!flight.exchange.wants_body());
        self.feed(flight.worker, &mut flight.exchange, at * 1000, Event::Ended);
        assert!(flight.exchange.is_over());
        Answer::of_reply(&reply)
    }

    /// More of the body of a request comes that is held for a call.
    pub fn more_comes_to_called(&mut self, called: &mut Called, at: u64) {
        let Flight { worker, exchange, .. } = &mut called.flight;
        let event = Event::RequestBody { chunk: b"x", end_of_stream: true };
        assert_eq!(self.feed(*worker, exchange, at * 1000, event), Directive::AwaitBody);
    }

    /// The next call that a worker makes for requests that are asked together, at this millisecond.
    pub fn joined_call(&mut self, worker: usize, millis: u64) -> Option<JoinedCall> {
        self.workers[worker].look_after_joins(moment(millis));
        self.workers[worker].next_joined_call()
    }

    /// What comes of it.
    pub fn answers_joined(&mut self, worker: usize, call: &JoinedCall, at: u64, origin: Option<Origin>) {
        let origin = origin.map(|origin| (origin.head(), origin.body.concat()));
        let answer = origin.as_ref().map(|(head, body)| (Fields::parse(head).unwrap(), body.as_slice()));
        self.workers[worker].joined_answered(call.id, answer, moment(at * 1000));
    }

    /// The next refresh that a worker sends at this second.
    #[track_caller]
    pub fn refreshes(&mut self, worker: usize, at: u64) -> Refresh {
        self.next_refresh(worker, at).expect("no refresh is to be sent")
    }

    /// No refresh is to be sent.
    #[track_caller]
    pub fn refreshes_nothing(&mut self, worker: usize, at: u64) {
        assert!(self.next_refresh(worker, at).is_none(), "a refresh is to be sent");
    }

    /// A worker asks the remote store about all refreshes that are to be asked about at this millisecond.
    pub fn asks_about_refreshes(&mut self, worker: usize, millis: u64) {
        loop {
            let mut moment = Moment { now: self::moment(millis), host: &mut self.shared };
            let Some(refresh) = self.workers[worker].next_question(&mut moment) else { return };
            let (hash, claim) = refresh.question().unwrap();
            let until = claim.map(|lasts| self::moment(millis).plus(lasts));
            let answer = self.remote_answer(worker, hash, until);
            let mut moment = Moment { now: self::moment(millis), host: &mut self.shared };
            refresh.told(answer, &mut self.workers[worker], &mut moment);
        }
    }

    /// A worker does what is due now and then about warming.
    pub fn ticks(&mut self, worker: usize, at: u64) {
        let mut moment = Moment { now: moment(at * 1000), host: &mut self.shared };
        self.workers[worker].tick_warming(&mut moment);
    }

    pub fn next_refresh(&mut self, worker: usize, at: u64) -> Option<Refresh> {
        let mut moment = Moment { now: moment(at * 1000), host: &mut self.shared };
        self.workers[worker].next_refresh(&mut moment)
    }

    /// The origin answers a refresh.
    pub fn renews(&mut self, worker: usize, refresh: Refresh, at: u64, origin: Origin) {
        let mut fields = vec![(":status".to_owned(), origin.status.to_string())];
        fields.extend(origin.fields.iter().cloned());
        let head = block(&fields);
        self.shared.unreachable = origin.unreachable;
        let mut moment = Moment { now: moment(at * 1000), host: &mut self.shared };
        let cache = &mut self.workers[worker];
        if origin.unreachable {
            return refresh.unanswered(origin.status, cache, &mut moment);
        }
        refresh.answered(Fields::parse(&head).unwrap(), &origin.body.concat(), cache, &mut moment);
    }

    /// The answer to a refresh breaks off, or is longer than the host keeps.
    pub fn cuts_off(&mut self, worker: usize, refresh: Refresh, at: u64) {
        let mut moment = Moment { now: moment(at * 1000), host: &mut self.shared };
        refresh.cut_off(&mut self.workers[worker], &mut moment);
    }

    /// A refresh cannot be sent.
    pub fn cannot_send(&mut self, worker: usize, refresh: Refresh, why: NotSent, at: u64) {
        let mut moment = Moment { now: moment(at * 1000), host: &mut self.shared };
        refresh.not_sent(why, &mut self.workers[worker], &mut moment);
    }

    /// A worker looks after the origins' breakers.
    pub fn looks_after_origins(&mut self, worker: usize, at: u64) {
        let mut moment = Moment { now: moment(at * 1000), host: &mut self.shared };
        self.workers[worker].look_after_origins(&mut moment);
    }

    /// A request that waited is woken at the second `at`.
    #[track_caller]
    pub fn wakes(&mut self, waiter: Waiter, wake: Wake, at: u64) -> Sent {
        let mut flight = Flight { millis: at * 1000, ..waiter.flight };
        let directive = self.feed(flight.worker, &mut flight.exchange, flight.millis, Event::Woken(wake));
        flight.meets(self, directive, false)
    }

    /// The remote store answers a request that asked it.
    pub fn remote_answers(&mut self, waiter: Waiter, at: u64) -> Sent {
        let mut flight = Flight { millis: at * 1000, ..waiter.flight };
        let answer = self.remote_answer(flight.worker, waiter.hash, None);
        let directive = self.feed(flight.worker, &mut flight.exchange, flight.millis, Event::Remote(answer));
        flight.meets(self, directive, false)
    }

    /// The remote store answers with an index of variants, and the request asks it once more.
    #[track_caller]
    pub fn remote_leads_on(&mut self, waiter: Waiter, at: u64) -> Waiter {
        let mut flight = Flight { millis: at * 1000, ..waiter.flight };
        let answer = self.remote_answer(flight.worker, waiter.hash, None);
        let directive = self.feed(flight.worker, &mut flight.exchange, flight.millis, Event::Remote(answer));
        flight.meets(self, directive, true).waiting()
    }

    pub fn remote_answer(&mut self, worker: usize, hash: u128, claim: Option<Timestamp>) -> RemoteAnswer {
        let record = self.redis.answer(hash);
        if let (None, Some(until), false) = (&record, claim, self.redis.dead) {
            self.redis.records.insert(hash, claim::claim(1).into_bytes());
            return RemoteAnswer::Claimed { until };
        }
        let mut moment = Moment { now: moment(0), host: &mut self.shared };
        let found = record.map(|record| self.workers[worker].read_remote(hash, record, &mut moment));
        match found {
            Some(Ok(Under::Record(slot))) => RemoteAnswer::Found(slot),
            Some(Ok(Under::Claim(Claim::Fetching))) => RemoteAnswer::Fetching,
            Some(Ok(Under::Claim(Claim::NotStorable))) => RemoteAnswer::NotStorable,
            _ => RemoteAnswer::Nothing,
        }
    }

    /// The client of a request goes away.
    pub fn goes_away(&mut self, request: impl Into<Flight>, at: u64) {
        let mut flight = request.into();
        self.feed(flight.worker, &mut flight.exchange, at * 1000, Event::Ended);
        assert!(flight.exchange.is_over());
    }

    /// The head of the response comes, without a body, and its stream has not ended.
    pub fn answers_later(&mut self, mut flight: Flight, at: u64, origin: Origin) -> Flight {
        let mut fields = vec![(":status".to_owned(), origin.status.to_string())];
        fields.extend(origin.fields);
        let head = block(&fields);
        let event = Event::Response { head: Fields::parse(&head).unwrap(), end_of_stream: false };
        self.feed(flight.worker, &mut flight.exchange, at * 1000, event);
        flight
    }

    /// More of the body of a response comes, which has not ended.
    pub fn more_of_the_answer(&mut self, flight: &mut Flight, at: u64, chunk: impl AsRef<[u8]>) {
        let event = Event::Body { chunk: chunk.as_ref(), end_of_stream: false };
        self.feed(flight.worker, &mut flight.exchange, at * 1000, event);
    }

    /// More of the body of a request comes that waits.
    pub fn more_comes(&mut self, waiter: &mut Waiter, at: u64) {
        let Flight { worker, exchange, .. } = &mut waiter.flight;
        let event = Event::RequestBody { chunk: b"x", end_of_stream: true };
        assert_eq!(self.feed(*worker, exchange, at * 1000, event), Directive::AwaitBody);
    }

    /// Whether a worker has been told to wake a request.
    pub fn is_woken(&mut self, worker: usize, waiter: &Waiter) -> bool {
        let ended = self.workers[worker].take_ended_fills();
        ended.contains(&waiter.hash)
    }

    /// A worker looks whether other workers still fetch.
    pub fn looks_after_fills(&mut self, worker: usize, at: u64) {
        let mut moment = Moment { now: moment(at * 1000), host: &mut self.shared };
        self.workers[worker].look_after_fills(&mut moment);
    }

    /// No fetch is under way and nobody waits for one.
    #[track_caller]
    pub fn assert_nobody_waits(&self) {
        for worker in &self.workers {
            assert_eq!(worker.fills_under_way(), (0, 0), "fetches, and requests that wait");
        }
    }

    /// Gives one event to an exchange; see `feed`.
    pub fn step(
        &mut self,
        worker: usize,
        exchange: &mut Exchange,
        millis: u64,
        event: Event<'_>,
    ) -> Directive {
        let mut moment = Moment { now: moment(millis), host: &mut self.shared };
        exchange.on(event, &mut self.workers[worker], &mut moment)
    }

    /// An operator purges at a worker.
    pub fn purges(&mut self, asked: &Asked, at: u64) {
        let mut moment = Moment { now: moment(at * 1000), host: &mut self.shared };
        self.workers[0].purge_asked(asked, &mut moment);
    }

    /// A worker hears of what the others changed.
    pub fn learns(&mut self, worker: usize, at: u64) {
        let mut moment = Moment { now: moment(at * 1000), host: &mut self.shared };
        self.workers[worker].learn(&mut moment);
        self.workers[worker].learn_purges(&mut moment);
    }

    /// All workers export what they have counted, as at each tick.
    pub fn exports(&mut self) {
        for worker in &mut self.workers {
            worker.count_departures();
            let stats = worker.stats.take();
            let hits =
                [(("requests", "hit.worker"), stats.worker_hits), (("detail", "worker"), stats.worker_hits)];
            let bytes = [(("served_bytes", "worker"), stats.worker_bytes)];
            for (word, count) in stats.words.into_iter().chain(hits).chain(bytes) {
                *self.shared.metrics.entry(word).or_default() += count;
            }
            for ((owner, word), count) in stats.by_owner {
                let owner = worker.owner_of(owner, word).into();
                *self.shared.rule_metrics.entry((owner, word)).or_default() += count;
            }
        }
    }

    /// How often a worker has counted a word.
    pub fn counted(&self, worker: usize, family: &'static str, word: &'static str) -> u64 {
        assert!(list::has(list::Kind::Counter, family, word), "{family}.{word} is not in the list");
        self.workers[worker].stats.clone().take().words.get(&(family, word)).copied().unwrap_or_default()
    }

    /// Nothing is taken of the room for bodies that are being stored.
    pub fn assert_no_room_is_taken(&mut self) {
        for worker in &self.workers {
            assert_eq!(
                (worker.filling_bytes(), worker.waiting_bytes()),
                (0, 0),
                "some room was not given back"
            );
        }
    }
}

/// A request in the making.
pub struct Call<'a> {
    gateway: &'a mut Gateway,
    method: String,
    path: String,
    scheme: &'static str,
    authority: String,
    fields: Vec<(String, String)>,
    body: Vec<Vec<u8>>,
    worker: usize,
    millis: u64,
    asks_later: bool,
}

impl<'g> Call<'g> {
    /// What becomes of it, and the gateway for what follows.
    pub fn sent_by(mut self) -> (Sent, &'g mut Gateway) {
        let sent = self.sent();
        (sent, self.gateway)
    }
}

impl Call<'_> {
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn scheme(self, scheme: &'static str) -> Self {
        Self { scheme, ..self }
    }

    pub fn authority(self, authority: &str) -> Self {
        Self { authority: authority.to_owned(), ..self }
    }

    /// One more part of its body.
    pub fn chunk(mut self, chunk: impl AsRef<[u8]>) -> Self {
        self.body.push(chunk.as_ref().to_vec());
        self
    }

    pub fn worker(self, worker: usize) -> Self {
        Self { worker, ..self }
    }

    /// The second of the scenario.
    pub fn at(self, second: u64) -> Self {
        self.at_millis(second * 1000)
    }

    pub fn at_millis(self, millis: u64) -> Self {
        Self { millis, ..self }
    }

    /// The request is sent, whatever comes of it.
    pub fn send(mut self) -> Sent {
        self.sent()
    }

    pub fn sent(&mut self) -> Sent {
        let mut fields = vec![
            (":method".to_owned(), self.method.clone()),
            (":scheme".to_owned(), self.scheme.to_owned()),
            (":authority".to_owned(), self.authority.clone()),
            (":path".to_owned(), self.path.clone()),
        ];
        fields.extend(self.fields.iter().cloned());
        let mut exchange = Exchange::new();
        let head = block(&fields);
        let end_of_stream = self.body.is_empty();
        let (gateway, worker) = (&mut *self.gateway, self.worker);
        let begun = Event::Request { head, end_of_stream };
        let mut directive = gateway.feed(worker, &mut exchange, self.millis, begun);
        let last = self.body.len().wrapping_sub(1);
        for (nth, chunk) in self.body.iter().enumerate() {
            let held = directive == Directive::AwaitBody;
            assert_eq!(held, exchange.awaits_request_body());
            let end_of_stream = nth == last;
            let event = match exchange.counts_body() {
                true => Event::RequestBytes { count: chunk.len(), end_of_stream },
                false => Event::RequestBody { chunk, end_of_stream },
            };
            let next = gateway.feed(worker, &mut exchange, self.millis, event);
            if held || matches!(next, Directive::Respond(_)) {
                directive = next;
            }
            if matches!(directive, Directive::Respond(_)) {
                break;
            }
        }
        Flight { exchange, edits: Vec::new(), worker, millis: self.millis }.meets(
            gateway,
            directive,
            self.asks_later,
        )
    }

    /// It waits for another's fetch.
    #[track_caller]
    pub fn waits(mut self) -> Waiter {
        self.sent().waiting()
    }

    /// It asks the remote store, which has not answered yet.
    #[track_caller]
    pub fn asks(mut self) -> Waiter {
        self.asks_later = true;
        self.sent().waiting()
    }

    /// It goes to the origin, whose answer is still to come.
    #[track_caller]
    pub fn leaves(mut self) -> Flight {
        self.sent().left()
    }

    /// It is answered without the origin.
    #[track_caller]
    pub fn answered(mut self) -> Answer {
        self.sent().answered()
    }

    /// It is answered from the store.
    #[track_caller]
    pub fn hit(self) -> Answer {
        let answer = self.answered();
        assert!(answer.cache_status().contains("; hit"), "{}", answer.cache_status());
        answer
    }

    /// It goes to the origin with or without conditions, and the answer comes at once or [`Origin::after`] a while.
    #[track_caller]
    pub fn forwarded(mut self, origin: Origin) -> Answer {
        let flight = self.sent().left();
        self.gateway.answers_in_time(flight, origin)
    }

    /// Nothing that it may have is stored.
    #[track_caller]
    pub fn miss(self, origin: Origin) -> Answer {
        let answer = self.forwarded(origin);
        let line = answer.cache_status();
        assert!(line.contains("fwd=uri-miss") || line.contains("fwd=vary-miss"), "{line}");
        answer
    }

    /// It goes to the origin without conditions, and away.
    #[track_caller]
    pub fn validates_nothing(self) {
        let mut call = self;
        let flight = call.sent().left();
        assert!(!flight.is_conditional(), "with conditions: {:?}", flight.edits);
        let at = flight.millis / 1000;
        call.gateway.goes_away(flight, at);
    }

    /// It goes to the origin with the conditions of a stored response.
    #[track_caller]
    pub fn validates(mut self, origin: Origin) -> Answer {
        let flight = self.sent().left();
        assert!(flight.is_conditional(), "without conditions: {:?}", flight.edits);
        self.gateway.answers_in_time(flight, origin)
    }
}

/// What became of a request.
pub enum Sent {
    Left(Flight),
    Answered(Answer),
    Waits(Waiter),
    Calls(Called),
}

/// A request that is held for a call.
pub struct Called {
    flight: Flight,
    pub cluster: Rc<str>,
    request: Vec<u8>,
    pub body: Vec<u8>,
}

impl Called {
    /// The value of a field of the call.
    pub fn field(&self, name: &str) -> Option<String> {
        let fields = Fields::parse(&self.request).unwrap();
        fields.get(name.as_bytes()).map(|value| String::from_utf8(value.to_vec()).unwrap())
    }
}

impl From<Called> for Flight {
    fn from(called: Called) -> Self {
        called.flight
    }
}

impl Sent {
    #[track_caller]
    pub fn called(self) -> Called {
        match self {
            Self::Calls(called) => called,
            Self::Left(flight) => panic!("it went to the origin: {:?}", flight.edits),
            Self::Answered(answer) => panic!("answered: {answer:?}"),
            Self::Waits(_) => panic!("it waits"),
        }
    }

    /// It is answered, by the origin if need be.
    pub fn or_answers(self, gateway: &mut Gateway, at: u64, origin: Origin) -> Answer {
        match self {
            Self::Left(flight) => gateway.answers(flight, at, origin),
            other => other.answered(),
        }
    }

    #[track_caller]
    pub fn left(self) -> Flight {
        match self {
            Self::Left(flight) => flight,
            Self::Answered(answer) => panic!("answered without the origin: {answer:?}"),
            Self::Waits(_) | Self::Calls(_) => panic!("it waits"),
        }
    }

    #[track_caller]
    pub fn answered(self) -> Answer {
        match self {
            Self::Answered(answer) => answer,
            Self::Left(flight) => panic!("it went to the origin: {:?}", flight.edits),
            Self::Waits(_) | Self::Calls(_) => panic!("it waits"),
        }
    }

    #[track_caller]
    pub fn waiting(self) -> Waiter {
        match self {
            Self::Waits(waiter) => waiter,
            Self::Left(flight) => panic!("it went to the origin: {:?}", flight.edits),
            Self::Answered(answer) => panic!("answered: {answer:?}"),
            Self::Calls(_) => panic!("it is asked for by a call"),
        }
    }
}

/// A request that waits for another's fetch, or for the remote store.
pub struct Waiter {
    flight: Flight,
    hash: u128,
}

impl From<Waiter> for Flight {
    fn from(waiter: Waiter) -> Self {
        waiter.flight
    }
}

/// A request on its way to the origin.
pub struct Flight {
    pub exchange: Exchange,
    pub edits: Vec<RequestEdit>,
    pub worker: usize,
    millis: u64,
}

impl Flight {
    /// Goes where a directive sends it. The remote store is asked at once, unless it is to answer later.
    fn meets(mut self, gateway: &mut Gateway, mut directive: Directive, asks_later: bool) -> Sent {
        while let Directive::AskRemote { hash, claim } = directive {
            assert!(self.exchange.awaits_remote());
            if asks_later {
                return Sent::Waits(Waiter { flight: self, hash });
            }
            let claim = claim.map(|lasts| moment(self.millis).plus(lasts));
            let answer = gateway.remote_answer(self.worker, hash, claim);
            directive = gateway.feed(self.worker, &mut self.exchange, self.millis, Event::Remote(answer));
        }
        self.edits.extend(self.exchange.take_edits());
        match directive {
            Directive::Respond(reply) => {
                assert!(self.exchange.is_over());
                Sent::Answered(Answer::of_reply(&reply))
            }
            Directive::Forward(edits) => {
                self.edits.extend(edits);
                Sent::Left(self)
            }
            Directive::Fetch { cluster, request, body, .. } => {
                assert!(self.exchange.awaits_inputs());
                Sent::Calls(Called { flight: self, cluster, request, body })
            }
            Directive::AwaitMoment { .. } | Directive::AwaitSlot { .. } => {
                assert!(self.exchange.awaits_fill());
                Sent::Waits(Waiter { flight: self, hash: 0 })
            }
            Directive::AwaitFill { hash, .. } => {
                assert!(self.exchange.awaits_fill());
                Sent::Waits(Waiter { flight: self, hash })
            }
            other => panic!("a request was met with {other:?}"),
        }
    }

    /// The value that a request field is given; `None` if it is left as it is, or goes.
    pub fn sets(&self, name: &str) -> Option<String> {
        self.edits.iter().find_map(|edit| match edit {
            RequestEdit::Set(set, value) if *set == name => Some(String::from_utf8(value.clone()).unwrap()),
            _ => None,
        })
    }

    /// Whether a request field is taken away.
    pub fn removes(&self, name: &str) -> bool {
        self.edits.iter().any(|edit| matches!(edit, RequestEdit::Remove(gone) if *gone == name))
    }

    /// Its body as it goes to the origin, if its client has sent this.
    pub fn body(&self, sent: &str) -> String {
        let mut splices: Vec<_> = self
            .edits
            .iter()
            .filter_map(|edit| match edit {
                RequestEdit::Splice(part, with) => Some((part, std::str::from_utf8(with).unwrap())),
                _ => None,
            })
            .collect();
        splices.sort_by_key(|(part, _)| std::cmp::Reverse(part.start));
        splices.into_iter().fold(sent.to_owned(), |body, (part, with)| {
            format!("{}{with}{}", &body[..part.start], &body[part.end..])
        })
    }

    /// The value of a field that the configuration names; `None` if it is left as it is, `Some(None)` if it goes.
    pub fn field(&self, name: &str) -> Option<Option<String>> {
        let named = self.edits.iter().rev().find_map(|edit| match edit {
            RequestEdit::Field(field, value) if **field == *name.as_bytes() => Some(value.clone()),
            _ => None,
        });
        named.map(|value| value.map(|value| String::from_utf8(value).unwrap()))
    }

    pub fn is_conditional(&self) -> bool {
        self.sets("if-none-match").is_some() || self.sets("if-modified-since").is_some()
    }
}

/// What the origin says.
#[derive(Clone)]
pub struct Origin {
    status: u16,
    fields: Vec<(String, String)>,
    body: Vec<Vec<u8>>,
    trailers: bool,
    cut: bool,
    unreachable: bool,
    after_millis: u64,
}

/// A response without content, and without any field.
pub fn origin(status: u16) -> Origin {
    Origin {
        status,
        fields: Vec::new(),
        body: Vec::new(),
        trailers: false,
        cut: false,
        unreachable: false,
        after_millis: 0,
    }
}

/// A response that may be stored for `seconds`.
pub fn fresh_for(seconds: u64) -> Origin {
    origin(200).header("cache-control", &format!("max-age={seconds}"))
}

/// The host's own answer when the origin cannot be reached.
pub fn unreachable() -> Origin {
    Origin { unreachable: true, ..origin(503) }
}

impl Origin {
    /// Its head, as a block.
    pub fn head(&self) -> Vec<u8> {
        let mut fields = vec![(":status".to_owned(), self.status.to_string())];
        fields.extend(self.fields.iter().cloned());
        block(&fields)
    }

    /// Its body, whole.
    pub fn content(&self) -> Vec<u8> {
        self.body.concat()
    }

    pub const fn is_made_by_host(&self) -> bool {
        self.unreachable
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The fields of a table, such as `a: 1 | b: 2`.
    pub fn headers(mut self, lines: &str) -> Self {
        for line in lines.split(" | ").filter(|line| !line.is_empty()) {
            let (name, value) = line.split_once(": ").unwrap();
            self = self.header(name, value);
        }
        self
    }

    /// One more part of its body.
    pub fn body(mut self, chunk: impl AsRef<[u8]>) -> Self {
        self.body.push(chunk.as_ref().to_vec());
        self
    }

    /// Trailers end it.
    pub fn trailers(self) -> Self {
        Self { trailers: true, ..self }
    }

    /// The connection breaks before its end.
    pub fn cut(self) -> Self {
        Self { cut: true, ..self }
    }

    /// The host or another filter makes it.
    pub fn made_by_host(self) -> Self {
        Self { unreachable: true, ..self }
    }

    /// Its head and body come this many milliseconds after the request left.
    pub fn after(self, after_millis: u64) -> Self {
        Self { after_millis, ..self }
    }
}

/// What the client gets.
#[derive(Debug)]
pub struct Answer {
    status: u16,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Answer {
    pub fn of_reply(reply: &Reply) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let fields = Fields::parse(&reply.fields).unwrap();
        Self {
            status: reply.status,
            fields: fields.iter().map(|(name, value)| (text(name), text(value))).collect(),
            body: reply.content().to_vec(),
        }
    }

    /// The values of a field, joined.
    pub fn value(&self, name: &str) -> Option<String> {
        let values: Vec<&str> =
            self.fields.iter().filter(|(n, _)| n == name).map(|(_, value)| value.as_str()).collect();
        (!values.is_empty()).then(|| values.join(", "))
    }

    pub fn bytes(&self) -> &[u8] {
        &self.body
    }

    pub fn cache_status(&self) -> String {
        self.value("cache-status").expect("every answer has a Cache-Status")
    }

    #[track_caller]
    pub fn status(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }

    #[track_caller]
    pub fn age(self, seconds: u64) -> Self {
        self.has("age", &seconds.to_string())
    }

    #[track_caller]
    pub fn has(self, name: &str, value: &str) -> Self {
        assert_eq!(self.value(name).as_deref(), Some(value), "{name} of {self:?}");
        self
    }

    #[track_caller]
    pub fn lacks(self, name: &str) -> Self {
        assert_eq!(self.value(name), None, "{name} of {self:?}");
        self
    }

    #[track_caller]
    pub fn content(self, body: impl AsRef<[u8]>) -> Self {
        assert!(self.body == body.as_ref(), "{}", String::from_utf8_lossy(&self.body));
        self
    }

    /// A parameter of `Cache-Status`, such as `fwd=stale`, is there.
    #[track_caller]
    pub fn says(self, parameter: &str) -> Self {
        let line = self.cache_status();
        assert!(line.split("; ").any(|part| part == parameter), "{parameter} in {line}");
        self
    }

    /// A parameter of `Cache-Status` is not there.
    #[track_caller]
    pub fn says_nothing_of(self, parameter: &str) -> Self {
        let line = self.cache_status();
        assert!(!line.split("; ").any(|part| part.split('=').next() == Some(parameter)), "{line}");
        self
    }

    #[track_caller]
    pub fn detail(self, word: &str) -> Self {
        self.says(&format!("detail={word}"))
    }

    #[track_caller]
    pub fn ttl(self, seconds: i64) -> Self {
        self.says(&format!("ttl={seconds}"))
    }

    #[track_caller]
    pub fn stored(self) -> Self {
        self.says("stored")
    }

    #[track_caller]
    pub fn not_stored(self, word: &str) -> Self {
        self.says_nothing_of("stored").detail(word)
    }
}
