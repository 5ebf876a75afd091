//! Figures: how they are taken, printed and written.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::process::Command;

/// One measured figure.
pub(crate) struct Figure {
    name: String,
    value: f64,
    unit: &'static str,
    goal: Goal,
}

/// What a figure should be.
enum Goal {
    /// Below this.
    Below(f64),
    /// This or more.
    AtLeast(f64),
}

impl Figure {
    /// A figure that must stay below a limit.
    pub(crate) fn limit(name: &str, value: f64, unit: &'static str, limit: f64) -> Self {
        Self { name: name.to_owned(), value, unit, goal: Goal::Below(limit) }
    }

    /// A figure that must reach a goal.
    pub(crate) fn at_least(name: &str, value: f64, unit: &'static str, goal: f64) -> Self {
        Self { name: name.to_owned(), value, unit, goal: Goal::AtLeast(goal) }
    }

    /// How the goal reads, and the value as a ratio to it.
    fn against(&self) -> (String, f64) {
        let (word, goal) = match self.goal {
            Goal::Below(limit) => ("below", limit),
            Goal::AtLeast(goal) => ("at least", goal),
        };
        (format!("{word} {goal} {}", self.unit).trim_end().to_owned(), self.value / goal)
    }

    fn ok(&self) -> bool {
        match self.goal {
            Goal::Below(limit) => self.value < limit,
            Goal::AtLeast(goal) => self.value >= goal,
        }
    }
}

/// The value that `percent` of the times do not exceed, in milliseconds.
pub(crate) fn percentile(mut times: Vec<Duration>, percent: usize) -> f64 {
    times.sort();
    assert!(!times.is_empty(), "nothing was measured");
    let place = (times.len() * percent).div_ceil(100).clamp(1, times.len()) - 1;
    times[place].as_secs_f64() * 1000.0
}

/// How long the server of the fixture needs by itself, from its start to its first healthy answer: the median
/// of five runs without the platform.
pub(crate) async fn own_start(repository: &Path) -> Duration {
    let mut times = Vec::new();
    for n in 0..5_u16 {
        let port = 21_000 + n;
        let start = Instant::now();
        let mut server = Command::new("node")
            .arg("server.mjs")
            .current_dir(repository)
            .env("PORT", port.to_string())
            .env("MASTRA_HOST", "127.0.0.1")
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("node is installed");
        while reqwest::get(format!("http://127.0.0.1:{port}/health")).await.is_err() {
            assert!(start.elapsed() < Duration::from_secs(30), "the fixture's server does not come up");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        times.push(start.elapsed());
        server.kill().await.expect("it can be killed");
    }
    times.sort();
    times[times.len() / 2]
}

/// Prints the table and writes `bench-results.json`.
#[expect(clippy::print_stdout, reason = "the table is what the bench is for")]
pub(crate) fn publish(figures: &[Figure]) {
    println!("| what | measured | goal | ratio | |\n| --- | --- | --- | --- | --- |");
    for figure in figures {
        let Figure { name, value, unit, .. } = figure;
        let (goal, ratio) = figure.against();
        let verdict = if figure.ok() { "ok" } else { "MISSED" };
        println!("| {name} | {value:.2} {unit} | {goal} | {ratio:.2} | {verdict} |");
    }
    let results: Vec<_> = figures
        .iter()
        .map(|figure| {
            let (goal, ratio) = figure.against();
            json!({
                "name": figure.name,
                "value": figure.value,
                "unit": figure.unit,
                "against": goal,
                "ratio": ratio,
                "ok": figure.ok(),
            })
        })
        .collect();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../bench-results.json");
    let text = serde_json::to_string_pretty(&results).expect("plain values");
    std::fs::write(file, text).expect("the checkout can be written");
}
