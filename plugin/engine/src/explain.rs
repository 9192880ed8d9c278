//! Says what the cache would do with a request, or does with a response, and why: rule, key, stores, times, storability.
//!
//! Nothing is decided here. Each answer comes from the function that the exchange asks; this only asks them all, and
//! goes on where the exchange would have stopped.

#[cfg(feature = "foresight")]
mod adaptive;
#[cfg(any(feature = "limits", feature = "pools"))]
mod admission;
mod answered;
mod asking;
#[cfg(all(feature = "limits", feature = "llm"))]
mod budgets;
mod keyed;
pub mod message;
pub mod operators;
pub mod reasons;
pub mod saved;
#[cfg(feature = "sessions")]
mod sessions;
mod stored;
mod times;

use std::rc::Rc;

use serde_json::{Map, Value};

use crate::admission::{rule_of, stays_out};
use crate::cache::{Cache, Moment};
use crate::cache_status::Detail;
use crate::fields::Fields;
#[cfg(feature = "jobs")]
use crate::jobs::asking::would_accept;
use crate::policy::Rule;
use crate::request::Request;
use crate::time::Timestamp;
use reasons::Reason;

/// A request, and perhaps the origin's response to it.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The request. [`Request::has_body`] says whether it has content.
    pub request: &'a Request<'a>,
    /// Its content, if that is at hand: the rule may have it in the key.
    pub body: Option<&'a [u8]>,
    /// The response.
    pub response: Option<Answer<'a>>,
    /// How far it has come.
    pub passage: Passage,
}

/// How far a request has come that is explained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Passage {
    /// It has passed nothing: what would become of it now is told.
    #[default]
    Ahead,
    /// It has passed what stands before the cache and the origin.
    Behind,
    /// It was answered there, with this word and status.
    Refused(Detail, u16),
}

/// The origin's response.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// Its fields, `:status` among them.
    pub head: Fields<'a>,
    /// The length of its content, if more is known than `Content-Length`.
    pub length: Option<usize>,
    /// When it was asked for.
    pub requested: Timestamp,
    /// The origin made it, and not something on the way.
    pub by_origin: bool,
}

/// What is explained, in the order of the path through the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// What becomes of the request and of the response, and what would change it.
    Verdict,
    /// The request.
    Request,
    /// Its key.
    Key,
    /// What is stored under it.
    Store,
    /// The response.
    Response,
}

impl Part {
    const ALL: [Self; 5] = [Self::Verdict, Self::Request, Self::Key, Self::Store, Self::Response];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Verdict => "verdict",
            Self::Request => "request",
            Self::Key => "key",
            Self::Store => "store",
            Self::Response => "response",
        }
    }
}

/// Something for programs.
#[derive(Clone, Debug, PartialEq)]
pub enum Fact {
    /// One of a closed set, or a text of this release.
    Word(&'static str),
    /// A text of somebody else's.
    Text(String),
    /// Several.
    Texts(Vec<String>),
    /// A number.
    Number(u64),
    /// Yes or no.
    Flag(bool),
}

impl Fact {
    fn to_json(&self) -> Value {
        match self {
            Self::Word(word) => (*word).into(),
            Self::Text(text) => text.as_str().into(),
            Self::Texts(texts) => texts.as_slice().into(),
            Self::Number(number) => (*number).into(),
            Self::Flag(flag) => (*flag).into(),
        }
    }
}

/// One thing that there is to say.
#[derive(Clone, Debug, PartialEq)]
pub struct Note {
    /// To which part it belongs.
    pub part: Part,
    /// What it is about.
    pub about: &'static str,
    /// The sentence.
    pub text: String,
    /// The same for programs; members as they apply.
    pub facts: Vec<(&'static str, Fact)>,
}

/// Everything that there is to say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Explanation {
    /// In the order in which it was found out; a verdict may come late.
    pub notes: Vec<Note>,
}

impl Note {
    #[inline(never)]
    fn with(&mut self, name: &'static str, fact: Fact) -> &mut Self {
        self.facts.push((name, fact));
        self
    }

    fn flag(&mut self, name: &'static str, flag: bool) -> &mut Self {
        self.with(name, Fact::Flag(flag))
    }

    fn word(&mut self, name: &'static str, word: &'static str) -> &mut Self {
        self.with(name, Fact::Word(word))
    }

    fn number(&mut self, name: &'static str, number: usize) -> &mut Self {
        self.with(name, Fact::Number(u64::try_from(number).unwrap_or(u64::MAX)))
    }

    /// What became of something, and why.
    fn reason(&mut self, outcome: &'static str, reason: &Reason) {
        self.word("outcome", outcome).word("word", reason.word).word("why", reason.why);
        self.word("reference", reason.reference).word("change", reason.change);
    }

    fn to_json(&self) -> Value {
        let mut entry = Map::new();
        entry.insert("about".into(), self.about.into());
        entry.insert("text".into(), self.text.as_str().into());
        for (name, fact) in &self.facts {
            entry.insert((*name).into(), fact.to_json());
        }
        Value::Object(entry)
    }
}

impl Explanation {
    #[inline(never)]
    fn note(&mut self, part: Part, about: &'static str, text: String) -> &mut Note {
        self.notes.push_mut(Note { part, about, text, facts: Vec::new() })
    }

    /// A verdict and what stands behind it.
    #[inline(never)]
    fn verdict(&mut self, about: &'static str, outcome: &'static str, reason: &Reason) {
        let Reason { word, why, reference, change } = *reason;
        let cited = if reference.is_empty() { String::new() } else { format!(" ({reference})") };
        let text = format!("{outcome}: {word}: {why}{cited}");
        self.note(Part::Verdict, about, text).reason(outcome, reason);
        if !change.is_empty() {
            self.note(Part::Verdict, "to change it", change.into()).word("of", about);
        }
    }

    fn of(&self, part: Part) -> impl Iterator<Item = &Note> {
        self.notes.iter().filter(move |note| note.part == part)
    }

    /// The outcomes of the verdicts about something.
    fn outcomes(&self, about: &'static str) -> impl Iterator<Item = &'static str> {
        let notes = self.of(Part::Verdict).filter(move |note| note.about == about);
        notes.flat_map(|note| &note.facts).filter_map(|(name, fact)| match fact {
            Fact::Word(word) if *name == "outcome" => Some(*word),
            _ => None,
        })
    }

    /// As JSON: a list of notes for each part.
    pub fn to_json(&self) -> Value {
        let mut json = Map::new();
        json.insert("version".into(), VERSION.into());
        for part in Part::ALL {
            json.insert(part.as_str().into(), self.of(part).map(Note::to_json).collect());
        }
        Value::Object(json)
    }

    /// As lines to be read.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for part in Part::ALL {
            let mut notes = self.of(part).peekable();
            if notes.peek().is_some() {
                text.push_str(part.as_str());
                text.push('\n');
            }
            for Note { about, text: sentence, .. } in notes {
                text.push_str(&format!("  {about:<14}{sentence}\n"));
            }
        }
        text
    }

    /// As one line for a field of a response: what matters most first, of visible ASCII and spaces, at most `longest` bytes.
    pub fn to_line(&self, longest: usize) -> Vec<u8> {
        let mut line = String::new();
        for part in Part::ALL {
            for Note { about, text, .. } in self.of(part) {
                let separator = if line.is_empty() { "" } else { "; " };
                line.push_str(&format!("{separator}{} {about}: {text}", part.as_str()));
            }
        }
        let plain = line.replace('§', "s.");
        let mut line: Vec<u8> =
            plain.chars().map(|c| if matches!(c, ' '..='~') { c as u8 } else { b'?' }).collect();
        if line.len() > longest {
            line.truncate(longest.saturating_sub(4));
            line.extend_from_slice(b" ...");
        }
        line
    }

    /// The words of the verdicts, for whoever wants nothing else.
    pub fn words(&self) -> Vec<&'static str> {
        let word = |note: &Note| {
            note.facts.iter().find_map(|(name, fact)| match fact {
                Fact::Word(word) if *name == "word" => Some(*word),
                _ => None,
            })
        };
        self.of(Part::Verdict).filter_map(word).collect()
    }
}

/// The version of the JSON.
const VERSION: u32 = 1;

/// Explains what the cache would do.
///
/// It looks things up as a request would, so what lies in the node store may be taken into the worker's.
pub fn explain(subject: &Subject<'_>, cache: &mut Cache, moment: &mut Moment<'_>) -> Explanation {
    let policy = Rc::clone(cache.policy());
    let (rule_index, rule) = rule_of(&policy, subject.request);
    let mut explanation = Explanation::default();
    let mut request = *subject.request;
    let entered = stays_out(&mut request, rule);
    let subject = &Subject { request: &request, ..*subject };
    asking::note(&request, rule_index, rule, &policy, &mut explanation);
    #[cfg(feature = "maintenance")]
    if rule.maintenance.as_ref().is_some_and(|window| window.retry_after_at(moment.now).is_some()) {
        explanation.verdict("request", "answered with 503", &reasons::of_detail(Detail::Maintenance));
        return explanation;
    }
    let case = Case { subject, rule_index, rule };
    #[cfg(feature = "sessions")]
    if sessions::note(&case, cache, moment, &mut explanation) {
        return explanation;
    }
    #[cfg(feature = "limits")]
    if limited(&case, admission::Place::BeforeCache, "request", cache, moment, &mut explanation) {
        return explanation;
    }
    // What its head says; of its body nothing is known.
    #[cfg(feature = "uploads")]
    if let Some(upload) = rule.upload.as_ref().filter(|_| !rule.shadow)
        && let Err(objection) = crate::uploads::Guard::of(&request, rule_index, upload)
    {
        let text = match objection.status() {
            400 => "answered with 400",
            413 => "answered with 413",
            _ => "answered with 415",
        };
        explanation.verdict("request", text, &reasons::of_detail(Detail::Upload(objection)));
        return explanation;
    }
    #[cfg(feature = "jobs")]
    if policy.jobs.is_some() && would_accept(subject.request, rule) {
        explanation.verdict("request", "accepted as a job", &reasons::of_detail(Detail::Job));
        return explanation;
    }
    #[cfg(feature = "batch")]
    if policy.batch.as_ref().is_some_and(|batch| batch.is_asked_for(request.method, request.path())) {
        explanation.verdict("request", "answered as a batch", &reasons::of_detail(Detail::Batch));
        return explanation;
    }
    let key = match entered {
        Ok(body_keyed) => keyed::find(subject, rule_index, rule, body_keyed, &policy, &mut explanation),
        Err((forward, detail)) => {
            Err(detail.map_or_else(|| reasons::of_forward(forward), reasons::of_detail))
        }
    };
    match key {
        Ok(Some(keys)) => {
            if keys.inputs.is_empty() {
                stored::note(&case, &keys.whole, cache, moment, &mut explanation);
            } else {
                stored::note_inputs(&case, &keys.inputs, cache, moment, &mut explanation);
            }
            note_way_to_origin(&case, cache, moment, &mut explanation);
            answered::note(&case, Some(&keys.whole), cache, moment, &mut explanation);
        }
        // Without its body nothing more can be said about where it is, only about the response.
        Ok(None) => {
            let text = "depends on its body, which is in the key and not known here".into();
            explanation.note(Part::Verdict, "request", text).word("outcome", "not known");
            note_way_to_origin(&case, cache, moment, &mut explanation);
            answered::note(&case, None, cache, moment, &mut explanation);
        }
        Err(reason) => {
            explanation.verdict("request", "goes to the origin", &reason);
            note_way_to_origin(&case, cache, moment, &mut explanation);
            if subject.response.is_some() {
                let text = format!("not stored: {}, as above", reason.word);
                explanation.note(Part::Verdict, "response", text).reason("not stored", &reason);
            }
        }
    }
    explanation
}

/// Notes what stands between the cache and the origin, if the request comes there.
fn note_way_to_origin(
    case: &Case<'_>,
    cache: &mut Cache,
    moment: &mut Moment<'_>,
    explanation: &mut Explanation,
) {
    let stays = ["answered from the store", "answered with 504", "kept from the origin"];
    let goes = !explanation.outcomes("request").any(|outcome| stays.contains(&outcome));
    #[cfg(feature = "limits")]
    let goes = goes && !limited(case, admission::Place::BeforeOrigin, "limit", cache, moment, explanation);
    #[cfg(all(feature = "limits", feature = "llm"))]
    let goes = goes && !budgets::note(case, cache, moment, explanation);
    #[cfg(feature = "pools")]
    if goes {
        admission::note_pool(case, cache, moment, explanation);
    }
}

/// Notes the limits that count the request there, and a verdict if one refuses it or has refused it.
#[cfg(feature = "limits")]
fn limited(
    case: &Case<'_>,
    place: admission::Place,
    about: &'static str,
    cache: &mut Cache,
    moment: &mut Moment<'_>,
    explanation: &mut Explanation,
) -> bool {
    let refuses = admission::note_limits(case, place, cache, moment, explanation);
    let status = match case.subject.passage {
        Passage::Ahead if refuses => 429,
        Passage::Refused(Detail::Limited, status) if refuses => status,
        _ => return false,
    };
    admission::refused(about, status, explanation);
    true
}

/// What is explained, and under which rule.
struct Case<'a> {
    subject: &'a Subject<'a>,
    rule_index: usize,
    rule: &'a Rule,
}

/// Text of a client or an origin, as far as it can be shown.
fn show(bytes: &[u8]) -> String {
    let (shown, rest) = bytes.split_at_checked(LONGEST_SHOWN).unwrap_or((bytes, b""));
    let more = if rest.is_empty() { "" } else { "..." };
    format!("{}{more}", shown.escape_ascii())
}

/// The name of a field or parameter, which a client may have made up.
const LONGEST_SHOWN: usize = 256;
