//! The code that the documentation recommends to receivers.

use std::io::Write as _;
use std::process::Stdio;
use std::time::SystemTime;

use outflow_testkit::needs;
use outflow_testkit::process::program;
use serde_json::json;

use crate::webhook::signature::{WebhookKey, signatures};

const DOCS: &str = include_str!("../../../../../docs/events.md");
const SECRETS: [&str; 2] =
    ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD7D6x1v0FNpk="];

/// The documentation's only example in `language`.
fn example(language: &str) -> &'static str {
    let (_, after) = DOCS.split_once(&format!("```{language}\n")).unwrap();
    after.split_once("```").unwrap().0
}

/// Runs `code` with requests as JSON lines on its standard input; it prints a line for each.
fn verdicts(interpreter: &str, flag: &str, code: &str, requests: &str) -> Vec<bool> {
    let mut command = program(interpreter);
    let mut child = command.args([flag, code]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(requests.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| line.parse().unwrap()).collect()
}

/// Requests, and whether they are authentic.
fn requests() -> (String, Vec<bool>) {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs().cast_signed();
    let body = r#"{"type":"download.completed","data":{"name":"ü.zip"}}"#;
    let sign = |secrets: &[&str], seconds| {
        let keys: Vec<WebhookKey> =
            secrets.iter().map(|secret| WebhookKey::parse(secret).ok().unwrap()).collect();
        signatures(&keys, "evt_1", seconds, body.as_bytes())
    };
    let signature = sign(&SECRETS[..1], now);
    let altered = body.replace('ü', "u");
    let cases = [
        (SECRETS[0], "evt_1", now, signature.clone(), body, true),
        (SECRETS[0], "evt_1", now, sign(&SECRETS, now), body, true),
        (SECRETS[1], "evt_1", now, sign(&SECRETS, now), body, true),
        (SECRETS[1], "evt_1", now, signature.clone(), body, false),
        (SECRETS[0], "evt_2", now, signature.clone(), body, false),
        (SECRETS[0], "evt_1", now + 1, signature.clone(), body, false),
        (SECRETS[0], "evt_1", now, signature, &altered, false),
        (SECRETS[0], "evt_1", now, String::new(), body, false),
        (SECRETS[0], "evt_1", now - 1000, sign(&SECRETS, now - 1000), body, false),
        (SECRETS[0], "evt_1", now + 1000, sign(&SECRETS, now + 1000), body, false),
    ];
    let mut lines = String::new();
    for (secret, id, seconds, signature, body, _) in &cases {
        let headers = json!({
            "webhook-id": id, "webhook-timestamp": seconds.to_string(), "webhook-signature": signature,
        });
        lines += &format!("{}\n", json!({ "secret": secret, "headers": headers, "body": body }));
    }
    (lines, cases.iter().map(|case| case.5).collect())
}

#[test]
fn the_example_in_python_believes_what_it_should() {
    needs!("python3");
    let (requests, expected) = requests();
    let code = format!(
        "{}\nimport json, sys\nfor line in sys.stdin.buffer:\n    r = json.loads(line)\n    \
         print(str(verify(r['secret'], r['headers'], r['body'].encode())).lower())",
        example("python")
    );
    assert_eq!(verdicts("python3", "-c", &code, &requests), expected);
}

#[test]
fn the_example_in_javascript_believes_what_it_should() {
    needs!("node");
    let (requests, expected) = requests();
    let code = format!(
        "{}\nfor (const line of require('fs').readFileSync(0, 'utf8').trim().split('\\n')) {{\n\
         const r = JSON.parse(line); console.log(verify(r.secret, r.headers, Buffer.from(r.body))); }}",
        example("javascript")
    );
    assert_eq!(verdicts("node", "-e", &code, &requests), expected);
}
