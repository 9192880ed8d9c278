//! How the filter's WebAssembly module is built and checked.
//!
//! [`artifact()`] builds `target/selvage.wasm` and says where it is; tests take the module only from there, so a stale one
//! cannot be tested. [`inspect()`] reads a module and [`Report::faults`] lists what would keep Envoy from loading it.

mod artifact;
mod inspect;

pub use artifact::{Error, artifact, guest, playground};
pub use inspect::{Fault, Import, Malformed, Report, inspect};

/// The module's size budget in bytes, with all capabilities. `--with` builds one with fewer, and the check says what each adds.
pub const SIZE_BUDGET_BYTES: usize = 2368 * 1024;
