//! LiteLLM, which `./host-tests/llm` installs if it can.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, process, thread};

use selvage_rig::envoy::{Ask, repository};
use selvage_rig::process::processor_time;

use crate::site::{KEY, free_port};

/// One process with a cache in its memory.
pub struct LiteLlm {
    child: Child,
    address: SocketAddr,
    folder: PathBuf,
}

/// How long it may take to start: it reads all of its libraries.
const PATIENCE: Duration = Duration::from_secs(180);

impl LiteLlm {
    /// What is known of it.
    pub fn about() -> String {
        let pins =
            fs::read_to_string(repository().join("host-tests/fixtures/litellm.txt")).unwrap_or_default();
        let version = pins.lines().find_map(|line| line.strip_prefix("litellm==")).unwrap_or("?");
        match program() {
            Some(_) => format!("{version}, one process, with a cache in its memory and without a database"),
            None => format!("{version} could not be installed here"),
        }
    }

    /// Starts it before this provider; `None` if it is not installed.
    pub fn start(provider: &str) -> Result<Option<Self>, String> {
        let Some(program) = program() else { return Ok(None) };
        let folder = env::temp_dir().join(format!("selvage-litellm-{}", process::id()));
        fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
        let configuration = format!(
            "model_list:\n  - model_name: gpt-t\n    litellm_params: {{ model: openai/gpt-t, api_base: \"{provider}/v1\", api_key: none }}\n\
             litellm_settings: {{ cache: true, cache_params: {{ type: local, ttl: 3600 }}, telemetry: false }}\n\
             general_settings: {{ master_key: {KEY} }}\n"
        );
        let (file, log) = (folder.join("config.yaml"), folder.join("log"));
        fs::write(&file, configuration).map_err(|error| error.to_string())?;
        let output = File::create(&log).map_err(|error| error.to_string())?;
        let port = free_port();
        let mut command = Command::new(program);
        command.arg("--config").arg(file).args(["--host", "127.0.0.1", "--port", &port.to_string()]);
        // Nothing is fetched from elsewhere.
        command.env("LITELLM_LOCAL_MODEL_COST_MAP", "True").env("LITELLM_LOG", "ERROR");
        let errors = output.try_clone().map_err(|error| error.to_string())?;
        let child = command.stdin(Stdio::null()).stdout(output).stderr(errors).spawn();
        let child = child.map_err(|error| format!("LiteLLM: {error}"))?;
        let mut running = Self { child, address: SocketAddr::from(([127, 0, 0, 1], port)), folder };
        let begun = Instant::now();
        while !running.is_ready() {
            let ended = running.child.try_wait().ok().flatten();
            if ended.is_some() || begun.elapsed() > PATIENCE {
                return Err(format!(
                    "LiteLLM does not start:\n{}",
                    fs::read_to_string(&log).unwrap_or_default()
                ));
            }
            thread::sleep(Duration::from_millis(200));
        }
        Ok(Some(running))
    }

    fn is_ready(&self) -> bool {
        let answer = Ask::new(self.address, "GET", "/health/liveliness").try_send();
        answer.is_ok_and(|answer| answer.status == 200)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The processor time that it has used.
    pub fn processor_time(&self) -> Duration {
        processor_time(self.child.id()).unwrap_or_default()
    }
}

impl Drop for LiteLlm {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The program, if it is installed.
fn program() -> Option<PathBuf> {
    let program = PathBuf::from(env::var_os("LITELLM_BIN")?);
    program.is_file().then_some(program)
}
