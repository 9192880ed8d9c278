//! HTTP callouts.

use wasmtime::{Linker, Result};

use super::{Host, done, enter, read, read_pairs, read_text, write_u32};
use crate::{Status, vm::VmData};

pub(super) fn link(linker: &mut Linker<VmData>) -> Result<()> {
    linker.func_wrap("env", "proxy_http_call", http_call)?;
    link_grpc(linker)
}

/// A guest built with the SDK imports these whether it uses them or not.
fn link_grpc(linker: &mut Linker<VmData>) -> Result<()> {
    linker.func_wrap("env", "proxy_grpc_cancel", |_: u32| done(Status::Unimplemented))?;
    linker.func_wrap("env", "proxy_grpc_close", |_: u32| done(Status::Unimplemented))?;
    linker
        .func_wrap("env", "proxy_grpc_send", |_: u32, _: u32, _: u32, _: u32| done(Status::Unimplemented))?;
    linker.func_wrap(
        "env",
        "proxy_grpc_stream",
        |_: u32, _: u32, _: u32, _: u32, _: u32, _: u32, _: u32, _: u32, _: u32| done(Status::Unimplemented),
    )?;
    linker.func_wrap(
        "env",
        "proxy_grpc_call",
        |_: u32, _: u32, _: u32, _: u32, _: u32, _: u32, _: u32, _: u32, _: u32, _: u32, _: u32, _: u32| {
            done(Status::Unimplemented)
        },
    )?;
    linker.func_wrap("env", "proxy_get_status", |_: u32, _: u32, _: u32| done(Status::Unimplemented))?;
    Ok(())
}

#[allow(clippy::too_many_arguments)] // The ABI's signature.
fn http_call(
    mut host: Host<'_>,
    cluster: u32,
    cluster_size: u32,
    headers: u32,
    headers_size: u32,
    body: u32,
    body_size: u32,
    _trailers: u32,
    _trailers_size: u32,
    timeout: u32,
    token_at: u32,
) -> Result<u32> {
    enter(&mut host, "proxy_http_call")?;
    let headers = read_pairs(&host, headers, headers_size)?;
    let (Some(cluster), Some(headers), Some(body)) =
        (read_text(&host, cluster, cluster_size), headers, read(&host, body, body_size))
    else {
        return done(Status::InvalidMemoryAccess);
    };
    let whole = [":method", ":path", ":authority"].iter().all(|name| headers.contains(name));
    let data = host.data();
    if !whole || !data.node.clusters.borrow().contains(&cluster) {
        return done(Status::BadArgument);
    }
    if data.node.refuses_callouts.get() {
        return done(Status::InternalFailure);
    }
    // Envoy sends it from the root context, whichever context asked.
    let root = data.roots.keys().next_back().copied().unwrap_or(0);
    let token = data.node.add_callout(data.instance, root, cluster, headers, body, timeout);
    write_u32(&mut host, token_at, token)
}
