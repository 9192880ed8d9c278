//! Counts what a fleet asks of Redis, and which workers have heard of the purges.

use std::collections::BTreeMap;

use crate::events::Reply;
use crate::redis::{Command, Redis};
use crate::slots::slot;

/// What a command is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Get,
    Claim,
    Set,
    Delete,
    /// A look for the next entry of the log of purges, or for one that was there.
    ReadLog,
    /// A look at the hint that says which entry is the last.
    ReadHint,
    AddEntry,
    SetHint,
    /// To see whether the store answers and takes writes.
    Probe,
}

impl Kind {
    /// All of them, in the order of the table, and what they are called there.
    pub const ALL: [(Self, &'static str); 9] = [
        (Self::Get, "get"),
        (Self::Claim, "claim"),
        (Self::Set, "set"),
        (Self::Delete, "delete"),
        (Self::ReadLog, "read of the purge log"),
        (Self::ReadHint, "read of the hint"),
        (Self::AddEntry, "add to the purge log"),
        (Self::SetHint, "set of the hint"),
        (Self::Probe, "probe"),
    ];

    /// The name in the table.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(kind, _)| *kind == self).map_or("", |(_, name)| name)
    }

    fn of(command: &Command) -> Self {
        let about = |word| command.key().contains(word);
        match command {
            // A fleet that is measured has no limits.
            Command::Ping | Command::Many { .. } | Command::Lease { .. } => Self::Probe,
            _ if about(":v1:probe") => Self::Probe,
            Command::Get(_) if about(":v1:purge:") => Self::ReadLog,
            Command::Get(_) if about(":v1:purges") => Self::ReadHint,
            Command::Set { .. } if about(":v1:purges") => Self::SetHint,
            Command::Get(_) => Self::Get,
            Command::Claim { .. } => Self::Claim,
            Command::Set { .. } => Self::Set,
            Command::Delete(_) => Self::Delete,
            Command::Add { .. } => Self::AddEntry,
        }
    }
}

/// Commands, and the bytes of them and of their answers as Redis sees them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    pub commands: u64,
    pub bytes: u64,
}

impl Sum {
    fn add(&mut self, bytes: usize) {
        self.commands += 1;
        self.bytes += bytes as u64;
    }
}

/// What one slot was asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OfSlot {
    pub sum: Sum,
    pub kinds: BTreeMap<Kind, u64>,
    /// The most commands of a tenth of a second.
    pub peak: u64,
    tenth: u64,
    in_tenth: u64,
}

/// Since the measuring began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meter {
    pub kinds: BTreeMap<Kind, Sum>,
    pub slots: BTreeMap<u16, OfSlot>,
    /// The whole fleet's commands as those of one slot.
    pub all: OfSlot,
    /// How often a worker is still to hear of a purge.
    owed: u64,
    purged_at: u64,
    /// How long it took until all workers of all nodes had heard of a purge, and of those before it.
    pub heard_after: Vec<u64>,
}

impl Meter {
    /// A call has reached Redis. Commands that come in one count each by itself.
    pub fn count(&mut self, command: &Command, reply: &Reply, now: u64) {
        let Command::Many { commands, .. } = command else {
            return self.count_one(command, size_of_reply(command, reply), now);
        };
        for (one, told) in commands.iter().zip(Redis::told(command, &reply.body)) {
            self.count_one(one, bulk(told.len()), now);
        }
    }

    fn count_one(&mut self, command: &Command, back: usize, now: u64) {
        let (kind, bytes) = (Kind::of(command), size(command) + back);
        self.kinds.entry(kind).or_default().add(bytes);
        self.all.count(kind, bytes, now);
        // `PING` goes to any shard.
        if *command != Command::Ping {
            self.slots.entry(slot(command.key())).or_default().count(kind, bytes, now);
        }
    }

    /// What was counted so far does not count.
    pub fn begin(&mut self) {
        *self = Self { owed: self.owed, purged_at: self.purged_at, ..Self::default() };
    }

    /// The slot that was asked most.
    pub fn hottest(&self) -> Option<(u16, &OfSlot)> {
        self.slots.iter().max_by_key(|(_, of)| of.sum.commands).map(|(slot, of)| (*slot, of))
    }

    /// A purge was accepted, of which so many workers are to hear.
    pub fn purged(&mut self, others: u64, now: u64) {
        self.owed += others;
        self.purged_at = now;
    }

    /// A worker has heard of so many purges.
    pub fn heard(&mut self, purges: u64, now: u64) {
        if purges == 0 || self.owed == 0 {
            return;
        }
        self.owed = self.owed.saturating_sub(purges);
        if self.owed == 0 {
            self.heard_after.push(now - self.purged_at);
        }
    }

    /// Whether all workers have heard of all purges.
    pub const fn have_all_heard(&self) -> bool {
        self.owed == 0
    }
}

impl OfSlot {
    fn count(&mut self, kind: Kind, bytes: usize, now: u64) {
        self.sum.add(bytes);
        *self.kinds.entry(kind).or_default() += 1;
        if now / TENTH != self.tenth {
            (self.tenth, self.in_tenth) = (now / TENTH, 0);
        }
        self.in_tenth += 1;
        self.peak = self.peak.max(self.in_tenth);
    }

    /// What it is asked most for.
    pub fn mostly(&self) -> &'static str {
        self.kinds.iter().max_by_key(|(_, count)| **count).map_or("", |(kind, _)| kind.name())
    }
}

/// Bytes of a command in Redis' own protocol.
fn size(command: &Command) -> usize {
    let digits = |number: u64| number.to_string().len();
    match command {
        Command::Get(key) | Command::Delete(key) => array(&[3, key.len()]),
        Command::Claim { key, claim, millis } => {
            array(&[3, key.len(), claim.len(), 2, 3, 2, digits(*millis)])
        }
        Command::Set { key, value, seconds } => array(&[5, key.len(), digits(*seconds), value.len()]),
        Command::Add { key, text, seconds } => array(&[3, key.len(), text.len(), 2, 2, digits(*seconds)]),
        Command::Lease { key, arguments, .. } => {
            let rest = arguments.iter().map(String::len);
            array(&[7, 40, 1, key.len()].into_iter().chain(rest).collect::<Vec<_>>())
        }
        Command::Ping => array(&[4]),
        Command::Many { commands, .. } => commands.iter().map(size).sum(),
    }
}

fn array(lengths: &[usize]) -> usize {
    lengths.iter().fold(3 + lengths.len().to_string().len(), |sum, length| sum + bulk(*length))
}

/// `$3\r\nGET\r\n`
fn bulk(length: usize) -> usize {
    5 + length.to_string().len() + length
}

fn size_of_reply(command: &Command, reply: &Reply) -> usize {
    let found = reply.fields.first().is_some_and(|(_, status)| status == "200");
    match command {
        Command::Get(_) | Command::Claim { .. } if found => bulk(reply.body.len()),
        Command::Ping => "+PONG\r\n".len(),
        Command::Delete(_) => ":1\r\n".len(),
        // As long as `$-1\r\n`.
        _ => "+OK\r\n".len(),
    }
}

const TENTH: u64 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_counted_by_kind_and_by_slot() {
        let mut meter = Meter::default();
        let key = "selvage:v1:purge:7".to_owned();
        let get = Command::Get(key.clone());
        meter.count(&get, &Reply::came(404, b""), 10);
        meter.count(&get, &Reply::came(200, b"12345"), 20);
        let add = Command::Add { key: key.clone(), text: "12345".to_owned(), seconds: 86_400 };
        meter.count(&add, &Reply::came(200, b"{}"), 120);
        meter.count(&Command::Get("selvage:v1:purges".to_owned()), &Reply::came(404, b""), 130);
        meter.count(&Command::Ping, &Reply::came(200, b""), 140);
        let kinds: Vec<_> = meter.kinds.iter().map(|(kind, sum)| (*kind, sum.commands)).collect();
        assert_eq!(kinds, [(Kind::ReadLog, 2), (Kind::ReadHint, 1), (Kind::AddEntry, 1), (Kind::Probe, 1)]);
        let (hottest, of) = meter.hottest().unwrap();
        assert_eq!(
            (hottest, of.sum.commands, of.peak, of.mostly()),
            (slot(&key), 3, 2, Kind::ReadLog.name())
        );
        assert_eq!((meter.all.sum.commands, meter.slots.len()), (5, 2));
    }

    #[test]
    fn bytes_are_those_of_the_protocol_of_redis() {
        let get = Command::Get("key".to_owned());
        assert_eq!(size(&get), "*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n".len());
        assert_eq!(size_of_reply(&get, &Reply::came(200, b"0123456789")), "$10\r\n0123456789\r\n".len());
        assert_eq!(size_of_reply(&get, &Reply::came(404, b"")), "$-1\r\n".len());
    }

    #[test]
    fn a_purge_is_heard_once_all_have_heard_of_it() {
        let mut meter = Meter::default();
        meter.purged(3, 100);
        meter.heard(2, 150);
        assert!(!meter.have_all_heard());
        meter.heard(1, 170);
        assert_eq!((meter.have_all_heard(), meter.heard_after), (true, vec![70]));
    }
}
