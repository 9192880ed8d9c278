use std::collections::BTreeSet;

use wasmparser::{ExternalKind, Parser, Payload, TypeRef};

use crate::SIZE_BUDGET_BYTES;

/// What a module asks of its host and offers to it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// The module's size in bytes.
    pub size_bytes: usize,
    /// Everything imported, in order of name.
    pub imports: BTreeSet<Import>,
    /// The names of the exported functions and memories.
    pub exports: BTreeSet<String>,
}

/// One import of a module.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Import {
    /// The module it is imported from: `env` for proxy-wasm.
    pub module: String,
    /// Its name there.
    pub name: String,
    /// Whether it is a function. Envoy provides nothing else.
    pub is_function: bool,
}

/// A reason why Envoy would refuse the module, or why we do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Envoy has no such import and would not link the module.
    #[error("import {module}.{name} does not exist in Envoy")]
    UnknownImport {
        /// The module it is imported from.
        module: String,
        /// Its name there.
        name: String,
    },
    /// The host calls this function, or needs this memory, and it is not there.
    #[error("export {0} is missing")]
    MissingExport(&'static str),
    /// The module is larger than [`SIZE_BUDGET_BYTES`].
    #[error("{size_bytes} bytes are over the budget of {SIZE_BUDGET_BYTES}")]
    TooLarge {
        /// The module's size.
        size_bytes: usize,
    },
}

/// The bytes are no WebAssembly module.
#[derive(Debug, thiserror::Error)]
#[error("not a WebAssembly module: {0}")]
pub struct Malformed(#[from] wasmparser::BinaryReaderError);

/// Reads the imports and exports of a module.
///
/// # Errors
/// The bytes do not parse.
pub fn inspect(module: &[u8]) -> Result<Report, Malformed> {
    let mut report = Report { size_bytes: module.len(), ..Report::default() };
    for payload in Parser::new(0).parse_all(module) {
        match payload? {
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    let import = import?;
                    report.imports.insert(Import {
                        module: import.module.to_owned(),
                        name: import.name.to_owned(),
                        is_function: matches!(import.ty, TypeRef::Func(_)),
                    });
                }
            }
            Payload::ExportSection(section) => {
                for export in section {
                    let export = export?;
                    if matches!(export.kind, ExternalKind::Func | ExternalKind::Memory) {
                        report.exports.insert(export.name.to_owned());
                    }
                }
            }
            _ => {}
        }
    }
    Ok(report)
}

impl Report {
    /// Everything wrong with the module, all at once; empty when Envoy can load it.
    pub fn faults(&self) -> Vec<Fault> {
        let unknown =
            self.imports.iter().filter(|import| !import.exists_in_envoy()).map(|import| {
                Fault::UnknownImport { module: import.module.clone(), name: import.name.clone() }
            });
        let missing = EXPORTS.iter().filter(|name| !self.exports.contains(**name)).copied();
        let too_large =
            (self.size_bytes > SIZE_BUDGET_BYTES).then_some(Fault::TooLarge { size_bytes: self.size_bytes });
        unknown.chain(missing.map(Fault::MissingExport)).chain(too_large).collect()
    }
}

impl Import {
    fn exists_in_envoy(&self) -> bool {
        let known: &[&str] = match self.module.as_str() {
            "env" => PROXY_WASM,
            "wasi_snapshot_preview1" => WASI,
            _ => &[],
        };
        self.is_function && known.contains(&self.name.as_str())
    }
}

/// What the filter must export: the callbacks that it answers, and its memory.
const EXPORTS: &[&str] = &[
    "_initialize",
    "memory",
    "proxy_abi_version_0_2_1",
    "proxy_on_configure",
    "proxy_on_context_create",
    "proxy_on_delete",
    "proxy_on_memory_allocate",
    "proxy_on_queue_ready",
    "proxy_on_request_body",
    "proxy_on_request_headers",
    "proxy_on_request_trailers",
    "proxy_on_response_body",
    "proxy_on_response_headers",
    "proxy_on_response_trailers",
    "proxy_on_tick",
    "proxy_on_vm_start",
];

/// The host functions of proxy-wasm ABI 0.2.1.
const PROXY_WASM: &[&str] = &[
    "proxy_add_header_map_value",
    "proxy_call_foreign_function",
    "proxy_close_stream",
    "proxy_continue_stream",
    "proxy_define_metric",
    "proxy_dequeue_shared_queue",
    "proxy_done",
    "proxy_enqueue_shared_queue",
    "proxy_get_buffer_bytes",
    "proxy_get_buffer_status",
    "proxy_get_current_time_nanoseconds",
    "proxy_get_header_map_pairs",
    "proxy_get_header_map_size",
    "proxy_get_header_map_value",
    "proxy_get_log_level",
    "proxy_get_metric",
    "proxy_get_property",
    "proxy_get_shared_data",
    "proxy_get_status",
    "proxy_grpc_call",
    "proxy_grpc_cancel",
    "proxy_grpc_close",
    "proxy_grpc_send",
    "proxy_grpc_stream",
    "proxy_http_call",
    "proxy_increment_metric",
    "proxy_log",
    "proxy_record_metric",
    "proxy_register_shared_queue",
    "proxy_remove_header_map_value",
    "proxy_replace_header_map_value",
    "proxy_resolve_shared_queue",
    "proxy_send_local_response",
    "proxy_set_buffer_bytes",
    "proxy_set_effective_context",
    "proxy_set_header_map_pairs",
    "proxy_set_property",
    "proxy_set_shared_data",
    "proxy_set_tick_period_milliseconds",
];

/// The WASI functions that work in Envoy, and those stubs that the standard library links although nothing calls them.
/// Files and sockets are left out on purpose: Envoy would link them, and every call would fail.
const WASI: &[&str] = &[
    "args_get",
    "args_sizes_get",
    "clock_res_get",
    "clock_time_get",
    "environ_get",
    "environ_sizes_get",
    "fd_close",
    "fd_fdstat_get",
    "fd_prestat_dir_name",
    "fd_prestat_get",
    "fd_seek",
    "fd_write",
    "poll_oneoff",
    "proc_exit",
    "random_get",
    "sched_yield",
];

#[cfg(test)]
mod tests {
    use super::*;

    /// A module with every export it needs, and `more` of the text format before them.
    fn module(more: &str) -> Vec<u8> {
        let functions: String = EXPORTS
            .iter()
            .filter(|name| **name != "memory")
            .map(|name| format!("(func (export \"{name}\"))"))
            .collect();
        wat::parse_str(format!("(module {more} (memory (export \"memory\") 1) {functions})")).unwrap()
    }

    fn faults(module: &[u8]) -> Vec<Fault> {
        inspect(module).unwrap().faults()
    }

    #[test]
    fn a_module_with_known_imports_and_all_exports_passes() {
        let imports = r#"(import "env" "proxy_log" (func (param i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "random_get" (func (param i32 i32) (result i32)))"#;
        assert_eq!(faults(&module(imports)), []);
    }

    #[test]
    fn an_import_that_envoy_lacks_is_a_fault_that_names_it() {
        let imports = r#"(import "wbg" "__wbindgen_throw" (func))
            (import "env" "proxy_clear_route_cache" (func))
            (import "wasi_snapshot_preview1" "path_open" (func))"#;
        let told: Vec<String> = faults(&module(imports)).iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "import env.proxy_clear_route_cache does not exist in Envoy",
                "import wasi_snapshot_preview1.path_open does not exist in Envoy",
                "import wbg.__wbindgen_throw does not exist in Envoy",
            ]
        );
    }

    #[test]
    fn an_imported_memory_is_a_fault_whatever_its_name() {
        let bytes = wat::parse_str(r#"(module (import "env" "proxy_log" (memory 1)))"#).unwrap();
        let unknown = Fault::UnknownImport { module: "env".to_owned(), name: "proxy_log".to_owned() };
        assert!(faults(&bytes).contains(&unknown));
    }

    #[test]
    fn every_missing_export_is_named() {
        let missing = faults(&wat::parse_str("(module)").unwrap());
        assert_eq!(missing.len(), EXPORTS.len());
        assert!(missing.contains(&Fault::MissingExport("proxy_abi_version_0_2_1")));
        assert!(missing.contains(&Fault::MissingExport("memory")));
    }

    #[test]
    fn a_global_does_not_stand_in_for_a_function() {
        let bytes =
            wat::parse_str(r#"(module (global (export "proxy_on_tick") i32 (i32.const 0)))"#).unwrap();
        assert!(faults(&bytes).contains(&Fault::MissingExport("proxy_on_tick")));
    }

    #[test]
    fn a_module_over_the_budget_is_a_fault_and_one_at_the_budget_is_not() {
        let mut report = inspect(&module("")).unwrap();
        report.size_bytes = SIZE_BUDGET_BYTES;
        assert_eq!(report.faults(), []);
        report.size_bytes = SIZE_BUDGET_BYTES + 1;
        assert_eq!(report.faults(), [Fault::TooLarge { size_bytes: SIZE_BUDGET_BYTES + 1 }]);
    }

    #[test]
    fn bytes_that_are_no_module_are_refused() {
        assert!(inspect(b"\0asm").is_err());
        assert!(inspect(b"#!/bin/sh").is_err());
    }
}
