//! What a row of the table may hold.

use serde::Deserialize;

/// One fault, and what shows it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// A sentence: what is so when the fault is not there.
    pub name: String,
    /// The fault's number in the list.
    pub fault: String,
    /// Who taught it.
    pub source: String,
    /// It was so before too: the row keeps a change from going too far.
    #[serde(default)]
    pub guard: bool,
    /// The filter's rule for the row's path; none is the default.
    pub rule: Option<serde_json::Value>,
    /// What the origin answers, in order of the requests; the last answer is given again.
    pub origin: Vec<Turn>,
    /// What the clients do, in order.
    pub steps: Vec<Step>,
    /// Its path at the origin, made of the file's name and the row's place in it.
    #[serde(skip)]
    pub path: String,
    /// The file's name.
    #[serde(skip)]
    pub subject: String,
}

impl Row {
    /// Its name as a test.
    pub fn title(&self) -> String {
        format!("{} {}: {}", self.subject, self.fault, self.name)
    }
}

/// The origin's answer to one request: the first of these whose `when` is true of the request.
#[derive(Deserialize)]
#[serde(try_from = "toml::Value")]
pub struct Turn(pub Vec<Reply>);

impl TryFrom<toml::Value> for Turn {
    type Error = toml::de::Error;

    fn try_from(value: toml::Value) -> Result<Self, Self::Error> {
        let replies = if value.is_array() { value.try_into()? } else { vec![value.try_into()?] };
        Ok(Self(replies))
    }
}

/// One answer of the origin.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Reply {
    /// What the request must have: `Name`, `Name: value`, `Name ~ part`, or `!Name` for what it must lack.
    pub when: Vec<String>,
    /// Its status.
    pub status: u16,
    /// Its field lines, `Name: value`.
    pub fields: Vec<String>,
    /// Its content. `<n>` is how many requests came before, `<name>` the request's field of that name.
    pub body: String,
    /// Sends the content in chunks instead of with a length.
    pub chunked: bool,
    /// Closes the connection instead of answering.
    pub closes: bool,
    /// Comes before the head.
    pub waits: Option<Wait>,
    /// Comes after the head and the first half of the content.
    pub halts: Option<Wait>,
}

impl Default for Reply {
    fn default() -> Self {
        Self {
            when: Vec::new(),
            status: 200,
            fields: Vec::new(),
            body: String::new(),
            chunked: false,
            closes: false,
            waits: None,
            halts: None,
        }
    }
}

/// What the origin waits for before it goes on.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Wait {
    /// For the clock.
    Ms(u64),
    /// Until so many requests have arrived.
    Requests(usize),
    /// Until a step opens it.
    Gate(String),
}

/// What clients do, and what must come of it.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Step {
    /// Time that passes first.
    pub pause_ms: u64,
    /// Waits first until the origin has so many requests.
    pub awaits: usize,
    /// The method.
    pub method: String,
    /// Asks over HTTP/2 with this `:scheme`; of such an answer only status and content can be wanted.
    pub scheme: Option<String>,
    /// Request field lines; `<i>` is the client's number, or the time's.
    pub with: Vec<String>,
    /// The request's content.
    pub send: Option<String>,
    /// How often it is asked, one after the other; each time on a new connection, so by any worker.
    pub times: usize,
    /// How many ask at once.
    pub clients: usize,
    /// Goes on with the next step; a later one that `joins` this name has the answer.
    pub background: Option<String>,
    /// Asks nothing; is about the answers to the step of this name.
    pub joins: Option<String>,
    /// The gates that are opened once the answers are here.
    pub opens: Vec<String>,
    /// What is wanted of every answer, and of the origin after the step.
    #[serde(flatten)]
    pub wants: Wants,
}

impl Default for Step {
    fn default() -> Self {
        Self {
            pause_ms: 0,
            awaits: 0,
            method: "GET".to_owned(),
            scheme: None,
            with: Vec::new(),
            send: None,
            times: 1,
            clients: 1,
            background: None,
            joins: None,
            opens: Vec::new(),
            wants: Wants::default(),
        }
    }
}

/// What must be so. What is left out is not looked at.
#[derive(Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Wants {
    /// The status.
    pub status: Option<u16>,
    /// The status is none of these.
    pub not_status: Vec<u16>,
    /// The content; `<i>` is the client's number.
    pub body: Option<String>,
    /// The content is another.
    pub not_body: Option<String>,
    /// Fields that are there: `Name`, `Name: value` with all lines joined, or `Name ~ part`.
    pub has: Vec<String>,
    /// Fields that are not.
    pub lacks: Vec<String>,
    /// Whether the cache says that it answered by itself.
    pub hit: Option<bool>,
    /// Parameters of `Cache-Status`.
    pub says: Vec<String>,
    /// Parameters that it does not have.
    pub says_not: Vec<String>,
    /// How many requests the origin has seen so far, in all.
    pub fetches: Option<usize>,
    /// No more than so many.
    pub most_fetches: Option<usize>,
    /// The method of the last of them.
    pub asked_method: Option<String>,
    /// Its fields, as in `has`.
    pub asked: Vec<String>,
    /// Fields that it does not have.
    pub asked_without: Vec<String>,
}

impl Wants {
    /// Whether it looks at anything.
    pub fn is_anything(&self) -> bool {
        *self != Self::default()
    }
}
