//! What the fuzzer knows of a decoder, and how it feeds one.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::random::{Random, mutate};

/// A decoder of bytes that come from outside.
pub trait Decoder {
    /// Its name.
    fn name(&self) -> &'static str;

    /// The name of its folder in the corpus.
    fn corpus(&self) -> &'static str {
        self.name()
    }

    /// Pieces of text that mean something to it.
    fn words(&self) -> &'static [&'static [u8]] {
        &[]
    }

    /// A new input that it accepts.
    fn generate(&self, random: &mut Random) -> Vec<u8>;

    /// Changes a part of `input` that has a meaning, if there is one, or mends sums and lengths so that what lies
    /// behind them is reached.
    fn adjust(&self, input: &mut Vec<u8>, random: &mut Random);

    /// Decodes, and panics if what comes out breaks a promise.
    fn check(&self, input: &[u8]) -> Outcome;

    /// Most bytes that decoding an input of `len` bytes may add to the memory in use.
    fn memory_bound(&self, len: usize) -> usize;
}

/// What became of an input.
pub struct Outcome {
    /// Whether it was decoded.
    pub accepted: bool,
    /// Bytes that decoding added to the memory in use at most.
    pub peak: usize,
    /// Stands for the way the decoder took, as far as that can be seen from outside.
    pub way: u64,
}

impl Outcome {
    /// The outcome of a decoder that gave `accepted`, with all else that tells ways apart.
    pub fn new(accepted: bool, peak: usize, way: impl Hash) -> Self {
        let mut hasher = DefaultHasher::new();
        way.hash(&mut hasher);
        Self { accepted, peak, way: hasher.finish() }
    }
}

/// What a run found.
#[derive(Default)]
pub struct Report {
    /// Inputs decoded.
    pub inputs: u64,
    /// Those of them that the decoder accepted.
    pub accepted: u64,
    /// Different ways seen.
    pub ways: usize,
    /// The most memory that decoding one input took, in bytes, and the length of that input.
    pub peak: (usize, usize),
    /// The longest that one input took.
    pub slowest: Duration,
    /// Inputs that broke a promise.
    pub failures: Vec<Vec<u8>>,
}

/// Feeds `inputs` changed inputs to `decoder`: those of the corpus, new ones, and every input that took a way not
/// seen before, each changed a few times.
pub fn run(decoder: &dyn Decoder, inputs: u64, seed: u64) -> Report {
    let mut random = Random::new(seed);
    let mut pool = corpus(decoder.corpus()).into_iter().map(|(_, input)| input).collect::<Vec<_>>();
    pool.extend((0..32).map(|_| decoder.generate(&mut random)));
    let mut report = Report::default();
    let mut ways = HashSet::new();
    while report.inputs < inputs && report.failures.len() < MOST_FAILURES {
        let mut input = match random.below(256) {
            0 => decoder.generate(&mut random),
            _ => random.pick(&pool).clone(),
        };
        let most = 1 + random.below(4);
        for _ in 0..=random.below(most) {
            if random.one_in(3) {
                decoder.adjust(&mut input, &mut random);
            } else {
                mutate(&mut input, random.pick(&pool).as_slice(), decoder.words(), &mut random);
            }
        }
        if random.one_in(2) {
            decoder.adjust(&mut input, &mut random);
        }
        report.inputs += 1;
        let begun = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(|| decoder.check(&input)));
        report.slowest = report.slowest.max(begun.elapsed());
        let Ok(outcome) = outcome else {
            report.failures.push(input);
            continue;
        };
        if outcome.peak > decoder.memory_bound(input.len()) {
            eprintln!("{} bytes of input took {} bytes of memory", input.len(), outcome.peak);
            report.failures.push(input);
            continue;
        }
        report.peak = report.peak.max((outcome.peak, input.len()));
        report.accepted += u64::from(outcome.accepted);
        if ways.insert(outcome.way) && pool.len() < MOST_POOLED {
            pool.push(input);
        }
    }
    report.ways = ways.len();
    report
}

/// The committed inputs for a decoder, with their file names, in the order of these.
pub fn corpus(name: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(name);
    let read = |path: PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        (name, std::fs::read(&path).unwrap())
    };
    let mut files: Vec<_> =
        std::fs::read_dir(&folder).unwrap().map(|entry| read(entry.unwrap().path())).collect();
    files.sort();
    files
}

const MOST_FAILURES: usize = 10;
const MOST_POOLED: usize = 4096;
