//! What happens, one after the other.

use std::time::Duration;

/// One of the things that happen in each round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Redis is stopped where it is, and goes on later.
    RedisStalled,
    /// webdis is killed, and started again later.
    WebdisKilled,
    /// All that Redis has is gone.
    RedisEmptied,
    /// The bridge answers so much later.
    BridgeSlow(Duration),
    /// The bridge answers with bytes that are no HTTP.
    BridgeLies,
    /// The origin refuses connections.
    OriginDead,
    /// The origin takes its time.
    OriginSlow,
    /// The origin says 500.
    OriginFailing,
}

/// Their order. Those of the remote store and of the origin alternate.
pub const FAULTS: [Fault; 8] = [
    Fault::RedisStalled,
    Fault::OriginDead,
    Fault::WebdisKilled,
    Fault::OriginSlow,
    Fault::RedisEmptied,
    Fault::OriginFailing,
    Fault::BridgeSlow(Duration::from_millis(40)),
    Fault::BridgeLies,
];

impl Fault {
    /// What tables call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::RedisStalled => "Redis stalled",
            Self::WebdisKilled => "webdis killed",
            Self::RedisEmptied => "Redis emptied",
            Self::BridgeSlow(_) => "bridge slow",
            Self::BridgeLies => "bridge lies",
            Self::OriginDead => "origin dead",
            Self::OriginSlow => "origin slow",
            Self::OriginFailing => "origin says 500",
        }
    }

    /// Whether a request for which nothing is stored may fail because of it.
    pub fn is_of_origin(self) -> bool {
        matches!(self, Self::OriginDead | Self::OriginSlow | Self::OriginFailing)
    }
}
