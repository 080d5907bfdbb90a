//! Real web traffic, and what was really done: curl's word for the client's
//! end, nginx's log for the server's.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use crate::netns::Namespace;
use crate::process::{Process, wait_until};
use crate::world::World;

/// Where nginx listens.
pub(crate) const PORT: u16 = 80;
/// Where nobody listens.
pub(crate) const CLOSED_PORT: u16 = 81;
/// Length of the body of `/big`: many segments, and several turns of the window.
pub(crate) const BIG_BYTES: usize = 300_000;

/// nginx with two workers, on both families.
///
/// `/item/ANYTHING` answers 200 with a short text, `/big` with [`BIG_BYTES`],
/// everything else 404.
#[derive(Debug)]
pub(crate) struct Nginx {
    process: Process,
    log: PathBuf,
}

impl Nginx {
    pub(crate) fn start(world: &World, host: &Namespace) -> Self {
        Self::start_with(world, host, "", "")
    }

    /// As [`Nginx::start`], with more formats for logs, and more directives for
    /// the server.
    pub(crate) fn start_with(
        world: &World,
        host: &Namespace,
        formats: &str,
        directives: &str,
    ) -> Self {
        let folder = world.file("nginx");
        fs::create_dir(&folder).expect("a folder for nginx");
        fs::write(folder.join("big"), "0123456789".repeat(BIG_BYTES / 10))
            .expect("a file to serve");
        let path = folder.display();
        let mut configuration = format!(
            "daemon off; user root; worker_processes 2; pid {path}/pid; error_log {path}/errors;
             events {{ worker_connections 1024; }}
             http {{
               log_format lab '$remote_addr $remote_port $pid $status $request_method $request_uri';
               {formats}
               access_log {path}/log lab;
               keepalive_requests 100000;
               server {{
                 listen {PORT}; listen [::]:{PORT} ipv6only=on;
                 {directives}
                 root {path};
                 location /item/ {{ return 200 'an item\\n'; }}
                 location = /big {{ }}
                 location / {{ return 404; }}
               }}\n"
        );
        for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
            writeln!(configuration, "{kind}_temp_path {path}/{kind};")
                .expect("writing to a string");
        }
        configuration.push('}');
        let file = folder.join("conf");
        fs::write(&file, configuration).expect("a configuration for nginx");
        let mut command = Command::new("nginx");
        // -e: before it reads its configuration it would write to the system's log.
        command
            .arg("-e")
            .arg(folder.join("errors"))
            .arg("-p")
            .arg(&folder)
            .arg("-c")
            .arg(&file);
        let mut process = world.start(host, command);
        wait_until("nginx listens on both families", || {
            assert!(!process.has_ended(), "nginx: {}", process.errors());
            host.listeners(PORT) == 2
        });
        Self {
            process,
            log: folder.join("log"),
        }
    }

    /// The process that opened the listening sockets; its children accept.
    pub(crate) fn master(&self) -> u32 {
        self.process.pid()
    }

    /// Of each request the client's port, the worker that answered, and the target.
    pub(crate) fn served(&self) -> impl Iterator<Item = (u16, u32, String)> {
        (self.log().into_iter())
            .map(|served| (served.client.port(), served.worker, served.request.target))
    }

    fn log(&self) -> Vec<Served> {
        let text = fs::read_to_string(&self.log).expect("nginx's log");
        text.lines().map(Served::parse).collect()
    }
}

/// A line of nginx's log.
#[derive(Debug)]
struct Served {
    client: SocketAddr,
    worker: u32,
    request: Request,
}

impl Served {
    fn parse(line: &str) -> Self {
        let fields: Vec<_> = line.split(' ').collect();
        let [addr, port, worker, status, method, target] = fields[..] else {
            panic!("a line of nginx's log: {line}");
        };
        Self {
            client: SocketAddr::new(parse(addr), parse(port)),
            worker: parse(worker),
            request: Request {
                method: method.to_owned(),
                target: target.to_owned(),
                status: parse(status),
            },
        }
    }
}

/// A request that was really made and answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) status: u16,
}

/// A connection that was really asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Connection {
    pub(crate) server: SocketAddr,
    /// The client's end, where curl tells it: not of a refused connection.
    pub(crate) client: Option<SocketAddr>,
    /// The process that asked for it.
    pub(crate) curl: u32,
    /// The process that accepted it.
    pub(crate) worker: Option<u32>,
    pub(crate) requests: Vec<Request>,
}

/// All that was done in a test.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    pub(crate) connections: Vec<Connection>,
}

impl Traffic {
    /// Runs curl once, on targets one after another over one connection, as
    /// curl does by itself.
    pub(crate) fn fetch(
        &mut self,
        world: &World,
        host: &Namespace,
        server: &str,
        targets: &[String],
    ) {
        let server = SocketAddr::new(parse(server), PORT);
        let mut command = curl();
        for target in targets {
            command
                .args(["-o", "/dev/null"])
                .arg(format!("http://{server}{target}"));
        }
        let ended = world.start(host, command).finish().expect_code(0);
        let mut connections = BTreeMap::<SocketAddr, Connection>::new();
        let mut transfers = targets.iter();
        for line in ended.output.lines() {
            let fields: Vec<_> = line.split(' ').collect();
            let [addr, port, status] = fields[..] else {
                panic!("a line of curl: {line}");
            };
            let client = SocketAddr::new(parse(addr), parse(port));
            let connection = connections.entry(client).or_insert_with(|| Connection {
                server,
                client: Some(client),
                curl: ended.pid,
                worker: None,
                requests: Vec::new(),
            });
            connection.requests.push(Request {
                method: "GET".to_owned(),
                target: transfers
                    .next()
                    .expect("a transfer that was asked for")
                    .clone(),
                status: parse(status),
            });
        }
        assert_eq!(
            transfers.next(),
            None,
            "a transfer that curl does not tell of"
        );
        self.connections.extend(connections.into_values());
    }

    /// Runs curl once on a port where nobody listens.
    pub(crate) fn knock(&mut self, world: &World, host: &Namespace, server: &str) {
        const CURLE_COULDNT_CONNECT: i32 = 7;
        let server = SocketAddr::new(parse(server), CLOSED_PORT);
        let mut command = curl();
        command.arg(format!("http://{server}/"));
        let ended = world
            .start(host, command)
            .finish()
            .expect_code(CURLE_COULDNT_CONNECT);
        self.connections.push(Connection {
            server,
            client: None,
            curl: ended.pid,
            worker: None,
            requests: Vec::new(),
        });
    }

    /// How many requests were made.
    pub(crate) fn requests(&self) -> usize {
        self.connections
            .iter()
            .map(|connection| connection.requests.len())
            .sum()
    }

    /// Takes nginx's word for who accepted each connection, and sees that both
    /// ends tell of the same requests.
    pub(crate) fn join_log(&mut self, nginx: &Nginx) {
        let expected = self.requests();
        // nginx writes a line after the last byte of an answer: curl may have been faster.
        wait_until("nginx has logged all requests", || {
            nginx.log().len() >= expected
        });
        let mut served = BTreeMap::<SocketAddr, (u32, Vec<Request>)>::new();
        for Served {
            client,
            worker,
            request,
        } in nginx.log()
        {
            served
                .entry(client)
                .or_insert((worker, Vec::new()))
                .1
                .push(request);
        }
        for connection in &mut self.connections {
            let Some(client) = &connection.client else {
                continue;
            };
            let (worker, requests) = served
                .remove(client)
                .expect("a connection that nginx knows");
            assert_eq!(
                requests, connection.requests,
                "what nginx and curl tell of {client}"
            );
            connection.worker = Some(worker);
        }
        assert!(
            served.is_empty(),
            "connections that nobody asked for: {served:?}"
        );
    }
}

/// curl that reads no file of the user's and says what it did, a line a transfer.
pub(crate) fn curl() -> Command {
    let mut command = Command::new("curl");
    command.args(["--disable", "--silent", "--show-error", "--noproxy", "*"]);
    command.args(["--write-out", "%{local_ip} %{local_port} %{http_code}\\n"]);
    command
}

fn parse<T: std::str::FromStr>(text: &str) -> T {
    text.parse()
        .ok()
        .unwrap_or_else(|| panic!("not what was expected: {text:?}"))
}
