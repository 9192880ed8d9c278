//! Plays seeded answers of language models: `answers COUNT [FIRST]`. Prints what there were, or what was wrong and ends with 1.

#![allow(clippy::print_stdout)] // It is what this is for.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).map(|word| word.parse::<u64>());
    let (Some(Ok(count)), Ok(first)) = (arguments.next(), arguments.next().unwrap_or(Ok(0))) else {
        eprintln!("usage: answers COUNT [FIRST]");
        return ExitCode::from(2);
    };
    match selvage_host::answers::play(first..first + count) {
        Ok(tally) => {
            println!(
                "{} answers ({} streams, {} bytes), {} broken off, {} incomplete, {} replayed, {} told, {} estimated",
                tally.answers,
                tally.streams,
                tally.bytes,
                tally.broken,
                tally.incomplete,
                tally.replayed,
                tally.told,
                tally.estimated
            );
            ExitCode::SUCCESS
        }
        Err(wrong) => {
            println!("{wrong}");
            ExitCode::FAILURE
        }
    }
}
