//! Certificates made for a test, and an Envoy that ends TLS in front of a server.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::envoy::{Running, envoy_program};
use crate::redis::{await_port, free_port};

/// An authority and a server's certificate by it, in a folder that goes with this.
pub struct Certificates {
    folder: PathBuf,
}

impl Certificates {
    /// Makes both, for a server of this name.
    ///
    /// # Panics
    /// `openssl` is missing or does not like something; what it said is shown.
    pub fn of(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("selvage-tls-{}-{}", std::process::id(), free_port()));
        fs::create_dir(&folder).unwrap();
        let made = Self { folder };
        fs::write(made.folder.join("extensions"), format!("subjectAltName=DNS:{name}\n")).unwrap();
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
        made.openssl(&format!("req -x509 {key} -keyout ca.key -out ca.crt -days 2 -subj /CN=authority"));
        made.openssl(&format!("req {key} -keyout server.key -out server.csr -subj /CN=server"));
        made.openssl(
            "x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -out server.crt \
             -extfile extensions",
        );
        made
    }

    /// The authority's certificate.
    pub fn authority(&self) -> String {
        self.file("ca.crt")
    }

    /// The server's certificate.
    pub fn certificate(&self) -> String {
        self.file("server.crt")
    }

    /// The server's key.
    pub fn key(&self) -> String {
        self.file("server.key")
    }

    /// The folder, for more files that go with it.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn file(&self, name: &str) -> String {
        self.folder.join(name).to_str().unwrap().to_owned()
    }

    fn openssl(&self, arguments: &str) {
        let mut command = Command::new("openssl");
        command.args(arguments.split_whitespace()).current_dir(&self.folder);
        let output = command.output().unwrap_or_else(|problem| panic!("openssl: {problem}"));
        assert!(output.status.success(), "openssl: {}", String::from_utf8_lossy(&output.stderr));
    }
}

impl Drop for Certificates {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// An Envoy that speaks TLS and passes what is in it on to a server of this machine.
pub struct Terminator {
    port: u16,
    _running: Running,
}

impl Terminator {
    /// Starts it in front of this port.
    ///
    /// # Panics
    /// It does not start; what it wrote is shown.
    pub fn start(certificates: &Certificates, to: u16) -> Self {
        let port = free_port();
        let (certificate, key) = (certificates.certificate(), certificates.key());
        let bootstrap = certificates.folder.join("terminator.yaml");
        fs::write(
            &bootstrap,
            format!(
                r#"
static_resources:
  listeners:
    - address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }}
      filter_chains:
        - filters:
            - name: envoy.filters.network.tcp_proxy
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
                stat_prefix: bridge
                cluster: bridge
          transport_socket:
            name: envoy.transport_sockets.tls
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
              common_tls_context:
                tls_certificates:
                  - {{ certificate_chain: {{ filename: "{certificate}" }}, private_key: {{ filename: "{key}" }} }}
  clusters:
    - name: bridge
      connect_timeout: 1s
      load_assignment:
        cluster_name: bridge
        endpoints:
          - lb_endpoints:
              - endpoint: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {to} }} }} }}
"#
            ),
        )
        .unwrap();
        let mut command = Command::new(envoy_program());
        command.arg("--config-path").arg(&bootstrap);
        command.args(["--concurrency", "1", "--disable-hot-restart", "--log-level", "warning"]);
        Self { port, _running: await_port(&command, port) }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }
}
