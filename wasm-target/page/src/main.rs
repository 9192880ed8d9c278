//! Puts the playground into one file that needs no server and asks for nothing: the engine's module, packed, the glue that
//! `wasm-bindgen` makes for it, the lessons, the page's style and scripts, and a policy that lets a browser run these and no others.
//!
//! `selvage-page MODULE PLAYGROUND FILE`: the module as cargo built it, the folder of the playground, and the file to write.
//! It fails where the file, compressed as a server would send it, is over its budget.

mod pack;

use std::path::Path;
use std::process::ExitCode;
use std::{env, fs};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use wasm_bindgen_cli_support::Bindgen;

/// The most that the page may have, compressed with gzip, in bytes.
const BUDGET_BYTES: usize = 400_000;
/// The scripts of the page, in their order.
const SCRIPTS: [&str; 8] = ["unpack", "nodes", "scene", "lessons", "editor", "timeline", "shown", "main"];

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [module, playground, file] = arguments.as_slice() else {
        eprintln!("usage: selvage-page MODULE PLAYGROUND FILE");
        return ExitCode::from(2);
    };
    match assemble(Path::new(module), Path::new(playground)).and_then(|page| checked(page, Path::new(file))) {
        Ok(bytes) => {
            eprintln!("{file}: {bytes} bytes compressed, of {BUDGET_BYTES}");
            ExitCode::SUCCESS
        }
        Err(fault) => {
            eprintln!("selvage-page: {fault}");
            ExitCode::FAILURE
        }
    }
}

/// Writes the page unless it is too large; gives how many bytes it has, compressed.
fn checked(page: String, file: &Path) -> Result<usize, String> {
    let bytes = miniz_oxide::deflate::compress_to_vec(page.as_bytes(), 10).len();
    if bytes > BUDGET_BYTES {
        return Err(format!("the page has {bytes} bytes compressed, of at most {BUDGET_BYTES}"));
    }
    // In one step, so that a reader never sees half of it.
    let new = file.with_extension("html.new");
    fs::write(&new, page)
        .and_then(|()| fs::rename(&new, file))
        .map_err(|fault| format!("{}: {fault}", file.display()))?;
    Ok(bytes)
}

/// The page as one text.
fn assemble(module: &Path, playground: &Path) -> Result<String, String> {
    let read = |path: &Path| fs::read_to_string(path).map_err(|fault| format!("{}: {fault}", path.display()));
    let folder = playground.join("page");
    let bound = bind(module)?;
    let packed = STANDARD.encode(pack::pack(&bound.module)?);
    let lessons = read(&playground.join("lessons.json"))?;
    // As a function: after a trap the page begins anew, with nothing left of what was.
    let mut script = format!("'use strict'\nfunction glue() {{\n{}\nreturn wasm_bindgen\n}}\n", bound.glue);
    for name in SCRIPTS {
        script.push_str(&read(&folder.join(format!("{name}.js")))?);
    }
    let style = read(&folder.join("style.css"))?;
    for (what, text) in [("lessons", &lessons), ("script", &script), ("style", &style)] {
        // It would end its element.
        if text.contains("</") && (text.contains("</script") || text.contains("</style")) {
            return Err(format!("the {what} has an end tag in it"));
        }
    }
    let policy = format!(
        "default-src 'none'; script-src '{}' 'wasm-unsafe-eval'; style-src '{}'; img-src data:; base-uri 'none'; \
         form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
        hash(&script),
        hash(&style),
    );
    let mut page = read(&folder.join("index.html"))?;
    for (mark, text) in [
        ("{policy}", policy.as_str()),
        ("{style}", &style),
        ("{lessons}", &lessons),
        ("{module}", &packed),
        ("{script}", &script),
    ] {
        let (before, after) =
            page.split_once(mark).ok_or_else(|| format!("index.html: {mark} is missing"))?;
        page = [before, text, after].concat();
    }
    Ok(page)
}

/// The hash source of an element's text (CSP Level 3 §2.3.1).
fn hash(text: &str) -> String {
    format!("sha256-{}", STANDARD.encode(Sha256::digest(text)))
}

/// What `wasm-bindgen` makes of a module.
struct Bound {
    glue: String,
    module: Vec<u8>,
}

fn bind(module: &Path) -> Result<Bound, String> {
    let mut bindgen = Bindgen::new();
    bindgen.input_path(module).typescript(false).omit_default_module_path(true);
    bindgen.remove_name_section(true).remove_producers_section(true);
    let told = |fault: &dyn std::fmt::Display| format!("{}: {fault:#}", module.display());
    bindgen.no_modules(true).map_err(|fault| told(&fault))?;
    let mut output = bindgen.generate_output().map_err(|fault| told(&fault))?;
    Ok(Bound { glue: output.js().to_owned(), module: output.wasm_mut().emit_wasm() })
}
