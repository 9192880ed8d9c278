//! What users ask for, what the origin has, and what must come.

use std::{io::Write, path::Path, time::Duration};

use selvage_measure::crowd::{self, Answer};
use selvage_rig::chance::{Dice, Zipf};

use crate::arguments::Arguments;

/// Chooses requests.
pub struct Traffic {
    site: Site,
    zipf: Zipf,
    host: String,
    /// Of those who may purge.
    token: Option<String>,
    uncacheable: f64,
    purges: f64,
}

/// Where the objects are.
enum Site {
    /// At the load's own origin, whose contents are known.
    Own,
    /// Somewhere: these targets, the most popular first.
    Listed(Vec<String>),
    /// At the demo origin of `envoy/run`, which has one response under as many names as one likes.
    Demo,
}

/// What a request is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// One of the objects.
    Object(usize),
    /// What no cache may answer.
    Uncacheable,
    /// That something be gone.
    Purge,
}

/// Objects of a tag: one purge in ten is of these instead of one.
const TAGGED: usize = 50;
/// How long the origin takes.
const ORIGIN_TAKES: Duration = Duration::from_millis(5);

impl Traffic {
    /// The traffic of the load's own site.
    pub fn own(arguments: &Arguments, token: &str) -> Self {
        Self::new(arguments, Site::Own, arguments.plan.objects, Some(token.to_owned()))
    }

    /// The traffic for an instance of which nothing is known but some paths. Without a token there are no purges.
    pub fn foreign(arguments: &Arguments, token: Option<String>) -> Result<Self, String> {
        let (site, count) = match &arguments.paths {
            Some(file) => {
                let paths = listed(file)?;
                let count = paths.len();
                (Site::Listed(paths), count)
            }
            None => (Site::Demo, arguments.plan.objects),
        };
        Ok(Self::new(arguments, site, count, token))
    }

    fn new(arguments: &Arguments, site: Site, count: usize, token: Option<String>) -> Self {
        let plan = &arguments.plan;
        let purges = if token.is_some() { plan.purges } else { 0.0 };
        let (zipf, host) = (Zipf::new(count, plan.skew), arguments.host.clone());
        Self { site, zipf, host, token, uncacheable: plan.uncacheable, purges }
    }

    /// Writes the next request.
    pub fn write(&self, dice: &mut Dice, request: &mut Vec<u8>) -> Asked {
        request.clear();
        let object = self.zipf.choose(dice);
        let chance = dice.fraction();
        let host = self.host.as_str();
        // What is written to memory is written.
        let _ = if chance < self.purges {
            let token = self.token.as_deref().unwrap_or_default();
            if matches!(self.site, Site::Own) && dice.below(10) == 0 {
                let body = format!(r#"{{"tags":["tag-{}"]}}"#, object / TAGGED);
                write!(
                    request,
                    "POST /.selvage/purge HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {token}\r\n\
                     content-length: {}\r\n\r\n{body}",
                    body.len()
                )
            } else {
                let _ = request.write_all(b"PURGE ");
                self.target(object, request);
                write!(request, " HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {token}\r\n\r\n")
            }
        } else if chance < self.purges + self.uncacheable {
            match (&self.site, dice.below(3)) {
                // Two pages of one's own for one form that is sent.
                (Site::Own, 0) => write!(
                    request,
                    "POST /basket/{object} HTTP/1.1\r\nhost: {host}\r\ncontent-length: 0\r\n\r\n"
                ),
                (Site::Own, _) => write!(request, "GET /account/{object} HTTP/1.1\r\nhost: {host}\r\n\r\n"),
                // Of a foreign origin only what cannot hurt is asked.
                _ => {
                    let _ = request.write_all(b"GET ");
                    self.target(object, request);
                    write!(request, " HTTP/1.1\r\nhost: {host}\r\ncache-control: no-store\r\n\r\n")
                }
            }
        } else {
            let _ = request.write_all(b"GET ");
            self.target(object, request);
            let _ = write!(request, " HTTP/1.1\r\nhost: {host}\r\n\r\n");
            return Asked::Object(object);
        };
        if chance < self.purges { Asked::Purge } else { Asked::Uncacheable }
    }

    fn target(&self, object: usize, request: &mut Vec<u8>) {
        let _ = match &self.site {
            Site::Own => write!(request, "/object/{object}"),
            Site::Demo => write!(request, "/fresh?load={object}"),
            Site::Listed(paths) => request.write_all(paths.get(object).map_or(b"/", |path| path.as_bytes())),
        };
    }

    /// What is wrong with an answer.
    pub fn fault(&self, asked: Asked, answer: &Answer) -> Option<String> {
        let own = matches!(self.site, Site::Own);
        let wrong_status = match asked {
            Asked::Purge => answer.status != 200,
            _ if own => answer.status != 200,
            // What the site says by its statuses is its own affair, unless it is that it cannot answer.
            _ => answer.status >= 500 || answer.status == 429,
        };
        if wrong_status {
            return Some(format!("status {} {}", answer.status, answer.cache_status()));
        }
        match asked {
            Asked::Object(object) if own => {
                let right = answer.body().len() == size(object)
                    && answer.body().strip_prefix(first_line(object).as_bytes()).is_some();
                (!right).then(|| "wrong body".to_owned())
            }
            // What is for one user and reaches another is worse than any delay.
            Asked::Uncacheable if own => answer
                .cache_status()
                .contains("; hit")
                .then(|| "an uncacheable response from the cache".to_owned()),
            _ => None,
        }
    }
}

/// What the load's own origin answers.
pub fn site(target: &str, _before: usize) -> crowd::Plan {
    let mut parts = target.rsplit('/');
    let object = parts.next().and_then(|number| number.parse().ok());
    let (Some("object"), Some(object)) = (parts.next(), object) else {
        let fields = "cache-control: no-store\r\ncontent-type: text/html\r\n".to_owned();
        return crowd::Plan {
            delay: ORIGIN_TAKES,
            status: 200,
            fields,
            body: b"yours alone".to_vec(),
            ..crowd::Plan::default()
        };
    };
    let mut body = first_line(object).into_bytes();
    body.resize(size(object), b'.');
    let fields = format!(
        "cache-control: {}\r\netag: \"{object}\"\r\nsurrogate-key: tag-{}\r\ncontent-type: image/jpeg\r\n",
        lifetime(object),
        object / TAGGED
    );
    crowd::Plan { delay: ORIGIN_TAKES, status: 200, fields, body, ..crowd::Plan::default() }
}

fn first_line(object: usize) -> String {
    format!("object {object}\n")
}

/// 1, 4 or 16 kB, 3.4 on average.
fn size(object: usize) -> usize {
    match object % 10 {
        0..=5 => 1000,
        6..=8 => 4000,
        _ => 16_000,
    }
}

/// Most objects live for minutes, some for moments.
fn lifetime(object: usize) -> &'static str {
    match object % 20 {
        3 => "max-age=2, stale-while-revalidate=10",
        7 | 11 | 13 => "max-age=30, stale-while-revalidate=30",
        _ => "max-age=600",
    }
}

/// The targets in a file, one a line; what is after a space and lines that begin with `#` are passed over.
fn listed(file: &Path) -> Result<Vec<String>, String> {
    let text =
        std::fs::read_to_string(file).map_err(|problem| format!("--paths {}: {problem}", file.display()))?;
    let words = text.lines().filter_map(|line| line.split_whitespace().next());
    let paths: Vec<String> = words.filter(|word| !word.starts_with('#')).map(str::to_owned).collect();
    match paths.iter().find(|path| !path.starts_with('/') || !path.is_ascii()) {
        Some(path) => Err(format!("--paths {}: '{path}' is no path", file.display())),
        None if paths.is_empty() => Err(format!("--paths {}: it is empty", file.display())),
        None => Ok(paths),
    }
}
