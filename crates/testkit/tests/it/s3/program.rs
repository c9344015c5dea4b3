//! The double as a program, and its orders by HTTP.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use outflow_testkit::s3::pattern;
use serde_json::{Value, json};

use super::web;

/// A running program, ended when it is dropped.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn a_program_serves_a_folder_and_takes_orders() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("t")).unwrap();
    fs::write(dir.path().join("t/a b.txt"), "some bytes").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_outflow-s3-double"));
    command.args(["--anonymous", "--crc32", "--control", "127.0.0.1:0", "--dir"]).arg(dir.path());
    let mut program = Program(command.stdout(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(program.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    let endpoint = lines.next().unwrap().strip_prefix("listening on ").unwrap().to_owned();
    let control = lines.next().unwrap().strip_prefix("control on ").unwrap().to_owned();

    let client = web();
    let get = async |key: &str| {
        let response = client.get(format!("{endpoint}outflow/{key}")).send().await.unwrap();
        (response.status().as_u16(), response.bytes().await.unwrap())
    };
    assert_eq!(get("t/a%20b.txt").await, (200, "some bytes".into()));
    let order = async |method: &str, path: &str, body: Value| {
        let request = client.request(method.parse().unwrap(), format!("{control}{path}"));
        let response = request.body(body.to_string()).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };
    let pattern_order = json!({"key": "p", "seed": 4, "len": 5000, "crc32": true});
    assert_eq!(order("PUT", "objects", pattern_order).await.0, 200);
    assert_eq!(get("p").await, (200, pattern(4, 0, 5000).into()));
    let plan = json!({"rules": [{"fault": "error500", "key": "p", "times": 1}]});
    assert_eq!(order("PUT", "plan", plan).await.0, 200);
    assert_eq!((get("p").await.0, get("p").await.0), (500, 200));
    assert!(order("GET", "plan", Value::Null).await.1.contains("error500"));
    assert_eq!(order("PUT", "settings", json!({"latency_ms": 1})).await.0, 200);
    assert_eq!(order("POST", "replace", json!({"key": "p"})).await.0, 200);
    assert_ne!(get("p").await.1, pattern(4, 0, 5000));
    assert_eq!(order("PUT", "settings", json!({"unheard of": 1})).await.0, 400);
    assert_eq!(order("GET", "nothing", Value::Null).await.0, 404);
    let stats: Value = serde_json::from_str(&order("GET", "stats", Value::Null).await.1).unwrap();
    assert_eq!(stats["requests"]["get_object"], 5);
    assert_eq!((&stats["faults"]["error500"], &stats["gets"]["p"]), (&json!(1), &json!(4)));
    assert_eq!(stats["bytes"]["p"], 15_000);

    program.0.kill().unwrap();
    assert_eq!(lines.next(), None, "two lines and no more");
}
