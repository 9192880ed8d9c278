//! What fleets ask, as a page to read.

use std::fmt::Write;

use super::meter::{Kind, Sum};
use super::{Figures, Situation, WORKERS};

/// The whole page.
pub fn page(figures: &[Figures]) -> String {
    let mut sizes: Vec<usize> = figures.iter().map(|of| of.nodes).collect();
    sizes.sort_unstable();
    sizes.dedup();
    let list: Vec<String> = sizes.iter().map(usize::to_string).collect();
    let mut out = format!(
        "# What a fleet asks of Redis\n\n\
         `cargo run --release -p selvage-simulate -- --nodes {} --write`: the engine and the driver as they are, simulated, with the\n\
         defaults of the configuration and {WORKERS} workers by Envoy. What the situations are is told in\n\
         [`fleet.rs`](../simulate/src/fleet.rs). Bytes are those of Redis' own protocol, there and back.\n\n",
        list.join(",")
    );
    summary(&mut out, figures, &sizes);
    for nodes in sizes {
        let _ = write!(out, "\n## {nodes} Envoys\n\n");
        by_kind(&mut out, figures, nodes);
    }
    out
}

/// What counts, by the size of the fleet.
fn summary(out: &mut String, figures: &[Figures], sizes: &[usize]) {
    row(out, "Envoys", sizes, |nodes| Some(nodes.to_string()));
    rule(out, sizes.len());
    let of = |nodes, situation| find(figures, nodes, situation);
    row(out, "idle: commands a second of an Envoy", sizes, |nodes| {
        let idle = of(nodes, Situation::Idle)?;
        Some(format!("{:.1}", idle.per_second(idle.meter.all.sum.commands) / nodes as f64))
    });
    for (situation, name) in SITUATIONS {
        row(out, &format!("{name}: commands a second"), sizes, |nodes| {
            let of = of(nodes, situation)?;
            Some(rounded(of.per_second(of.meter.all.sum.commands)))
        });
        row(out, &format!("{name}: of these, the hottest slot's"), sizes, |nodes| {
            let of = of(nodes, situation)?;
            let (_, slot) = of.meter.hottest()?;
            Some(format!("{} ({})", rounded(of.per_second(slot.sum.commands)), slot.mostly()))
        });
        row(
            out,
            &format!("{name}: in the busiest tenth of a second, times ten: all; one slot"),
            sizes,
            |nodes| {
                let meter = &of(nodes, situation)?.meter;
                let slot = meter.slots.values().map(|of| of.peak).max()?;
                Some(format!("{}; {}", rounded(meter.all.peak as f64 * 10.0), rounded(slot as f64 * 10.0)))
            },
        );
    }
    row(
        out,
        "one purge: ms until the last worker of the last Envoy knows, of five the longest",
        sizes,
        |nodes| Some(of(nodes, Situation::Purges)?.meter.heard_after.iter().max()?.to_string()),
    );
    row(out, "purge storm: ms from the last purge until all know all", sizes, |nodes| {
        Some(of(nodes, Situation::Storm)?.meter.heard_after.last()?.to_string())
    });
    row(out, "hot key that nobody has yet: fetches at the origin", sizes, |nodes| {
        Some(of(nodes, Situation::Hot)?.cold_fetches.to_string())
    });
    for situation in [Situation::Hot, Situation::HotRenewed] {
        row(
            out,
            &format!("{}: fetches at the origin for three expiries", situation.name()),
            sizes,
            |nodes| Some(of(nodes, situation)?.fetches.to_string()),
        );
    }
    row(out, "steady: requests a second; at the origin", sizes, |nodes| {
        let of = of(nodes, Situation::Steady)?;
        Some(format!("{}; {}", rounded(of.per_second(of.requests)), rounded(of.per_second(of.fetches))))
    });
}

/// Commands of each kind in each situation.
fn by_kind(out: &mut String, figures: &[Figures], nodes: usize) {
    let situations: Vec<Situation> = SITUATIONS.iter().map(|(situation, _)| *situation).collect();
    row(out, "a second", &situations, |situation| Some(situation.name().to_owned()));
    rule(out, situations.len());
    let of = |situation| find(figures, nodes, situation);
    for (kind, name) in Kind::ALL {
        row(out, name, &situations, |situation| {
            let of = of(situation)?;
            Some(of.cell(*of.meter.kinds.get(&kind)?))
        });
    }
    row(out, "**all**", &situations, |situation| {
        let of = of(situation)?;
        Some(of.cell(of.meter.all.sum))
    });
    for nth in 0..SLOTS_SHOWN {
        row(
            out,
            &format!("slot {}", ["asked most", "the second", "the third"][nth]),
            &situations,
            |situation| {
                let of = of(situation)?;
                let mut slots: Vec<_> = of.meter.slots.iter().collect();
                slots.sort_by_key(|(slot, of)| (std::cmp::Reverse(of.sum.commands), **slot));
                let (slot, asked) = slots.get(nth)?;
                Some(format!("{slot}: {}, {}", of.cell(asked.sum), asked.mostly()))
            },
        );
    }
}

impl Situation {
    fn name(self) -> &'static str {
        SITUATIONS.iter().find(|(situation, _)| *situation == self).map_or("", |(_, name)| name)
    }
}

impl Figures {
    /// So many, by second.
    pub fn per_second(&self, count: u64) -> f64 {
        count as f64 * 1000.0 / self.millis as f64
    }

    /// Commands and bytes, by second.
    fn cell(&self, sum: Sum) -> String {
        let kilobytes = self.per_second(sum.bytes) / 1000.0;
        format!("{} ({} kB)", rounded(self.per_second(sum.commands)), rounded(kilobytes))
    }
}

fn find(figures: &[Figures], nodes: usize, situation: Situation) -> Option<&Figures> {
    figures.iter().find(|of| of.nodes == nodes && of.situation == situation)
}

fn row<T: Copy>(out: &mut String, name: &str, columns: &[T], cell: impl Fn(T) -> Option<String>) {
    let cells = columns.iter().map(|column| cell(*column).unwrap_or_else(|| "–".to_owned()));
    let _ = writeln!(out, "| {name} | {} |", cells.collect::<Vec<_>>().join(" | "));
}

fn rule(out: &mut String, columns: usize) {
    let _ = writeln!(out, "|---|{}", "---|".repeat(columns));
}

/// With as many digits as matter.
fn rounded(value: f64) -> String {
    if value < 10.0 { format!("{value:.1}") } else { format!("{value:.0}") }
}

const SITUATIONS: [(Situation, &str); 6] = [
    (Situation::Idle, "idle"),
    (Situation::Steady, "steady"),
    (Situation::Purges, "one purge a second"),
    (Situation::Storm, "purge storm"),
    (Situation::Hot, "hot key"),
    (Situation::HotRenewed, "hot key, renewed"),
];
const SLOTS_SHOWN: usize = 3;
