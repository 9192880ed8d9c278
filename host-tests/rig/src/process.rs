//! What processes use: their time on the processor and their memory, as Linux counts them.

use std::{fs, process, time::Duration};

/// Processor time that has been used, in ticks.
pub struct Ticks {
    /// By all processes.
    all: u64,
    /// By this process and those below it.
    own: u64,
    /// That could have been used.
    total: u64,
}

impl Ticks {
    /// Up to now.
    pub fn now() -> Self {
        let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
        let first = stat.lines().next().unwrap_or_default().split_whitespace().skip(1).take(8);
        let fields: Vec<u64> = first.filter_map(|field| field.parse().ok()).collect();
        // User, nice, system and stolen. What interrupts take is the network's, which is our own.
        let all = [0, 1, 2, 7].iter().filter_map(|index| fields.get(*index)).sum();
        Self { all, own: own_ticks(), total: fields.iter().sum() }
    }

    /// The part of all cores that others have used since, from 0 to 1.
    pub fn others_since(&self) -> f64 {
        let now = Self::now();
        let others = now.all.saturating_sub(self.all).saturating_sub(now.own.saturating_sub(self.own));
        others as f64 / now.total.saturating_sub(self.total).max(1) as f64
    }
}

/// The processor time of this process and all below it.
fn own_ticks() -> u64 {
    let processes: Vec<(u32, u32, u64)> =
        fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(process_ticks).collect();
    let mut family = vec![process::id()];
    let mut checked = 0;
    while let Some(parent) = family.get(checked).copied() {
        family.extend(processes.iter().filter(|(_, of, _)| *of == parent).map(|(process, _, _)| *process));
        checked += 1;
    }
    let own = processes.iter().filter(|(process, _, _)| family.contains(process));
    own.map(|(_, _, ticks)| ticks).sum()
}

/// The processor time that a process has used.
pub fn processor_time(process: u32) -> Option<Duration> {
    // Ticks are of 10 ms for whoever looks at them, on every Linux.
    stat(process).map(|(_, ticks)| Duration::from_millis(ticks * 10))
}

/// The memory of a process that is resident, in KiB.
pub fn resident_kib(process: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// A process, its parent, and its time in user and system mode, of an entry of `/proc`.
fn process_ticks(entry: fs::DirEntry) -> Option<(u32, u32, u64)> {
    let process = entry.file_name().to_str()?.parse().ok()?;
    let (parent, ticks) = stat(process)?;
    Some((process, parent, ticks))
}

/// The parent of a process, and its time in user and system mode.
fn stat(process: u32) -> Option<(u32, u64)> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name in parentheses may have spaces.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |index: usize| fields.get(index)?.parse::<u64>().ok();
    Some((fields.get(1)?.parse().ok()?, ticks(11)? + ticks(12)?))
}
