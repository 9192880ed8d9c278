//! Faults, one row of a table each: what went wrong in this cache or in another, played in real Envoy with two workers.
//!
//! ```text
//! rows/*.toml ─ table ─ Row ─┬─ edge    one Envoy for all rows; each has a path of its own
//!                            ├─ script  what the origin answers
//!                            ├─ play    what the clients ask, step by step
//!                            └─ wants   what must come of it
//! ```
//!
//! A row is data: [`row::Row`] says what it may hold, and a row with `cases` stands for several. Rows run side by side, so that one which lets a response expire
//! does not hold up the others.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // A broken test must stop loudly.

mod edge;
mod http2;
mod play;
mod row;
mod script;
mod sound;
mod table;
mod wants;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

/// Rows mostly wait: for the origin, for gates and for the clock.
const ROWS_AT_ONCE: usize = 16;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(ROWS_AT_ONCE);
    let mut trials = vec![Trial::test("the rows are sound", || sound::check(&table::ROWS))];
    trials.extend(table::ROWS.iter().map(|row| Trial::test(row.title(), || play::play(row))));
    let conclusion = libtest_mimic::run(&arguments, trials);
    edge::assert_sound();
    conclusion.exit_code()
}
