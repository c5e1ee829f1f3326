//! The command line of an Annals application ([`Program`]), and of a store without one ([`store_program`]).

mod app_commands;
mod compaction;
mod failure;
mod output;
mod program;
mod progress;
mod remote;
mod selection;
mod session;
mod store_commands;
mod table;
mod trace;
mod verification;

pub use app_commands::Listening;
pub use failure::Failure;
pub use output::Output;
pub use program::{AppCommand, Program, store_program};
pub use progress::Progress;
pub use session::Session;

/// Waits for Ctrl-C or, on Unix, SIGTERM. The next one after it ends the process at once.
pub async fn stop_signal() {
    signal().await;
    tokio::spawn(async {
        signal().await;
        eprintln!("ended at once");
        std::process::exit(130);
    });
}

async fn signal() {
    let interrupted = async {
        // Without a handler the signal ends the process as usual.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    #[cfg(unix)]
    {
        let terminated = async {
            match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
                Ok(mut signal) => signal.recv().await,
                Err(_) => std::future::pending().await,
            }
        };
        tokio::select! {
            () = interrupted => {}
            _ = terminated => {}
        }
    }
    #[cfg(not(unix))]
    interrupted.await;
}
