//! What an Envoy asks Redis about jobs, and what it is answered.
//!
//! One script does all of it, by the clock of Redis. Its keys, `PREFIX:v1:{q:NAMESPACE}…`, have one tag, so that a Redis Cluster keeps
//! them in one node and takes the script:
//!
//! ```text
//! {…}:j:ID    hash   s state · n attempt · g token · o owner · c created · u next · k idempotency · q request · f failure · a status · b response ·
//!                    pd of po parts are done
//! {…}:i:KEY   string ID and digest of the request that came with an Idempotency-Key
//! {…}:due     sorted set of those that wait, by when they are due
//! {…}:run     those that are leased, by when the lease ends
//! {…}:dead    {…}:done   those that are over, by when they are forgotten
//! ```
//!
//! A job that is not over has no time to live. The token grows with each lease, and what comes of a run counts only with the token that
//! it was given: who is late changes nothing.

use std::rc::Rc;
use std::time::Duration;

use crate::base64;
use crate::limits::lease::Script;

/// The script.
pub const SCRIPT: Script =
    Script { text: include_str!("jobs.lua"), digest: "b6cdab2c3e38951bc57da1b140674de5bf1006ac" };

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobRequest {
    /// What is to be done.
    pub does: Does,
    /// A number for the question, which the answer repeats: webdis gives some answers to the wrong caller.
    pub question: u64,
    /// Bytes of its answer at most.
    pub longest: usize,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Does {
    /// Accept a job.
    Accept {
        /// Its ID.
        id: u128,
        /// Who asks.
        owner: u128,
        /// Digests of its `Idempotency-Key`, and of the request that came with that.
        once: Option<(u128, u128)>,
        /// Most jobs that wait.
        most: u64,
        /// The request.
        payload: Rc<[u8]>,
    },
    /// Take what is due, and give back what others have not done in time.
    Take(Taking),
    /// Say what has come of a run.
    End {
        /// The job.
        id: u128,
        /// The token of its lease.
        token: u64,
        /// What has come of it.
        how: How,
    },
    /// Say how far a run is: so much of so much is done.
    Progress {
        /// The job.
        id: u128,
        /// The token of its lease.
        token: u64,
        /// How far.
        parts: (u64, u64),
    },
    /// Tell its state; with `content` the response too.
    Look {
        /// The job.
        id: u128,
        /// Who asks.
        owner: u128,
        /// With the response.
        content: bool,
    },
    /// Cancel it, or forget it if it is over.
    Cancel {
        /// The job.
        id: u128,
        /// Who asks.
        owner: u128,
        /// How long it is known that it was.
        ttl: Duration,
    },
    /// Try one again that is dead.
    Again {
        /// The job.
        id: u128,
    },
    /// Tell how many there are, and the last of the dead ones.
    List,
}

/// Which jobs are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taking {
    /// How many at most.
    pub most: usize,
    /// Bytes of all of them but the first.
    pub room: usize,
    /// How long they belong to who takes them.
    pub lease: Duration,
    /// How often one is tried.
    pub attempts: u32,
    /// How long dead ones are kept.
    pub ttl: Duration,
}

/// What has come of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum How {
    /// This response, kept so long. Without content it is too large to be kept.
    Done {
        /// Its status.
        status: u16,
        /// All of it.
        payload: Option<Rc<[u8]>>,
        /// How long it is kept.
        ttl: Duration,
    },
    /// A failure: it is tried again after a pause.
    Retry {
        /// The pause.
        pause: Duration,
        /// The failure's word: letters and digits.
        why: Box<str>,
    },
    /// The last failure.
    Dead {
        /// How long that is known.
        ttl: Duration,
        /// The failure's word.
        why: Box<str>,
    },
    /// It was not begun, and counts as no attempt.
    Back {
        /// When it is taken again.
        pause: Duration,
    },
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobAnswer {
    /// It was accepted.
    Accepted {
        /// The job's ID.
        id: u128,
        /// It had been, by the same `Idempotency-Key`.
        again: bool,
    },
    /// Another request came with the same `Idempotency-Key`.
    OtherRequest,
    /// Too many wait.
    Full,
    /// What was taken.
    Took(Took),
    /// It is done.
    Ended,
    /// The lease was another's by then, or the job was cancelled.
    Late,
    /// There is no such job, for who asks.
    None,
    /// It is cancelled; it was under way, or had not been over.
    Gone {
        /// It was not over.
        was_open: bool,
    },
    /// Its state.
    Is(Box<Standing>),
    /// How many there are.
    Lists(Counts, Vec<Dead>),
}

/// What was taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Took {
    /// Leases of others that had run out.
    pub expired: u64,
    /// Jobs that Redis has, and nobody can read.
    pub bad: u64,
    /// Jobs that have died of it.
    pub buried: u64,
    /// More are due.
    pub more: bool,
    /// How many there are.
    pub counts: Counts,
    /// The jobs.
    pub jobs: Vec<Taken>,
}

/// A job that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Its ID.
    pub id: u128,
    /// How often it has been taken, this time included.
    pub attempt: u32,
    /// The token of the lease.
    pub token: u64,
    /// The request, as it was written down; empty if it cannot be read.
    pub payload: Vec<u8>,
}

/// How many there are in the fleet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// That wait.
    pub due: u64,
    /// Under way.
    pub leased: u64,
    /// Dead.
    pub dead: u64,
    /// Done, as long as their results are kept.
    pub done: u64,
}

/// A dead job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dead {
    /// Its ID.
    pub id: u128,
    /// How often it was tried.
    pub attempt: u64,
    /// When it was accepted, in milliseconds.
    pub created: u64,
    /// When it died.
    pub died: u64,
    /// Of what.
    pub why: String,
}

/// The state of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Where it stands.
    pub state: State,
    /// How often it was tried.
    pub attempt: u64,
    /// When it was accepted, in milliseconds.
    pub created: u64,
    /// When something is to happen next: it is due, or its lease ends; when it was over, if it is.
    pub next: u64,
    /// Of what the last run failed.
    pub why: String,
    /// The status of its response; 0: none.
    pub status: u16,
    /// So much of so much is done; of 0 nothing is known.
    pub progress: (u64, u64),
    /// A response is kept.
    pub has_result: bool,
    /// The response as it was written down, if that was asked for.
    pub result: Vec<u8>,
}

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It waits.
    Waiting,
    /// It is under way.
    Running,
    /// It is done.
    Done,
    /// It was tried often enough.
    Dead,
    /// It was cancelled while it was under way.
    Cancelled,
}

impl State {
    /// Its word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Done => "done",
            Self::Dead => "dead",
            Self::Cancelled => "cancelled",
        }
    }

    fn read(word: &str) -> Option<Self> {
        Some(match word {
            "w" => Self::Waiting,
            "r" => Self::Running,
            "d" => Self::Done,
            "x" => Self::Dead,
            "c" => Self::Cancelled,
            _ => return None,
        })
    }
}

/// The key that all others begin with.
pub fn key(prefix: &str, namespace: u64) -> String {
    format!("{prefix}:{{q:{namespace:016x}}}")
}

impl JobRequest {
    /// The script's arguments, without the content: letters, digits and `-`.
    pub fn arguments(&self) -> Vec<String> {
        let hex = |number: &u128| format!("{number:032x}");
        let millis = |time: &Duration| time.as_millis().to_string();
        let mut words = vec![String::new(), format!("{:x}", self.question)];
        let (op, more) = match &self.does {
            Does::Accept { id, owner, once, most, .. } => {
                let once = once.as_ref();
                let of = |digest: Option<&u128>| digest.map_or_else(|| "-".to_owned(), hex);
                let (key, print) = (of(once.map(|(key, _)| key)), of(once.map(|(_, print)| print)));
                ("accept", vec![hex(id), hex(owner), key, print, most.to_string()])
            }
            Does::Take(Taking { most, room, lease, attempts, ttl }) => {
                let numbers = [most.to_string(), room.to_string(), millis(lease), attempts.to_string()];
                ("take", numbers.into_iter().chain([millis(ttl)]).collect())
            }
            Does::End { id, token, how } => {
                let mut words = vec![hex(id), token.to_string()];
                words.extend(match how {
                    How::Done { status, payload, ttl } => {
                        let mut words = vec!["done".to_owned(), millis(ttl), status.to_string()];
                        words.extend(payload.is_none().then(|| "-".to_owned()));
                        words
                    }
                    How::Retry { pause, why } => vec!["retry".to_owned(), millis(pause), why.to_string()],
                    How::Dead { ttl, why } => vec!["dead".to_owned(), millis(ttl), why.to_string()],
                    How::Back { pause } => vec!["back".to_owned(), millis(pause)],
                });
                ("end", words)
            }
            Does::Progress { id, token, parts: (done, of) } => {
                ("progress", vec![hex(id), token.to_string(), done.to_string(), of.to_string()])
            }
            Does::Look { id, owner, content } => {
                (if *content { "fetch" } else { "look" }, vec![hex(id), hex(owner)])
            }
            Does::Cancel { id, owner, ttl } => ("cancel", vec![hex(id), hex(owner), millis(ttl)]),
            // Operators may see all of them.
            Does::Again { id } => ("again", vec![hex(id), "-".to_owned()]),
            Does::List => ("list", Vec::new()),
        };
        if let Some(first) = words.first_mut() {
            op.clone_into(first);
        }
        words.extend(more);
        words
    }

    /// The content, which is the last argument: letters, digits, `+`, `/` and `=`.
    pub const fn content(&self) -> Option<&Rc<[u8]>> {
        match &self.does {
            Does::Accept { payload, .. }
            | Does::End { how: How::Done { payload: Some(payload), .. }, .. } => Some(payload),
            _ => None,
        }
    }

    /// From the script's answer; `None` if it is no answer to this question.
    pub fn read(&self, text: &[u8]) -> Option<JobAnswer> {
        let mut lines = text.trim_ascii_end().split(|byte| *byte == b'\n');
        let words = &mut std::str::from_utf8(lines.next()?).ok()?.split(' ');
        let word = words.next()?;
        if u64::from_str_radix(words.next()?, 16).ok()? != self.question {
            return None;
        }
        Some(match (&self.does, word) {
            (Does::Accept { .. }, "new" | "same") => {
                let id = u128::from_str_radix(words.next()?, 16).ok()?;
                JobAnswer::Accepted { id, again: word == "same" }
            }
            (Does::Accept { .. }, "other") => JobAnswer::OtherRequest,
            (Does::Accept { .. }, "full") => JobAnswer::Full,
            (Does::Take(_), "took") => {
                let (expired, bad, buried) = (number(words)?, number(words)?, number(words)?);
                let (more, counts) = (number(words)? > 0, counts(words)?);
                // One that cannot be read is not to keep the others.
                let jobs = lines.filter_map(taken).take(MOST_AT_ONCE).collect();
                JobAnswer::Took(Took { expired, bad, buried, more, counts, jobs })
            }
            (Does::End { .. }, "late") => JobAnswer::Late,
            (Does::End { .. } | Does::Progress { .. } | Does::Again { .. }, "ended") => JobAnswer::Ended,
            (Does::Cancel { .. }, "gone") => {
                let state = State::read(words.next()?)?;
                JobAnswer::Gone { was_open: matches!(state, State::Waiting | State::Running) }
            }
            (Does::List, "list") => {
                let counts = counts(words)?;
                JobAnswer::Lists(counts, lines.filter_map(dead).take(MOST_DEAD).collect())
            }
            (Does::Look { content, .. }, "is") => JobAnswer::Is(Box::new(standing(words, *content)?)),
            (_, "none") => JobAnswer::None,
            _ => return None,
        })
    }
}

type Words<'a> = std::str::Split<'a, char>;

fn number(words: &mut Words<'_>) -> Option<u64> {
    words.next()?.parse().ok()
}

fn counts(words: &mut Words<'_>) -> Option<Counts> {
    let (due, leased, dead) = (number(words)?, number(words)?, number(words)?);
    Some(Counts { due, leased, dead, done: number(words)? })
}

fn standing(words: &mut Words<'_>, content: bool) -> Option<Standing> {
    let state = State::read(words.next()?)?;
    let (attempt, created, next) = (number(words)?, number(words)?, number(words)?);
    let why = word_of(words.next()?)?;
    let (status, done, of) = (u16::try_from(number(words)?).ok()?, number(words)?, number(words)?);
    let kept = words.next()?;
    let has_result = kept != "-";
    let result = if content && has_result { base64::decode(kept.as_bytes())? } else { Vec::new() };
    let progress = (done.min(of), of);
    Some(Standing { state, attempt, created, next, why, status, progress, has_result, result })
}

fn taken(line: &[u8]) -> Option<Taken> {
    let mut words = line.splitn(4, |byte| *byte == b' ');
    let id = id_of(words.next()?)?;
    let mut number = || std::str::from_utf8(words.next()?).ok()?.parse::<u64>().ok();
    let (attempt, token) = (u32::try_from(number()?).ok()?, number()?);
    Some(Taken { id, attempt, token, payload: words.next().and_then(base64::decode).unwrap_or_default() })
}

fn dead(line: &[u8]) -> Option<Dead> {
    let words = &mut std::str::from_utf8(line).ok()?.split(' ');
    let id = id_of(words.next()?.as_bytes())?;
    let (attempt, created, died) = (number(words)?, number(words)?, number(words)?);
    Some(Dead { id, attempt, created, died, why: word_of(words.next()?)? })
}

/// The ID of a job, as it stands in its path: 32 hexadecimal digits in lower case.
pub fn id_of(text: &[u8]) -> Option<u128> {
    let plain = text.len() == 32 && text.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    plain.then(|| u128::from_str_radix(std::str::from_utf8(text).ok()?, 16).ok())?
}

/// The word of a failure.
fn word_of(word: &str) -> Option<String> {
    let plain = word.len() <= 16 && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    plain.then(|| word.to_owned())
}

/// Jobs that are taken at once.
pub const MOST_AT_ONCE: usize = 8;
/// Dead ones that are told of, as the script has it.
const MOST_DEAD: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    const ID: u128 = 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef;

    fn asks(does: Does) -> JobRequest {
        JobRequest { does, question: 0xf, longest: 100 }
    }

    fn taking() -> Does {
        let second = Duration::from_secs(1);
        Does::Take(Taking { most: 8, room: 100, lease: second, attempts: 3, ttl: second })
    }

    #[test]
    fn the_digest_is_that_of_the_script() {
        use sha1::{Digest, Sha1};
        let digest: String =
            Sha1::digest(SCRIPT.text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(SCRIPT.digest, digest);
    }

    #[test]
    fn arguments_are_words_that_stand_in_a_path_and_the_content_is_the_last() {
        let payload: Rc<[u8]> = Rc::from(&b"QQ=="[..]);
        let second = Duration::from_secs(1);
        let why: Box<str> = "503".into();
        let all = [
            Does::Accept { id: ID, owner: 1, once: Some((2, 3)), most: 9, payload: Rc::clone(&payload) },
            taking(),
            Does::End { id: ID, token: 7, how: How::Done { status: 200, payload: None, ttl: second } },
            Does::End { id: ID, token: 7, how: How::Retry { pause: second, why: why.clone() } },
            Does::End { id: ID, token: 7, how: How::Dead { ttl: second, why } },
            Does::End { id: ID, token: 7, how: How::Back { pause: second } },
            Does::Progress { id: ID, token: 7, parts: (1, 2) },
            Does::Look { id: ID, owner: 1, content: true },
            Does::Cancel { id: ID, owner: 1, ttl: second },
            Does::Again { id: ID },
            Does::List,
        ];
        for does in all {
            let words = asks(does.clone()).arguments();
            assert_eq!(words[1], "f");
            let plain = |word: &String| {
                !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            };
            assert!(words.iter().all(plain), "{words:?}");
            // By its place the script knows it.
            let place = words.len() + 3 - usize::from(asks(does.clone()).content().is_none());
            match does {
                Does::Accept { .. } => assert_eq!((words.len(), place), (7, 10)),
                Does::End { how: How::Done { .. }, .. } => assert_eq!(words[7], "-"),
                _ => {}
            }
        }
        assert_eq!(key("p:v1", 0xab), "p:v1:{q:00000000000000ab}");
    }

    #[test]
    fn what_is_no_answer_to_the_question_is_none() {
        let look = || asks(Does::Look { id: ID, owner: 1, content: false });
        let is = "is f r 2 1000 2000 503 0 3 9 -";
        let Some(JobAnswer::Is(standing)) = look().read(is.as_bytes()) else { panic!("{is}") };
        assert_eq!((standing.state, standing.attempt, standing.progress), (State::Running, 2, (3, 9)));
        for bad in [
            "",
            "is",
            "is e r 2 1000 2000 503 0 3 9 -",
            "is f z 2 1000 2000 503 0 3 9 -",
            "is f r 2 1000 2000 <503> 0 3 9 -",
            "is f r 2 1000 -1 503 0 3 9 -",
            "is f r 2 1000 2000 503 99999 3 9 -",
            "is f r 2 1000 2000 503 0 3 9",
            "took f 0 0 0 0 0 0 0 0",
            "new f 1",
            "\u{fffd}",
        ] {
            assert_eq!(look().read(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(look().read(b"none f"), Some(JobAnswer::None));
    }

    #[test]
    fn of_what_was_taken_that_is_left_out_which_cannot_be_read() {
        let text = format!(
            "took f 1 2 0 5 6 7 8 9\n{ID:032x} 1 4 QUI=\nnonsense\n{:032x} 2 5 ~~\n{:032X} 1 1 QUI=",
            ID + 1,
            ID
        );
        let Some(JobAnswer::Took(took)) = asks(taking()).read(text.as_bytes()) else { panic!("{text}") };
        assert_eq!((took.expired, took.bad, took.buried, took.more), (1, 2, 0, true));
        assert_eq!(took.counts, Counts { due: 6, leased: 7, dead: 8, done: 9 });
        let jobs: Vec<_> =
            took.jobs.iter().map(|job| (job.id, job.attempt, job.token, &*job.payload)).collect();
        assert_eq!(jobs, [(ID, 1, 4, &b"AB"[..]), (ID + 1, 2, 5, b"")]);
        let many = format!("took f 0 0 0 0 0 0 0 0{}", format!("\n{ID:032x} 1 4 QUI=").repeat(50));
        let Some(JobAnswer::Took(took)) = asks(taking()).read(many.as_bytes()) else { panic!("{many}") };
        assert_eq!(took.jobs.len(), MOST_AT_ONCE);
    }
}
