//! Logs, time, properties, metrics, contexts.

use wasmtime::{Linker, Result};

use super::{Host, done, enter, give, misuse, read, read_text, write, write_u32};
use crate::{LogLevel, LogLine, Status, vm::VmData};

pub(super) fn link(linker: &mut Linker<VmData>) -> Result<()> {
    linker.func_wrap("env", "proxy_log", |mut host: Host<'_>, level: u32, at: u32, size: u32| {
        enter(&mut host, "proxy_log")?;
        let Some(level) = LogLevel::from_number(level) else { return done(Status::BadArgument) };
        let Some(message) = read_text(&host, at, size) else { return done(Status::InvalidMemoryAccess) };
        let source = host.data().name.clone();
        host.data().node.logs.borrow_mut().push(LogLine { source, level, message });
        done(Status::Ok)
    })?;
    linker.func_wrap("env", "proxy_get_log_level", |mut host: Host<'_>, at: u32| {
        enter(&mut host, "proxy_get_log_level")?;
        write_u32(&mut host, at, LogLevel::Info as u32)
    })?;
    linker.func_wrap("env", "proxy_get_current_time_nanoseconds", |mut host: Host<'_>, at: u32| {
        enter(&mut host, "proxy_get_current_time_nanoseconds")?;
        let now = host.data().node.clock.nanoseconds();
        done(if write(&mut host, at, &now.to_le_bytes()) { Status::Ok } else { Status::InvalidMemoryAccess })
    })?;
    linker.func_wrap("env", "proxy_set_tick_period_milliseconds", |mut host: Host<'_>, period: u32| {
        enter(&mut host, "proxy_set_tick_period_milliseconds")?;
        host.data_mut().tick_period = Some(period);
        done(Status::Ok)
    })?;
    linker.func_wrap("env", "proxy_set_effective_context", |mut host: Host<'_>, context: u32| {
        enter(&mut host, "proxy_set_effective_context")?;
        let data = host.data_mut();
        if !data.streams.contains_key(&context) && !data.roots.contains_key(&context) {
            return Err(misuse(format!("proxy_set_effective_context to {context}, which is gone")));
        }
        data.effective = Some(context);
        done(Status::Ok)
    })?;
    linker.func_wrap("env", "proxy_done", |mut host: Host<'_>| {
        enter(&mut host, "proxy_done")?;
        done(Status::Ok)
    })?;
    linker.func_wrap(
        "env",
        "proxy_call_foreign_function",
        |mut host: Host<'_>, name: u32, name_size: u32, _: u32, _: u32, result: u32, result_size: u32| {
            enter(&mut host, "proxy_call_foreign_function")?;
            match read_text(&host, name, name_size).as_deref() {
                Some("clear_route_cache") => give(&mut host, &[], result, result_size),
                Some(_) => done(Status::NotFound),
                None => done(Status::InvalidMemoryAccess),
            }
        },
    )?;
    link_properties(linker)?;
    link_metrics(linker)
}

fn link_properties(linker: &mut Linker<VmData>) -> Result<()> {
    linker.func_wrap(
        "env",
        "proxy_get_property",
        |mut host: Host<'_>, path: u32, path_size: u32, value: u32, value_size: u32| {
            enter(&mut host, "proxy_get_property")?;
            let Some(path) = read(&host, path, path_size) else { return done(Status::InvalidMemoryAccess) };
            match property(host.data(), &dotted(&path)) {
                Some(bytes) => give(&mut host, &bytes, value, value_size),
                None => done(Status::NotFound),
            }
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_set_property",
        |mut host: Host<'_>, path: u32, path_size: u32, value: u32, value_size: u32| {
            enter(&mut host, "proxy_set_property")?;
            let (Some(path), Some(value)) = (read(&host, path, path_size), read(&host, value, value_size))
            else {
                return done(Status::InvalidMemoryAccess);
            };
            let Some(stream) = host.data().context_stream() else { return done(Status::NotFound) };
            stream.borrow_mut().properties.insert(dotted(&path), value);
            done(Status::Ok)
        },
    )?;
    Ok(())
}

fn dotted(path: &[u8]) -> String {
    String::from_utf8_lossy(path).trim_end_matches('\0').replace('\0', ".")
}

fn property(data: &VmData, path: &str) -> Option<Vec<u8>> {
    let text = |value: &str| Some(value.as_bytes().to_vec());
    match path {
        "plugin_name" | "plugin_root_id" | "plugin_vm_id" => return text("selvage"),
        _ => {}
    }
    let stream = data.context_stream()?;
    let state = stream.borrow();
    if let Some(given) = state.properties.get(path) {
        return Some(given.clone());
    }
    let requested = |name: &str| state.request.headers.as_ref().and_then(|headers| headers.get(name));
    match path {
        "response.code_details" if !state.code_details.is_empty() => text(&state.code_details),
        "response.code" => {
            let status = state.response.headers.as_ref()?.status();
            Some(u64::from(status).to_le_bytes().to_vec())
        }
        "request.method" => text(&requested(":method")?),
        "request.path" => text(&requested(":path")?),
        "request.host" => text(&requested(":authority")?),
        "request.scheme" => text(&requested(":scheme")?),
        "request.protocol" => text("HTTP/1.1"),
        "xds.route_name" => text("default"),
        "xds.cluster_name" => text("origin"),
        _ => None,
    }
}

fn link_metrics(linker: &mut Linker<VmData>) -> Result<()> {
    linker.func_wrap(
        "env",
        "proxy_define_metric",
        |mut host: Host<'_>, kind: u32, name: u32, name_size: u32, id_at: u32| {
            enter(&mut host, "proxy_define_metric")?;
            let Some(name) = read_text(&host, name, name_size) else {
                return done(Status::InvalidMemoryAccess);
            };
            let defined = host.data().node.metrics.borrow_mut().define(kind, &name);
            match defined {
                Some(id) => write_u32(&mut host, id_at, id),
                None => done(Status::BadArgument),
            }
        },
    )?;
    linker.func_wrap("env", "proxy_increment_metric", |mut host: Host<'_>, id: u32, by: i64| {
        enter(&mut host, "proxy_increment_metric")?;
        done(host.data().node.metrics.borrow_mut().increment(id, by))
    })?;
    linker.func_wrap("env", "proxy_record_metric", |mut host: Host<'_>, id: u32, value: u64| {
        enter(&mut host, "proxy_record_metric")?;
        done(host.data().node.metrics.borrow_mut().record(id, value))
    })?;
    linker.func_wrap("env", "proxy_get_metric", |mut host: Host<'_>, id: u32, at: u32| {
        enter(&mut host, "proxy_get_metric")?;
        let value = host.data().node.metrics.borrow().by_id(id);
        let Some(value) = value else { return done(Status::NotFound) };
        done(if write(&mut host, at, &value.to_le_bytes()) {
            Status::Ok
        } else {
            Status::InvalidMemoryAccess
        })
    })?;
    Ok(())
}
