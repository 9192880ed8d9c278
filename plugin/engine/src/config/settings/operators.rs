//! What is for operators: who may purge and warm, how purges are judged, and what is fetched before a client asks for it.

use std::time::Duration;

use super::kinds::{duration, switch, text, whole};
use super::nested::{list, list_of, nullable};
use super::section;
use super::texts::{self, AdminHost, Variable};
use crate::config::limits::WARM_URLS;
use crate::config::reader::Object;
use crate::config::reference::Least::One;
use crate::url::Url;

/// Who may purge and warm: `PURGE` on a URL, and what is under `/.selvage/`. Default: nobody, and all of it goes to the
/// origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// Name of the environment variable of the VM that holds the token which `Authorization: Bearer` must show.
    /// Default: none.
    pub token_env: Option<Box<str>>,
    /// Only operators reach the listener, and need no token. Default: false.
    pub open: bool,
    /// The hosts that operators' requests may come to. Default: with a token every host, without one those of the machine
    /// itself.
    pub hosts: Option<Vec<Box<[u8]>>>,
    /// Where the playground is served, for a link on the operators' page. Default: there is none.
    pub playground: Option<Url>,
}

section! {
    Admin check token_or_open {
        token_env = None, nullable(text::<Variable>()),
            "Name of the VM's environment variable with the token that `Authorization: Bearer` must show.";
        open = false, switch(),
            "No token is asked for: only where nobody but operators reaches the listener. Not together with `token_env`; what a page of another site asks to change is refused.";
        hosts = None, nullable(list(One, text::<AdminHost>())),
            "Hosts, without port, that operators' requests may come to: `admin.example.com`, `10.0.0.5`, `[fd00::1]`, `*.example.com` (all below it). `null` is every host with `token_env`, and with `open` only `localhost`, `*.localhost`, `127.0.0.0/8` and `[::1]`.";
        playground = None, nullable(text::<texts::Url>()),
            "Where the [playground](playground.md) is served: the operators' page opens an exchange there, with the configuration in the link.";
    }
}

fn token_or_open(admin: &mut Admin, object: &Object<'_, '_>) {
    if admin.open && admin.token_env.is_some() {
        let allowed = r#""token_env", or "open": true where nobody but operators reaches the listener"#;
        object.place().refuse::<()>(r#"both "token_env" and "open": true"#, allowed);
    }
}

/// How purges of other nodes are judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Purge {
    /// How far the clocks of two nodes may be apart. Default: 1 s.
    pub skew: Duration,
}

section! {
    Purge {
        skew = Duration::from_secs(1), duration(0..=60_000),
            "How far the clocks of two nodes may be apart; what comes from the remote store counts as older by so much.";
    }
}

/// What is fetched before a client asks for it: at the start of a node, and after a purge of everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warm {
    /// Fetched once for each node when it starts. Default: empty.
    pub urls: Vec<Url>,
    /// Fetches of a node in a second, whoever wants them. Default: 10.
    pub per_second: u32,
    /// Fetches of a worker under way at once. Default: 4.
    pub in_flight: usize,
    /// How many of a worker's hottest keys are fetched anew after a purge of everything. Default: 0.
    pub after_purge_all: usize,
    /// Whether what will be asked for is renewed before it expires. Default: false.
    #[cfg(feature = "foresight")]
    pub predict: bool,
}

section! {
    Warm {
        urls = Vec::new(), list_of(WARM_URLS, text::<texts::Url>()),
            "Fetched once for each node when it starts; see [Warming](warming.md) for what a cluster is needed for.";
        per_second = 10, whole(1..=1000),
            "Fetches of a node in a second, for this list, for `/.selvage/warm` and after purges.";
        in_flight = 4, whole(1..=64), "Such fetches of a worker under way at once.";
        // No more than may wait.
        after_purge_all = 0, whole(0..=1000),
            "How many of each worker's hottest keys are fetched anew after a purge of everything.";
        #[cfg(feature = "foresight")]
        predict = false, switch(),
            "Whether what is stored is renewed before it expires where earlier days say that it will be asked for. Takes 257 KiB of Envoy's shared data and up to 200 KiB of each worker.";
    }
}
