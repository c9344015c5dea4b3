//! Links: which tokens are accepted, and why others are rejected.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::{HeaderMap, StatusCode};
use outflow_links::{Link, LinkChecker, LinkError, LinkKeys, Terms, split};
use proptest::prelude::*;
use ring::hmac;
use tempfile::TempDir;

/// Keys in a file that can be changed.
struct Ring {
    temp: TempDir,
}

impl Ring {
    /// Of each key: its id, and the byte that it consists of.
    fn new(keys: &[(&str, u8)]) -> Ring {
        let ring = Ring { temp: tempfile::tempdir().unwrap() };
        ring.write(&lines(keys));
        ring
    }

    fn write(&self, text: &str) {
        fs::write(self.path(), text).unwrap();
    }

    fn path(&self) -> std::path::PathBuf {
        self.temp.path().join("keys.toml")
    }

    fn keys(&self) -> LinkKeys {
        LinkKeys::load(&self.path()).unwrap()
    }

    fn links(&self) -> LinkChecker {
        LinkChecker::open(self.path()).unwrap()
    }
}

fn lines(keys: &[(&str, u8)]) -> String {
    keys.iter().map(|(id, byte)| format!("{id} = \"{}\"\n", STANDARD.encode([*byte; 32]))).collect()
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn terms(scope: &str) -> Terms {
    Terms { id: "one".to_owned(), scope: scope.to_owned(), ..Terms::default() }
}

/// A token of any text, rightly signed.
fn signed(byte: u8, json: impl AsRef<[u8]>) -> String {
    let payload = URL_SAFE_NO_PAD.encode(json);
    let key = hmac::Key::new(hmac::HMAC_SHA256, &[byte; 32]);
    let tag = hmac::sign(&key, format!("outflow-link-v1.{payload}").as_bytes());
    format!("{payload}.{}", URL_SAFE_NO_PAD.encode(tag))
}

#[test]
fn a_link_says_what_it_was_signed_with() {
    let ring = Ring::new(&[("a", 1)]);
    let all = Terms {
        recipient: Some("Zoë <zoe@example.org>".to_owned()),
        expires: Some(2_000),
        max_downloads: Some(3),
        files: vec!["a b.jpg".to_owned(), "sub/".to_owned()],
        operator: true,
        ..terms("/t/abc/")
    };
    let token = ring.keys().sign(all.clone()).unwrap();
    let link = ring.links().check(&token, at(1_000)).unwrap();
    assert_eq!(**link, Terms { key: "a".to_owned(), ..all });
    let path = format!("/l/{token}/t/abc/x");
    assert_eq!(split(&path).map(|found| (found.token, found.rest)), Some((token.as_str(), "/t/abc/x")));
}

#[test]
fn whatever_is_written_by_others_is_read_as_documented() {
    let links = Ring::new(&[("a", 1)]).links();
    for json in [
        r#"{"key":"a","id":"one","scope":"/"}"#,
        "{ \"scope\" : \"/\",\n\"id\" : \"one\", \"key\" : \"a\" }",
        r#"{"key":"a","id":"one","scope":"/","recipient":null,"expires":null,"files":[],"operator":false}"#,
        r#"{"key":"\u0061","id":"one","scope":"\/"}"#,
    ] {
        let link = links.check(&signed(1, json), at(1)).unwrap();
        assert_eq!(**link, Terms { key: "a".to_owned(), ..terms("/") }, "{json}");
    }
}

#[test]
fn forged_and_broken_tokens_are_refused_alike() {
    let ring = Ring::new(&[("a", 1)]);
    let (links, good) = (ring.links(), ring.keys().sign(terms("/t/abc/")).unwrap());
    let (payload, signature) = good.split_once('.').unwrap();
    let (json, by_other) = (r#"{"key":"a","id":"one","scope":"/"}"#, Ring::new(&[("a", 2)]).keys());
    let old_prefix = {
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &[1; 32]), payload.as_bytes());
        format!("{payload}.{}", URL_SAFE_NO_PAD.encode(tag))
    };
    for (what, token) in [
        ("nothing", String::new()),
        ("a dot", ".".to_owned()),
        ("no signature", format!("{payload}.")),
        ("no payload", format!(".{signature}")),
        ("no dot", format!("{payload}{signature}")),
        ("another key's", by_other.sign(terms("/t/abc/")).unwrap()),
        ("an unknown key's", Ring::new(&[("b", 1)]).keys().sign(terms("/t/abc/")).unwrap()),
        ("a key's without a name", signed(1, r#"{"id":"one","scope":"/"}"#)),
        ("another payload's", format!("{}.{signature}", URL_SAFE_NO_PAD.encode(json))),
        ("signed without the prefix", old_prefix),
        ("twice the signature", format!("{good}.{signature}")),
        ("padded", format!("{good}=")),
        ("the usual base64", format!("{}.{signature}", STANDARD.encode([0xff; 30]))),
        ("a space behind", format!("{good} ")),
        ("percent-encoded", good.replacen('e', "%65", 1)),
        ("other case", good.to_ascii_lowercase()),
        ("oversized", format!("{}.{signature}", "A".repeat(9_000))),
        ("signed, oversized", signed(1, format!("{{\"key\":\"a\",\"x\":\"{}\"}}", "x".repeat(9_000)))),
        ("no JSON", signed(1, "key=a")),
        ("not UTF-8", signed(1, b"{\"key\":\"a\xff\"}")),
        ("deep JSON", signed(1, "[".repeat(5_000))),
        ("no signature at all: alg none", format!("{}.{}", URL_SAFE_NO_PAD.encode(json), "A".repeat(43))),
    ] {
        assert_eq!(links.check(&token, at(1)), Err(LinkError::NotGenuine), "{what}");
        assert_eq!(LinkError::NotGenuine.status(), StatusCode::FORBIDDEN);
    }
    for cut in 0..good.len() {
        assert_eq!(links.check(&good[..cut], at(1)), Err(LinkError::NotGenuine), "cut at {cut}");
    }
    assert!(links.check(&good, at(1)).is_ok());
}

#[test]
fn every_altered_bit_is_noticed() {
    let ring = Ring::new(&[("a", 1), ("b", 2)]);
    let all = Terms { recipient: Some("anna".to_owned()), max_downloads: Some(1), ..terms("/t/abc/") };
    let (links, good) = (ring.links(), ring.keys().sign(all).unwrap());
    assert!(links.check(&good, at(1)).is_ok());
    let mut tried = 0;
    for bit in 0..good.len() * 8 {
        let mut bytes = good.clone().into_bytes();
        bytes[bit / 8] ^= 1 << (bit % 8);
        // What is not UTF-8 is no address.
        let Ok(altered) = String::from_utf8(bytes) else { continue };
        assert_eq!(links.check(&altered, at(1)), Err(LinkError::NotGenuine), "bit {bit}");
        tried += 1;
    }
    assert_eq!(tried, good.len() * 7);
}

#[test]
fn what_is_signed_but_makes_no_sense_is_refused_with_the_reason() {
    let links = Ring::new(&[("a", 1)]).links();
    for (members, says) in [
        (r#""id":"one""#, "scope"),
        (r#""scope":"/""#, "id"),
        (r#""id":"one","scope":"/","uses":3"#, "unknown field `uses`"),
        (r#""id":"one","scope":"/","scope":"/t/""#, "duplicate field `scope`"),
        (r#""id":"one","scope":"/","key":"a""#, "duplicate field `key`"),
        (r#""id":"one","scope":"/","expires":"soon""#, "expected i64"),
        (r#""id":"one","scope":"/","expires":1.5"#, "expected i64"),
        (r#""id":"one","scope":"/","expires":-1"#, "\"expires\""),
        (r#""id":"one","scope":"/","expires":1e99"#, "expected i64"),
        (r#""id":"one","scope":"/","max_downloads":0"#, "\"max_downloads\""),
        (r#""id":"one","scope":"/","max_downloads":4294967296"#, "expected u32"),
        (r#""id":"one","scope":"/","operator":1"#, "expected a boolean"),
        (r#""id":"one","scope":"/","recipient":"""#, "\"recipient\""),
        (r#""id":"one","scope":"/","recipient":"a\nb""#, "\"recipient\""),
        (r#""id":"one","scope":"/","password":"secret""#, "\"password\""),
        (r#""id":"one","scope":"/t","files":["a"]"#, "\"files\""),
        (r#""id":"one","scope":"/t/","files":["../a"]"#, "\"files\""),
        (r#""id":"o ne","scope":"/""#, "\"id\""),
        (r#""id":"one","scope":"/t/%2e%2e/""#, "\"scope\""),
        (r#""id":"one","scope":"/t//x""#, "\"scope\""),
        (r#""id":"one","scope":"t/""#, "\"scope\""),
        (r#""id":"one","scope":"/?zip""#, "\"scope\""),
    ] {
        let json = format!("{{\"key\":\"a\",{members}}}");
        // A name that is there twice is not even looked up by.
        let refused = links.check(&signed(1, &json), at(1)).unwrap_err();
        match &refused {
            LinkError::Invalid(why) => assert!(why.contains(says), "{json}: {why}"),
            LinkError::NotGenuine => assert!(says.contains("key"), "{json}"),
            other => panic!("{json}: {other:?}"),
        }
        assert_eq!(refused.status(), StatusCode::FORBIDDEN, "{json}");
    }
    let behind = signed(1, r#"{"key":"a","id":"one","scope":"/"} {}"#);
    assert!(links.check(&behind, at(1)).is_err());
}

#[test]
fn the_clock_decides_at_the_second_and_whichever_way_it_is_set() {
    let ring = Ring::new(&[("a", 1)]);
    let links = ring.links();
    let token = ring.keys().sign(Terms { expires: Some(1_000), ..terms("/") }).unwrap();
    let over = LinkError::Expired { since: 1_000 };
    for (now, good) in [(999, true), (1_000, false), (5_000, false), (500, true), (1_001, false), (0, true)] {
        let checked = links.check(&token, at(now));
        assert_eq!(checked.is_ok(), good, "at {now}");
        assert!(good || checked.as_ref() == Err(&over), "at {now}");
    }
    let between = at(999) + Duration::from_nanos(999_999_999);
    assert!(links.check(&token, between).is_ok());
    assert!(links.check(&token, UNIX_EPOCH - Duration::from_secs(7)).is_ok(), "a clock before 1970");
    assert_eq!(over.status(), StatusCode::GONE);
    let never = ring.keys().sign(terms("/")).unwrap();
    assert!(links.check(&never, at(100_000_000_000)).is_ok());
}

#[test]
fn keys_are_rotated_without_a_restart() {
    let ring = Ring::new(&[("old", 1)]);
    let links = ring.links();
    let by_old = ring.keys().sign(terms("/")).unwrap();
    assert!(links.check(&by_old, at(1)).is_ok());
    // A new one on top signs, and the old one's links stay good.
    ring.write(&lines(&[("new", 2), ("old", 1)]));
    let by_new = ring.keys().sign(terms("/")).unwrap();
    links.reload_if_changed();
    assert_eq!(links.check(&by_new, at(1)).unwrap().key, "new");
    assert_eq!(links.check(&by_old, at(1)).unwrap().key, "old");
    // An invalid, an empty and a missing file change nothing.
    for broken in ["new = \"\n", "", "new = 7\n"] {
        ring.write(broken);
        links.reload_if_changed();
        assert!(links.check(&by_new, at(1)).is_ok() && links.check(&by_old, at(1)).is_ok(), "{broken:?}");
    }
    fs::remove_file(ring.path()).unwrap();
    links.reload_if_changed();
    assert!(links.check(&by_new, at(1)).is_ok());
    // Without the old one its links are over, also those that were checked before.
    ring.write(&lines(&[("new", 2)]));
    links.reload_if_changed();
    assert!(links.check(&by_new, at(1)).is_ok());
    assert_eq!(links.check(&by_old, at(1)), Err(LinkError::NotGenuine));
    // Another key of the same name is another key.
    ring.write(&lines(&[("new", 3)]));
    links.reload_if_changed();
    assert_eq!(links.check(&by_new, at(1)), Err(LinkError::NotGenuine));
}

#[test]
fn a_new_file_of_keys_is_noticed_by_the_requests_themselves() {
    let ring = Ring::new(&[("old", 1)]);
    let links = ring.links();
    ring.write(&lines(&[("new", 2)]));
    let token = ring.keys().sign(terms("/")).unwrap();
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while links.check(&token, at(1)).is_err() {
        assert!(std::time::Instant::now() < deadline, "the new key is never used");
        // Between two looks at the file.
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_token_that_could_not_be_checked_is_not_made() {
    let keys = Ring::new(&[("a", 1)]).keys();
    let long = Terms { files: vec!["x".repeat(90); 90], ..terms("/") };
    assert!(keys.sign(long).unwrap_err().to_string().contains("longer"));
    assert!(keys.sign(terms("no/slash")).is_err());
    let most = Terms { files: vec!["x".repeat(40); 100], ..terms("/") };
    let token = keys.sign(most).unwrap();
    assert!(token.len() <= 8192 && LinkChecker::new(keys).check(&token, at(1)).is_ok());
}

fn with_password(password: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let credentials = STANDARD.encode(format!("anna:{password}"));
    headers.insert("authorization", format!("Basic {credentials}").parse().unwrap());
    headers
}

fn locked(ring: &Ring, id: &str, password: &str) -> Arc<Link> {
    let keys = ring.keys();
    let mut terms = Terms { id: id.to_owned(), ..terms("/") };
    keys.lock(&mut terms, password.as_bytes()).unwrap();
    assert!(!format!("{terms:?}").contains(password));
    Arc::new(keys.verify(&keys.sign(terms).unwrap()).unwrap())
}

#[tokio::test]
async fn a_password_opens_its_link_and_is_remembered() {
    let ring = Ring::new(&[("a", 1)]);
    let links = ring.links();
    let link = locked(&ring, "one", "geheim: 😀");
    let id: Box<str> = "one".into();
    let needed = Err(LinkError::PasswordNeeded { id: id.clone() });
    assert_eq!(links.password(&link, &HeaderMap::new()).await, needed);
    assert_eq!(links.password_now(&link, &HeaderMap::new()), Some(needed));
    let right = with_password("geheim: 😀");
    assert_eq!(links.password_now(&link, &right), None);
    assert_eq!(links.password(&link, &right).await, Ok(()));
    assert_eq!(links.password_now(&link, &right), Some(Ok(())), "it is remembered");
    for wrong in ["geheim", "Geheim: 😀", "", "geheim: 😀 "] {
        let refused = links.password(&link, &with_password(wrong)).await;
        assert_eq!(refused, Err(LinkError::PasswordWrong { id: id.clone() }), "{wrong}");
    }
    // The same password of another link is another one.
    let other = locked(&ring, "two", "geheim: 😀");
    assert_ne!(link.password, other.password);
    assert_eq!(links.password_now(&other, &right), None);
    assert_eq!(links.password(&other, &right).await, Ok(()));
    // What asks for none takes any.
    let open = links.check(&ring.keys().sign(terms("/")).unwrap(), at(1)).unwrap();
    assert_eq!(links.password_now(&open, &HeaderMap::new()), Some(Ok(())));
    assert_eq!(links.password(&open, &right).await, Ok(()));
}

#[tokio::test]
async fn guessing_a_password_is_over_after_ten_tries() {
    let ring = Ring::new(&[("a", 1)]);
    let links = ring.links();
    let (link, other) = (locked(&ring, "one", "secret"), locked(&ring, "two", "secret"));
    let known = with_password("secret");
    assert_eq!(links.password(&link, &known).await, Ok(()));
    // At the same time, so that no guess sees what the others have done.
    let guesses = (0..30).map(|guess| {
        let (links, link) = (links.clone(), Arc::clone(&link));
        tokio::spawn(async move { links.password(&link, &with_password(&format!("guess {guess}"))).await })
    });
    let (mut wrong, mut refused) = (0, 0);
    for guess in guesses.collect::<Vec<_>>() {
        match guess.await.unwrap() {
            Err(LinkError::PasswordWrong { .. }) => wrong += 1,
            Err(error @ LinkError::TooManyTries { wait }) => {
                assert!(wait <= Duration::from_secs(60));
                assert_eq!(error.status(), StatusCode::TOO_MANY_REQUESTS);
                refused += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((wrong, refused), (10, 20));
    assert_eq!(links.password(&link, &known).await, Ok(()), "who knew it before is not locked out");
    let unknown = links.password(&other, &with_password("guess")).await;
    assert!(matches!(unknown, Err(LinkError::PasswordWrong { .. })), "another link has its own count");
}

#[tokio::test]
async fn the_same_password_sixteen_times_at_once_is_computed_once() {
    let ring = Ring::new(&[("a", 1)]);
    let links = ring.links();
    let link = locked(&ring, "one", "secret");
    let all: Vec<_> = (0..16)
        .map(|_| {
            let (links, link) = (links.clone(), Arc::clone(&link));
            tokio::spawn(async move { links.password(&link, &with_password("secret")).await })
        })
        .collect();
    for one in all {
        assert_eq!(one.await.unwrap(), Ok(()));
    }
    assert_eq!(links.passwords_computed(), 1);
}

#[tokio::test]
async fn who_does_not_wait_for_the_answer_is_counted_all_the_same() {
    let ring = Ring::new(&[("a", 1)]);
    let links = ring.links();
    let link = locked(&ring, "one", "secret");
    for guess in 0..10 {
        let headers = with_password(&format!("guess {guess}"));
        let mut asking = Box::pin(links.password(&link, &headers));
        // Until it computes, and then no longer.
        std::future::poll_fn(|cx| {
            assert!(asking.as_mut().poll(cx).is_pending());
            std::task::Poll::Ready(())
        })
        .await;
        drop(asking);
        while links.passwords_computed() <= guess {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    let refused = links.password(&link, &with_password("secret")).await;
    assert!(matches!(refused, Err(LinkError::TooManyTries { .. })), "{refused:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn no_text_is_a_token_by_chance(token in "\\PC{0,80}|[A-Za-z0-9_-]{0,400}(\\.[A-Za-z0-9_-]{0,60}){0,2}") {
        let links = links();
        prop_assert_eq!(links.check(&token, at(1)), Err(LinkError::NotGenuine));
        let _ = split(&format!("/l/{token}/x"));
    }

    #[test]
    fn whatever_is_signed_is_a_link_or_refused(
        members in proptest::collection::vec(("key|id|scope|recipient|expires|max_downloads|files|password|operator|x", value()), 0..6),
        path in "(/[a%2e.é ]{0,5}){0,4}",
    ) {
        let members: String = members.iter().map(|(name, value)| format!(",\"{name}\":{value}")).collect();
        let links = links();
        if let Ok(link) = links.check(&signed(1, format!("{{\"key\":\"a\"{members}}}")), at(1)) {
            // What it leads to is in it.
            if let Some(to) = link.leads_to(&path) {
                prop_assert!(link.covers(&to), "{to}");
            }
            prop_assert!(link.covers(&link.address()));
            prop_assert!(link.scope.starts_with('/'));
        }
    }
}

/// The same for all cases: making new ones takes longer than checking.
fn links() -> &'static LinkChecker {
    static LINKS: std::sync::LazyLock<LinkChecker> =
        std::sync::LazyLock::new(|| LinkChecker::new(Ring::new(&[("a", 1)]).keys()));
    &LINKS
}

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        "\"[a-z/%2e.é]{0,8}\"".prop_map(|text| text),
        "\"/([a-z%2e.]{0,3}/){0,3}\"".prop_map(|text| text),
        "-?[0-9]{1,12}".prop_map(|number| number),
        Just("true".to_owned()),
        Just("null".to_owned()),
        "\\[\"[a-z./]{0,6}\"\\]".prop_map(|list| list),
    ]
}
