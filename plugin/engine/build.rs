//! Puts the operators' page into the engine: compressed, and with the policy that lets a browser run its script and no other.

use std::error::Error;
use std::path::Path;
use std::{env, fs};

use sha2::{Digest, Sha256};

#[allow(dead_code, reason = "only what writes is used here")]
#[path = "src/coding/gzip.rs"]
mod gzip;

const PAGE: &str = "../page/index.html";

fn main() -> Result<(), Box<dyn Error>> {
    for file in [PAGE, "src/coding/gzip.rs", "build.rs"] {
        println!("cargo::rerun-if-changed={file}");
    }
    let page = fs::read_to_string(PAGE).map_err(|error| format!("{PAGE}: {error}"))?;
    let policy = format!(
        "default-src 'none'; style-src '{}'; script-src '{}'; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        hash(&page, "style")?,
        hash(&page, "script")?,
    );
    let folder = env::var("OUT_DIR")?;
    fs::write(Path::new(&folder).join("page.gz"), gzip::compress(page.as_bytes(), 9))?;
    fs::write(Path::new(&folder).join("page.policy"), policy)?;
    Ok(())
}

/// The hash source of the one element of this name (CSP Level 3 §2.3.1).
fn hash(page: &str, name: &str) -> Result<String, Box<dyn Error>> {
    let wanted = || format!("{PAGE}: one <{name}> without attributes is wanted");
    let (begin, end) = (format!("<{name}>"), format!("</{name}>"));
    let (before, rest) = page.split_once(&begin).ok_or_else(wanted)?;
    let (content, after) = rest.split_once(&end).ok_or_else(wanted)?;
    if [before, after].iter().any(|other| other.contains(&format!("<{name}"))) {
        return Err(wanted().into());
    }
    Ok(format!("sha256-{}", base64(&Sha256::digest(content))))
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for part in bytes.chunks(3) {
        let bits =
            part.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - part.len()));
        for place in 0..4 {
            let digit = DIGITS.get((bits >> (18 - 6 * place) & 63) as usize).filter(|_| place <= part.len());
            text.push(digit.map_or('=', |digit| char::from(*digit)));
        }
    }
    text
}
