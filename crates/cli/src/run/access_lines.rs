//! The format of the access log's lines, which are many: the same as [`Format`]'s, without the
//! `fmt` machinery for what is common.
//!
//! [`Format`]: tracing_subscriber::fmt::format::Format

use std::cell::RefCell;
use std::fmt::{self, Debug, Write as _};
use std::io::Write as _;
use std::time::SystemTime;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::logging::LogFormat;

/// The field with the text of a line.
const MESSAGE: &str = "message";

/// Formats the lines of one target itself, and leaves all others to `ordinary`.
pub(super) struct AccessLines<F> {
    pub(super) target: &'static str,
    pub(super) format: LogFormat,
    pub(super) ordinary: F,
}

impl<S, N, F> FormatEvent<S, N> for AccessLines<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        // Only libraries have spans, at levels that are for finding faults.
        if event.metadata().target() != self.target || context.lookup_current().is_some() {
            return self.ordinary.format_event(context, writer, event);
        }
        thread_local! {
            static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
        }
        LINE.with_borrow_mut(|line| {
            line.clear();
            match self.format {
                LogFormat::Text => push_text(line, event),
                LogFormat::Json => push_json(line, event),
            }
            // All of it comes from texts and digits.
            writer.write_str(std::str::from_utf8(line).map_err(|_| fmt::Error)?)
        })
    }
}

fn push_text(line: &mut Vec<u8>, event: &Event<'_>) {
    let about = event.metadata();
    push_time(line);
    line.extend_from_slice(match *about.level() {
        Level::ERROR => b" ERROR ",
        Level::WARN => b"  WARN ",
        Level::INFO => b"  INFO ",
        Level::DEBUG => b" DEBUG ",
        Level::TRACE => b" TRACE ",
    });
    line.extend_from_slice(about.target().as_bytes());
    line.push(b':');
    event.record(&mut TextFields(line));
    line.push(b'\n');
}

fn push_json(line: &mut Vec<u8>, event: &Event<'_>) {
    let about = event.metadata();
    line.extend_from_slice(b"{\"timestamp\":\"");
    push_time(line);
    line.extend_from_slice(b"\",\"level\":\"");
    line.extend_from_slice(about.level().as_str().as_bytes());
    line.push(b'"');
    event.record(&mut JsonFields(line));
    line.extend_from_slice(b",\"target\":\"");
    JsonText(line).push(about.target());
    line.extend_from_slice(b"\"}\n");
}

/// Appends the time as other lines have it. What is before the point is formatted once a second.
fn push_time(line: &mut Vec<u8>) {
    thread_local! {
        static SECOND: RefCell<(u64, String)> = const { RefCell::new((0, String::new())) };
    }
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    SECOND.with_borrow_mut(|(second, text)| {
        if *second != now.as_secs() {
            let time =
                i64::try_from(now.as_secs()).ok().and_then(|time| jiff::Timestamp::from_second(time).ok());
            *second = now.as_secs();
            *text = time.unwrap_or_default().to_string();
            // The fraction and the zone follow.
            text.pop();
            text.push('.');
        }
        line.extend_from_slice(text.as_bytes());
    });
    push_digits(line, now.subsec_micros().into(), 6);
    line.push(b'Z');
}

/// Appends ` name=value` for each field; the message as it is.
struct TextFields<'a>(&'a mut Vec<u8>);

impl TextFields<'_> {
    /// The line, ready for the field's value.
    fn begin(&mut self, field: &Field) -> &mut Vec<u8> {
        let line = &mut *self.0;
        line.push(b' ');
        if field.name() != MESSAGE {
            line.extend_from_slice(field.name().as_bytes());
            line.push(b'=');
        }
        line
    }
}

impl Visit for TextFields<'_> {
    fn record_u64(&mut self, field: &Field, value: u64) {
        push_digits(self.begin(field), value, 1);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        let line = self.begin(field);
        if !push_thousandths(line, value) {
            let _ = write!(line, "{value:?}");
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let is_plain = |byte: u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
        let line = self.begin(field);
        if !value.bytes().all(is_plain) {
            let _ = write!(line, "{value:?}");
            return;
        }
        line.push(b'"');
        line.extend_from_slice(value.as_bytes());
        line.push(b'"');
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = write!(self.begin(field), "{value:?}");
    }
}

/// Appends `,"name":value` for each field.
struct JsonFields<'a>(&'a mut Vec<u8>);

impl JsonFields<'_> {
    /// The line, ready for the field's value.
    fn begin(&mut self, field: &Field) -> &mut Vec<u8> {
        let line = &mut *self.0;
        line.extend_from_slice(b",\"");
        line.extend_from_slice(field.name().as_bytes());
        line.extend_from_slice(b"\":");
        line
    }
}

impl Visit for JsonFields<'_> {
    fn record_u64(&mut self, field: &Field, value: u64) {
        push_digits(self.begin(field), value, 1);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        let _ = write!(self.begin(field), "{value}");
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        let value: &[u8] = if value { b"true" } else { b"false" };
        self.begin(field).extend_from_slice(value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        let line = self.begin(field);
        if !push_thousandths(line, value) {
            let _ = serde_json::to_writer(line, &value);
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let line = self.begin(field);
        line.push(b'"');
        JsonText(line).push(value);
        line.push(b'"');
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let line = self.begin(field);
        line.push(b'"');
        let _ = write!(JsonText(line), "{value:?}");
        line.push(b'"');
    }
}

/// Escapes what is written, for a JSON string (RFC 8259, section 7).
struct JsonText<'a>(&'a mut Vec<u8>);

impl JsonText<'_> {
    fn push(&mut self, text: &str) {
        let line = &mut *self.0;
        let mut rest = text;
        while let Some(at) = rest.bytes().position(|byte| matches!(byte, 0..=0x1f | b'"' | b'\\')) {
            line.extend_from_slice(&rest.as_bytes()[..at]);
            match rest.as_bytes()[at] {
                b'"' => line.extend_from_slice(b"\\\""),
                b'\\' => line.extend_from_slice(b"\\\\"),
                b'\n' => line.extend_from_slice(b"\\n"),
                b'\r' => line.extend_from_slice(b"\\r"),
                b'\t' => line.extend_from_slice(b"\\t"),
                0x08 => line.extend_from_slice(b"\\b"),
                0x0c => line.extend_from_slice(b"\\f"),
                control => {
                    let _ = write!(line, "\\u{control:04x}");
                }
            }
            rest = &rest[at + 1..];
        }
        line.extend_from_slice(rest.as_bytes());
    }
}

impl fmt::Write for JsonText<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text);
        Ok(())
    }
}

/// Appends the shortest decimal that is nearest to `value`. False, and nothing is appended, if it
/// has more than three digits behind the point or is out of range.
fn push_thousandths(line: &mut Vec<u8>, value: f64) -> bool {
    let thousandths = (value * 1000.0).round();
    if !(0.0..1e12).contains(&thousandths) || thousandths / 1000.0 != value {
        return false;
    }
    // Whole, and less than 2^53.
    let thousandths = thousandths as u64;
    push_digits(line, thousandths / 1000, 1);
    line.push(b'.');
    push_digits(line, thousandths % 1000, 3);
    for _ in 0..2 {
        if line.ends_with(b"0") {
            line.pop();
        }
    }
    true
}

/// Appends `number` in decimal, with at least `width` digits.
fn push_digits(line: &mut Vec<u8>, mut number: u64, width: usize) {
    let mut digits = [b'0'; 20];
    let mut start = digits.len();
    while number > 0 || digits.len() - start < width {
        start -= 1;
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
    }
    line.extend_from_slice(&digits[start..]);
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::net::IpAddr;
    use std::sync::Arc;

    use parking_lot::Mutex;
    use tracing_subscriber::fmt::SubscriberBuilder;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            self.0.lock().write(line)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is logged when `target` is formatted here: the time stamps, and the lines without them.
    fn logged(format: LogFormat, target: &'static str) -> (Vec<String>, Vec<String>) {
        let lines = Lines::default();
        let writer = lines.clone();
        let builder = SubscriberBuilder::default().with_ansi(false).with_writer(move || writer.clone());
        match format {
            LogFormat::Text => {
                let builder = builder.map_event_format(|ordinary| AccessLines { target, format, ordinary });
                tracing::subscriber::with_default(builder.finish(), log);
            }
            LogFormat::Json => {
                let builder = builder.json().flatten_event(true);
                let builder = builder.map_event_format(|ordinary| AccessLines { target, format, ordinary });
                tracing::subscriber::with_default(builder.finish(), log);
            }
        }
        let lines = String::from_utf8(lines.0.lock().clone()).unwrap();
        let begin = if format == LogFormat::Json { "{\"timestamp\":\"".len() } else { 0 };
        let end = begin + "2026-11-23T02:58:49.084702Z".len();
        lines
            .lines()
            .map(|line| (line[begin..end].to_owned(), format!("{}{}", &line[..begin], &line[end..])))
            .unzip()
    }

    fn log() {
        for ms in [0.0, 0.001, 0.1, 40.813, 10.0, 86_400_000.123, 0.000_1, -1.0, 1e17, f64::NAN] {
            tracing::info!(target: "requests", ms, "delivery");
        }
        let hostile = "a\"b\\c\n\r\t\u{0}\u{1b}[31m\u{7f}\u{9b}é\u{202e}\u{8}\u{c}'";
        for path in ["", "/", "/film.mp4?x=y%20&z", "/é…", hostile] {
            for client in [Some(IpAddr::from([127, 0, 0, 1])), Some("2001:db8::1".parse().unwrap()), None] {
                let client = client.map(tracing::field::display);
                let acked = client.is_some().then_some(u64::MAX);
                tracing::info!(
                    target: "requests",
                    method = %http::Method::GET, path, status = 206_u16, bytes = 0_u64, acked, client,
                    quoted = %"a \"b\"", signed = -1_i64, yes = true, "delivery"
                );
                tracing::warn!(target: "requests", path, "answer");
            }
        }
    }

    #[test]
    fn a_line_is_the_one_that_the_ordinary_format_writes() {
        for format in [LogFormat::Text, LogFormat::Json] {
            let (times, lines) = logged(format, "requests");
            let (ordinary_times, ordinary) = logged(format, "others");
            assert_eq!(lines, ordinary);
            assert_eq!(lines.len(), 40);
            for (time, ordinary) in times.iter().zip(&ordinary_times) {
                let [time, ordinary] = [time, ordinary].map(|time| time.parse::<jiff::Timestamp>().unwrap());
                assert!(ordinary.duration_since(time).as_secs().abs() < 600, "{time} {ordinary}");
            }
        }
    }
}
