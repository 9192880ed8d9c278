//! What limits, budgets, sessions and jobs ask Redis: a script on one key, and how its answer is read.

#[cfg(feature = "jobs")]
use crate::jobs::question::{self as job, JobAnswer, JobRequest};
use crate::limits::lease::{self, LeaseAnswer, LeaseRequest, Script};
#[cfg(feature = "sessions")]
use crate::sessions::question::{LOOK_UP, SessionAnswer, SessionRequest};
#[cfg(all(feature = "limits", feature = "llm"))]
use {
    crate::budgets::ledger::Balance,
    crate::budgets::question::{self, HoursRequest, LedgerRequest},
    selvage_llm::forecast::Hours,
};

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Tokens of a limit.
    Lease(LeaseRequest),
    /// What is spent of a budget.
    #[cfg(all(feature = "limits", feature = "llm"))]
    Ledger(LedgerRequest),
    /// What was spent of it by the hour.
    #[cfg(all(feature = "limits", feature = "llm"))]
    Hours(HoursRequest),
    /// What is under a session's key.
    #[cfg(feature = "sessions")]
    Session(SessionRequest),
    /// Something about jobs.
    #[cfg(feature = "jobs")]
    Job(JobRequest),
}

/// Its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// To [`Asked::Lease`].
    Lease(LeaseAnswer),
    /// To [`Asked::Ledger`].
    #[cfg(all(feature = "limits", feature = "llm"))]
    Ledger(Balance),
    /// To [`Asked::Hours`].
    #[cfg(all(feature = "limits", feature = "llm"))]
    Hours(Hours),
    /// To [`Asked::Session`].
    #[cfg(feature = "sessions")]
    Session(SessionAnswer),
    /// To [`Asked::Job`].
    #[cfg(feature = "jobs")]
    Job(JobAnswer),
}

impl Asked {
    /// The script that answers it.
    pub const fn script(&self) -> Script {
        match self {
            Self::Lease(_) => Script { text: lease::SCRIPT, digest: lease::DIGEST },
            #[cfg(all(feature = "limits", feature = "llm"))]
            Self::Ledger(_) => question::LEDGER,
            #[cfg(all(feature = "limits", feature = "llm"))]
            Self::Hours(_) => question::HOURS,
            #[cfg(feature = "sessions")]
            Self::Session(_) => LOOK_UP,
            #[cfg(feature = "jobs")]
            Self::Job(_) => job::SCRIPT,
        }
    }

    /// Which of the [`SCRIPTS`] that is.
    pub const fn nth(&self) -> usize {
        match self {
            Self::Lease(_) => 0,
            #[cfg(all(feature = "limits", feature = "llm"))]
            Self::Ledger(_) => 1,
            #[cfg(all(feature = "limits", feature = "llm"))]
            Self::Hours(_) => 2,
            #[cfg(feature = "sessions")]
            Self::Session(_) => 3,
            #[cfg(feature = "jobs")]
            Self::Job(_) => 4,
        }
    }

    /// The script's arguments: letters, digits, and what stands in a path as it is, unless it [is of others](Self::is_of_others).
    pub fn arguments(&self) -> Vec<String> {
        match self {
            Self::Lease(request) => request.arguments().into(),
            #[cfg(all(feature = "limits", feature = "llm"))]
            Self::Ledger(request) => request.arguments(),
            #[cfg(all(feature = "limits", feature = "llm"))]
            Self::Hours(request) => request.arguments(),
            #[cfg(feature = "sessions")]
            Self::Session(request) => request.arguments(),
            #[cfg(feature = "jobs")]
            Self::Job(request) => request.arguments(),
        }
    }

    /// Its last argument, if that is long: letters, digits, `+`, `/` and `=`.
    pub const fn content(&self) -> Option<&std::rc::Rc<[u8]>> {
        match self {
            #[cfg(feature = "jobs")]
            Self::Job(request) => request.content(),
            _ => None,
        }
    }

    /// Whether its key and its arguments may have any bytes, since others have made them up.
    pub const fn is_of_others(&self) -> bool {
        #[cfg(feature = "sessions")]
        return matches!(self, Self::Session(_));
        #[cfg(not(feature = "sessions"))]
        false
    }

    /// The key in Redis.
    pub(super) fn key(&self, prefix: &str, namespace: u64) -> String {
        match self {
            Self::Lease(request) => lease::key(prefix, namespace, request.key),
            #[cfg(all(feature = "limits", feature = "llm"))]
            Self::Ledger(request) => question::ledger_key(prefix, namespace, request.key),
            #[cfg(all(feature = "limits", feature = "llm"))]
            Self::Hours(request) => question::hours_key(prefix, namespace, request.key),
            #[cfg(feature = "sessions")]
            Self::Session(request) => request.key(),
            #[cfg(feature = "jobs")]
            Self::Job(_) => job::key(prefix, namespace),
        }
    }

    /// From the script's answer; `None` if it is no answer to this.
    pub fn read(&self, text: &[u8]) -> Option<Told> {
        match self {
            Self::Lease(request) => LeaseAnswer::read(text, request).map(Told::Lease),
            #[cfg(all(feature = "limits", feature = "llm"))]
            Self::Ledger(request) => request.read(text).map(Told::Ledger),
            #[cfg(all(feature = "limits", feature = "llm"))]
            Self::Hours(request) => request.read(text).map(Told::Hours),
            #[cfg(feature = "sessions")]
            Self::Session(request) => request.read(text).map(Told::Session),
            #[cfg(feature = "jobs")]
            Self::Job(request) => request.read(text).map(Told::Job),
        }
    }

    /// Bytes of an answer at most.
    pub const fn longest(&self) -> usize {
        match self {
            Self::Lease(_) => 200,
            #[cfg(all(feature = "limits", feature = "llm"))]
            Self::Ledger(_) => 200,
            // 840 hours with sums of up to 20 digits.
            #[cfg(all(feature = "limits", feature = "llm"))]
            Self::Hours(_) => 32 << 10,
            #[cfg(feature = "sessions")]
            Self::Session(request) => request.longest(),
            #[cfg(feature = "jobs")]
            Self::Job(request) => request.longest,
        }
    }
}

/// Scripts that Redis may know.
pub const SCRIPTS: usize = 5;
