//! Figures: how they are taken, printed and written.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::process::Command;

/// One measured figure, as a ratio to a limit or to a peer.
pub(crate) struct Figure {
    name: String,
    value: f64,
    unit: &'static str,
    against: String,
    ratio: f64,
    goal: Goal,
}

/// What the ratio should be.
enum Goal {
    AtMost(f64),
    AtLeast(f64),
}

impl Figure {
    /// A figure that must stay below a limit.
    pub(crate) fn limit(name: &str, value: f64, unit: &'static str, limit: f64) -> Self {
        let against = format!("limit of {limit} {unit}");
        Self { name: name.to_owned(), value, unit, against, ratio: value / limit, goal: Goal::AtMost(1.0) }
    }

    /// A figure that must be at most `goal` times what it is measured against.
    pub(crate) fn at_most(
        name: String,
        value: f64,
        unit: &'static str,
        against: String,
        ratio: f64,
        goal: f64,
    ) -> Self {
        Self { name, value, unit, against, ratio, goal: Goal::AtMost(goal) }
    }

    /// A figure that must be at least `goal` times what it is measured against.
    pub(crate) fn at_least(
        name: String,
        value: f64,
        unit: &'static str,
        against: String,
        ratio: f64,
        goal: f64,
    ) -> Self {
        Self { name, value, unit, against, ratio, goal: Goal::AtLeast(goal) }
    }

    fn goal(&self) -> f64 {
        match self.goal {
            Goal::AtMost(goal) | Goal::AtLeast(goal) => goal,
        }
    }

    fn ok(&self) -> bool {
        match self.goal {
            Goal::AtMost(goal) => self.ratio <= goal,
            Goal::AtLeast(goal) => self.ratio >= goal,
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

/// The value in the middle.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A line of `/proc/{pid}/status`, in MiB.
pub(crate) fn memory(pid: u32, line: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    mebibytes(&status, line).expect("Linux says so")
}

/// The same, of what was read already.
pub(crate) fn mebibytes(status: &str, line: &str) -> Option<f64> {
    let kib = status.lines().find_map(|text| text.strip_prefix(line))?;
    kib.trim().trim_end_matches(" kB").parse::<f64>().ok().map(|kib| kib / 1024.0)
}

/// Lets `VmHWM:` begin anew; what the process has now, in MiB.
pub(crate) fn forget_peak(pid: u32) -> f64 {
    std::fs::write(format!("/proc/{pid}/clear_refs"), "5").expect("the peak can be forgotten");
    memory(pid, "VmRSS:")
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
    println!("| what | measured | against | ratio | goal | |\n| --- | --- | --- | --- | --- | --- |");
    for figure in figures {
        let Figure { name, value, unit, against, ratio, goal } = figure;
        let sign = if matches!(goal, Goal::AtMost(_)) { "≤" } else { "≥" };
        let (goal, verdict) = (figure.goal(), if figure.ok() { "ok" } else { "MISSED" });
        println!("| {name} | {value:.1} {unit} | {against} | {ratio:.2} | {sign} {goal} | {verdict} |");
    }
    let results: Vec<_> = figures
        .iter()
        .map(|figure| {
            json!({
                "name": figure.name,
                "value": figure.value,
                "unit": figure.unit,
                "against": figure.against,
                "ratio": figure.ratio,
                "goal": figure.goal(),
                "ok": figure.ok(),
            })
        })
        .collect();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../bench-results.json");
    let text = serde_json::to_string_pretty(&results).expect("plain values");
    std::fs::write(file, text).expect("the checkout can be written");
}
