//! The hostcalls, one file per subject, and how they reach the guest's memory.

mod calls;
mod host;
mod http;
mod shared;
mod wasi;

use wasmtime::{Caller, Error, Linker, Result};

use crate::{Headers, Status, abi, vm::VmData};

/// A running hostcall.
pub(crate) type Host<'a> = Caller<'a, VmData>;

/// Offers every import. What is not here fails at linking, with its name.
pub(crate) fn link(linker: &mut Linker<VmData>) -> Result<()> {
    host::link(linker)?;
    http::link(linker)?;
    shared::link(linker)?;
    calls::link(linker)?;
    wasi::link(linker)
}

/// Counts the call, and stops one that Envoy would not allow or that the test wants to be the VM's last.
fn enter(host: &mut Host<'_>, name: &'static str) -> Result<()> {
    let data = host.data_mut();
    if let Some(entry) = &mut data.entry {
        entry.hostcalls.push(name);
    }
    if data.restricted && !ALWAYS_ALLOWED.contains(&name) {
        return Err(misuse(format!("{name} in _initialize or while allocating")));
    }
    if let Some(death) = &mut data.death
        && death.hostcall == name
    {
        if death.calls_before == 0 {
            death.fired = true;
            return Err(Error::msg("the VM dies here, as ordered"));
        }
        death.calls_before -= 1;
    }
    Ok(())
}

/// An error that ends the callback and fails the test.
fn misuse(what: impl Into<String>) -> Error {
    Error::msg(format!("misuse of the host: {}", what.into()))
}

fn done(status: Status) -> Result<u32> {
    Ok(status as u32)
}

/// Bytes of the guest; `None` outside its memory.
fn read(host: &Host<'_>, at: u32, length: u32) -> Option<Vec<u8>> {
    let memory = host.data().memory?.data(host);
    memory.get(at as usize..(at as usize).checked_add(length as usize)?).map(<[u8]>::to_vec)
}

fn read_text(host: &Host<'_>, at: u32, length: u32) -> Option<String> {
    read(host, at, length).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

fn read_pairs(host: &Host<'_>, at: u32, length: u32) -> Result<Option<Headers>> {
    let Some(block) = read(host, at, length) else { return Ok(None) };
    abi::decode_pairs(&block).map(Some).map_err(misuse)
}

/// Writes into the guest; `false` outside its memory.
fn write(host: &mut Host<'_>, at: u32, bytes: &[u8]) -> bool {
    let Some(memory) = host.data().memory else { return false };
    memory.write(host, at as usize, bytes).is_ok()
}

fn write_u32(host: &mut Host<'_>, at: u32, value: u32) -> Result<u32> {
    let written = write(host, at, &value.to_le_bytes());
    done(if written { Status::Ok } else { Status::InvalidMemoryAccess })
}

/// Hands bytes to the guest in memory that its own allocator gave; no bytes need no memory.
fn give(host: &mut Host<'_>, bytes: &[u8], pointer_at: u32, size_at: u32) -> Result<u32> {
    let mut address = 0;
    if !bytes.is_empty() {
        let allocate = host.data().allocate.clone().unwrap();
        let before = std::mem::replace(&mut host.data_mut().restricted, true);
        let allocated = allocate.call(&mut *host, bytes.len() as u32);
        host.data_mut().restricted = before;
        address = allocated?;
        if address == 0 || !write(host, address, bytes) {
            return done(Status::InvalidMemoryAccess);
        }
    }
    write_u32(host, pointer_at, address)?;
    write_u32(host, size_at, bytes.len() as u32)
}

/// The map or buffer is not there in this phase: the status says so, and a test can ask how often it happened.
fn unavailable(host: &Host<'_>, status: Status) -> Result<u32> {
    let node = &host.data().node;
    node.unavailable.set(node.unavailable.get() + 1);
    done(status)
}

const ALWAYS_ALLOWED: [&str; 10] = [
    "proxy_log",
    "fd_write",
    "args_get",
    "args_sizes_get",
    "environ_get",
    "environ_sizes_get",
    "fd_prestat_get",
    "fd_prestat_dir_name",
    "clock_time_get",
    "random_get",
];
