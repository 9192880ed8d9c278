//! U1: uploads of many types, and a long one: what the origin has of those that are not what they say, and what memory it takes.

use std::thread;
use std::time::{Duration, Instant};

use selvage_measure::tables::Wanted;
use selvage_measure::targets::Row;
use selvage_rig::envoy::Gateway;
use selvage_rig::uploads::{Recorder, send_film, try_kinds};

use crate::Report;

const RULES: &str = r#"{ "rules": [
  { "name": "any", "match": { "paths": ["/any/*"] }, "upload": { "sniff": true } },
  { "name": "films", "match": { "paths": ["/films/*"] }, "upload": { "types": ["video/mp4"], "sniff": true } } ] }"#;
const MEGABYTES: usize = 100;

/// Uploads all kinds, and then the long one.
pub fn run(_: &Wanted, report: &mut Report) -> Result<(), String> {
    let origin = Recorder::start();
    let builder = Gateway::with(RULES).origin(origin.url());
    let gateway =
        builder.try_start().map_err(|refused| format!("Envoy did not start:\n{}", refused.output))?;
    let tried = try_kinds(&gateway, &origin, "/any/a");
    let odd = tried.wrong.first().map(|first| format!("; {first}")).unwrap_or_default();
    report.targets.row(Row {
        scenario: "U1",
        what: format!("bytes that the origin has of what is another of {} types than it says", tried.kinds),
        target: "0".to_owned(),
        measured: format!("{}{odd}", tried.bytes),
        peer: "–".to_owned(),
        met: tried.bytes == 0 && tried.kinds >= 30 && tried.wrong.is_empty(),
    });
    let memory = || {
        // Workers say it once a second.
        thread::sleep(Duration::from_secs(2));
        let until = Instant::now() + Duration::from_secs(10);
        loop {
            match gateway.stat("selvage.heap_bytes.used") {
                0 if Instant::now() < until => thread::sleep(Duration::from_millis(50)),
                bytes => return bytes,
            }
        }
    };
    // Each worker has had one.
    let mut statuses: Vec<u16> = (0..12).map(|_| send_film(&gateway, "/films/a", 2)).collect();
    let (before, resident) = (memory(), gateway.resident_kib());
    let had = origin.bytes();
    statuses.push(send_film(&gateway, "/films/a", MEGABYTES));
    let arrived = origin.bytes() - had;
    let (after, resident_after) = (memory(), gateway.resident_kib());
    let all_taken = statuses.iter().all(|status| *status == 200) && arrived > MEGABYTES << 20;
    let kib = |bytes: u64| bytes / 1024;
    report.targets.row(Row {
        scenario: "U1",
        what: format!("memory of the VMs before and after a form of {MEGABYTES} MB without a length, which is looked into as it streams"),
        target: "1 MiB more at most".to_owned(),
        measured: format!("{} KiB, {} KiB", kib(before), kib(after)),
        peer: format!("Envoy as a whole: {resident} KiB, {resident_after} KiB"),
        met: all_taken && after <= before + (1 << 20) && resident_after <= resident + 16 * 1024,
    });
    gateway.assert_sound();
    Ok(())
}
