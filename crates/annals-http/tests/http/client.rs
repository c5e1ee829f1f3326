//! A service on a free port, and a client that sends just the bytes that a test wants sent.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use annals_app::App;
use annals_core::{EventStore, MemoryStore};
use annals_http::{ServeOptions, Server};
use annals_sqlite::SqliteReadModels;
use serde_json::Value;
use tokio::sync::oneshot;

/// A service that runs until it is stopped or dropped.
pub(crate) struct Service {
    pub(crate) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Service {
    pub(crate) fn start() -> Self {
        Self::with(ServeOptions::default())
    }

    pub(crate) fn with(options: ServeOptions) -> Self {
        Self::of(crate::domain::app(), options)
    }

    pub(crate) fn of(app: App, options: ServeOptions) -> Self {
        let (stop, stopped) = oneshot::channel();
        let (tell, told) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            runtime.block_on(async move {
                let store: Arc<dyn EventStore> = Arc::new(MemoryStore::default());
                let models = Arc::new(SqliteReadModels::temporary().unwrap());
                let app = app.start(store, models).await.unwrap();
                let server = Server::bind(app, "127.0.0.1:0".parse().unwrap(), options).await.unwrap();
                tell.send(server.address()).unwrap();
                server.run(async { drop(stopped.await) }).await.unwrap();
            });
        });
        let address = told.recv().unwrap();
        Self { address, stop: Some(stop), thread: Some(thread) }
    }

    /// Asks it to stop, without waiting.
    pub(crate) fn begin_to_stop(&mut self) {
        self.stop.take();
    }

    /// Waits until it has stopped.
    pub(crate) fn wait(&mut self) {
        self.begin_to_stop();
        self.thread.take().into_iter().for_each(|thread| thread.join().unwrap());
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    /// Sends a request and reads the answer.
    pub(crate) fn send(
        &self,
        method: &str,
        path: impl AsRef<[u8]>,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let mut stream = self.connect();
        let mut request = format!("{method} ").into_bytes();
        request.extend_from_slice(path.as_ref());
        request.extend_from_slice(b" HTTP/1.1\r\n");
        let host = format!("localhost:{}", self.address.port());
        let length = body.len().to_string();
        let own = [("host", host.as_str()), ("connection", "close"), ("content-length", &length)];
        let own = own.into_iter().filter(|(name, _)| !headers.iter().any(|(given, _)| given == name));
        for (name, value) in own.chain(headers.iter().copied()) {
            request.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        request.extend_from_slice(b"\r\n");
        request.extend_from_slice(body);
        // A service that refuses early may close before all was sent.
        let _ = stream.write_all(&request);
        Answer::read(stream)
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], b"")
    }

    pub(crate) fn put_in(&self, jar: &str, coins: u32) -> Answer {
        let body = format!("{{\"coins\":{coins}}}");
        self.send("POST", format!("/commands/jar/{jar}/PutCoinsIn"), &[], body.as_bytes())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.wait();
    }
}

/// What the service answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    fn read(stream: TcpStream) -> Self {
        let mut input = BufReader::new(stream);
        let (status, headers) = read_head(&mut input);
        let mut body = Vec::new();
        let _ = input.read_to_end(&mut body);
        Self { status, headers, body: String::from_utf8_lossy(&body).into_owned() }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// Checks that this is a problem of the given status and code; returns its detail.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16, code: &str) -> String {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let problem = self.json();
        assert_eq!((&problem["status"], &problem["code"]), (&status.into(), &code.into()), "{problem}");
        assert_eq!(problem["type"], format!("urn:annals:problem:{code}"));
        problem["detail"].as_str().unwrap().to_owned()
    }
}

/// Reads the status line and the headers.
pub(crate) fn read_head(input: &mut impl BufRead) -> (u16, Vec<(String, String)>) {
    let mut line = String::new();
    input.read_line(&mut line).unwrap();
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let mut headers = Vec::new();
    loop {
        line.clear();
        let read = input.read_line(&mut line).unwrap_or(0);
        match line.trim_end().split_once(':') {
            Some((name, value)) => headers.push((name.to_ascii_lowercase(), value.trim().to_owned())),
            None if read == 0 || line.trim_end().is_empty() => return (status, headers),
            None => {}
        }
    }
}
