//! When the events of a stream come that passes, and who ends it: what operators see of answers of language models.

use selvage_llm::formats::{Outcome, Progress};

use crate::cache::{Cache, Moment};
use crate::host::BrokenBy;
use crate::time::Timestamp;

/// A stream that is passing.
pub(super) struct Streaming {
    /// When it was asked for.
    asked: Timestamp,
    /// When its first event came, and its last.
    came: Option<(Timestamp, Timestamp)>,
    /// When the first came with something that the model has written, and the last. Some say hello before they begin to think.
    wrote: Option<(Timestamp, Timestamp)>,
    /// What has come.
    progress: Progress,
    /// The longest time between two of them, in milliseconds.
    gap: u32,
}

/// How a stream has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Its framing was whole.
    Whole,
    /// The stream is gone before that.
    Broken,
}

impl Streaming {
    /// Its head has come.
    pub(super) fn begin(asked: Timestamp, cache: &mut Cache) -> Self {
        cache.streams_open = cache.streams_open.saturating_add(1);
        Self { asked, came: None, wrote: None, progress: Progress::default(), gap: 0 }
    }

    /// A part of it has come.
    pub(super) fn hear(&mut self, progress: Progress, now: Timestamp) {
        let before = std::mem::replace(&mut self.progress, progress);
        if progress.events == before.events {
            return;
        }
        if let Some((_, last)) = self.came {
            self.gap = self.gap.max(now.millis_since(last));
        }
        let until_now =
            |since: Option<(Timestamp, Timestamp)>| Some((since.map_or(now, |(first, _)| first), now));
        self.came = until_now(self.came);
        if progress.content_events > before.content_events {
            self.wrote = until_now(self.wrote);
        }
    }

    /// Nothing is known of how it has ended.
    pub(super) fn forget(self, cache: &mut Cache) {
        cache.streams_open = cache.streams_open.saturating_sub(1);
    }

    /// It has ended. `output` are the tokens of it.
    pub(super) fn end(
        self,
        end: End,
        outcome: &Outcome,
        output: u64,
        cache: &mut Cache,
        moment: &mut Moment<'_>,
    ) {
        let now = moment.now;
        cache.streams_open = cache.streams_open.saturating_sub(1);
        let word = match end {
            End::Whole => "whole",
            End::Broken => match moment.host.broken_by() {
                BrokenBy::Origin => "origin",
                BrokenBy::Client => "client",
                BrokenBy::Timeout => "timeout",
            },
        };
        let stats = &mut cache.stats;
        stats.count("llm_streams", word);
        let Progress { events, content_events, .. } = outcome.progress;
        stats.add("llm_events", "content", content_events);
        stats.add("llm_events", "other", events.saturating_sub(content_events));
        stats.sample("llm_stream_ms", "duration", now.millis_since(self.asked).into());
        let Some((first, _)) = self.came else { return };
        stats.sample("llm_stream_ms", "first-event", first.millis_since(self.asked).into());
        stats.sample("llm_stream_ms", "gap", self.gap.into());
        let Some((first, last)) = self.wrote else { return };
        stats.sample("llm_stream_ms", "first-content", first.millis_since(self.asked).into());
        // Of what came at once nothing is known of how fast it was written.
        if let Some(rate) = output.saturating_mul(1000).checked_div(last.millis_since(first).into()) {
            stats.sample("llm_tokens_per_second", "output", rate);
        }
    }
}
