//! A PostgreSQL server of the benchmark's own, as it is after installing it, for peers that store their events there.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use sqlx::{Connection, PgConnection};

use crate::failure::{Failure, Result, failed};
use crate::scratch::Scratch;

/// What installs it where it is not there.
const INSTALL: &str = "apt-get install -y postgresql";
/// Where Debian and its like put the programs, below a folder for each version.
const INSTALLED: &str = "/usr/lib/postgresql";
/// The server begins and ends within this time, or not at all.
const PATIENCE: Duration = Duration::from_secs(30);
/// The settings that tell what figures are worth.
const SETTINGS: [&str; 5] =
    ["server_version", "shared_buffers", "fsync", "synchronous_commit", "max_connections"];

/// A server that runs until this is dropped.
pub(crate) struct Postgres {
    server: Child,
    port: u16,
    log: PathBuf,
}

/// Why a work with PostgreSQL was left out.
pub(crate) fn skipped(work: &str) -> String {
    format!(
        "skipped: {work}: PostgreSQL (initdb, postgres) is neither in PATH nor below {INSTALLED}; this installs it: {INSTALL}"
    )
}

impl Postgres {
    /// Starts a server with its default settings on data of its own; nothing where PostgreSQL is not installed.
    pub(crate) fn start(scratch: &Scratch) -> Result<Option<Self>> {
        let Some(programs) = programs() else { return Ok(None) };
        let user = if geteuid().is_root() { Some(User::unprivileged()?) } else { None };
        // It must reach its data below a folder that is of who runs the benchmark.
        fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o711))?;
        let (data, log) = (scratch.fresh("postgres"), scratch.fresh("postgres.log"));
        fs::create_dir(&data)?;
        fs::set_permissions(&data, fs::Permissions::from_mode(0o700))?;
        if let Some(user) = user {
            std::os::unix::fs::chown(&data, Some(user.uid), Some(user.gid))?;
        }
        let command = |program: &str| -> Result<Command> {
            let mut command = Command::new(programs.join(program));
            command.arg("-D").arg(&data).current_dir(&data).stdin(Stdio::null());
            command.stdout(File::options().create(true).append(true).open(&log)?);
            command.stderr(File::options().create(true).append(true).open(&log)?);
            if let Some(user) = user {
                command.uid(user.uid).gid(user.gid);
            }
            Ok(command)
        };
        let made = command("initdb")?
            .args(["--username", "annals", "--auth", "trust", "--encoding", "UTF8", "--locale", "C"])
            .status();
        match made {
            Ok(status) if status.success() => {}
            Ok(status) => return failed(format!("initdb ended with {status}:\n{}", end_of(&log))),
            Err(error) => return failed(format!("cannot run initdb: {error}")),
        }
        let port = free_port()?;
        let mut server = command("postgres")?;
        server.args(["-h", "127.0.0.1", "-p", &port.to_string()]).args([OsStr::new("-k"), data.as_os_str()]);
        let server =
            server.spawn().map_err(|error| Failure::from(format!("cannot run postgres: {error}")))?;
        Ok(Some(Self { server, port, log }))
    }

    fn url(&self, database: &str) -> String {
        format!("postgres://annals@127.0.0.1:{}/{database}", self.port)
    }

    /// A connection, as soon as the server takes some.
    async fn connect(&mut self) -> Result<PgConnection> {
        let begun = Instant::now();
        loop {
            match PgConnection::connect(&self.url("postgres")).await {
                Ok(connection) => return Ok(connection),
                Err(_) if begun.elapsed() < PATIENCE && self.server.try_wait()?.is_none() => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Err(error) => {
                    return failed(format!("PostgreSQL does not answer: {error}\n{}", end_of(&self.log)));
                }
            }
        }
    }

    /// Waits until the server answers, and tells its settings.
    pub(crate) async fn describe(&mut self) -> Result<String> {
        let mut connection = self.connect().await?;
        let mut told = Vec::new();
        for setting in SETTINGS {
            let value = sqlx::query_scalar("SELECT current_setting($1)").bind(setting);
            let value: String = value.fetch_one(&mut connection).await?;
            told.push(format!("{setting} {value}"));
        }
        Ok(format!("PostgreSQL as it is by default: {}", told.join(", ")))
    }

    /// Makes a database, and tells its URL.
    pub(crate) async fn create_database(&self, name: &str) -> Result<String> {
        let mut connection = PgConnection::connect(&self.url("postgres")).await?;
        sqlx::query(&format!("CREATE DATABASE {name}")).execute(&mut connection).await?;
        Ok(self.url(name))
    }
}

impl Drop for Postgres {
    /// Ends the server: at once for its clients, cleanly for its data. It is killed when that takes too long.
    fn drop(&mut self) {
        if let Some(pid) = i32::try_from(self.server.id()).ok().and_then(Pid::from_raw) {
            // It may have ended by itself.
            let _ = kill_process(pid, Signal::INT);
        }
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            match self.server.try_wait() {
                Ok(None) => std::thread::sleep(Duration::from_millis(20)),
                _ => return,
            }
        }
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// The folder of the programs: one in PATH, or that of the newest version below [`INSTALLED`].
fn programs() -> Option<PathBuf> {
    let whole = |folder: &PathBuf| folder.join("initdb").is_file() && folder.join("postgres").is_file();
    let in_path = std::env::var_os("PATH").and_then(|path| std::env::split_paths(&path).find(whole));
    in_path.or_else(|| {
        let versions = fs::read_dir(INSTALLED).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
        let version = |folder: &Path| folder.file_name()?.to_str()?.parse::<u32>().ok();
        let found = versions.filter_map(|folder| Some((version(&folder)?, folder.join("bin"))));
        found.filter(|(_, folder)| whole(folder)).max().map(|(_, folder)| folder)
    })
}

/// Whom the server runs as: it refuses to run as root.
#[derive(Clone, Copy)]
struct User {
    uid: u32,
    gid: u32,
}

impl User {
    fn unprivileged() -> Result<Self> {
        let users = fs::read_to_string("/etc/passwd")?;
        let found = ["postgres", "nobody"].into_iter().find_map(|name| Self::named(&users, name));
        found.ok_or_else(|| {
            Failure::from(
                "PostgreSQL does not run as root, and there is no user postgres: run this as another user",
            )
        })
    }

    fn named(users: &str, name: &str) -> Option<Self> {
        let mut lines = users.lines().map(|line| line.split(':').collect::<Vec<_>>());
        let fields = lines.find(|fields| fields.first() == Some(&name))?;
        Some(Self { uid: fields.get(2)?.parse().ok()?, gid: fields.get(3)?.parse().ok()? })
    }
}

/// A port that was free a moment ago.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// The last lines of what the server said.
fn end_of(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(10)..].join("\n")
}
