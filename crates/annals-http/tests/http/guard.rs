//! Who is let in.

use std::sync::Arc;

use annals_core::MemoryStore;
use annals_http::{ServeError, ServeOptions, Server, Tokens};
use annals_sqlite::SqliteReadModels;

use crate::client::Service;

#[test]
fn web_pages_of_other_sites_are_kept_out() {
    let service = Service::start();
    let with = |headers: &[(&str, &str)]| {
        service.send("POST", "/commands/jar/a/PutCoinsIn", headers, b"{\"coins\":1}")
    };
    with(&[("origin", "https://evil.example")]).problem(403, "foreign-origin");
    with(&[("origin", "null")]).problem(403, "foreign-origin");
    with(&[("host", "evil.example:4000"), ("origin", "http://evil.example:4000")])
        .problem(403, "foreign-host");
    let own = format!("localhost:{}", service.address.port());
    assert_eq!(with(&[("origin", &format!("http://{own}"))]).status, 200);
}

#[test]
fn with_tokens_everybody_must_say_who_they_are() {
    let path = std::env::temp_dir().join(format!("annals-http-tokens-{}", std::process::id()));
    std::fs::write(&path, "ann correct-horse-battery\n").unwrap();
    let tokens = Tokens::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let service = Service::with(ServeOptions { tokens, ..ServeOptions::default() });
    service.get("/events").problem(401, "unauthorized");
    let guess = service.send("GET", "/events", &[("authorization", "Bearer correct-horse-batterz")], b"");
    guess.problem(401, "unauthorized");
    assert_eq!(guess.header("www-authenticate"), Some("Bearer"));
    let ann = [("authorization", "Bearer correct-horse-battery")];
    assert_eq!(service.send("POST", "/commands/jar/a/PutCoinsIn", &ann, b"{\"coins\":1}").status, 200);
    let events = service.send("GET", "/events", &ann, b"");
    assert!(events.json()[0]["metadata"].as_str().unwrap().contains("\"principal\":\"ann\""));
    assert_eq!(service.get("/healthz").status, 200, "health is told to everybody");
}

#[tokio::test]
async fn beyond_this_machine_needs_tokens_or_a_word() {
    let store = Arc::new(MemoryStore::default());
    let models = Arc::new(SqliteReadModels::temporary().unwrap());
    let app = crate::domain::app().start(store, models).await.unwrap();
    let everywhere = "0.0.0.0:0".parse().unwrap();
    let refused = Server::bind(app.clone(), everywhere, ServeOptions::default()).await.err().unwrap();
    assert!(matches!(refused, ServeError::Unprotected { .. }));
    assert!(refused.to_string().contains("--tokens FILE"), "{refused}");
    let open = ServeOptions { open_to_everyone: true, ..ServeOptions::default() };
    let server = Server::bind(app.clone(), everywhere, open).await.unwrap();
    let taken =
        Server::bind(app, server.address(), ServeOptions { open_to_everyone: true, ..Default::default() });
    assert!(taken.await.err().unwrap().to_string().contains("choose another address"));
}
