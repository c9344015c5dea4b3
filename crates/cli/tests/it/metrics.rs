//! `outflow serve --metrics`, and the page that lists the metrics.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use outflow_catalog::CrcMetrics;
use outflow_channels::ChannelMetrics;
use outflow_ledger::LedgerMetrics;
use outflow_metrics::{MetricDefinition, MetricSet as _, ProcessMetrics};
use outflow_objects::StoreMetrics;
use outflow_relay::flow::FlowCounters;
use outflow_server::DownloadMetrics;
use outflow_testkit::s3::Double;
use outflow_tunnel::server::TunnelMetrics;
use outflow_wire::ServerCounters;

use crate::support::{
    FileTree, HttpClient, Receiver, Server, Setup, StoreAccess as _, assert_same, noise, until,
};

/// Every set of metrics, in the order of the page.
const SETS: &[(&str, &[MetricDefinition])] = &[
    ("Engine", ServerCounters::DEFINITIONS),
    ("Downloads, archives and files", DownloadMetrics::DEFINITIONS),
    ("CRC-32s", CrcMetrics::DEFINITIONS),
    ("Ledger and webhooks", LedgerMetrics::DEFINITIONS),
    ("Stores", StoreMetrics::DEFINITIONS),
    ("Channels", ChannelMetrics::DEFINITIONS),
    ("Tunnels", TunnelMetrics::DEFINITIONS),
    ("Flows between two sockets", FlowCounters::DEFINITIONS),
    ("Process", ProcessMetrics::DEFINITIONS),
];

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
        assert!(is_name(name) && !name.bytes().any(|byte| byte.is_ascii_uppercase()), "{name}");
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

/// Scrapes until `is_there`: the last byte may be received before it is counted.
#[track_caller]
fn scraped(metrics: SocketAddr, is_there: impl Fn(&Scrape) -> bool) -> Scrape {
    until("the metrics are those expected", || {
        let scrape = Scrape::of(metrics);
        is_there(&scrape).then_some(scrape)
    })
}

const CONFIRMED: &str = "outflow_deliveries_total{outcome=\"confirmed\"}";

#[test]
fn what_was_served_is_counted_exactly() {
    let tree = FileTree::new();
    tree.file("secret-name.bin", vec![7; 300_000]);
    tree.file("other.txt", "short");
    let server = Setup::of(tree.root()).args(["--metrics", "127.0.0.1:0", "--no-crc-background"]).start();
    let metrics = metrics_of(&server);
    let before = Scrape::of(metrics);
    for (series, value) in &before.samples {
        let is_of_now =
            series.contains("_limit") || series.starts_with("process_") || series.contains("build");
        assert!(is_of_now || *value == 0.0, "{series} is {value} at the start");
    }

    let mut client = server.client();
    client.get("/secret-name.bin").expect(200);
    let archive = client.get("/?zip").expect(200).body.len();
    client.get("/secret-name.bin?token=secret-token").expect(200);
    client.get("/not-there").expect(404);
    let mut raw = server.client();
    raw.send(b"GET / HTTP/1.1\r\n\r\n");
    raw.reply().expect(400);
    drop((client, raw));
    let delivered = (2 * 300_000 + archive) as f64;

    let after = scraped(metrics, |scrape| {
        scrape.value(CONFIRMED) == 3.0
            && scrape.value("outflow_events_total{type=\"download.completed\"}") == 3.0
            && scrape.value("outflow_connections_open") == 0.0
            && scrape.value("outflow_ledger_waiting") == 0.0
    });
    for (series, value) in [
        ("outflow_requests_total", 4.0),
        ("outflow_requests_refused_total", 1.0),
        ("outflow_responses_total{status=\"2xx\"}", 3.0),
        ("outflow_responses_total{status=\"4xx\"}", 2.0),
        ("outflow_responses_total{status=\"5xx\"}", 0.0),
        ("outflow_connections_total", 2.0),
        ("outflow_tls_handshakes_total{outcome=\"completed\"}", 0.0),
        ("outflow_http2_connections_total", 0.0),
        ("outflow_sent_body_bytes_total{path=\"splice\"}", 0.0),
        ("outflow_delivered_bytes_total", delivered),
        ("outflow_deliveries_open", 0.0),
        ("outflow_deliveries_total{outcome=\"aborted\"}", 0.0),
        ("outflow_archive_walks_total", 1.0),
        ("outflow_open_files_kept", 1.0),
        ("outflow_open_files_hits_total", 1.0),
        ("outflow_events_total{type=\"download.started\"}", 3.0),
        ("outflow_ledger_commit_failures_total", 0.0),
        ("outflow_ledger_outage", 0.0),
        ("outflow_crc32s_computed_total{reason=\"background\"}", 0.0),
    ] {
        assert_eq!(after.value(series), value, "{series} in:\n{}", after.text);
    }
    // The page of the 404 was copied, too.
    let copied = after.value("outflow_sent_body_bytes_total{path=\"copy\"}");
    let sent = copied + after.value("outflow_sent_body_bytes_total{path=\"sendfile\"}");
    assert!(sent >= delivered && sent < delivered + 10_000.0, "{sent} for {delivered}");

    for secret in ["secret", "other.txt", "127.0.0.1", "not-there"] {
        assert!(!after.text.contains(secret), "{secret} in:\n{}", after.text);
    }
    assert_eq!(before.families, after.families);
    let listed = page();
    for family in &after.families {
        let is_listed = [family.clone(), format!("{family}_total")]
            .iter()
            .any(|name| listed.contains(&format!("`{name}`")));
        assert!(is_listed, "{family} is not in docs/reference/metrics.md: is its set in SETS?");
    }
}

#[test]
fn requests_to_a_store_and_notices_of_events_are_counted() {
    let double = Double::start().unwrap();
    let bytes = noise(1, 3_000_000);
    double.put("p/secret-name.bin", bytes.clone());
    let receiver = Receiver::start();
    let setup = double.access().serve("p").args(["--plain", "--metrics", "127.0.0.1:0"]);
    let server = receiver.of(setup).start();
    let metrics = metrics_of(&server);
    assert_same(&server.get("/secret-name.bin").expect(200).body, &bytes, "the object");

    let delivered = "outflow_webhook_attempts_total{outcome=\"delivered\"}";
    let scrape = scraped(metrics, |scrape| {
        scrape.value(CONFIRMED) == 1.0
            && scrape.value(delivered) == 2.0
            && scrape.value("outflow_store_connections_in_use") == 0.0
            && scrape.value("outflow_segment_memory_bytes") == 0.0
    });
    let fetched = ["splice", "copy"]
        .map(|path| scrape.value(&format!("outflow_store_fetched_bytes_total{{path=\"{path}\"}}")));
    assert_eq!(fetched.iter().sum::<f64>(), bytes.len() as f64, "{}", scrape.text);
    let requests = |request: &str, outcome: &str| {
        scrape.value(&format!("outflow_store_requests_total{{request=\"{request}\",outcome=\"{outcome}\"}}"))
    };
    assert!(requests("segment", "ok") >= 1.0 && requests("head", "ok") >= 1.0, "{}", scrape.text);
    assert_eq!(requests("segment", "unavailable"), 0.0, "{}", scrape.text);
    assert!(scrape.value("outflow_store_response_seconds_total") > 0.0);
    assert!(scrape.value("outflow_segment_memory_limit_bytes") > 0.0);
    assert!(!scrape.text.contains("secret") && !scrape.text.contains("://"), "{}", scrape.text);
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
