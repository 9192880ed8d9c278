//! An Envoy whose listeners stand in a file that may become another, and what is put into it.

use std::{
    fs,
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use selvage_rig::envoy::{Connection, envoy_program, own_filter, repository};
use selvage_rig::redis::free_port;

/// What stands before the router.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// Nothing.
    Plain,
    /// A wasm filter that does nothing but reply.
    Floor,
    /// The cache.
    Selvage,
}

/// What is told to the filter.
#[derive(Clone, Copy, Default)]
pub struct Told {
    /// Another number is another listener, and another configuration of the filter.
    pub generation: u32,
    /// Another number is another VM.
    pub vm: u32,
}

/// A running Envoy.
pub struct Stage {
    envoy: Child,
    folder: PathBuf,
    subject: Subject,
    ports: [u16; 2],
    /// From its start to the first answer.
    pub took: Duration,
}

/// Nothing here takes longer.
const PATIENCE: Duration = Duration::from_secs(30);

impl Stage {
    /// Starts Envoy in front of this origin, and waits for its first answer.
    pub fn start(subject: Subject, origin: &str) -> Result<Self, String> {
        let folder = std::env::temp_dir().join(format!("selvage-start-{}", free_port()));
        fs::create_dir_all(&folder).unwrap();
        let (ports, admin) = ([free_port(), free_port()], free_port());
        let text = bootstrap();
        let (head, rest) = text.split_once("static_resources:\n").unwrap();
        let (_, clusters) = rest.split_once("\n  clusters:\n").unwrap();
        let origin = origin.rsplit(':').next().unwrap();
        let lds = folder.join("lds.yaml");
        let text = format!(
            "{head}node: {{ id: selvage, cluster: selvage }}\n\
             dynamic_resources: {{ lds_config: {{ path_config_source: {{ path: {} }} }} }}\n\
             static_resources:\n  clusters:\n{clusters}",
            lds.display()
        );
        let text = put(&put(&text, "ADMIN_PORT", &admin.to_string()), "ORIGIN_PORT", origin);
        fs::write(folder.join("envoy.yaml"), put(&text, "ORIGIN_HOST", "127.0.0.1")).unwrap();
        let log = fs::File::create(folder.join("log")).unwrap();
        let mut command = Command::new(envoy_program());
        command.arg("--config-path").arg(folder.join("envoy.yaml"));
        command.args(["--concurrency", "2", "--disable-hot-restart", "--log-level", "warning"]);
        command.current_dir(repository()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        fs::write(&lds, listeners(subject, ports, Told::default())).unwrap();
        let begun = Instant::now();
        let envoy = command.spawn().map_err(|problem| problem.to_string())?;
        let mut stage = Self { envoy, folder, subject, ports, took: Duration::ZERO };
        stage.await_answer(Told::default())?;
        stage.took = begun.elapsed();
        Ok(stage)
    }

    /// The listener that becomes another, and one that stays as it is and has no filter.
    pub fn addresses(&self) -> [SocketAddr; 2] {
        self.ports.map(|port| SocketAddr::from(([127, 0, 0, 1], port)))
    }

    /// Gives Envoy another file. How long it takes to the first answer by it.
    pub fn push(&self, told: Told) -> Result<Duration, String> {
        let next = self.folder.join("next.yaml");
        fs::write(&next, listeners(self.subject, self.ports, told)).unwrap();
        let begun = Instant::now();
        fs::rename(next, self.folder.join("lds.yaml")).unwrap();
        self.await_answer(told)?;
        Ok(begun.elapsed())
    }

    /// Asks on new connections until one of this generation answers. New clients may be refused before the first.
    fn await_answer(&self, told: Told) -> Result<(), String> {
        let [address, _] = self.addresses();
        let (wanted, begun) = (generation(told), Instant::now());
        while begun.elapsed() < PATIENCE {
            let answer = Connection::try_open(address, PATIENCE).and_then(|mut connection| {
                let ask = connection.get("/1000");
                connection.try_send(ask)
            });
            if answer
                .is_ok_and(|answer| answer.status == 200 && answer.header("server").as_ref() == Some(&wanted))
            {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(1));
        }
        let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        Err(format!("no answer of {wanted}:\n{log}"))
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = self.envoy.kill();
        let _ = self.envoy.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn bootstrap() -> String {
    fs::read_to_string(repository().join("envoy/bootstrap/local.yaml")).unwrap()
}

/// By which it is known who has answered: the `Server` field.
fn generation(told: Told) -> String {
    format!("g{}-{}", told.generation, told.vm)
}

/// Both listeners as a file of resources.
fn listeners(subject: Subject, ports: [u16; 2], told: Told) -> String {
    let text = bootstrap();
    let (_, rest) = text.split_once("  listeners:\n").unwrap();
    let (own, _) = rest.split_once("\n  clusters:\n").unwrap();
    let filter = own_filter();
    let floor = repository().join("target/floor.wasm");
    let module = if subject == Subject::Floor { floor } else { repository().join("target/selvage.wasm") };
    let configuration = format!(
        r#"'{{ "worker": {{ "bytes": "600MiB", "entries": 262144 }}, "node": {{ "bytes": "1GiB", "buckets": 65536 }}, "defaults": {{ "ttl": {{ "default": "{}s" }} }} }}'"#,
        told.generation + 3600
    );
    let vm = format!(
        "vm_config:\n{0}configuration: {{ \"@type\": type.googleapis.com/google.protobuf.StringValue, value: \"{1}\" }}\n",
        " ".repeat(26),
        told.vm
    );
    let with = filter.replace("vm_config:\n", &vm);
    let mut out = "resources:\n".to_owned();
    for (name, port, filtered) in
        [("selvage", ports[0], subject != Subject::Plain), ("other", ports[1], false)]
    {
        let server = if filtered || name == "selvage" { generation(told) } else { name.to_owned() };
        let listener = own.replace(&filter, if filtered { &with } else { "" });
        let listener = listener.replace(
            "server_header_transformation: PASS_THROUGH",
            &format!("server_header_transformation: OVERWRITE\n{}server_name: {server}", " ".repeat(16)),
        );
        let listener = put(&put(&listener, "PORT", &port.to_string()), "CONFIG", &configuration);
        let listener = put(&listener, "WASM", module.to_str().unwrap());
        let kind = "\"@type\": type.googleapis.com/envoy.config.listener.v3.Listener";
        for line in listener.lines() {
            let line = line.strip_prefix("    ").unwrap_or(line);
            match line {
                "- name: selvage" => out.push_str(&format!("- {kind}\n  name: {name}\n")),
                line => out.push_str(&format!("{line}\n")),
            }
        }
    }
    out
}

/// Gives the line that is marked with this name a value.
fn put(text: &str, name: &str, value: &str) -> String {
    let mark = format!(" # SELVAGE_{name}");
    let lines = text.lines().map(|line| match line.split_once(": ").filter(|_| line.ends_with(&mark)) {
        Some((member, _)) => format!("{member}: {value}\n"),
        None => format!("{line}\n"),
    });
    lines.collect()
}
