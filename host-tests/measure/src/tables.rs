//! What programs with a table of targets have in common: their command line, which of their scenarios are played, and where
//! the tables go.

use std::{fs, time::Duration};

use clap::Args;
use selvage_rig::arguments::seconds;
use selvage_rig::envoy::repository;

/// What such a program is told beside the names of its scenarios.
#[derive(Args)]
pub struct Wanted {
    /// How long each load lasts.
    #[arg(long, default_value = "60", value_parser = seconds(1.0..=600.0))]
    pub seconds: Duration,
    /// Another chance.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Whether what came of it replaces the committed file.
    #[arg(long)]
    write: bool,
}

impl Wanted {
    /// Prints the tables, and writes them where they are committed if that was asked for.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn publish(&self, file: &str, text: &str) -> Result<(), String> {
        println!("{text}");
        let path = repository().join("host-tests/fixtures").join(file);
        if self.write { fs::write(&path, text).map_err(|error| format!("{file}: {error}")) } else { Ok(()) }
    }
}

/// Those of the names that are wanted: all if none is named.
pub fn chosen<'n>(names: &'n [&'n str], wanted: &[String]) -> impl Iterator<Item = &'n str> {
    names.iter().copied().filter(|name| wanted.is_empty() || wanted.iter().any(|one| one == name))
}
