//! What comes from outside, changed at random: nothing panics, nothing grows, and what passes is what came.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "the harness tells a failed expectation by panicking"
)]

#[allow(dead_code, reason = "the tests inside use the rest")]
#[path = "../src/chance.rs"]
mod chance;

use chance::Chance;
use selvage_llm::canonical::Canonical;
use selvage_llm::embeddings::{Request, combine, merge, split};
use selvage_llm::events::{Events, replay_from};
use selvage_llm::forecast::{Hours, Window, forecast};
use selvage_llm::formats::{Answer, Api, Body, Provider};
use selvage_llm::injection::{UsageFilter, ask_for_usage, ask_model};
use selvage_llm::json::{members, normal_number, unescaped};
use selvage_llm::money::Money;

const SEEDS: [&[u8]; 9] = [
    br#"{"model":"gpt-4o","stream":true,"stream_options":{"include_usage":false},"n":2,"max_tokens":10,"messages":[{"role":"user","content":"\u00e4\ud83d\ude00"}]}"#,
    br#"{"model":"e","input":["a","b",[1,2]],"dimensions":3}"#,
    br#"{"input":[[1,2],[3]],"model":"e"}"#,
    br#"{"object":"list","data":[{"index":0,"embedding":[0.1]},{"index":1,"embedding":"x"}],"model":"e","usage":{"prompt_tokens":3,"total_tokens":3}}"#,
    b"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"},\"finish_reason\":\"stop\"}]}\n\ndata: {\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}\n\ndata: [DONE]\n\n",
    b"event: message_start\r\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":3}}}\r\n\r\nevent: message_stop\r\ndata: {\"type\":\"message_stop\"}\r\n\r\n",
    b"\xef\xbb\xbfid: 1\rretry: 10\rdata: {\"type\":\"response.completed\",\"response\":{\"status\":\"completed\"}}\r\r",
    br#"{"choices":[{"index":0,"message":{"content":[{"text":"a"}]},"finish_reason":"length"}],"usage":{"prompt_tokens":1e3}}"#,
    b"-12.50e-03",
];

/// One of the seeds with a few changes: bytes, doublings, cuts.
fn changed(chance: &mut Chance) -> Vec<u8> {
    let mut bytes = chance.of(&SEEDS).to_vec();
    for _ in 0..chance.below(6) {
        let (from, to) = (chance.below(bytes.len()), chance.below(bytes.len()));
        match chance.below(5) {
            0 if !bytes.is_empty() => bytes[from] = chance.number() as u8,
            1 if !bytes.is_empty() => bytes[from] = *chance.of(b"{}[]\",:\\\r\n 019e-u\xef"),
            2 => bytes.truncate(from),
            3 if from < to => {
                let part = bytes[from..to].to_vec();
                bytes.splice(from..from, part);
            }
            _ => {
                let other = *chance.of(&SEEDS);
                bytes.extend_from_slice(&other[..chance.below(other.len())]);
            }
        }
    }
    bytes
}

#[test]
fn nothing_from_outside_panics_and_what_passes_is_what_came() {
    let mut chance = Chance::new(91);
    for _ in 0..20_000 {
        let bytes = changed(&mut chance);
        let chunks: Vec<&[u8]> = chance.cuts(&bytes);

        let mut canonical = Canonical::new(["user".into()].into());
        let _ = chunks.iter().try_for_each(|chunk| canonical.push(chunk));
        assert!(canonical.kept_bytes() < 64 * 1024);
        let _ = canonical.finish();

        for api in [Api::Chat, Api::Completions, Api::Responses, Api::Embeddings, Api::Messages] {
            for body in [Body::Json, Body::Events] {
                let mut answer = Answer::new(api, body);
                chunks.iter().for_each(|chunk| answer.push(chunk));
                let _ = (answer.usage(), answer.finish().counted(bytes.len() as u64));
            }
        }

        let mut filter = UsageFilter::default();
        let mut out = Vec::new();
        for chunk in &chunks {
            out.extend_from_slice(&filter.push(chunk));
        }
        out.extend_from_slice(&filter.finish());
        assert!(out == bytes || filter.taken() > 0 && out.len() < bytes.len());

        let mut events = Events::new(50);
        let mut ends = Vec::new();
        for chunk in &chunks {
            events.push(chunk, &mut |event| ends.push(event.frame.range.clone()));
        }
        events.finish(&mut |event| ends.push(event.frame.range.clone()));
        assert!(ends.windows(2).all(|pair| pair[0].end <= pair[1].start));
        assert!(ends.iter().all(|range| range.start < range.end && range.end <= bytes.len() as u64));
        assert!(replay_from(&bytes, b"1").is_none_or(|from| from <= bytes.len()));

        if let Ok(Some(splice)) = ask_for_usage(&bytes) {
            assert_eq!(ask_for_usage(&splice.apply(&bytes)), Ok(None));
        }
        if let Ok(Some(splice)) = ask_model(&bytes, "other") {
            let renamed = splice.apply(&bytes);
            let mut canonical = Canonical::new([].into());
            if canonical.push(&renamed).is_ok() {
                assert_eq!(canonical.finish().unwrap().summary.model.as_deref(), Some("other"));
            }
        }

        if let Ok(request) = Request::read(&bytes, 10) {
            assert_eq!(request.keys(&[]).unwrap().len(), request.count());
            let all: Vec<usize> = (0..request.count()).collect();
            let again = request.asking_for(&all).unwrap();
            assert_eq!(Request::read(&again, 10).unwrap().keys(&[]), request.keys(&[]));
            let both = combine(&[request.clone(), request], 20, 1 << 20).unwrap();
            assert!(Request::read(&both, 20).is_ok());
        }
        if let Ok(merged) = merge(&[&bytes, &bytes]) {
            let count = members(&merged, 100).unwrap().map_or(0, |members| members.len());
            assert!(count >= 2);
            assert!(merge(&[&merged]).is_ok());
        }
        let _ = split(&bytes, &[1, 2]);
        let _ = (unescaped(&bytes, 10), normal_number(&bytes, &mut Vec::new()), Provider::OpenAi.api(&bytes));
        let _ = std::str::from_utf8(&bytes).map(Money::parse);
    }
}

#[test]
fn forecasts_of_anything_are_in_order() {
    let mut chance = Chance::new(92);
    for _ in 0..5_000 {
        let mut any = || chance.number() >> (chance.below(64) as u32);
        let now = any();
        let hours: Hours = (0..any() % 900).map(|back| ((now / 3600).saturating_sub(back), any())).collect();
        let window =
            Window { end: now.saturating_add(any() % 10_000_000), spent: any(), amount: Some(any()) };
        let told = forecast(&hours, &window, now);
        assert!(told.p10 <= told.expected && told.expected <= told.p90, "{told:?}");
        assert!(told.p10 >= window.spent);
        assert!(told.runs_out.is_none_or(|at| at >= now && at <= window.end.max(now)), "{told:?} {window:?}");
    }
}
