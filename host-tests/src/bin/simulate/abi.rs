//! What `plugin/src/abi.rs` says that the adapter's other files need.

/// What a callback tells the host to do with the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Go on.
    Continue,
    /// Hold it.
    Pause,
}
