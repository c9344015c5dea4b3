//! `outflow serve --metrics`, and the page that lists the metrics.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use outflow_metrics::{MetricDefinition, MetricSet as _, ProcessMetrics};
use outflow_wire::ServerCounters;

use crate::support::{FileTree, HttpClient, Server, Setup};

/// Every set of metrics, in the order of the page.
const SETS: &[(&str, &[MetricDefinition])] =
    &[("Engine", ServerCounters::DEFINITIONS), ("Process", ProcessMetrics::DEFINITIONS)];

const HEAD: &str = "# Metrics

`outflow serve --metrics ADDR` answers with these at `/metrics`, in the format of OpenMetrics 1.0
([serve](../serve.md#metrics)). A set is there once its part of the server is in use: without a store there are no
metrics of stores.

`OUTFLOW_WRITE_DOCS=1 cargo test -p outflow --test it metrics` writes this page from the definitions; do not edit it.
";

/// The page from the definitions.
fn page() -> String {
    let mut page = HEAD.to_owned();
    for (title, definitions) in SETS {
        write!(page, "\n## {title}\n\n| name | type | unit | labels | |\n|---|---|---|---|---|\n").unwrap();
        for definition in *definitions {
            let labels = definition.labels.iter().map(|label| match label.values {
                // The only value there is, such as a version, is no choice.
                [_] => format!("`{}`", label.name),
                values => format!("`{}`: `{}`", label.name, values.join("`, `")),
            });
            let labels = labels.collect::<Vec<_>>().join("; ");
            let (kind, unit) = (definition.kind.name(), definition.unit.name().unwrap_or(""));
            let (name, help) = (definition.name, definition.help);
            writeln!(page, "| `{name}` | {kind} | {unit} | {labels} | {help} |").unwrap();
        }
    }
    page
}

#[test]
fn the_page_lists_the_metrics_that_are_defined() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/metrics.md");
    if std::env::var_os("OUTFLOW_WRITE_DOCS").is_some() {
        std::fs::write(&path, page()).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap();
    assert!(
        written == page(),
        "docs/reference/metrics.md is stale; write it with OUTFLOW_WRITE_DOCS=1 cargo test -p outflow --test it metrics"
    );
}

#[test]
fn no_two_metrics_have_one_name_and_every_help_is_a_sentence() {
    let mut names = BTreeSet::new();
    for definition in SETS.iter().flat_map(|(_, definitions)| *definitions) {
        let MetricDefinition { name, help, .. } = definition;
        assert!(names.insert(name), "{name} is defined twice");
        assert!(name.starts_with("outflow_") || name.starts_with("process_"), "{name}");
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
        assert!(
            help.ends_with('.') && help.starts_with(|first: char| first.is_uppercase()),
            "{name}: {help}"
        );
        for label in definition.labels {
            let values: BTreeSet<_> = label.values.iter().collect();
            assert_eq!(values.len(), label.values.len(), "{name}: a value of {} occurs twice", label.name);
        }
    }
}

/// One scrape, by the grammar of OpenMetrics: `name{labels}` to value.
struct Scrape {
    samples: BTreeMap<String, f64>,
    families: BTreeSet<String>,
    text: String,
}

impl Scrape {
    #[track_caller]
    fn of(metrics: SocketAddr) -> Scrape {
        let reply = HttpClient::connect(metrics).get("/metrics").expect(200);
        assert_eq!(
            reply.header("content-type"),
            "application/openmetrics-text; version=1.0.0; charset=utf-8"
        );
        let text = reply.text().to_owned();
        Scrape::parse(&text).unwrap_or_else(|error| panic!("{error} in:\n{text}"))
    }

    /// Parses what OpenMetrics 1.0 allows and this server uses: counters and gauges with HELP, TYPE
    /// and UNIT in front of their samples, no timestamps, `# EOF` at the end.
    fn parse(text: &str) -> Result<Scrape, String> {
        let body = text.strip_suffix("# EOF\n").ok_or("no # EOF at the end")?;
        let mut scrape =
            Scrape { samples: BTreeMap::new(), families: BTreeSet::new(), text: text.to_owned() };
        let mut family = Family::default();
        for line in body.split_terminator('\n') {
            let fault = |what: &str| Err(format!("{what}: {line:?}"));
            if let Some(comment) = line.strip_prefix("# ") {
                let mut words = comment.splitn(3, ' ');
                let (Some(keyword), Some(name), Some(rest)) = (words.next(), words.next(), words.next())
                else {
                    return fault("not a comment of OpenMetrics");
                };
                if family.name != name {
                    family.end()?;
                    if !is_name(name) || !scrape.families.insert(name.to_owned()) {
                        return fault("not a new family");
                    }
                    family = Family { name: name.to_owned(), ..Family::default() };
                }
                if family.samples > 0 {
                    return fault("metadata after samples");
                }
                let known = match keyword {
                    "HELP" => &mut family.help,
                    "TYPE" if matches!(rest, "counter" | "gauge") => &mut family.kind,
                    "UNIT" if name.ends_with(&format!("_{rest}")) => &mut family.unit,
                    _ => return fault("an unknown keyword, type or unit"),
                };
                if known.replace(rest.to_owned()).is_some() {
                    return fault("said twice");
                }
                continue;
            }
            let Some((series, value)) = line.rsplit_once(' ') else { return fault("not a sample") };
            let name = match series.split_once('{') {
                None => series,
                Some((name, labels)) => {
                    let labels = labels.strip_suffix('}').ok_or("labels without an end")?;
                    for pair in labels.split(',') {
                        let value = pair
                            .split_once("=\"")
                            .and_then(|(label, value)| is_name(label).then_some(value)?.strip_suffix('"'));
                        if value.is_none_or(|value| value.contains(['"', '\\'])) {
                            return fault("not a label");
                        }
                    }
                    name
                }
            };
            let total = family.kind.as_deref() == Some("counter");
            let expected = if total { format!("{}_total", family.name) } else { family.name.clone() };
            if family.kind.is_none() || family.help.is_none() || name != expected {
                return fault("a sample without metadata in front of it");
            }
            let value: f64 = value.parse().map_err(|_| format!("not a number: {line:?}"))?;
            if total && (value.is_nan() || value < 0.0) {
                return fault("a counter below zero");
            }
            if scrape.samples.insert(series.to_owned(), value).is_some() {
                return fault("a series twice");
            }
            family.samples += 1;
        }
        family.end()?;
        Ok(scrape)
    }

    #[track_caller]
    fn value(&self, series: &str) -> f64 {
        *self.samples.get(series).unwrap_or_else(|| panic!("no {series} in:\n{}", self.text))
    }
}

/// The family that is being parsed.
#[derive(Default)]
struct Family {
    name: String,
    help: Option<String>,
    kind: Option<String>,
    unit: Option<String>,
    samples: usize,
}

impl Family {
    fn end(&self) -> Result<(), String> {
        let is_complete = self.name.is_empty() || self.samples > 0;
        is_complete.then_some(()).ok_or(format!("{} has no samples", self.name))
    }
}

fn is_name(name: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    name.bytes().all(is_part) && name.bytes().next().is_some_and(|first| !first.is_ascii_digit())
}

#[test]
fn the_parser_of_these_tests_is_strict() {
    let family = "# HELP a A.\n# TYPE a counter\n";
    assert!(Scrape::parse(&format!("{family}a_total 1\n# EOF\n")).is_ok());
    for wrong in [
        format!("{family}a_total 1\n"),
        format!("{family}a_total 1\n# EOF\n\n"),
        format!("{family}a 1\n# EOF\n"),
        format!("{family}a_total -1\n# EOF\n"),
        format!("{family}a_total{{x=y}} 1\n# EOF\n"),
        format!("{family}a_total 1\na_total 1\n# EOF\n"),
        format!("{family}# EOF\n"),
        format!("{family}a_total 1\n{family}a_total 1\n# EOF\n"),
        "a_total 1\n# EOF\n".to_owned(),
        "# TYPE a gauge\na 1\n# EOF\n".to_owned(),
        "# HELP a A.\n# TYPE a gauge\n# UNIT a bytes\na 1\n# EOF\n".to_owned(),
        "# HELP a A.\n# TYPE a gauge\na 1\n# TYPE a gauge\n# EOF\n".to_owned(),
    ] {
        assert!(Scrape::parse(&wrong).is_err(), "{wrong}");
    }
}

/// The address of the listener for metrics, from the log.
fn metrics_of(server: &Server) -> SocketAddr {
    let line: serde_json::Value = serde_json::from_str(&server.log_line(&["serving metrics"])).unwrap();
    line["address"].as_str().unwrap().parse().unwrap()
}

#[test]
fn what_was_served_is_counted_exactly() {
    let tree = FileTree::new();
    tree.file("secret-name.bin", vec![7; 300_000]);
    tree.file("other.txt", "short");
    let server = Setup::of(tree.root()).args(["--metrics", "127.0.0.1:0"]).start();
    let metrics = metrics_of(&server);
    let before = Scrape::of(metrics);
    assert_eq!(before.value("outflow_requests_total"), 0.0);

    let mut client = server.client();
    client.get("/secret-name.bin").expect(200);
    let archive = client.get("/?zip").expect(200);
    drop(client);
    let after = Scrape::of(metrics);
    assert_eq!(after.value("outflow_requests_total"), 2.0);
    assert_eq!(after.value("outflow_connections_total"), 1.0);
    let sent: f64 = ["sendfile", "splice", "copy"]
        .map(|path| after.value(&format!("outflow_sent_body_bytes_total{{path=\"{path}\"}}")))
        .iter()
        .sum();
    assert_eq!(sent, (300_000 + archive.body.len()) as f64);
    assert!(!after.text.contains("secret-name") && !after.text.contains("127.0.0.1"), "{}", after.text);
    assert_eq!(before.families, after.families);
}

#[test]
fn nothing_but_the_metrics_is_at_their_address() {
    let tree = FileTree::new();
    tree.file("a.txt", "public");
    let server = Setup::of(tree.root()).args(["--metrics", "127.0.0.1:0"]).start();
    let metrics = metrics_of(&server);
    HttpClient::connect(metrics).get("/a.txt").expect(404);
    HttpClient::connect(metrics).fetch("POST", "/metrics", "Content-Length: 0\r\n").expect(405);
    server.get("/metrics").expect(404);
    assert_eq!(Scrape::of(metrics).value("outflow_connections_total"), 1.0);
}
