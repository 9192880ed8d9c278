//! What the command line says.

use std::time::Duration;

use selvage_host_tests::arguments::CommandLine;

/// All of it, with defaults for what it does not say.
pub struct Arguments {
    /// How long it lasts, the pauses included.
    pub lasting: Duration,
    /// How many rounds of all faults there are.
    pub cycles: u32,
    /// Requests per second.
    pub rate: u32,
    /// Between pushes of another configuration; none if it is zero.
    pub push: Duration,
    /// Of all chance.
    pub seed: u64,
    /// Whether what came of it replaces the committed file.
    pub write: bool,
}

impl Arguments {
    /// Reads it.
    pub fn read() -> Result<Self, String> {
        let mut given = CommandLine::of_process("see ./host-tests/soak --help");
        let (mut seconds, mut cycle, mut rate, mut seed, mut write) = (1200.0, 240.0, 1500, 1, false);
        let mut push = 60.0;
        while let Some(option) = given.next_option() {
            match option.as_str() {
                "--seconds" => seconds = given.number(120.0..=86_400.0)?,
                "--cycle" => cycle = given.number(120.0..=3600.0)?,
                "--rate" => rate = given.whole(10..=20_000)?,
                "--push" => push = given.number(0.0..=3600.0)?,
                "--seed" => seed = given.whole(0..=u64::MAX)?,
                "--write" => write = true,
                _ => return Err(given.unknown()),
            }
        }
        Ok(Self {
            lasting: Duration::from_secs_f64(seconds),
            cycles: (seconds / cycle).round().max(1.0) as u32,
            rate: rate as u32,
            push: Duration::from_secs_f64(push),
            seed,
            write,
        })
    }

    /// How long a round is, its pause included.
    pub fn cycle(&self) -> Duration {
        self.lasting / self.cycles
    }
}
