//! The module under test, compiled once for all tests of a binary.

use std::sync::{Arc, OnceLock};

use wasmtime::{Config, Engine, OptLevel};

/// A compiled module; clones share the code.
#[derive(Clone)]
pub struct Module {
    pub(crate) engine: Engine,
    pub(crate) code: Arc<wasmtime::Module>,
}

impl Module {
    /// The release module, built afresh unless `SELVAGE_WASM` names another one.
    ///
    /// # Panics
    /// If it cannot be built, is missing or is not a module.
    pub fn selvage() -> Self {
        static SELVAGE: OnceLock<Module> = OnceLock::new();
        SELVAGE
            .get_or_init(|| {
                let path = selvage_wasm_target::artifact().unwrap_or_else(|problem| panic!("{problem}"));
                let bytes =
                    std::fs::read(&path).unwrap_or_else(|problem| panic!("{}: {problem}", path.display()));
                Self::compile(&bytes)
            })
            .clone()
    }

    /// Compiles a module from its binary or text form.
    ///
    /// # Panics
    /// If it is not a valid module.
    pub fn compile(bytes: &[u8]) -> Self {
        let code = wasmtime::Module::new(engine(), bytes).unwrap_or_else(|problem| panic!("{problem:?}"));
        Self { engine: engine().clone(), code: Arc::new(code) }
    }
}

fn engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| {
        let mut config = Config::new();
        // The module is already optimised; unoptimised machine code compiles faster and is fast enough for tests.
        config.cranelift_opt_level(OptLevel::None);
        Engine::new(&config).unwrap()
    })
}
