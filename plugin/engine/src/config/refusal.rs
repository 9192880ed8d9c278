//! The last configuration that was refused on this node. Envoy remembers that it was, and refuses the same one again without
//! asking: the reasons stand in its log once, and here.
//!
//! In shared data: the time in milliseconds since the epoch, little endian, and a JSON array of the reasons.

use serde_json::Value;

use super::ConfigError;
use crate::host::{ABSENT, SharedData};
use crate::members::members;
use crate::time::Timestamp;

/// Writes it down. Of very many the first are kept, and how many there were.
pub fn note(errors: &[ConfigError], data: &mut dyn SharedData, now: Timestamp) {
    let mut reasons: Vec<Value> = errors.iter().take(REASONS).map(|error| error.to_string().into()).collect();
    let more = errors.len().saturating_sub(REASONS);
    if more > 0 {
        reasons.push(format!("and {more} more").into());
    }
    let mut value = now.as_millis().to_le_bytes().to_vec();
    value.extend_from_slice(Value::from(reasons).to_string().as_bytes());
    let cas = data.get(KEY).map_or(ABSENT, |(_, cas)| cas);
    // Another one that was refused at the same moment is as good.
    let _ = data.set(KEY, &value, cas);
}

/// When it was and why, for operators; nothing if none was refused since Envoy started.
pub(crate) fn shown(data: &mut dyn SharedData, now: Timestamp) -> Value {
    let found = data.get(KEY).and_then(|(bytes, _)| {
        let (at, reasons) = bytes.split_first_chunk::<8>()?;
        let reasons = serde_json::from_slice::<Vec<String>>(reasons).ok()?;
        Some((Timestamp::from_millis(u64::from_le_bytes(*at)), reasons))
    });
    let Some((at, reasons)) = found else { return Value::Null };
    let reasons = reasons.into_iter().map(Value::from).collect();
    members! { "ago_s": now.since(at).as_secs(); "reasons" => Value::Array(reasons) }
}

const KEY: &str = "sv1/refused";
/// How many reasons are kept. Each is shortened by whoever found it.
const REASONS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::store::node::fake::Fake;

    #[test]
    fn the_last_one_is_shown_with_its_reasons_and_no_more_than_so_many() {
        let mut data = Fake::default();
        let at = |seconds: u64| Timestamp::from_millis(1_000_000 + seconds * 1000);
        assert_eq!(shown(&mut data, at(0)), Value::Null);
        note(&Config::parse(br#"{"rulez":1,"name":3}"#).unwrap_err(), &mut data, at(0));
        let told = shown(&mut data, at(7));
        assert_eq!(
            (&told["ago_s"], told["reasons"].as_array().map(Vec::len)),
            (&7.into(), Some(2)),
            "{told}"
        );
        let many: Vec<String> = (0..100).map(|number| format!("\"m{number}\":0")).collect();
        note(&Config::parse(format!("{{{}}}", many.join(",")).as_bytes()).unwrap_err(), &mut data, at(9));
        let told = shown(&mut data, at(9));
        assert_eq!(told["reasons"][REASONS], "and 68 more");
        data.put_raw(KEY, b"not of ours");
        assert_eq!(shown(&mut data, at(9)), Value::Null);
    }
}
