//! The real Envoy, started by `envoy/run` with the bootstrap that users run, and a raw client for it.

mod bootstrap;
mod client;
mod listeners;

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::process::{processor_time, resident_kib};

pub use bootstrap::{envoy_program, typed};
pub use client::{Ask, Connection, Response};
pub use listeners::{Listener, Listeners};

/// The cache in a real Envoy. Everything it started is stopped when it is dropped or the test process ends.
pub struct Gateway {
    running: Running,
    address: SocketAddr,
    admin: SocketAddr,
    workers: usize,
}

/// What a [`Gateway`] is started with.
pub struct Builder {
    /// Empty for the one that `envoy/run` has.
    configuration: String,
    origin: Option<String>,
    bridge: Option<u16>,
    workers: usize,
    /// Who looks at the playground builds it.
    playground: bool,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
}

/// How a start that Envoy refused ended.
pub struct Refused {
    /// The exit status of `envoy/run`.
    pub status: ExitStatus,
    /// All it wrote.
    pub output: String,
}

impl Gateway {
    /// Begins to build an Envoy with two workers and this configuration of the filter.
    pub fn with(configuration: &str) -> Builder {
        Builder {
            configuration: configuration.to_owned(),
            origin: None,
            bridge: None,
            workers: 2,
            playground: false,
            arguments: Vec::new(),
            environment: Vec::new(),
        }
    }

    /// Begins to build an Envoy with two workers and the configuration that `envoy/run` has of itself.
    pub fn by_default() -> Builder {
        Self::with("")
    }

    /// Begins a request with this method and target on a new connection.
    pub fn ask(&self, method: &str, target: &str) -> Ask<'_> {
        Ask::new(self.address, method, target)
    }

    /// Begins a GET on a new connection.
    pub fn get(&self, target: &str) -> Ask<'_> {
        self.ask("GET", target)
    }

    /// A connection that is kept: one worker answers all requests on it.
    pub fn connect(&self) -> Connection {
        Connection::open(self.address)
    }

    /// Where Envoy listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where Envoy's admin interface listens.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin
    }

    /// The body of Envoy's admin page at this path.
    pub fn admin(&self, path: &str) -> String {
        Ask::new(self.admin, "GET", path).send().text()
    }

    /// Envoy's counters and gauges whose name contains the filter: name and value.
    pub fn stats(&self, filter: &str) -> Vec<(String, u64)> {
        self.admin(&format!("/stats?filter={filter}"))
            .lines()
            .filter_map(|line| line.split_once(": "))
            .filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
            .collect()
    }

    /// The sum of the counters and gauges whose name ends so.
    pub fn stat(&self, ending: &str) -> u64 {
        self.stats(ending).iter().filter(|(name, _)| name.ends_with(ending)).map(|(_, value)| value).sum()
    }

    /// What follows this word on the lines that `envoy/run` printed for programs.
    pub fn printed(&self, word: &str) -> Vec<String> {
        let log = self.log();
        let after = |line: &str| line.strip_prefix(word)?.strip_prefix(' ').map(str::to_owned);
        log.lines().filter_map(after).collect()
    }

    /// All that Envoy warned of since the start.
    pub fn log(&self) -> String {
        self.running.output()
    }

    /// The memory of the Envoy process that is resident, in KiB.
    pub fn resident_kib(&self) -> u64 {
        resident_kib(self.pid()).unwrap()
    }

    /// The processor time that the Envoy process has used.
    pub fn processor_time(&self) -> Duration {
        processor_time(self.pid()).unwrap()
    }

    /// Fails the test if a VM has trapped or was loaded anew, or Envoy has ended.
    #[track_caller]
    pub fn assert_sound(&self) {
        assert!(self.running.is_alive(), "Envoy has ended:\n{}", self.log());
        let reloads = self.stats("vm_reload");
        assert!(!reloads.is_empty(), "Envoy does not count reloads");
        for (name, value) in reloads {
            assert_eq!(value, 0, "{name}\n{}", self.log());
        }
        // One VM for each worker, the one that is cloned, and the main thread's.
        assert_eq!(self.stat("wasm.runtime.v8.active"), self.workers as u64 + 2, "{}", self.log());
        let log = self.log();
        // What the filter itself tells the operator is no fault.
        let own_words = |line: &&str| {
            (line.contains("[warning][wasm]") || line.contains("[info][wasm]")) && line.contains("wasm log")
        };
        let fault = log.lines().filter(|line| !own_words(line)).find(|line| {
            ["[wasm]", "Uncaught RuntimeError", "Proxy-Wasm", "Function:", "[critical]"]
                .iter()
                .any(|word| line.contains(word))
        });
        assert!(fault.is_none(), "the log has {fault:?}:\n{log}");
    }

    /// Envoy's process: the one with this admin address file or bootstrap below the script.
    ///
    /// # Panics
    /// There is none.
    pub fn pid(&self) -> u32 {
        let mut parents = vec![self.running.child_id()];
        let processes: Vec<(u32, u32)> = fs::read_dir("/proc").unwrap().filter_map(parent_of).collect();
        loop {
            let children: Vec<u32> = processes
                .iter()
                .filter(|(_, parent)| parents.contains(parent))
                .map(|(process, _)| *process)
                .collect();
            assert!(!children.is_empty(), "no Envoy below `envoy/run`");
            for child in &children {
                let command = fs::read(format!("/proc/{child}/cmdline")).unwrap_or_default();
                let first = command.split(|byte| *byte == 0).next().unwrap_or_default();
                let is_shell = first.ends_with(b"bash") || first.ends_with(b"sh");
                if !is_shell && command.windows(13).any(|part| part == b"--config-path") {
                    return *child;
                }
            }
            parents = children;
        }
    }
}

/// The process and its parent, of an entry of `/proc`.
fn parent_of(entry: std::io::Result<fs::DirEntry>) -> Option<(u32, u32)> {
    let process = entry.ok()?.file_name().to_str()?.parse().ok()?;
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name in parentheses may have spaces; the parent is the second field after it.
    let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
    Some((process, parent))
}

impl Builder {
    /// The port of 127.0.0.1 where the bridge to the remote store listens.
    pub fn bridge(mut self, port: u16) -> Self {
        self.bridge = Some(port);
        self
    }

    /// Gives `envoy/run` one more argument.
    pub fn argument(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Sets an environment variable of `envoy/run`.
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Puts this origin behind it: `http://HOST:PORT`.
    pub fn origin(mut self, url: impl Into<String>) -> Self {
        self.origin = Some(url.into());
        self
    }

    /// Has the playground served beside the demo origin.
    pub fn with_playground(mut self) -> Self {
        self.playground = true;
        self
    }

    /// How many workers Envoy has.
    pub fn workers(mut self, count: usize) -> Self {
        self.workers = count;
        self
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Panics
    /// If it does not start; the message has what was written.
    pub fn start(self) -> Gateway {
        self.try_start().unwrap_or_else(|refused| {
            panic!("`envoy/run` ended with {}:\n{}", refused.status, refused.output)
        })
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Errors
    /// It ended instead.
    pub fn try_start(self) -> Result<Gateway, Refused> {
        let mut command = Command::new(repository().join("envoy/run"));
        let file = (!self.configuration.is_empty()).then(|| scratch_file(&self.configuration));
        command.args(["--port", "0", "--admin-port", "0", "--workers", &self.workers.to_string()]);
        if let Some(file) = &file {
            command.arg("--config").arg(file);
        }
        if let Some(bridge) = self.bridge {
            command.args(["--bridge", &bridge.to_string()]);
        }
        if let Some(origin) = &self.origin {
            command.args(["--origin", origin]);
        }
        if !self.playground {
            command.arg("--no-playground");
        }
        command.args(&self.arguments);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        let started =
            Running::start(&command).ready(|running| running.output().contains("Ctrl-C").then_some(()));
        // It has been read by now.
        file.iter().for_each(|file| fs::remove_file(file).unwrap());
        let (running, ()) = started?;
        let output = running.output();
        let address = |word: &str| {
            let url = output.lines().find_map(|line| line.strip_prefix(word)).unwrap();
            url.trim().strip_prefix("http://").unwrap().parse().unwrap()
        };
        let workers = self.workers;
        Ok(Gateway { address: address("listening "), admin: address("admin "), running, workers })
    }

    /// Starts Envoy with our bootstrap in which the configuration is a protobuf `Struct`, given as YAML in one line
    /// (JSON is such YAML), instead of text.
    ///
    /// # Errors
    /// It ended instead.
    pub fn try_start_with_struct(self) -> Result<Gateway, Refused> {
        bootstrap::with_struct(&self)
    }

    /// Starts Envoy with the local bootstrap after edits: pieces of its text become others.
    ///
    /// # Errors
    /// It ended instead.
    ///
    /// # Panics
    /// A piece is not in the text.
    pub fn try_start_edited(self, edits: &[(&str, &str)]) -> Result<Gateway, Refused> {
        bootstrap::edited(&self, edits)
    }

    /// Starts Envoy with another of our bootstraps, such as `redis-tls.yaml`, in which the lines that end in these markers
    /// get these values.
    ///
    /// # Errors
    /// It ended instead.
    pub fn try_start_with(self, bootstrap: &str, values: &[(&str, &str)]) -> Result<Gateway, Refused> {
        bootstrap::start(&self, bootstrap, values)
    }

    /// Starts Envoy with the local bootstrap in which these listeners stand in a file of their own, which may become another.
    /// The first one is called `selvage`. The arguments are Envoy's here.
    ///
    /// # Errors
    /// It ended instead.
    pub fn try_start_with_listeners(self, all: &[Listener]) -> Result<(Gateway, Listeners), Refused> {
        listeners::start(&self, all)
    }

    /// Starts Envoy with a file of the repository by the lines that its header tells to type; other values as in
    /// [`Self::try_start_with`].
    ///
    /// # Errors
    /// It ended instead.
    pub fn try_start_by_header(self, file: &str, values: &[(&str, &str)]) -> Result<Gateway, Refused> {
        bootstrap::by_header(&self, file, values)
    }
}

/// The repository's root.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap()
}

/// Our filter's lines in the local bootstrap, for [`Builder::try_start_edited`].
pub fn own_filter() -> String {
    let text = std::fs::read_to_string(repository().join("envoy/bootstrap/local.yaml")).unwrap();
    let from = text.find("                  - name: selvage\n").unwrap();
    let to = text.find("                  - name: envoy.filters.http.router\n").unwrap();
    text[from..to].to_owned()
}

/// Writes a file of its own for this text.
pub(crate) fn scratch_file(text: &str) -> PathBuf {
    static FILES: AtomicUsize = AtomicUsize::new(0);
    let number = FILES.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("selvage-{}-{number}", std::process::id()));
    fs::write(&path, text).unwrap();
    path
}

/// A program that is stopped when this is dropped, and also when the test process ends in any other way: a small
/// shell waits for the end of its input, which ends with the process that holds it.
pub struct Running {
    child: Mutex<Child>,
    input: Option<ChildStdin>,
    output: Arc<Output>,
}

#[derive(Default)]
struct Output {
    text: Mutex<String>,
    changed: Condvar,
}

const WARDEN: &str = r#"
exec 3<&0
"$@" </dev/null 3<&- &
program=$!
{ read -r _ <&3; kill -TERM "$program"; } >/dev/null 2>&1 &
warden=$!
exec 3<&-
wait "$program"
status=$?
kill "$warden" 2>/dev/null
exit "$status"
"#;

impl Running {
    /// Starts a program.
    pub fn start(command: &Command) -> Self {
        let mut child = Command::new("bash")
            .args(["-c", WARDEN, "warden"])
            .arg(command.get_program())
            .args(command.get_args())
            .envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))))
            .current_dir(command.get_current_dir().unwrap_or(repository()))
            // Set by `cargo test` for this process; the script's own cargo may be another version.
            .env_remove("LD_LIBRARY_PATH")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take();
        let output = Arc::<Output>::default();
        output.collect(child.stdout.take().unwrap());
        output.collect(child.stderr.take().unwrap());
        Self { child: Mutex::new(child), input, output }
    }

    /// Waits until something can be found out about it.
    ///
    /// # Errors
    /// It ended instead.
    pub fn ready<T>(mut self, find_out: impl Fn(&Self) -> Option<T>) -> Result<(Self, T), Refused> {
        // A first start builds the filter.
        let deadline = Instant::now() + Duration::from_secs(600);
        loop {
            let ended = self.child.get_mut().unwrap().try_wait().unwrap();
            if let Some(found) = find_out(&self) {
                return Ok((self, found));
            }
            let text = self.output.text.lock().unwrap();
            assert!(Instant::now() < deadline, "not ready within ten minutes:\n{text}");
            // When it has ended, what is still in the pipes is waited for a little longer.
            let pause = Duration::from_millis(if ended.is_some() { 500 } else { 50 });
            let (text, _) = self.output.changed.wait_timeout(text, pause).unwrap();
            if let Some(status) = ended {
                let whole =
                    self.output.changed.wait_timeout_while(text, Duration::from_millis(200), |_| true);
                let output = whole.unwrap().0.clone();
                return Err(Refused { status, output });
            }
        }
    }

    /// All it has written.
    pub fn output(&self) -> String {
        self.output.text.lock().unwrap().clone()
    }

    fn is_alive(&self) -> bool {
        matches!(self.child.lock().unwrap().try_wait(), Ok(None))
    }

    /// The process that runs this program, while it does.
    pub fn process(&self, program: &str) -> Option<u32> {
        let shell = self.child_id();
        let children = fs::read_dir("/proc").unwrap().filter_map(parent_of);
        children.filter(|(_, parent)| *parent == shell).map(|(process, _)| process).find(|process| {
            fs::read_to_string(format!("/proc/{process}/comm")).is_ok_and(|name| name.trim() == program)
        })
    }

    fn child_id(&self) -> u32 {
        self.child.lock().unwrap().id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.input.take();
        let _ = self.child.lock().unwrap().wait();
    }
}

impl Output {
    fn collect(self: &Arc<Self>, stream: impl Read + Send + 'static) {
        let output = Arc::clone(self);
        thread::spawn(move || {
            let mut reader = BufReader::new(stream);
            let mut line = Vec::new();
            while reader.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
                output.text.lock().unwrap().push_str(&String::from_utf8_lossy(&line));
                output.changed.notify_all();
                line.clear();
            }
        });
    }
}
