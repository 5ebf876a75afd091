//! npm's `dotenv`, which Mastra projects use, as an independent reader of what is exported.

use std::process::Stdio;

use domain::dotenv::{read, write};
use domain::values::EnvKey;
use serde_json::Value;
use tokio::process::Command;

const SCRIPT: &str = "import { readFileSync } from 'node:fs';
import dotenv from 'dotenv';
const files = JSON.parse(readFileSync(0, 'utf8'));
console.log(JSON.stringify(files.map((file) => dotenv.parse(file))));";

/// What `dotenv` reads from each file.
async fn parsed(files: &[String]) -> Vec<Value> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("package.json"), "{}").unwrap();
    std::fs::write(dir.path().join("read.mjs"), SCRIPT).unwrap();
    std::fs::write(dir.path().join("files.json"), serde_json::to_vec(files).unwrap()).unwrap();
    let mut install = Command::new("npm");
    install.args(["install", "--no-audit", "--no-fund", "--ignore-scripts", "dotenv@17"]);
    let installed = install.current_dir(dir.path()).output().await.unwrap();
    assert!(installed.status.success(), "{}", String::from_utf8_lossy(&installed.stderr));
    let files = std::fs::File::open(dir.path().join("files.json")).unwrap();
    let mut node = Command::new("node");
    let output =
        node.arg("read.mjs").current_dir(dir.path()).stdin(Stdio::from(files)).output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Texts of odd characters, the same in every run.
fn odd_values() -> impl Iterator<Item = String> {
    let odd: Vec<char> = "'\"`\\ $#=\n\tnr{}aÜ\u{1f600}".chars().collect();
    let mut seed = 7_u64;
    let mut below = move |n: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(seed >> 33).unwrap() % n
    };
    (0..3000).map(move |_| (0..below(9)).map(|_| odd[below(odd.len())]).collect())
}

#[tokio::test]
async fn npms_dotenv_reads_what_is_written_and_both_read_the_same_from_usual_files() {
    let (key, last): (EnvKey, EnvKey) = ("A".parse().unwrap(), "LAST".parse().unwrap());
    // With every kind of quote, or a backslash at the end that needs quotes, there is no way to write it for `dotenv`.
    let can_be_written =
        |value: &String| ['\'', '`'].iter().any(|quote| !value.contains(*quote)) && !value.ends_with('\\');
    let values: Vec<String> = odd_values().filter(can_be_written).collect();
    assert!(values.len() > 1000);
    let mut files: Vec<String> =
        values.iter().map(|value| write([(&key, value.as_str()), (&last, "it's `the` \"end\"")])).collect();
    let usual = [
        "A=1\n\n# comment\nexport B = two words # comment\nC=\nD='x # y'",
        "A=\"a\\nb\"\r\nB='a\\nb'\r\nC=`'\"`\r\nA=again",
        "PEM=\"-----BEGIN\nabc==\n-----END\"\nJSON={\"a\":1}\nURL=https://example.org/?a=b&c=d",
    ];
    files.extend(usual.map(str::to_owned));
    let theirs = parsed(&files).await;
    for (value, read) in values.iter().zip(&theirs) {
        assert_eq!(read["A"], *value, "{:?}", write([(&key, value.as_str())]));
    }
    for (file, theirs) in usual.iter().zip(&theirs[values.len()..]) {
        let ours = read(file).unwrap().into_iter().map(|entry| (entry.key.to_string(), entry.value.into()));
        assert_eq!(Value::Object(ours.collect()), *theirs, "{file:?}");
    }
}
