//! What the answer to a call says: under which word it is counted, and what the breaker of the store makes of it.

use std::time::Duration;

use super::claim::Claim;
use super::dialect::{Answer, DialectError, Kind};
use super::writes;
use crate::breaker::CallResult;
use crate::store::record::RecordError;

/// What is said of an answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    /// The word of the family `remote`.
    pub word: &'static str,
    /// What the breaker takes in.
    pub result: CallResult,
    /// A claim that was asked for is there, or may be: it is the request's to end.
    pub leaves_claim: bool,
    /// It came to nothing for a reason that passes.
    passes: bool,
}

impl Verdict {
    /// Of an answer that came after `latency`. What lies in a value is told by [`Verdict::of_value`].
    pub fn of(kind: Kind, answer: &Result<Answer, DialectError>, latency: Duration) -> Self {
        let (word, leaves_claim) = match answer {
            Ok(Answer::Value(_)) => ("found", false),
            Ok(Answer::Absent) => ("absent", true),
            Ok(Answer::Done | Answer::Ready(_)) if kind == Kind::Delete => ("deleted", false),
            Ok(Answer::Done | Answer::Ready(_)) => ("written", false),
            // What was not answered may be done all the same, or yet.
            Err(error) => (error.as_str(), !error.is_refusal()),
        };
        let passes = answer.as_ref().is_err_and(writes::passes);
        Self { word, result: result_of(kind, answer, latency), leaves_claim, passes }
    }

    /// Of a value that was read: as a claim, or (`None`) as a record.
    pub const fn of_value(read: Result<Option<Claim>, RecordError>, latency: Duration) -> Self {
        let success = CallResult::Success { latency };
        let (word, result) = match read {
            Ok(Some(_)) => ("claimed", success),
            Ok(None) => ("found", success),
            // The store has answered well; whoever wrote that cannot have it left alone.
            Err(RecordError::Unsigned) => ("forged", success),
            // Of another release that shares the store.
            Err(RecordError::Unknown) => ("absent", success),
            Err(_) => ("malformed", CallResult::Failure),
        };
        Self { word, result, leaves_claim: false, passes: false }
    }

    /// Whether a deletion has to be sent again. What was invalidated must go, also from a store that could not be reached
    /// for a moment, or that `refuses` deletions for now, or cannot do them for reasons of its own.
    pub fn repeats_deletion(&self, refuses: bool) -> bool {
        match self.word {
            _ if self.passes => true,
            "timeout" | "reset" | "unreachable" => true,
            "redis-error" | "unauthorized" => refuses,
            _ => false,
        }
    }

    /// Whether it came well and in time.
    pub fn is_well(&self, slow_after: Duration) -> bool {
        matches!(self.result, CallResult::Success { latency } if latency <= slow_after)
    }
}

/// What the breaker takes in of an answer that came after `latency`.
pub fn result_of(kind: Kind, answer: &Result<Answer, DialectError>, latency: Duration) -> CallResult {
    match answer {
        Ok(_) => CallResult::Success { latency },
        Err(error) => error.call_result(kind, latency),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOOK: Duration = Duration::from_millis(3);
    const SUCCESS: CallResult = CallResult::Success { latency: TOOK };

    fn refused() -> DialectError {
        DialectError::RedisError("OOM".into())
    }

    #[test]
    fn a_claim_is_the_requests_to_end_unless_it_was_refused() {
        let left = |answer| Verdict::of(Kind::Claim, &answer, TOOK).leaves_claim;
        assert!(left(Ok(Answer::Absent)));
        assert!(left(Err(DialectError::Timeout)), "it may be done all the same");
        assert!(!left(Err(refused())));
        assert!(!left(Err(DialectError::Unauthorized)));
        assert!(!left(Ok(Answer::Value(b"claim:1".to_vec()))));
    }

    #[test]
    fn a_forged_record_does_not_have_the_store_left_alone_and_a_broken_one_does() {
        let of = |read| {
            let Verdict { word, result, .. } = Verdict::of_value(read, TOOK);
            (word, result)
        };
        assert_eq!(of(Err(RecordError::Unsigned)), ("forged", SUCCESS));
        assert_eq!(of(Err(RecordError::Unknown)), ("absent", SUCCESS));
        assert_eq!(of(Err(RecordError::Damaged)), ("malformed", CallResult::Failure));
        assert_eq!(of(Ok(None)), ("found", SUCCESS));
        assert_eq!(of(Ok(Some(Claim::Fetching))), ("claimed", SUCCESS));
    }

    #[test]
    fn a_deletion_is_sent_again_that_may_not_have_been_done() {
        let again = |answer, refuses| Verdict::of(Kind::Delete, &answer, TOOK).repeats_deletion(refuses);
        assert!(!again(Ok(Answer::Done), true));
        assert!(again(Err(DialectError::Timeout), false));
        assert!(again(Err(DialectError::Unreachable), false));
        assert!(again(Err(DialectError::Reset), false));
        assert!(!again(Err(refused()), false));
        assert!(again(Err(refused()), true));
        assert!(!again(Err(DialectError::Status(500)), true));
        assert!(again(Err(DialectError::Status(503)), false));
        for text in ["READONLY You can't write", "ERR READONLY", "LOADING Redis is loading", "MISCONF disk"] {
            assert!(again(Err(DialectError::RedisError(text.to_owned())), false), "{text}");
        }
    }

    #[test]
    fn a_write_does_well_that_is_done_in_time() {
        let well = |answer| Verdict::of(Kind::Set, &answer, TOOK).is_well(TOOK);
        assert!(well(Ok(Answer::Done)));
        assert!(!well(Err(refused())));
        assert!(!Verdict::of(Kind::Set, &Ok(Answer::Done), TOOK * 2).is_well(TOOK));
    }
}
