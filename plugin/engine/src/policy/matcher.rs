//! Which requests a rule is for.

use super::glob::Glob;
use crate::config::Match;

/// The places of the patterns that a request fits; `None` where the rule has no list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fit {
    /// In `match.hosts`.
    pub hosts: Option<usize>,
    /// In `match.paths`.
    pub paths: Option<usize>,
    /// In `match.methods`.
    pub methods: Option<usize>,
}

/// The patterns of one rule. All that are given must fit.
#[derive(Debug, Clone)]
pub(super) struct Matcher {
    hosts: Option<Box<[Host]>>,
    paths: Option<Box<[Glob]>>,
    methods: Option<Box<[Box<[u8]>]>>,
}

#[derive(Debug, Clone)]
enum Host {
    Any,
    Exact(Box<[u8]>),
    /// With its leading dot, so that `*.example.com` does not mean `badexample.com`.
    Below(Box<[u8]>),
}

impl Matcher {
    pub(super) fn new(matching: Match) -> Self {
        let Match { hosts, paths, methods } = matching;
        Matcher {
            hosts: hosts.map(|hosts| hosts.into_iter().map(Host::new).collect()),
            paths: paths.map(|paths| paths.iter().map(|path| Glob::new(path)).collect()),
            methods: methods.map(Vec::into_boxed_slice),
        }
    }

    /// Which pattern of each list fits, or the first list in which none does.
    #[inline]
    pub(super) fn fit(&self, host: &[u8], path: &[u8], method: &[u8]) -> Result<Fit, &'static str> {
        // The cheap questions come first.
        let methods = fits(&self.methods, |allowed| **allowed == *method).ok_or("methods")?;
        let hosts = fits(&self.hosts, |pattern| pattern.matches(host)).ok_or("hosts")?;
        let paths = fits(&self.paths, |pattern| pattern.matches(path)).ok_or("paths")?;
        Ok(Fit { hosts, paths, methods })
    }
}

impl Host {
    fn new(pattern: Box<[u8]>) -> Self {
        match &*pattern {
            b"*" => Host::Any,
            [b'*', below @ ..] => Host::Below(below.into()),
            _ => Host::Exact(pattern),
        }
    }

    fn matches(&self, host: &[u8]) -> bool {
        match self {
            Host::Any => true,
            Host::Exact(exact) => **exact == *host,
            Host::Below(dotted) => host.len() > dotted.len() && host.ends_with(dotted),
        }
    }
}

/// The place of the first pattern that matches, `None` in it if there is no list; `None` if there is one and none does.
#[expect(clippy::option_option, reason = "no list is another thing than no match")]
fn fits<P>(patterns: &Option<Box<[P]>>, matches: impl Fn(&P) -> bool) -> Option<Option<usize>> {
    match patterns.as_deref() {
        None => Some(None),
        Some(patterns) => patterns.iter().position(matches).map(Some),
    }
}
