//! What is done with requests for embeddings, input by input.

use std::time::Duration;

use super::kinds::{duration, size, switch, text, whole};
use super::nested::{nullable, object};
use super::section;
use super::texts::Cluster;
use crate::config::reader::Object;

/// What is done with requests for embeddings under a rule that stores answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Embeddings {
    /// Whether each input of a request is looked up and stored by itself. Default: false.
    pub by_input: bool,
    /// Most inputs of a request that is taken apart; one with more is stored as a whole. Default: 64.
    pub inputs: usize,
    /// The cluster in Envoy's configuration that is asked for what is missing, and for several requests at once. Default `None`:
    /// no call is made, and a request of which something is missing goes to the origin as it is.
    pub cluster: Option<Box<str>>,
    /// How long such a call may take. Default: 30 s.
    pub timeout: Duration,
    /// How requests with one input wait for each other, to be asked as one. Default `None`: they do not.
    pub merge: Option<Merge>,
}

section! {
    Embeddings check calls_a_cluster {
        by_input = false, switch(),
            "Whether each input of a request is looked up and stored by itself, so that only those are asked for that are missing.";
        inputs = 64, whole(1..=256),
            "Most inputs of a request that is taken apart; one with more is stored as a whole.";
        cluster = None, nullable(text::<Cluster>()),
            "The cluster of Envoy's that is called for the inputs that are missing, and for `merge`; without it a request of which some are missing goes to the origin as it is.";
        timeout = Duration::from_secs(30), duration(1..=300_000),
            "How long such a call may take. After it the request goes to the origin as it is.";
        merge = None, nullable(object()),
            "Requests with one input wait for each other for a moment and are asked as one (needs `by_input` and `cluster`); `null`: they do not.";
    }
}

fn calls_a_cluster(embeddings: &mut Embeddings, object: &mut Object<'_, '_>) {
    if embeddings.merge.is_some() && (embeddings.cluster.is_none() || !embeddings.by_input) {
        object.place_of("merge").refuse::<()>("`merge`", "`by_input: true` and a `cluster` beside it");
    }
}

/// How requests with one input wait for each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merge {
    /// How long the first of them waits for others. Default: 10 ms.
    pub window: Duration,
    /// Most inputs of a call. Default: 32.
    pub inputs: usize,
    /// Most bytes of its body. Default: 256 KiB.
    pub bytes: usize,
}

section! {
    Merge {
        window = Duration::from_millis(10), duration(1..=1_000),
            "How long the first of them waits for others. A window ends with a tick of Envoy's, of which there is one every 5 ms while somebody waits.";
        inputs = 32, whole(2..=256), "Most inputs of a call; it goes at once when it has so many.";
        bytes = 256 << 10, size(1 << 10..=4 << 20), "Most bytes of its body.";
    }
}
