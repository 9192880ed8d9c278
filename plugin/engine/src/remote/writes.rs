//! Whether the remote store takes writes. A Redis that is full, or a replica, answers every lookup and refuses the rest, so
//! the breaker has no reason to open; here is what is known of the other half.
//!
//! ```text
//! magic "svw1" · 2 × ( state u8 · reason u8 · run u8 · run's state u8 · run's reason u8 ) · since u64 · next u64 · xxh3 u64
//! ```
//!
//! Little endian; times in milliseconds since the epoch. The workers of a node share the value, and whoever changes what it
//! says tells the operator. Records and entries are looked at apart, for they are written by different commands, and a user
//! of Redis may have the right to one of them. Every [`EVERY`] one worker writes something small, so that what is wrong is
//! seen without traffic, and what is right again too.

use std::time::Duration;

use super::dialect::{Answer, DialectError, Kind};
use crate::host::wire::{framed, take, take_u64, unframed};
use crate::host::{ABSENT, SharedData};
use crate::policy;
use crate::time::Timestamp;

/// What becomes of writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// They are taken, as far as is known.
    #[default]
    Ok,
    /// They are answered with an error.
    Refusing(Reason),
    /// They are not answered, and lookups are.
    Silent,
}

/// Why a write was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Redis is full and evicts nothing.
    Oom,
    /// It is a replica.
    Readonly,
    /// It cannot save to its disk.
    Misconf,
    /// It has too few replicas.
    Noreplicas,
    /// The user may not.
    Unauthorized,
    /// Anything else.
    Other,
}

/// What one worker knows of one store.
#[derive(Clone, Debug, Default)]
pub struct Writes {
    known: Shared,
    look_at: Timestamp,
    /// When a lookup was last answered, by the clock of the calls.
    read_at: u64,
}

/// What all workers know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Shared {
    records: Class,
    entries: Class,
    /// When what it says last changed.
    since: Timestamp,
    /// When the next probe is due.
    next: Timestamp,
}

/// What is known of the commands of one sort.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Class {
    state: State,
    /// How often in a row it was otherwise, and how.
    run: u8,
    otherwise: State,
}

impl State {
    /// `ok`, `refusing` or `silent`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Refusing(_) => "refusing",
            Self::Silent => "silent",
        }
    }

    /// Why, if writes are refused.
    pub const fn reason(self) -> Option<Reason> {
        match self {
            Self::Refusing(reason) => Some(reason),
            Self::Ok | Self::Silent => None,
        }
    }

    /// What it means, for operators: what the store does.
    pub fn told(self) -> String {
        match self {
            Self::Ok => "takes writes again".to_owned(),
            Self::Refusing(reason) => format!(
                "refuses writes ({}); lookups go on, purges wait to reach the fleet",
                reason.meaning()
            ),
            Self::Silent => "answers lookups and no writes; purges wait to reach the fleet".to_owned(),
        }
    }

    const fn bytes(self) -> [u8; 2] {
        match self {
            Self::Ok => [0, 0],
            Self::Silent => [1, 0],
            Self::Refusing(reason) => [2, reason as u8],
        }
    }

    fn of_bytes(bytes: [u8; 2]) -> Option<Self> {
        Some(match bytes {
            [0, 0] => Self::Ok,
            [1, 0] => Self::Silent,
            [2, reason] => Self::Refusing(Reason::ALL.into_iter().find(|known| *known as u8 == reason)?),
            _ => return None,
        })
    }
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Oom, Self::Readonly, Self::Misconf, Self::Noreplicas, Self::Unauthorized, Self::Other];

    /// The word for metrics, logs and answers to operators.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Oom => "oom",
            Self::Readonly => "readonly",
            Self::Misconf => "misconf",
            Self::Noreplicas => "noreplicas",
            Self::Unauthorized => "unauthorized",
            Self::Other => "other",
        }
    }

    /// What it means, for operators.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Oom => "OOM: it is full, and maxmemory-policy evicts nothing",
            Self::Readonly => "READONLY: it is a replica",
            Self::Misconf => "MISCONF: it cannot save to its disk",
            Self::Noreplicas => "NOREPLICAS: it has too few replicas",
            Self::Unauthorized => "NOPERM: the user of Redis or of the bridge may not write",
            Self::Other => "an error that its log or the bridge's may explain",
        }
    }

    /// Whether this is the store's state, and not a matter of one command.
    pub const fn is_of_the_store(self) -> bool {
        !matches!(self, Self::Unauthorized | Self::Other)
    }

    /// The reason in an error of Redis, whose first word is its kind. A bridge may put `ERR` before it.
    fn of_text(text: &str) -> Self {
        let mut words = text.split_ascii_whitespace().map(|word| word.trim_start_matches('-'));
        let kind = words.next().filter(|word| *word != "ERR").or_else(|| words.next());
        match kind.unwrap_or_default() {
            "OOM" => Self::Oom,
            "READONLY" => Self::Readonly,
            "MISCONF" => Self::Misconf,
            "NOREPLICAS" => Self::Noreplicas,
            _ => Self::Other,
        }
    }
}

/// Whether a command that came to this may be done later: the store, or what stands before it, cannot for reasons of its own.
pub fn passes(error: &DialectError) -> bool {
    match error {
        DialectError::RedisError(text) => {
            let reason = Reason::of_text(text);
            // A full store takes deletions.
            reason.is_of_the_store() && reason != Reason::Oom
                || text.trim_start_matches('-').starts_with("LOADING")
        }
        DialectError::Status(status) => matches!(status, 502..=504),
        _ => false,
    }
}

/// What the answer to a command says about writes: of which sort it is, and what became of it.
///
/// A deletion that is done says nothing: a Redis that is full takes those. A claim that is refused for a reason of its own
/// says nothing either: Redis before 7.0 knows no such command, and is asked plainly.
pub fn evidence(kind: Kind, answer: &Result<Answer, DialectError>) -> Option<(Sort, State)> {
    let sort = match kind {
        Kind::Get | Kind::Lease | Kind::Probe => return None,
        Kind::Set | Kind::Delete => Sort::Records,
        Kind::Add | Kind::Claim => Sort::Entries,
    };
    let state = match answer {
        Ok(_) if kind == Kind::Delete => return None,
        Ok(_) => State::Ok,
        Err(DialectError::TooLarge) => return None,
        Err(DialectError::RedisError(text)) => State::Refusing(Reason::of_text(text)),
        Err(DialectError::Unauthorized) => State::Refusing(Reason::Unauthorized),
        Err(_) => State::Silent,
    };
    let of_the_command = state.reason().is_some_and(|reason| !reason.is_of_the_store());
    (kind != Kind::Claim || !of_the_command).then_some((sort, state))
}

/// By which command something is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// `SETEX`, and `DEL` where it is refused.
    Records,
    /// `SET` with conditions: claims, and entries of purges.
    Entries,
}

/// Where the workers share what they know of a store.
pub fn place(settings: &policy::Remote) -> String {
    let policy::Remote { cluster, authority, prefix, .. } = settings;
    format!("sv1/wr/{cluster}/{authority}/{prefix}")
}

/// What the workers of this node know of a store.
pub fn read(data: &mut dyn SharedData, settings: &policy::Remote) -> State {
    let known = data.get(&place(settings)).and_then(|(bytes, _)| Shared::decode(&bytes));
    known.unwrap_or_default().state()
}

impl Writes {
    /// What becomes of writes, as this worker last heard.
    pub fn state(&self) -> State {
        self.known.state()
    }

    /// By tick: whether this worker is to make a probe now. Costs a get twice a second, and a set for who makes it.
    pub fn claim(&mut self, data: &mut dyn SharedData, key: &str, now: Timestamp) -> bool {
        // A moment far off is of a clock that was set back.
        if now < self.look_at && self.look_at.since(now) <= LOOK_EVERY {
            return false;
        }
        self.look_at = now.plus(LOOK_EVERY);
        let cas = self.look(data, key);
        let is_new = self.known.next == Timestamp::default();
        let far = self.known.next.since(now) > EVERY;
        if !is_new && !far && now < self.known.next {
            return false;
        }
        let pause = if self.known.is_in_doubt() { LOOK_EVERY } else { EVERY };
        let claimed = Shared { next: now.plus(pause), ..self.known };
        if data.set(key, &claimed.encode(), cas).is_err() {
            return false;
        }
        self.known = claimed;
        // A store that has only just been found is left alone for a moment.
        !is_new
    }

    /// A lookup was answered, `at` by the clock of the calls.
    pub fn note_read(&mut self, at: u64) {
        self.read_at = self.read_at.max(at);
    }

    /// Takes in what became of a write that was sent at `sent` by the clock of the calls. The new state, if this worker
    /// is the one that has found it out.
    ///
    /// Costs nothing while all is as it was.
    pub fn note(
        &mut self,
        (sort, found): (Sort, State),
        sent: u64,
        data: &mut dyn SharedData,
        key: &str,
        now: Timestamp,
    ) -> Option<State> {
        // A store that answers nothing at all is the breaker's.
        if found == State::Silent && self.read_at <= sent {
            return None;
        }
        let known = self.known.of(sort);
        if known.state == found && known.run == 0 {
            return None;
        }
        for _ in 0..TRIES {
            let cas = self.look(data, key);
            let before = self.known;
            let after = before.after(sort, found, now);
            if after == before {
                return None;
            }
            if data.set(key, &after.encode(), cas).is_ok() {
                self.known = after;
                return (after.state() != before.state()).then(|| after.state());
            }
        }
        None
    }

    fn look(&mut self, data: &mut dyn SharedData, key: &str) -> u32 {
        let Some((bytes, cas)) = data.get(key) else {
            self.known = Shared::default();
            return ABSENT;
        };
        self.known = Shared::decode(&bytes).unwrap_or_default();
        cas
    }
}

impl Shared {
    const fn of(self, sort: Sort) -> Class {
        match sort {
            Sort::Records => self.records,
            Sort::Entries => self.entries,
        }
    }

    const fn is_in_doubt(self) -> bool {
        self.records.run > 0 || self.entries.run > 0
    }

    fn state(self) -> State {
        let bad = [self.records, self.entries]
            .into_iter()
            .map(|class| class.state)
            .filter(|state| *state != State::Ok);
        let worst = bad.max_by_key(|state| matches!(state, State::Refusing(_)));
        worst.unwrap_or_default()
    }

    /// It changes after [`IN_A_ROW`] refusals without a write that was taken, and back with the first one that is; never
    /// twice within [`STAYS`], so that a store at its limit does not fill the log.
    fn after(mut self, sort: Sort, found: State, now: Timestamp) -> Self {
        let before = self.state();
        let may_change = now < self.since || now.since(self.since) >= STAYS;
        let class = match sort {
            Sort::Records => &mut self.records,
            Sort::Entries => &mut self.entries,
        };
        if found == class.state {
            class.run = 0;
        } else {
            let same = class.run > 0 && class.otherwise == found;
            class.run = if same { class.run.saturating_add(1) } else { 1 };
            class.otherwise = found;
            if may_change && (found == State::Ok || class.run >= IN_A_ROW) {
                *class = Class { state: found, ..Class::default() };
            }
        }
        // What is in doubt is found out soon.
        if class.run > 0 {
            self.next = self.next.min(now.plus(LOOK_EVERY));
        }
        if self.state() != before {
            self.since = now;
        }
        self
    }

    fn encode(self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        for class in [self.records, self.entries] {
            out.extend_from_slice(&class.state.bytes());
            out.push(class.run);
            out.extend_from_slice(&class.otherwise.bytes());
        }
        out.extend_from_slice(&self.since.as_millis().to_le_bytes());
        out.extend_from_slice(&self.next.as_millis().to_le_bytes());
        framed(out)
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut body = unframed(bytes, MAGIC)?;
        let mut class = || {
            let [state, reason, run, otherwise, why] = take(&mut body)?;
            let (state, otherwise) = (State::of_bytes([state, reason])?, State::of_bytes([otherwise, why])?);
            Some(Class { state, run, otherwise })
        };
        let (records, entries) = (class()?, class()?);
        let since = Timestamp::from_millis(take_u64(&mut body)?);
        let next = Timestamp::from_millis(take_u64(&mut body)?);
        body.is_empty().then_some(Self { records, entries, since, next })
    }
}

const MAGIC: [u8; 4] = *b"svw1";
/// A probe is made so often while nothing is in doubt.
pub const EVERY: Duration = Duration::from_secs(2);
/// How often a worker looks for what the others know, and a probe is made while something is in doubt.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Refusals in a row that are no accident.
pub const IN_A_ROW: u8 = 3;
/// What is told stays for so long.
pub const STAYS: Duration = Duration::from_secs(3);
/// Attempts at one compare-and-swap. Each failure is another worker's news.
const TRIES: usize = 4;

#[cfg(test)]
mod tests;
