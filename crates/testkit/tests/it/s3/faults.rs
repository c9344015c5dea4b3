//! Each fault, as it looks on the wire.

use std::time::{Duration, Instant};

use outflow_testkit::s3::{At, Double, Fault, FaultRule, Op, Stats, StoredObject, pattern};
use outflow_testkit::until;

use super::raw::{Answer, End, ask, ask_for};

const LEN: usize = 3_000_000;

fn double() -> Double {
    let double = Double::builder().anonymous().start().unwrap();
    double.put("a", StoredObject::pattern(1, LEN as u64).with_crc32().unwrap());
    double
}

fn with(fault: Fault) -> Double {
    let double = double();
    double.play([FaultRule::get(fault)]);
    double
}

fn get(fault: Fault, lines: &str) -> Answer {
    let double = with(fault);
    let answer = ask(&double, "GET", "a", lines);
    assert_eq!(double.stats().faults[fault.name()], 1);
    answer
}

/// Waits for the server to notice the end of what it served.
fn settled(double: &Double) -> Stats {
    until("what was served has ended", || {
        let stats = double.stats();
        (stats.active + stats.connections == 0).then_some(stats)
    })
}

#[test]
fn without_a_fault_all_is_well() {
    let double = double();
    let answer = ask(&double, "GET", "a", "");
    assert_eq!((answer.status(), &answer.end), ("200", &End::Closed));
    assert_eq!(answer.field("content-length").unwrap(), LEN.to_string());
    assert!(answer.body == pattern(1, 0, LEN));
    let part = ask(&double, "GET", "a", "Range: bytes=1000-2999\r\n");
    assert_eq!((part.status(), part.field("content-length")), ("206", Some("2000")));
    assert_eq!(part.field("content-range").unwrap(), format!("bytes 1000-2999/{LEN}"));
    assert!(part.body == pattern(1, 1000, 2000));
    let stats = settled(&double);
    assert_eq!((stats.count(Op::GetObject), stats.bytes_of("a")), (2, LEN as u64 + 2000));
    assert_eq!((stats.connections, stats.accepted, stats.active), (0, 2, 0));
    assert_eq!(stats.all_faults(), 0);
}

#[test]
fn errors_have_their_status_code_and_header() {
    for (fault, status, code, retry_after) in [
        (Fault::Error500, "500", "InternalError", None),
        (Fault::SlowDown { retry_after: Some(3) }, "503", "SlowDown", Some("3")),
        (Fault::SlowDown { retry_after: None }, "503", "SlowDown", None),
        (Fault::TooMany { retry_after: Some(1) }, "429", "TooManyRequests", Some("1")),
        (Fault::Expired, "403", "ExpiredToken", None),
        (Fault::Denied, "403", "AccessDenied", None),
    ] {
        let answer = get(fault, "");
        assert_eq!(answer.status(), status, "{fault:?}");
        assert_eq!(answer.field("retry-after"), retry_after, "{fault:?}");
        let body = String::from_utf8(answer.body).unwrap();
        assert!(body.contains(&format!("<Code>{code}</Code>")), "{body}");
    }
}

#[test]
fn a_body_breaks_or_ends_at_its_byte() {
    for at in [0, 1, 1000, 262_144, LEN as u64 - 1] {
        let place = At::Byte(at);
        for (fault, end) in
            [(Fault::Reset { at: place }, End::Reset), (Fault::Close { at: place }, End::Closed)]
        {
            let answer = get(fault, "");
            assert_eq!((answer.status(), answer.end), ("200", end), "{fault:?}");
            assert_eq!(answer.field("content-length").unwrap(), LEN.to_string());
            // What an RST finds on its way is lost (RFC 9293, 3.5.2), so it may be fewer bytes
            // then.
            let got = answer.body.len();
            let wanted = if end == End::Reset { got.min(at as usize) } else { at as usize };
            assert!(answer.body == pattern(1, 0, wanted), "{fault:?}: {got} bytes");
        }
    }
    let beyond = with(Fault::Reset { at: At::Byte(2000) });
    assert_eq!(ask(&beyond, "GET", "a", "Range: bytes=0-1999\r\n").body.len(), 2000);
    assert_eq!(beyond.stats().all_faults(), 0);
    let half = get(Fault::Close { at: At::Share(0.5) }, "Range: bytes=100-299\r\n");
    assert!(half.body == pattern(1, 100, 100));
}

#[test]
fn an_answer_without_a_body_does_not_come() {
    for (fault, end) in
        [(Fault::Reset { at: At::Byte(5) }, End::Reset), (Fault::Close { at: At::Byte(5) }, End::Closed)]
    {
        let double = double();
        double.play([FaultRule::on(Op::HeadObject, fault), FaultRule::on(Op::PutObject, fault)]);
        let head = ask(&double, "HEAD", "a", "");
        assert_eq!((head.head.as_str(), head.end), ("", end));
        let put = ask(&double, "PUT", "b", "Content-Length: 0\r\n");
        assert_eq!(put.head, "");
        // What was asked for is done all the same, as it may be with a real one.
        assert_eq!(double.keys(""), ["a", "b"]);
    }
}

#[test]
fn a_body_rests_for_a_time_or_for_ever() {
    let start = Instant::now();
    let answer = get(Fault::Stall { at: At::Byte(1000), ms: Some(200) }, "");
    assert!(start.elapsed() >= Duration::from_millis(200));
    assert!(answer.body == pattern(1, 0, LEN));

    let double = with(Fault::Stall { at: At::Byte(1000), ms: None });
    let answer = ask(&double, "GET", "a", "");
    assert_eq!((answer.status(), answer.end, answer.body.len()), ("200", End::Silent, 1000));
    assert_eq!(settled(&double).connections, 0);

    let double = with(Fault::SlowHead { ms: None });
    let answer = ask(&double, "GET", "a", "");
    assert_eq!((answer.head.as_str(), answer.end), ("", End::Silent));
    assert_eq!(settled(&double).connections, 0);
    assert_eq!(get(Fault::SlowHead { ms: Some(100) }, "").body.len(), LEN);
}

#[test]
fn lengths_and_ranges_lie() {
    let range = "Range: bytes=100-1099\r\n";
    let right = pattern(1, 100, 1000);
    let long = get(Fault::Long { extra: 70_000 }, range);
    assert_eq!((long.field("content-length"), long.body.len()), (Some("71000"), 71_000));
    assert!(long.body[..1000] == right);
    let short = get(Fault::Short { missing: 10 }, range);
    assert_eq!((short.field("content-length"), &short.end), (Some("990"), &End::Closed));
    assert!(short.body == right[..990]);
    assert_eq!(short.field("content-range").unwrap(), format!("bytes 100-1099/{LEN}"));
    let junk = get(Fault::Junk { extra: 5000 }, range);
    assert_eq!((junk.field("content-length"), junk.body.len()), (Some("1000"), 6000));
    assert!(junk.body[..1000] == right);
    let wrong = get(Fault::WrongRange, range);
    assert_eq!(wrong.field("content-range").unwrap(), format!("bytes 101-1100/{}", LEN + 1));
    let whole = get(Fault::WholeBody, range);
    assert_eq!((whole.status(), whole.field("content-range")), ("200", None));
    assert!(whole.body == pattern(1, 0, LEN));
}

#[test]
fn one_bit_is_wrong() {
    for at in [0, 999, 262_144] {
        let answer = get(Fault::FlipBit { at: At::Byte(at) }, "x-amz-checksum-mode: ENABLED\r\n");
        let mut expected = pattern(1, 0, LEN);
        expected[at as usize] ^= 1;
        assert!(answer.body == expected, "{at}");
        assert!(answer.field("x-amz-checksum-crc32").is_some());
    }
}

#[test]
fn objects_change_and_some_stores_lie_about_it() {
    let double = double();
    let etag = double.etag("a").unwrap();
    let if_match = format!("If-Match: \"{etag}\"\r\n");
    double.play([FaultRule::get(Fault::Replace).nth(2)]);
    assert_eq!(ask(&double, "GET", "a", &if_match).status(), "200");
    assert_eq!(ask(&double, "GET", "a", &if_match).status(), "412");
    assert_eq!(ask(&double, "GET", "a", &if_match).status(), "412");

    let etag = double.etag("a").unwrap();
    let if_match = format!("If-Match: \"{etag}\"\r\nRange: bytes=0-99\r\n");
    double.play([FaultRule::get(Fault::ReplaceAndLie)]);
    let lie = ask(&double, "GET", "a", &if_match);
    assert_eq!(lie.status(), "206");
    assert_ne!(lie.field("etag").unwrap(), format!("\"{etag}\""));
    assert!(lie.body == double.bytes("a").unwrap()[..100]);
}

#[test]
fn time_passes_as_it_is_told() {
    let double = double();
    double.set_latency(Duration::from_millis(150));
    let start = Instant::now();
    assert_eq!(ask(&double, "HEAD", "a", "").status(), "200");
    assert!(start.elapsed() >= Duration::from_millis(150));
    double.set_latency(Duration::ZERO);
    double.set_bandwidth(10_000_000);
    let start = Instant::now();
    assert!(ask(&double, "GET", "a", "").body == pattern(1, 0, LEN));
    assert!(start.elapsed() >= Duration::from_millis(250), "{:?}", start.elapsed());
}

#[test]
fn a_connection_serves_many_requests_until_it_breaks() {
    let double = double();
    let path = format!("/{}/a", Double::BUCKET);
    double.play([FaultRule::get(Fault::Reset { at: At::Byte(7) }).nth(3)]);
    // Three requests in a row on one connection: the third breaks it.
    let again = format!("Range: bytes=0-9\r\n\r\nGET {path} HTTP/1.1\r\nHost: double\r\n");
    let lines = format!("{again}{again}Range: bytes=0-9\r\n");
    let answer = ask_for(&double, "GET", &path, &lines);
    assert_eq!(answer.end, End::Reset);
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    assert_eq!(text.matches("HTTP/1.1 206").count(), 2, "the first one is the head");
    assert!(answer.body.ends_with(&pattern(1, 0, 7)));
    assert_eq!(settled(&double).accepted, 1);
}

#[test]
fn dice_leave_every_object_as_it_was() {
    let double = double();
    let before = double.etag("a").unwrap();
    double.set_plan(outflow_testkit::s3::FaultPlan {
        rules: Vec::new(),
        seeded: Some(outflow_testkit::s3::SeededFaults {
            stall_ms: 1,
            ..outflow_testkit::s3::SeededFaults::new(0.5, 9)
        }),
    });
    let mut good = 0;
    for _ in 0..200 {
        let answer = ask(&double, "GET", "a", "Range: bytes=500-1499\r\n");
        let is_whole = answer.status() == "206" && answer.field("content-length") == Some("1000");
        if is_whole && answer.body == pattern(1, 500, 1000) && answer.end == End::Closed {
            good += 1;
        }
    }
    assert!((60..160).contains(&good), "{good}");
    assert_eq!(double.etag("a").unwrap(), before);
    assert!(double.stats().faults.len() > 8, "{:?}", double.stats().faults);
}
