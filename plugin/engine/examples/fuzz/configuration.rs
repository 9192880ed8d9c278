//! Inputs for the reader of configurations: JSON with members that there are, and protobuf by chance.

use selvage_engine::config::Config;

use crate::allocator::peak_of;
use crate::decoder::{Decoder, Outcome};
use crate::random::Random;

/// The reader of configurations.
pub struct Configuration;

impl Decoder for Configuration {
    fn name(&self) -> &'static str {
        "configuration"
    }

    fn words(&self) -> &'static [&'static [u8]] {
        &WORDS
    }

    fn generate(&self, random: &mut Random) -> Vec<u8> {
        let value = *random.pick(&VALUES);
        let members: Vec<String> = (0..random.below(4)).map(|_| member(value, random)).collect();
        format!("{{{}}}", members.join(",")).into_bytes()
    }

    fn adjust(&self, input: &mut Vec<u8>, random: &mut Random) {
        // A value in the place of another, or a list of many.
        let Some(colon) = input.iter().skip(random.below(input.len())).position(|byte| *byte == b':') else {
            return;
        };
        let end = (colon + 1 + random.below(20)).min(input.len());
        let value = match random.below(8) {
            0 => format!("[{}0]", "0,".repeat(random.below(2000))),
            1 => format!("[{}[]]", "[],".repeat(random.below(2000))),
            2 => format!("{{{}\"a\":0}}", "\"a\":0,".repeat(random.below(1000))),
            _ => (*random.pick(&VALUES)).to_owned(),
        };
        drop(input.splice(colon + 1..end.max(colon + 1), value.into_bytes()));
    }

    fn check(&self, input: &[u8]) -> Outcome {
        let (read, peak) = peak_of(|| Config::parse(input));
        match read {
            Ok(config) => Outcome::new(true, peak, config.rules.len()),
            Err(faults) => {
                assert!((1..=100).contains(&faults.len()), "{} faults", faults.len());
                let first = faults.first().map(|fault| (fault.path.clone(), fault.allowed.clone()));
                Outcome::new(false, peak, (faults.len().checked_ilog2(), first))
            }
        }
    }

    fn memory_bound(&self, len: usize) -> usize {
        // A value of two characters takes 32 bytes, in a vector that doubles and is then copied; a hundred faults are told, each
        // with its path and what is allowed.
        64 * len + (64 << 10)
    }
}

/// A member somewhere in the configuration, with those that it lies in.
fn member(value: &str, random: &mut Random) -> String {
    let path = *random.pick(&PATHS);
    let (mut before, mut after) = (String::new(), String::new());
    for part in path.split('.') {
        match part.strip_suffix("[]") {
            Some(name) => {
                before.push_str(&format!("\"{name}\":[{{"));
                after.insert_str(0, "}]");
            }
            None => {
                before.push_str(&format!("\"{part}\":{{"));
                after.insert(0, '}');
            }
        }
    }
    // The last is no object.
    format!("{}{value}{}", before.trim_end_matches('{'), after.get(1..).unwrap_or_default())
}

const VALUES: [&str; 16] = [
    "0",
    "1",
    "-1",
    "1e999",
    "18446744073709551616",
    "true",
    "null",
    "\"1h\"",
    "\"64MiB\"",
    "\"\"",
    "[]",
    "{}",
    "[\"a\"]",
    "\"GET\"",
    "{\"404\":\"10s\"}",
    "\"\\ud800\"",
];
const WORDS: [&[u8]; 10] = [
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b"\"",
    b"\"name\":\"a\"",
    b"\xff",
    b"\\u0000",
    b"\"rules\":[{\"name\":\"a\"}]",
];
/// Members of each kind; a name with `[]` is a list of objects.
const PATHS: [&str; 16] = [
    "name",
    "worker.bytes",
    "node.buckets",
    "remote.timeout",
    "remote.breaker.failure_percent",
    "admin.hosts",
    "purge.skew",
    "warm.urls",
    "defaults.ttl.statuses",
    "defaults.key.query.except",
    "rules[].name",
    "rules[].match.hosts",
    "rules[].match.methods",
    "rules[].key.body.methods",
    "rules[].compression.types",
    "rules[].vary.require",
];
