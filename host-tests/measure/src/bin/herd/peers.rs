//! Caches that are no Envoy, in front of the origin: nginx, Varnish and Traffic Server, each set to let one request fetch.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::Command,
};

use selvage_rig::envoy::Running;
use selvage_rig::redis::free_port;

/// One that runs, with a folder of its own.
pub struct Peer {
    pub address: SocketAddr,
    running: Option<Running>,
    folder: PathBuf,
}

impl Peer {
    /// nginx with `proxy_cache_lock`, and with what it needs to serve stale responses.
    pub fn nginx(origin: u16) -> Self {
        Self::start("nginx", |port, folder| {
            let at = folder.display();
            let text = format!(
                "daemon off; user root; worker_processes 2; pid {at}/pid; error_log stderr warn;
events {{ worker_connections 16384; }}
http {{
  access_log off; client_body_temp_path {at}/body; proxy_temp_path {at}/proxy;
  fastcgi_temp_path {at}/fastcgi; uwsgi_temp_path {at}/uwsgi; scgi_temp_path {at}/scgi;
  keepalive_requests 100000;
  proxy_cache_path {at}/cache keys_zone=herd:10m;
  upstream origin {{ server 127.0.0.1:{origin}; keepalive 64; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096 reuseport;
    location / {{
      proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection \"\";
      proxy_cache herd; proxy_cache_key $uri; proxy_cache_lock on;
      proxy_cache_background_update on;
      proxy_cache_use_stale updating error timeout http_500 http_502 http_503 http_504;
    }}
  }}
}}
"
            );
            let file = folder.join("nginx.conf");
            fs::write(&file, text).unwrap();
            let mut command = Command::new("nginx");
            command.arg("-c").arg(&file).arg("-p").arg(folder).args(["-e", "stderr"]);
            command
        })
    }

    /// Varnish with its built-in VCL, where requests for one key wait in a list. A fetch in the background that fails does not
    /// replace what is served meanwhile.
    pub fn varnish(origin: u16) -> Self {
        Self::start("varnish", |port, folder| {
            let file = folder.join("default.vcl");
            let vcl = format!(
                "vcl 4.1;
backend default {{ .host = \"127.0.0.1\"; .port = \"{origin}\"; }}
sub vcl_backend_response {{ if (beresp.status >= 500 && bereq.is_bgfetch) {{ return (abandon); }} }}
"
            );
            fs::write(&file, vcl).unwrap();
            let mut command = Command::new("varnishd");
            command.args(["-F", "-j", "none", "-T", "none", "-s", "malloc,256m", "-p", "listen_depth=4096"]);
            command.arg("-n").arg(folder.join("work")).arg("-f").arg(&file);
            command.arg("-a").arg(format!("127.0.0.1:{port}"));
            command
        })
    }

    /// Traffic Server, set as its documentation has it for a thundering herd, with `open_write_fail_action` 5.
    pub fn traffic_server(origin: u16) -> Self {
        Self::start("trafficserver", |port, folder| {
            let at = folder.display();
            for name in ["conf", "run", "log", "cache"] {
                fs::create_dir_all(folder.join(name)).unwrap();
            }
            let conf = |name: &str, text: &str| fs::write(folder.join("conf").join(name), text).unwrap();
            for name in ["plugin", "ssl_multicert", "cache", "hosting", "parent", "volume"]
                .map(|name| name.to_owned() + ".config")
            {
                conf(&name, "");
            }
            conf("remap.config", &format!("map / http://127.0.0.1:{origin}/\n"));
            conf("storage.config", &format!("{at}/cache 256M\n"));
            conf(
                "ip_allow.yaml",
                "ip_allow:\n  - { apply: in, ip_addrs: 127.0.0.1, action: allow, methods: ALL }\n",
            );
            let records = [
                &format!("http.server_ports STRING {port}:ip-in=127.0.0.1"),
                "admin.user_id STRING #-1",
                "exec_thread.autoconfig INT 0",
                "exec_thread.limit INT 2",
                "log.logging_enabled INT 0",
                "crash_log_helper STRING NULL",
                "net.connections_throttle INT 16000",
                "net.listen_backlog INT 4096",
                "http.wait_for_cache INT 1",
                "cache.enable_read_while_writer INT 1",
                "http.background_fill_active_timeout INT 0",
                "http.background_fill_completed_threshold FLOAT 0.0",
                "http.cache.open_write_fail_action INT 5",
                "http.cache.max_open_write_retries INT 1",
                // 1000 times 10 ms.
                "http.cache.max_open_read_retries INT 1000",
                "http.cache.open_read_retry_time INT 10",
            ];
            conf("records.config", &records.map(|record| format!("CONFIG proxy.config.{record}\n")).concat());
            let layout = format!(
                "prefix: /usr\nexec_prefix: /usr\nbindir: /usr/bin\nsbindir: /usr/sbin\nlibdir: /usr/lib/trafficserver\n\
                 libexecdir: /usr/lib/trafficserver/modules\nincludedir: /usr/include\nsysconfdir: {at}/conf\n\
                 datadir: {at}/cache\ncachedir: {at}/cache\nlocalstatedir: {at}/run\nruntimedir: {at}/run\nlogdir: {at}/log\n"
            );
            fs::write(folder.join("runroot.yaml"), layout).unwrap();
            let mut command = Command::new("traffic_server");
            command.arg(format!("--run-root={at}/runroot.yaml"));
            command
        })
    }

    /// Starts one on a free port with a folder of its own, and waits until it takes connections.
    fn start(name: &str, prepare: impl Fn(u16, &Path) -> Command) -> Self {
        let port = free_port();
        let folder = std::env::temp_dir().join(format!("selvage-{name}-{}-{port}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let command = prepare(port, &folder);
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let running = Running::start(&command).ready(|_| TcpStream::connect(address).ok().map(drop));
        let (running, ()) =
            running.unwrap_or_else(|refused| panic!("{name} did not start:\n{}", refused.output));
        Self { address, running: Some(running), folder }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        drop(self.running.take());
        let _ = fs::remove_dir_all(&self.folder);
    }
}
