//! What a request has in a gateway, and never in the playground, which is small.

use std::ops::{Deref, DerefMut};

/// Something of a request. In the playground there is none: the compiler knows, and leaves all of it out.
pub(super) struct GatewayOnly<T> {
    inner: Box<T>,
    _here: Here,
}

#[cfg(not(all(target_arch = "wasm32", target_os = "unknown")))]
type Here = ();
#[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
type Here = std::convert::Infallible;

impl<T> GatewayOnly<T> {
    /// It, where there is any.
    #[cfg(not(all(target_arch = "wasm32", target_os = "unknown")))]
    #[expect(clippy::unnecessary_wraps, reason = "in the playground it is none")]
    pub(super) fn of(inner: Box<T>) -> Option<Self> {
        Some(Self { inner, _here: () })
    }

    /// There is none.
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    pub(super) fn of(_inner: Box<T>) -> Option<Self> {
        None
    }
}

impl<T> Deref for GatewayOnly<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T> DerefMut for GatewayOnly<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.inner
    }
}
