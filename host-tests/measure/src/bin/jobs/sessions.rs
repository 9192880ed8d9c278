//! E1: sessions that express-session has made and connect-redis keeps: what the filter makes of their cookies, and how soon a logout is
//! heard.

use selvage_measure::tables::Wanted;
use selvage_measure::targets::Row;
use selvage_rig::envoy::Gateway;
use selvage_rig::redis::Bridge;
use selvage_rig::sessions::{Application, NOBODYS, compare, config, logs_out, with_secrets};

use crate::Report;

const SESSIONS: usize = 1000;
const LOGOUTS: usize = 20;
/// In milliseconds.
const HEARD_WITHIN: u128 = 150;

/// Shows all cookies to one Envoy, and logs some out at another.
pub fn run(_: &Wanted, report: &mut Report) -> Result<(), String> {
    let bridge = Bridge::start();
    let application = Application::start(bridge.redis_port(), SESSIONS);
    // No copy ends by itself.
    let settings = config(r#", "copy": "60s""#, "", "");
    let start = || {
        let builder = with_secrets(Gateway::with(&settings)).origin(&application.url).bridge(bridge.port());
        builder.try_start().map_err(|refused| format!("Envoy did not start:\n{}", refused.output))
    };
    let (told, other) = (start()?, start()?);
    let compared = compare(&application, &told, 1);
    let odd = compared.differences.first().map(|first| format!("; {first}")).unwrap_or_default();
    let differences = compared.differences.len();
    report.targets.row(Row {
        scenario: "E1",
        what: format!(
            "of {} cookies of sessions those of which the middleware makes something else",
            compared.shown
        ),
        target: "0".to_owned(),
        measured: format!("{differences}{odd}"),
        peer: "express-session with connect-redis".to_owned(),
        met: differences == 0 && compared.shown >= SESSIONS,
    });
    let given: Vec<&str> = NOBODYS.into_iter().filter(|kind| compared.with_fields.contains(*kind)).collect();
    report.targets.row(Row {
        scenario: "E1",
        what: format!(
            "kinds of cookies that are forged, not signed or over, of {}, that set a field",
            NOBODYS.len()
        ),
        target: "0".to_owned(),
        measured: format!(
            "{}{}",
            given.len(),
            given.first().map(|kind| format!("; {kind}")).unwrap_or_default()
        ),
        peer: "–".to_owned(),
        met: given.is_empty() && !compared.with_fields.is_empty(),
    });
    let plain = application.made.iter().filter(|(kind, _)| kind == "plain").take(LOGOUTS);
    let mut heard: Vec<u128> =
        plain.map(|(_, cookie)| logs_out(&application, cookie, &told, &other).as_millis()).collect();
    heard.sort_unstable();
    let (median, worst) = (heard.get(heard.len() / 2), heard.last());
    report.targets.row(Row {
        scenario: "E1",
        what: format!(
            "for how long the other Envoy knows who has logged out, of {} the slowest",
            heard.len()
        ),
        target: format!("{HEARD_WITHIN} ms"),
        measured: format!("{} ms (p50 {} ms)", worst.unwrap_or(&0), median.unwrap_or(&0)),
        peer: "–".to_owned(),
        met: heard.len() == LOGOUTS && worst.is_some_and(|worst| *worst <= HEARD_WITHIN),
    });
    told.assert_sound();
    other.assert_sound();
    Ok(())
}
