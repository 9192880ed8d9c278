//! No parts of batches where none are built in.

use std::marker::PhantomData;

use selvage_engine::exchange::{RemoteAnswer, Wake};
use selvage_engine::time::Timestamp;

use crate::breakers::Breakers;
use crate::host::Calls;
use crate::root::Root;

/// None.
pub struct Parts<H>(PhantomData<H>);

impl<H> Default for Parts<H> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<H> Parts<H> {
    /// None is.
    pub const fn has(&self, _number: u32) -> bool {
        false
    }

    /// None does.
    pub const fn take_call(&mut self, _token: u32) -> Option<u32> {
        None
    }

    /// None.
    pub const fn len(&self) -> usize {
        0
    }
}

impl<H: Calls> Root<H> {
    /// There are none.
    pub const fn begin_parts(&mut self, _newest: u32, _breakers: &mut Breakers<H>, _now: Timestamp) {}

    /// There is none.
    pub const fn wake_part(
        &mut self,
        _number: u32,
        _wake: Wake,
        _breakers: &mut Breakers<H>,
        _now: Timestamp,
    ) {
    }

    /// Nobody has asked.
    pub const fn tell_part(
        &mut self,
        _number: u32,
        answer: RemoteAnswer,
        _breakers: &mut Breakers<H>,
        _now: Timestamp,
    ) -> Option<RemoteAnswer> {
        Some(answer)
    }

    /// There is none.
    pub const fn part_called(
        &mut self,
        _number: u32,
        _head: Option<&[u8]>,
        _content: Option<&[u8]>,
        _breakers: &mut Breakers<H>,
        _now: Timestamp,
    ) {
    }
}
