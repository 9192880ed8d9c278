//! How much smaller responses are at rest, and what that costs:
//! `cargo doc --no-deps && cargo run --release -p selvage-engine --example compression`.
//!
//! The corpus is JSON that is made here, the same each time, and the files of the folders named (`target/doc` without any):
//! pages, scripts, styles, images and fonts as a documentation site has them. Each file is treated as a response of
//! its type would be: compressed when the defaults of a rule say so and it is worth it, else stored as it came.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use selvage_engine::coding::eligible::eligible;
use selvage_engine::coding::gzip::{compress, inflate, worth_it};
use selvage_engine::fields::FieldBlock;
use selvage_engine::policy::Compression;

const LEVELS: [u8; 3] = [1, 3, 6];
/// Of each type at most so many bytes, of files spread over all there are.
const MOST_BYTES: usize = 8 << 20;
const MOST_FILES: usize = 400;

fn main() -> ExitCode {
    let mut folders: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    if folders.is_empty() {
        folders.push(documentation());
    }
    let mut files = Vec::new();
    for folder in &folders {
        if !collect(folder, &mut files) {
            eprintln!(
                "no folder {}: run `cargo doc --no-deps` first, or name folders with files",
                folder.display()
            );
            return ExitCode::FAILURE;
        }
    }
    files.sort();
    let mut corpus: BTreeMap<&str, (&str, Vec<Vec<u8>>)> = BTreeMap::new();
    for (title, size) in [
        ("JSON, made here, 2 kB", 2_000),
        ("JSON, made here, 10 kB", 10_000),
        ("JSON, made here, 100 kB", 100_000),
    ] {
        let bodies = (0..(2_000_000 / size).min(MOST_FILES)).map(|seed| json(seed as u64, size)).collect();
        corpus.insert(title, ("application/json", bodies));
    }
    for (title, media, endings) in TYPES {
        let of_type: Vec<_> =
            files.iter().filter(|file| ending(file).is_some_and(|own| endings.contains(&own))).collect();
        let bodies = spread(&of_type);
        if !bodies.is_empty() {
            corpus.insert(title, (media, bodies));
        }
    }
    print_table(&corpus);
    ExitCode::SUCCESS
}

fn print_table(corpus: &BTreeMap<&str, (&str, Vec<Vec<u8>>)>) {
    print!("| type | files | bytes |");
    for level in LEVELS {
        print!(" level {level}: at rest | of it | µs/kB |");
    }
    println!(" inflate, µs/kB |\n|{}", "---|".repeat(4 + 3 * LEVELS.len()));
    for (title, (media, bodies)) in corpus {
        let bytes: usize = bodies.iter().map(Vec::len).sum();
        print!("| {title} | {} | {bytes} |", bodies.len());
        let mut inflating = 0.0;
        for level in LEVELS {
            let Stored { at_rest, tried, compressing, inflated, reading } = store(media, bodies, level);
            let spent =
                if tried == 0 { "-".to_owned() } else { format!("{:.1}", compressing * 1e9 / tried as f64) };
            print!(" {at_rest} | {:.1} % | {spent} |", at_rest as f64 / bytes as f64 * 100.0);
            inflating = if inflated == 0 { 0.0 } else { reading * 1e9 / inflated as f64 };
        }
        println!(" {} |", if inflating == 0.0 { "-".to_owned() } else { format!("{inflating:.1}") });
    }
}

/// What storing a type's bodies came to. Times in seconds, all else in bytes.
#[derive(Default)]
struct Stored {
    at_rest: usize,
    tried: usize,
    compressing: f64,
    inflated: usize,
    reading: f64,
}

fn store(media: &str, bodies: &[Vec<u8>], level: u8) -> Stored {
    let rule = Compression::default();
    let fields: FieldBlock = [(&b"content-type"[..], media.as_bytes())].into_iter().collect();
    let mut sum = Stored::default();
    for body in bodies {
        if !eligible(200, fields.fields(), body.len(), &rule) {
            sum.at_rest += body.len();
            continue;
        }
        let begun = Instant::now();
        let compressed = compress(body, level);
        sum.compressing += begun.elapsed().as_secs_f64();
        sum.tried += body.len();
        if !worth_it(body.len(), compressed.len()) {
            sum.at_rest += body.len();
            continue;
        }
        sum.at_rest += compressed.len();
        let begun = Instant::now();
        let read = inflate(&compressed, body.len());
        sum.reading += begun.elapsed().as_secs_f64();
        sum.inflated += body.len();
        assert!(read.as_ref() == Ok(body), "a body does not come back as it was");
    }
    sum
}

/// The folder that `cargo doc` writes, beside the folder of this program's profile.
fn documentation() -> PathBuf {
    let program = std::env::current_exe().unwrap_or_default();
    program.ancestors().nth(3).unwrap_or(Path::new("target")).join("doc")
}

/// Adds the files below a folder. False if it cannot be read.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> bool {
    let Ok(entries) = std::fs::read_dir(folder) else { return false };
    for entry in entries.flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => drop(collect(&entry.path(), files)),
            Ok(kind) if kind.is_file() => files.push(entry.path()),
            _ => {}
        }
    }
    true
}

fn ending(file: &Path) -> Option<&str> {
    file.extension()?.to_str()
}

/// The contents of files from all over the list, as many as the bounds allow.
fn spread(files: &[&PathBuf]) -> Vec<Vec<u8>> {
    let mut bodies = Vec::new();
    let mut bytes = 0;
    for file in files.iter().step_by(files.len().div_ceil(MOST_FILES).max(1)) {
        let Ok(body) = std::fs::read(file) else { continue };
        // What is empty or too large is not stored at all.
        if body.is_empty() || body.len() > 1 << 20 || bytes + body.len() > MOST_BYTES {
            continue;
        }
        bytes += body.len();
        bodies.push(body);
    }
    bodies
}

/// A list of articles of about `size` bytes: names that repeat, and words and numbers that do not.
fn json(seed: u64, size: usize) -> Vec<u8> {
    let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut below = |end: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random >> 11) % end
    };
    let mut text = String::from("{\"items\":[");
    while text.len() < size.saturating_sub(200) || text.ends_with('[') {
        if !text.ends_with('[') {
            text.push(',');
        }
        let mut words = |count: u64| {
            let list: Vec<&str> = (0..count)
                // Squared, so that some words are much more frequent than others.
                .filter_map(|_| {
                    let share = (below(1 << 16) * below(1 << 16)) >> 16;
                    WORDS.get((share as usize * WORDS.len()) >> 16).copied()
                })
                .collect();
            list.join(" ")
        };
        let (name, about) = (words(3), words(14));
        let tags = format!("{}\",\"{}", words(1), words(1));
        text.push_str(&format!(
            "{{\"id\":{},\"sku\":\"{:08x}-{:04X}\",\"name\":\"{name}\",\"description\":\"{about}\",\"price\":{}.{:02},\
             \"currency\":\"EUR\",\"in_stock\":{},\"tags\":[\"{tags}\"],\"updated\":\"2025-{:02}-{:02}T{:02}:{:02}:{:02}Z\"}}",
            below(10_000_000),
            below(1 << 32),
            below(1 << 16),
            below(500),
            below(100),
            below(4) > 0,
            1 + below(12),
            1 + below(28),
            below(24),
            below(60),
            below(60),
        ));
    }
    text.push_str("]}");
    text.into_bytes()
}

/// Types, their media type and the endings of their files.
const TYPES: [(&str, &str, &[&str]); 7] = [
    ("HTML", "text/html", &["html"]),
    ("JavaScript", "text/javascript", &["js"]),
    ("CSS", "text/css", &["css"]),
    ("SVG", "image/svg+xml", &["svg"]),
    ("images", "image/png", &["png", "jpg", "jpeg", "gif", "webp"]),
    ("fonts", "font/woff2", &["woff2", "woff"]),
    ("JSON files", "application/json", &["json"]),
];

const WORDS: [&str; 96] = [
    "the",
    "of",
    "and",
    "with",
    "for",
    "light",
    "cotton",
    "black",
    "large",
    "steel",
    "water",
    "summer",
    "winter",
    "shirt",
    "table",
    "wooden",
    "classic",
    "kitchen",
    "garden",
    "leather",
    "women",
    "children",
    "outdoor",
    "portable",
    "wireless",
    "handmade",
    "organic",
    "vintage",
    "modern",
    "compact",
    "cable",
    "lamp",
    "chair",
    "bottle",
    "jacket",
    "pocket",
    "canvas",
    "silver",
    "green",
    "yellow",
    "purple",
    "orange",
    "natural",
    "premium",
    "travel",
    "office",
    "kettle",
    "blanket",
    "mirror",
    "pillow",
    "basket",
    "candle",
    "ceramic",
    "glass",
    "bamboo",
    "marble",
    "copper",
    "velvet",
    "linen",
    "woollen",
    "striped",
    "folding",
    "adjustable",
    "rechargeable",
    "waterproof",
    "durable",
    "elegant",
    "soft",
    "heavy",
    "narrow",
    "round",
    "square",
    "double",
    "single",
    "spare",
    "replacement",
    "adapter",
    "holder",
    "cover",
    "stand",
    "mount",
    "filter",
    "speaker",
    "keyboard",
    "notebook",
    "pencil",
    "backpack",
    "umbrella",
    "sandals",
    "sneakers",
    "scarf",
    "gloves",
    "drawer",
    "curtain",
    "carpet",
    "shelf",
];
