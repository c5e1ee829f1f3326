//! How far something has come: a bar on a terminal, a line now and then elsewhere. On stderr.

use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

/// Without a terminal, a line is written this often.
const LINE_EVERY: Duration = Duration::from_secs(2);

/// Shows how much is done, of how much, how fast, and how long it still takes.
pub struct Progress {
    bar: Option<ProgressBar>,
    title: String,
    unit: &'static str,
    begun: Instant,
    last_line: Mutex<Instant>,
}

impl Progress {
    /// Begins to show progress of some work, counted in `unit`.
    pub fn new(title: &str, unit: &'static str, quiet: bool) -> Self {
        let bar = (!quiet && std::io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr_with_hz(10));
            let template = format!(
                "{title} [{{wide_bar}}] {{human_pos}} of {{human_len}} {unit}, {{rate}}/s, {{eta}} left"
            );
            let style =
                ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar());
            let rate = |state: &ProgressState, out: &mut dyn std::fmt::Write| {
                // A rate that cannot be written is not worth an error.
                let _ = write!(out, "{}", HumanCount(state.per_sec() as u64));
            };
            bar.set_style(style.with_key("rate", rate).progress_chars("█▉ "));
            bar
        });
        let begun = Instant::now();
        // Quiet: the next line is due when nobody waits for it any more.
        let last_line = if quiet { begun + Duration::from_secs(1 << 32) } else { begun };
        Self { bar, title: title.to_owned(), unit, begun, last_line: Mutex::new(last_line) }
    }

    /// So much is done, of so much.
    pub fn set(&self, done: u64, total: u64) {
        if let Some(bar) = &self.bar {
            bar.set_length(total);
            bar.set_position(done);
            return;
        }
        let Ok(mut last_line) = self.last_line.lock() else { return };
        if last_line.elapsed() < LINE_EVERY {
            return;
        }
        *last_line = Instant::now();
        let rate = done as f64 / self.begun.elapsed().as_secs_f64();
        let left = total.saturating_sub(done) as f64 / rate.max(0.001);
        eprintln!("{}: {done} of {total} {}, {rate:.0}/s, {left:.0} s left", self.title, self.unit);
    }

    /// Ends the showing.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
