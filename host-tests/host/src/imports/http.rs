//! Header maps, buffers, replies, resuming.

use wasmtime::{Linker, Result};

use super::{Host, done, enter, give, misuse, read, read_pairs, read_text, unavailable, write_u32};
use crate::{
    Headers, Status,
    abi::{self, BufferKind, Direction, MapKind},
    reply::LocalReply,
    vm::{After, VmData},
};

pub(super) fn link(linker: &mut Linker<VmData>) -> Result<()> {
    link_map_reads(linker)?;
    link_map_writes(linker)?;
    link_buffers(linker)?;
    link_flow(linker)
}

fn link_map_reads(linker: &mut Linker<VmData>) -> Result<()> {
    linker.func_wrap(
        "env",
        "proxy_get_header_map_pairs",
        |mut host: Host<'_>, kind: u32, pointer_at: u32, size_at: u32| {
            enter(&mut host, "proxy_get_header_map_pairs")?;
            let Some(map) = map(host.data(), kind) else { return unavailable(&host, Status::BadArgument) };
            give(&mut host, &abi::encode_pairs(&map), pointer_at, size_at)
        },
    )?;
    linker.func_wrap("env", "proxy_get_header_map_size", |mut host: Host<'_>, kind: u32, at: u32| {
        enter(&mut host, "proxy_get_header_map_size")?;
        let Some(map) = map(host.data(), kind) else { return unavailable(&host, Status::BadArgument) };
        write_u32(
            &mut host,
            at,
            map.raw().map(|(name, value)| name.len() + value.len()).sum::<usize>() as u32,
        )
    })?;
    linker.func_wrap(
        "env",
        "proxy_get_header_map_value",
        |mut host: Host<'_>, kind: u32, name: u32, name_size: u32, pointer_at: u32, size_at: u32| {
            enter(&mut host, "proxy_get_header_map_value")?;
            let Some(map) = map(host.data(), kind) else { return unavailable(&host, Status::BadArgument) };
            let Some(name) = read(&host, name, name_size) else { return done(Status::InvalidMemoryAccess) };
            match map.get_raw(&name) {
                Some(value) => give(&mut host, value, pointer_at, size_at),
                None => done(Status::NotFound),
            }
        },
    )?;
    Ok(())
}

fn link_map_writes(linker: &mut Linker<VmData>) -> Result<()> {
    linker.func_wrap(
        "env",
        "proxy_set_header_map_pairs",
        |mut host: Host<'_>, kind: u32, at: u32, size: u32| {
            enter(&mut host, "proxy_set_header_map_pairs")?;
            let Some(pairs) = read_pairs(&host, at, size)? else { return done(Status::InvalidMemoryAccess) };
            edit(&mut host, kind, |map| *map = pairs)
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_add_header_map_value",
        |mut host: Host<'_>, kind: u32, name: u32, name_size: u32, value: u32, value_size: u32| {
            enter(&mut host, "proxy_add_header_map_value")?;
            let Some((name, value)) = line(&host, name, name_size, value, value_size)? else {
                return done(Status::InvalidMemoryAccess);
            };
            edit(&mut host, kind, |map| map.add(&name, value))
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_replace_header_map_value",
        |mut host: Host<'_>, kind: u32, name: u32, name_size: u32, value: u32, value_size: u32| {
            enter(&mut host, "proxy_replace_header_map_value")?;
            let Some((name, value)) = line(&host, name, name_size, value, value_size)? else {
                return done(Status::InvalidMemoryAccess);
            };
            edit(&mut host, kind, |map| map.set(&name, value))
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_remove_header_map_value",
        |mut host: Host<'_>, kind: u32, name: u32, name_size: u32| {
            enter(&mut host, "proxy_remove_header_map_value")?;
            let Some(name) = read_text(&host, name, name_size) else {
                return done(Status::InvalidMemoryAccess);
            };
            edit(&mut host, kind, |map| map.remove(&name))
        },
    )?;
    Ok(())
}

fn line(
    host: &Host<'_>,
    name: u32,
    name_size: u32,
    value: u32,
    value_size: u32,
) -> Result<Option<(String, Vec<u8>)>> {
    let (Some(name), Some(value)) = (read_text(host, name, name_size), read(host, value, value_size)) else {
        return Ok(None);
    };
    abi::check_header(name.as_bytes(), &value).map_err(misuse)?;
    Ok(Some((name, value)))
}

// Envoy offers a map while its callback runs or pauses; in on_log all that arrived can be read.
fn map(data: &VmData, kind: u32) -> Option<Headers> {
    match MapKind::from_number(kind)? {
        MapKind::Headers(direction) => {
            let stream = data.context_stream()?;
            let state = stream.borrow();
            let side = state.side(direction);
            let sent = side.passed.headers.as_ref().filter(|_| state.logging);
            sent.or(side.headers.as_ref().filter(|_| side.reach.headers || state.logging)).cloned()
        }
        MapKind::Trailers(direction) => {
            let stream = data.context_stream()?;
            let state = stream.borrow();
            let side = state.side(direction);
            side.trailers.as_ref().filter(|_| side.reach.trailers || state.logging).cloned()
        }
        MapKind::CalloutHeaders => data.callout.as_ref().map(|answer| answer.headers.clone()),
        MapKind::CalloutTrailers => data.callout.as_ref().map(|answer| answer.trailers.clone()),
        MapKind::Grpc => None,
    }
}

fn edit(host: &mut Host<'_>, kind: u32, change: impl FnOnce(&mut Headers)) -> Result<u32> {
    let stream = host.data().context_stream();
    let (Some(kind), Some(stream)) = (MapKind::from_number(kind), stream) else {
        return unavailable(host, Status::BadArgument);
    };
    let mut state = stream.borrow_mut();
    let target = match kind {
        MapKind::Headers(direction) if state.side(direction).reach.headers => {
            state.side_mut(direction).headers.as_mut()
        }
        MapKind::Trailers(direction) if state.side(direction).reach.trailers => {
            state.side_mut(direction).trailers.as_mut()
        }
        _ => None,
    };
    let Some(target) = target else { return unavailable(host, Status::BadArgument) };
    change(target);
    done(Status::Ok)
}

fn link_buffers(linker: &mut Linker<VmData>) -> Result<()> {
    linker.func_wrap(
        "env",
        "proxy_get_buffer_bytes",
        |mut host: Host<'_>, kind: u32, start: u32, length: u32, pointer_at: u32, size_at: u32| {
            enter(&mut host, "proxy_get_buffer_bytes")?;
            let Some(kind) = BufferKind::from_number(kind) else { return done(Status::BadArgument) };
            let Some(buffer) = buffer(host.data(), kind) else { return unavailable(&host, Status::NotFound) };
            let Some(end) = start.checked_add(length) else { return done(Status::BadArgument) };
            let end = (end as usize).min(buffer.len());
            // Without bytes to give, Envoy leaves the pointers as they were.
            match buffer.get(start as usize..end) {
                Some(bytes) if !bytes.is_empty() => give(&mut host, bytes, pointer_at, size_at),
                _ => done(Status::Ok),
            }
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_get_buffer_status",
        |mut host: Host<'_>, kind: u32, length_at: u32, flags_at: u32| {
            enter(&mut host, "proxy_get_buffer_status")?;
            let Some(kind) = BufferKind::from_number(kind) else { return done(Status::BadArgument) };
            let Some(buffer) = buffer(host.data(), kind) else { return unavailable(&host, Status::NotFound) };
            write_u32(&mut host, length_at, buffer.len() as u32)?;
            write_u32(&mut host, flags_at, 0)
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_set_buffer_bytes",
        |mut host: Host<'_>, kind: u32, start: u32, length: u32, data: u32, size: u32| {
            enter(&mut host, "proxy_set_buffer_bytes")?;
            let Some(BufferKind::Body(direction)) = BufferKind::from_number(kind) else {
                return done(Status::BadArgument);
            };
            let Some(bytes) = read(&host, data, size) else { return done(Status::InvalidMemoryAccess) };
            let Some(stream) = host.data().context_stream() else {
                return unavailable(&host, Status::NotFound);
            };
            let mut state = stream.borrow_mut();
            let side = state.side_mut(direction);
            if !side.reach.body {
                return unavailable(&host, Status::NotFound);
            }
            if start == 0 {
                let drained = (length as usize).min(side.chunk.len());
                side.chunk.splice(..drained, bytes);
            } else if start as usize >= side.chunk.len() {
                side.chunk.extend_from_slice(&bytes);
            } else {
                return done(Status::BadArgument);
            }
            done(Status::Ok)
        },
    )?;
    Ok(())
}

fn buffer(data: &VmData, kind: BufferKind) -> Option<Vec<u8>> {
    match kind {
        BufferKind::Body(direction) => {
            let stream = data.context_stream()?;
            let state = stream.borrow();
            let side = state.side(direction);
            side.reach.body.then(|| side.chunk.clone())
        }
        BufferKind::CalloutBody => data.callout.as_ref().map(|answer| answer.body.clone()),
        BufferKind::VmConfiguration => (data.export() == "proxy_on_vm_start").then(Vec::new),
        BufferKind::PluginConfiguration if data.export() == "proxy_on_configure" => {
            data.roots.get(&data.context()).cloned()
        }
        BufferKind::PluginConfiguration | BufferKind::Other => None,
    }
}

fn link_flow(linker: &mut Linker<VmData>) -> Result<()> {
    #[allow(clippy::too_many_arguments)] // The ABI's signature.
    fn send_local_response(
        mut host: Host<'_>,
        status: u32,
        details: u32,
        details_size: u32,
        body: u32,
        body_size: u32,
        pairs: u32,
        pairs_size: u32,
        _grpc: u32,
    ) -> Result<u32> {
        enter(&mut host, "proxy_send_local_response")?;
        let headers = read_pairs(&host, pairs, pairs_size)?;
        let (Some(details), Some(body), Some(headers)) =
            (read_text(&host, details, details_size), read(&host, body, body_size), headers)
        else {
            return done(Status::InvalidMemoryAccess);
        };
        if let Some((name, _)) = headers.raw().find(|(name, _)| name.starts_with(b":")) {
            return Err(misuse(format!("a local reply with {}", String::from_utf8_lossy(name))));
        }
        let target = host.data().context();
        let Some(stream) = host.data().context_stream() else {
            return Err(misuse("a local reply without a stream, which Envoy drops silently"));
        };
        check_target(host.data_mut(), target)?;
        if std::mem::replace(&mut stream.borrow_mut().reply_asked, true) {
            return Err(misuse(format!("a second local reply to stream {target}")));
        }
        let data = host.data_mut();
        data.after.push_back(After::Reply(target, LocalReply { status, details, headers, body }));
        data.stop = true;
        done(Status::Ok)
    }
    linker.func_wrap("env", "proxy_send_local_response", send_local_response)?;
    linker.func_wrap("env", "proxy_continue_stream", |mut host: Host<'_>, kind: u32| {
        enter(&mut host, "proxy_continue_stream")?;
        resume(&mut host, Direction::from_stream_type(kind))
    })?;
    linker.func_wrap("env", "proxy_close_stream", |mut host: Host<'_>, kind: u32| {
        enter(&mut host, "proxy_close_stream")?;
        if Direction::from_stream_type(kind).is_none() || host.data().context_stream().is_none() {
            return done(Status::BadArgument);
        }
        let target = host.data().context();
        host.data_mut().after.push_back(After::Close(target));
        done(Status::Ok)
    })?;
    Ok(())
}

fn resume(host: &mut Host<'_>, direction: Option<Direction>) -> Result<u32> {
    let (Some(direction), Some(_)) = (direction, host.data().context_stream()) else {
        return unavailable(host, Status::BadArgument);
    };
    let target = host.data().context();
    host.data_mut().after.push_back(After::Resume(target, direction));
    done(Status::Ok)
}

// The stop flag is the VM's, so a reply to another stream stalls the one whose callback runs; and each reply of a call
// nests deeper on the native stack.
fn check_target(data: &mut VmData, target: u32) -> Result<()> {
    let Some(entry) = &mut data.entry else { return Ok(()) };
    entry.replies += 1;
    if entry.replies > MAX_REPLIES_PER_CALL {
        return Err(misuse(format!(
            "more than {MAX_REPLIES_PER_CALL} local replies in one {}",
            entry.export
        )));
    }
    if entry.context != target && MESSAGE_CALLBACKS.contains(&entry.export) {
        return Err(misuse(format!(
            "a local reply to stream {target} from {} of stream {}, which stalls the latter",
            entry.export, entry.context
        )));
    }
    Ok(())
}

/// Envoy held 256 and overflowed its stack at 1,000; well-behaved filters stay far below.
const MAX_REPLIES_PER_CALL: usize = 64;

const MESSAGE_CALLBACKS: [&str; 6] = [
    "proxy_on_request_headers",
    "proxy_on_request_body",
    "proxy_on_request_trailers",
    "proxy_on_response_headers",
    "proxy_on_response_body",
    "proxy_on_response_trailers",
];
