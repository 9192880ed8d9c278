//! The WASI calls that Envoy has. There are no files and no arguments.

use wasmtime::{Error, Linker, Result};

use super::{Host, enter, read, write, write_u32};
use crate::{LogLevel, LogLine, vm::VmData};

const MODULE: &str = "wasi_snapshot_preview1";

pub(super) fn link(linker: &mut Linker<VmData>) -> Result<()> {
    linker.func_wrap(
        MODULE,
        "clock_time_get",
        |mut host: Host<'_>, clock: u32, _precision: u64, at: u32| {
            enter(&mut host, "clock_time_get")?;
            if clock > 1 {
                return Ok(NOT_SUPPORTED);
            }
            let now = host.data().node.clock.nanoseconds();
            Ok(if write(&mut host, at, &now.to_le_bytes()) { SUCCESS } else { FAULT })
        },
    )?;
    linker.func_wrap(MODULE, "clock_res_get", |mut host: Host<'_>, _clock: u32, at: u32| {
        enter(&mut host, "clock_res_get")?;
        Ok(if write(&mut host, at, &1_u64.to_le_bytes()) { SUCCESS } else { FAULT })
    })?;
    linker.func_wrap(MODULE, "random_get", |mut host: Host<'_>, at: u32, size: u32| {
        enter(&mut host, "random_get")?;
        let bytes: Vec<u8> = (0..size).map(|_| next_random(host.data_mut())).collect();
        Ok(if write(&mut host, at, &bytes) { SUCCESS } else { FAULT })
    })?;
    linker.func_wrap(
        MODULE,
        "fd_write",
        |mut host: Host<'_>, fd: u32, vectors: u32, count: u32, at: u32| {
            enter(&mut host, "fd_write")?;
            fd_write(&mut host, fd, vectors, count, at)
        },
    )?;
    linker.func_wrap(MODULE, "sched_yield", |mut host: Host<'_>| {
        enter(&mut host, "sched_yield")?;
        Ok(SUCCESS)
    })?;
    linker.func_wrap(MODULE, "poll_oneoff", |mut host: Host<'_>, _: u32, _: u32, _: u32, at: u32| {
        enter(&mut host, "poll_oneoff")?;
        write_u32(&mut host, at, 0)
    })?;
    linker.func_wrap(MODULE, "proc_exit", |_: Host<'_>, code: u32| -> Result<()> {
        Err(Error::msg(format!("proc_exit({code})")))
    })?;
    linker.func_wrap(MODULE, "environ_sizes_get", |mut host: Host<'_>, count_at: u32, size_at: u32| {
        enter(&mut host, "environ_sizes_get")?;
        let lines = host.data().node.environment.borrow().clone();
        write_u32(&mut host, count_at, lines.len() as u32)?;
        write_u32(&mut host, size_at, lines.iter().map(|line| line.len() as u32 + 1).sum())
    })?;
    linker.func_wrap(MODULE, "environ_get", |mut host: Host<'_>, pointers_at: u32, lines_at: u32| {
        enter(&mut host, "environ_get")?;
        environ_get(&mut host, pointers_at, lines_at)
    })?;
    linker.func_wrap(MODULE, "args_get", |mut host: Host<'_>, _: u32, _: u32| {
        enter(&mut host, "args_get")?;
        Ok(SUCCESS)
    })?;
    linker.func_wrap(MODULE, "args_sizes_get", |mut host: Host<'_>, count_at: u32, size_at: u32| {
        enter(&mut host, "args_sizes_get")?;
        write_u32(&mut host, count_at, 0)?;
        write_u32(&mut host, size_at, 0)
    })?;
    link_files(linker)
}

fn environ_get(host: &mut Host<'_>, pointers_at: u32, lines_at: u32) -> Result<u32> {
    let lines = host.data().node.environment.borrow().clone();
    let mut at = lines_at;
    for (index, line) in lines.iter().enumerate() {
        write_u32(host, pointers_at + 4 * index as u32, at)?;
        if !write(host, at, format!("{line}\0").as_bytes()) {
            return Ok(FAULT);
        }
        at += line.len() as u32 + 1;
    }
    Ok(SUCCESS)
}

// Present because a standard library imports them; none can succeed.
fn link_files(linker: &mut Linker<VmData>) -> Result<()> {
    linker.func_wrap(MODULE, "fd_close", |_: u32| BAD_DESCRIPTOR)?;
    linker.func_wrap(MODULE, "fd_fdstat_get", |_: u32, _: u32| BAD_DESCRIPTOR)?;
    linker.func_wrap(MODULE, "fd_prestat_get", |_: u32, _: u32| BAD_DESCRIPTOR)?;
    linker.func_wrap(MODULE, "fd_prestat_dir_name", |_: u32, _: u32, _: u32| BAD_DESCRIPTOR)?;
    linker.func_wrap(MODULE, "fd_read", |_: u32, _: u32, _: u32, _: u32| BAD_DESCRIPTOR)?;
    linker.func_wrap(MODULE, "fd_seek", |_: u32, _: i64, _: u32, _: u32| BAD_DESCRIPTOR)?;
    Ok(())
}

fn fd_write(host: &mut Host<'_>, fd: u32, vectors: u32, count: u32, written_at: u32) -> Result<u32> {
    let level = match fd {
        1 => LogLevel::Info,
        2 => LogLevel::Error,
        _ => return Ok(BAD_DESCRIPTOR),
    };
    let mut message = Vec::new();
    for index in 0..count {
        let Some(vector) = read(host, vectors + index * 8, 8) else { return Ok(FAULT) };
        let word = |at: usize| u32::from_le_bytes(vector[at..at + 4].try_into().unwrap());
        let Some(bytes) = read(host, word(0), word(4)) else { return Ok(FAULT) };
        message.extend_from_slice(&bytes);
    }
    let source = host.data().name.clone();
    let text = String::from_utf8_lossy(&message).trim_end_matches('\n').to_owned();
    host.data().node.logs.borrow_mut().push(LogLine { source, level, message: text });
    write_u32(host, written_at, message.len() as u32)
}

// xorshift64: the same instance draws the same numbers in every run.
fn next_random(data: &mut VmData) -> u8 {
    data.random ^= data.random << 13;
    data.random ^= data.random >> 7;
    data.random ^= data.random << 17;
    (data.random >> 32) as u8
}

const SUCCESS: u32 = 0;
const BAD_DESCRIPTOR: u32 = 8;
const FAULT: u32 = 21;
const NOT_SUPPORTED: u32 = 58;
