//! Shared data and queues.

use wasmtime::{Linker, Result};

use super::{Host, done, enter, give, misuse, read, write_u32};
use crate::{Status, shared::QueueOwner, vm::VmData};

pub(super) fn link(linker: &mut Linker<VmData>) -> Result<()> {
    linker.func_wrap(
        "env",
        "proxy_get_shared_data",
        |mut host: Host<'_>, key: u32, key_size: u32, value_at: u32, size_at: u32, cas_at: u32| {
            enter(&mut host, "proxy_get_shared_data")?;
            let Some(key) = read(&host, key, key_size) else { return done(Status::InvalidMemoryAccess) };
            let found = host.data().node.shared.borrow().get(&key).cloned();
            let Some((value, cas)) = found else { return done(Status::NotFound) };
            let given = give(&mut host, &value, value_at, size_at)?;
            if given == Status::Ok as u32 { write_u32(&mut host, cas_at, cas) } else { Ok(given) }
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_set_shared_data",
        |mut host: Host<'_>, key: u32, key_size: u32, value: u32, value_size: u32, cas: u32| {
            enter(&mut host, "proxy_set_shared_data")?;
            let (Some(key), Some(value)) = (read(&host, key, key_size), read(&host, value, value_size))
            else {
                return done(Status::InvalidMemoryAccess);
            };
            done(host.data().node.shared.borrow_mut().set(key, value, cas))
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_register_shared_queue",
        |mut host: Host<'_>, name: u32, name_size: u32, token_at: u32| {
            enter(&mut host, "proxy_register_shared_queue")?;
            let Some(name) = read(&host, name, name_size) else { return done(Status::InvalidMemoryAccess) };
            let data = host.data();
            // Envoy notifies the root context, whichever context registered.
            let context = data.roots.keys().next_back().copied().unwrap_or(0);
            let owner = QueueOwner { vm: data.instance, context };
            let token = data.node.queues.borrow_mut().register(&name, owner);
            write_u32(&mut host, token_at, token)
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_resolve_shared_queue",
        |mut host: Host<'_>, _vm_id: u32, _vm_id_size: u32, name: u32, name_size: u32, token_at: u32| {
            enter(&mut host, "proxy_resolve_shared_queue")?;
            let Some(name) = read(&host, name, name_size) else { return done(Status::InvalidMemoryAccess) };
            let token = host.data().node.queues.borrow().resolve(&name);
            match token {
                Some(token) => write_u32(&mut host, token_at, token),
                None => done(Status::NotFound),
            }
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_enqueue_shared_queue",
        |mut host: Host<'_>, token: u32, data: u32, size: u32| {
            enter(&mut host, "proxy_enqueue_shared_queue")?;
            let Some(item) = read(&host, data, size) else { return done(Status::InvalidMemoryAccess) };
            match host.data().node.queues.borrow_mut().enqueue(token, item) {
                Status::NotFound => {
                    Err(misuse(format!("proxy_enqueue_shared_queue to token {token}, which is unknown")))
                }
                status => done(status),
            }
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_dequeue_shared_queue",
        |mut host: Host<'_>, token: u32, data_at: u32, size_at: u32| {
            enter(&mut host, "proxy_dequeue_shared_queue")?;
            let taken = host.data().node.queues.borrow_mut().dequeue(token);
            match taken {
                Ok(item) => give(&mut host, &item, data_at, size_at),
                Err(status) => done(status),
            }
        },
    )?;
    Ok(())
}
