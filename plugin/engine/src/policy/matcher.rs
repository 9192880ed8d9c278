//! Which requests a rule is for.

use super::glob::Glob;
use crate::config::Match;

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

    pub(super) fn matches(&self, host: &[u8], path: &[u8], method: &[u8]) -> bool {
        // The cheap questions come first.
        fits(&self.methods, |allowed| **allowed == *method)
            && fits(&self.hosts, |pattern| pattern.matches(host))
            && fits(&self.paths, |pattern| pattern.matches(path))
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

fn fits<P>(patterns: &Option<Box<[P]>>, matches: impl Fn(&P) -> bool) -> bool {
    patterns.as_deref().is_none_or(|patterns| patterns.iter().any(matches))
}
