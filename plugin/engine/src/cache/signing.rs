//! What is signed on its way to the remote store, and what is believed of what comes from there.

use std::borrow::Cow;

use super::{Cache, Moment};
use crate::purge::spread::{FORGED, Step, numbered, of_number};
use crate::remote::claim::Claim;
use crate::remote::dialect::{Answer, DialectError, wire_key};
use crate::remote::seal::{self, Seal, Text};
use crate::store::record::RecordError;
use crate::time::Timestamp;

impl Cache {
    /// What is written to the remote store is signed from now on, and what is not signed is not believed.
    pub fn set_seal(&mut self, seal: Option<Seal>) {
        self.seal = seal;
    }

    /// Bytes that a value in the remote store may have beside a record or entry.
    pub fn sealing_bytes(&self) -> usize {
        if self.seal.is_some() { seal::RECORD_OVERHEAD.max(seal::TEXT_OVERHEAD) } else { 0 }
    }

    /// A record as it is to be written under its hash.
    pub fn signed<'a>(&self, hash: u128, record: &'a [u8]) -> Cow<'a, [u8]> {
        match &self.seal {
            None => Cow::Borrowed(record),
            Some(seal) => Cow::Owned(seal.sign(&wire_key(&self.policy.remote.prefix, hash), record)),
        }
    }

    /// The text that a step writes, as it is to be written under the step's key; empty if it writes none.
    pub fn signed_step<'a>(&self, step: &'a Step, now: Timestamp) -> Cow<'a, str> {
        let (what, text) = match step {
            Step::Add { number, text, .. } => (Text::Entry, Cow::Owned(numbered(*number, text))),
            Step::Hint { number } => (Text::Hint, Cow::Owned(number.to_string())),
            Step::Read { .. } | Step::Last { .. } => return Cow::Borrowed(""),
        };
        match &self.seal {
            None => text,
            Some(seal) => Cow::Owned(seal.sign_text(what, &step.key(&self.policy.remote.prefix), &text, now)),
        }
    }

    /// What was signed to lie under this hash; as it is, where nothing is signed.
    pub(super) fn verified(
        &mut self,
        hash: u128,
        value: Vec<u8>,
        moment: &mut Moment<'_>,
    ) -> Result<Vec<u8>, RecordError> {
        // To be believed costs no more than a bounded wait, and the store itself writes what it is asked to claim.
        let Some(seal) = self.seal.as_ref().filter(|_| Claim::read(&value) != Some(Claim::Fetching)) else {
            return Ok(value);
        };
        let key = wire_key(&self.policy.remote.prefix, hash);
        seal.open(&key, value).ok_or_else(|| {
            self.note_unsigned(&key, moment);
            RecordError::Unsigned
        })
    }

    /// The answer to a step about purges, as far as it can be believed.
    pub(super) fn verified_answer(
        &mut self,
        step: &Step,
        answer: Result<Answer, DialectError>,
        moment: &mut Moment<'_>,
    ) -> Option<Answer> {
        let value = match answer {
            Ok(Answer::Value(value)) => value,
            // No purge is so long: it is there, and cannot be read.
            Err(DialectError::TooLarge) => Vec::new(),
            answer => return answer.ok(),
        };
        let (what, number) = match step {
            Step::Last { .. } | Step::Hint { .. } => (Text::Hint, None),
            Step::Add { number, .. } | Step::Read { number, .. } => (Text::Entry, Some(*number)),
        };
        let key = step.key(&self.policy.remote.prefix);
        let text = match &self.seal {
            None => Some(seal::unverified(&value)),
            Some(seal) => seal.open_text(what, &key, &value, moment.now),
        };
        let text = match number {
            None => text.filter(|text| text.iter().all(u8::is_ascii_digit)),
            Some(number) => text.and_then(|text| of_number(number, text)),
        };
        if let Some(text) = text {
            return Some(Answer::Value(text.to_vec()));
        }
        // No entry has the number 0: it stands for the hint.
        if self.spread.doubts(number.unwrap_or(0), &value) {
            return None;
        }
        if self.seal.is_none() {
            return Some(Answer::Value(value));
        }
        self.stats.count("purge", "forged");
        self.note_unsigned(&key, moment);
        Some(match what {
            Text::Entry => Answer::Value(FORGED.to_vec()),
            Text::Hint => Answer::Absent,
        })
    }

    /// Tells operators, now and then, of what somebody without the secret has written.
    fn note_unsigned(&mut self, key: &str, moment: &mut Moment<'_>) {
        let Some(left_out) = self.unsigned.line(moment.now) else { return };
        let more = if left_out == 0 {
            String::new()
        } else {
            format!(", and {left_out} others since the last line")
        };
        moment.host.note(&format!(
            "the remote store has a value under {key:?} that no secret of remote.secret_env has signed{more}: ignored"
        ));
    }
}
