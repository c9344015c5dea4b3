//! Which attempts are made when: with a planned sender, in paused time.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep};

use super::log::logged;
use super::outbox::Memory;
use super::{Watch, until};
use crate::model::LedgerEvent;
use crate::webhook::outbox::AttemptVerdict;
use crate::webhook::sender::{AttemptOutcome, AttemptResult, EventSender};
use crate::webhook::{EndpointWorkers, enable, start_with};

const HOUR: Duration = Duration::from_secs(3600);

type Plan = Box<dyn Fn(&LedgerEvent, usize) -> (Duration, AttemptOutcome) + Send + Sync>;

/// A sender with a plan: for an event and its number of earlier attempts, how long the attempt
/// takes and its outcome.
struct Player {
    plan: Plan,
    tried: Mutex<Vec<(String, Instant)>>,
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Player {
    fn new(
        plan: impl Fn(&LedgerEvent, usize) -> (Duration, AttemptOutcome) + Send + Sync + 'static,
    ) -> Arc<Player> {
        Arc::new(Player {
            plan: Box::new(plan),
            tried: Mutex::default(),
            now: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
        })
    }

    fn always(answer: AttemptOutcome) -> Arc<Player> {
        Player::new(move |_, _| (Duration::ZERO, answer))
    }

    fn times(&self, id: &str) -> Vec<Instant> {
        self.tried.lock().unwrap().iter().filter(|(tried, _)| tried == id).map(|(_, at)| *at).collect()
    }

    fn count(&self) -> usize {
        self.tried.lock().unwrap().len()
    }
}

#[async_trait]
impl EventSender for Player {
    async fn send(&self, event: &LedgerEvent, _: Timestamp) -> AttemptResult {
        let before = self.times(&event.id).len();
        self.tried.lock().unwrap().push((event.id.clone(), Instant::now()));
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        let (takes, answer) = (self.plan)(event, before);
        sleep(takes).await;
        self.now.fetch_sub(1, Ordering::SeqCst);
        AttemptResult::new(answer, "as planned")
    }

    fn timeout(&self) -> Duration {
        Duration::from_secs(20)
    }

    fn max_concurrent(&self) -> usize {
        8
    }

    fn name(&self) -> &str {
        "https://example.org"
    }
}

fn begin(outbox: &Arc<Memory>, watch: &Watch, senders: &[(&str, &Arc<Player>)]) -> EndpointWorkers {
    let senders =
        senders.iter().map(|(id, player)| ((*id).to_owned(), Arc::clone(player) as Arc<dyn EventSender>));
    let outbox: Arc<Memory> = Arc::clone(outbox);
    start_with(outbox, senders.collect(), watch.clock(), &Arc::default(), &Handle::current())
}

fn scene() -> (Watch, Arc<Memory>) {
    let watch = Watch::new();
    let outbox = Arc::new(Memory::new(&watch));
    (watch, outbox)
}

const OVERLOADED: AttemptOutcome = AttemptOutcome::Overloaded { wait: None, counts: true };
const LIMITED: AttemptOutcome = AttemptOutcome::Overloaded { wait: Some(HOUR), counts: false };

#[tokio::test(start_paused = true)]
async fn failures_are_tried_ten_times_over_three_days_and_given_up() {
    let (watch, outbox) = scene();
    let player = Player::always(AttemptOutcome::Failed);
    outbox.add("a", "one");
    let _workers = begin(&outbox, &watch, &[("a", &player)]);
    until(async || outbox.last("a", "one") == Some(AttemptVerdict::GivenUp)).await;
    let times = player.times("one");
    let waits: Vec<f64> = times.windows(2).map(|two| (two[1] - two[0]).as_secs_f64()).collect();
    let hour = 3600.0;
    let planned =
        [5.0, 300.0, 1800.0, 2.0 * hour, 5.0 * hour, 10.0 * hour, 14.0 * hour, 20.0 * hour, 24.0 * hour];
    assert_eq!(waits.len(), planned.len());
    for (wait, planned) in waits.iter().zip(planned) {
        assert!((planned * 0.9 - 0.01..=planned * 1.1 + 0.5).contains(wait), "{wait} s, not {planned} s");
    }
    assert_eq!(outbox.log("a", "one").len(), 10);
    sleep(200 * HOUR).await;
    assert_eq!(player.count(), 10, "what was given up was tried again");
}

#[tokio::test(start_paused = true)]
async fn events_are_told_at_once_whenever_they_come() {
    let (watch, outbox) = scene();
    let player = Player::always(AttemptOutcome::Delivered);
    let _workers = begin(&outbox, &watch, &[("a", &player)]);
    for n in 0..50 {
        sleep(Duration::from_secs(n * 7)).await;
        let added = Instant::now();
        let id = n.to_string();
        outbox.add("a", &id);
        until(async || outbox.last("a", &id) == Some(AttemptVerdict::Delivered)).await;
        assert!(added.elapsed() < Duration::from_millis(100), "{:?}", added.elapsed());
    }
    assert_eq!(player.count(), 50);
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_hangs_keeps_no_other_waiting() {
    let (watch, outbox) = scene();
    let slow = Player::new(|_, _| (Duration::from_secs(20), AttemptOutcome::Failed));
    let quick = Player::always(AttemptOutcome::Delivered);
    for n in 0..100 {
        outbox.add("slow", &n.to_string());
    }
    let _workers = begin(&outbox, &watch, &[("slow", &slow), ("quick", &quick)]);
    until(async || slow.count() > 0).await;
    let added = Instant::now();
    outbox.add("quick", "one");
    until(async || outbox.last("quick", "one") == Some(AttemptVerdict::Delivered)).await;
    assert!(added.elapsed() < Duration::from_millis(100), "{:?}", added.elapsed());
}

#[tokio::test(start_paused = true)]
async fn never_more_than_eight_attempts_are_under_way() {
    let (watch, outbox) = scene();
    let player = Player::new(|event, _| {
        (Duration::from_millis(event.id.parse::<u64>().unwrap() * 37 % 1000), AttemptOutcome::Delivered)
    });
    for n in 0..500 {
        outbox.add("a", &n.to_string());
    }
    let _workers = begin(&outbox, &watch, &[("a", &player)]);
    until(async || outbox.waiting() == 0).await;
    assert_eq!(player.most.load(Ordering::SeqCst), 8);
    assert_eq!(player.count(), 500, "something was told twice");
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_is_down_is_asked_by_one_at_a_time() {
    let (watch, outbox) = scene();
    let begun = Instant::now();
    let player = Player::new(move |_, _| {
        (
            Duration::from_secs(20),
            if begun.elapsed() < 10 * HOUR { AttemptOutcome::Failed } else { AttemptOutcome::Delivered },
        )
    });
    for n in 0..1000 {
        outbox.add("a", &n.to_string());
    }
    let _workers = begin(&outbox, &watch, &[("a", &player)]);
    until(async || player.count() >= 8).await;
    sleep(Duration::from_secs(25)).await;
    for _ in 0..1000 {
        sleep(Duration::from_secs(21)).await;
        assert!(player.now.load(Ordering::SeqCst) <= 1);
    }
    until(async || outbox.waiting() == 0).await;
    assert_eq!(player.most.load(Ordering::SeqCst), 8);
}

#[tokio::test(start_paused = true)]
async fn overload_makes_all_events_wait_and_uses_none_of_their_attempts() {
    let (watch, outbox) = scene();
    let player = Player::new(|event, before| {
        (Duration::ZERO, if event.id == "0" && before == 0 { LIMITED } else { AttemptOutcome::Delivered })
    });
    outbox.add("a", "0");
    let _workers = begin(&outbox, &watch, &[("a", &player)]);
    until(async || player.count() == 1).await;
    let limited = Instant::now();
    for n in 1..20 {
        outbox.add("a", &n.to_string());
    }
    until(async || outbox.waiting() == 0).await;
    let waited = (player.times("1")[0] - limited).as_secs_f64() / 3600.0;
    assert!((0.999..1.11).contains(&waited), "{waited} h, not one");
    assert_eq!(player.count(), 21);
    assert!(matches!(outbox.log("a", "0")[0].verdict, AttemptVerdict::Postponed(_)));
    for n in 1..20 {
        assert_eq!(outbox.log("a", &n.to_string()).len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn overload_that_names_no_time_is_answered_by_longer_and_longer_waits() {
    let (watch, outbox) = scene();
    let player = Player::new(|_, before| {
        (
            Duration::ZERO,
            if before < 4 {
                AttemptOutcome::Overloaded { wait: None, counts: false }
            } else {
                AttemptOutcome::Delivered
            },
        )
    });
    outbox.add("a", "one");
    let _workers = begin(&outbox, &watch, &[("a", &player)]);
    until(async || outbox.waiting() == 0).await;
    let times = player.times("one");
    let waits: Vec<f64> = times.windows(2).map(|two| (two[1] - two[0]).as_secs_f64()).collect();
    for (wait, planned) in waits.iter().zip([5.0, 10.0, 20.0, 40.0]) {
        assert!((planned..=planned * 1.1 + 0.5).contains(wait), "{waits:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_that_only_ever_meets_overload_ends_nevertheless() {
    let (watch, outbox) = scene();
    // This event always gets 502. The others are accepted, so the endpoint is never disabled.
    let player = Player::new(|event, _| {
        let answer = match event.id.as_str() {
            "poison" => OVERLOADED,
            "limited" => LIMITED,
            _ => AttemptOutcome::Delivered,
        };
        (Duration::ZERO, answer)
    });
    outbox.add("a", "poison");
    outbox.add("a", "limited");
    let _workers = begin(&outbox, &watch, &[("a", &player)]);
    for n in 0..24 * 14 {
        sleep(HOUR).await;
        outbox.add("a", &n.to_string());
    }
    assert_eq!(outbox.last("a", "poison"), Some(AttemptVerdict::GivenUp));
    assert_eq!(outbox.last("a", "limited"), Some(AttemptVerdict::GivenUp));
    assert!(outbox.alarms.lock().unwrap().is_empty());
    assert_eq!(outbox.state("a").disabled, None);
}

#[tokio::test(start_paused = true)]
async fn five_days_of_failure_disable_an_endpoint_with_one_alarm_and_its_events_wait() {
    let (watch, outbox) = scene();
    let works = Arc::new(AtomicUsize::new(0));
    let player = Player::new({
        let works = Arc::clone(&works);
        move |_, _| {
            let works = works.load(Ordering::SeqCst) > 0;
            (Duration::from_secs(3), if works { AttemptOutcome::Delivered } else { AttemptOutcome::Failed })
        }
    });
    // Two nodes.
    let (lines, _guard) = logged();
    let workers = [begin(&outbox, &watch, &[("a", &player)]), begin(&outbox, &watch, &[("a", &player)])];
    let begun = Instant::now();
    let mut n = 0;
    while outbox.state("a").disabled.is_none() {
        outbox.add("a", &n.to_string());
        n += 1;
        sleep(3 * HOUR).await;
        assert!(begun.elapsed() < 130 * HOUR, "never disabled");
    }
    assert!(begun.elapsed() >= 119 * HOUR, "after {:?}", begun.elapsed());
    sleep(Duration::from_secs(60)).await;
    let (tried, given_up) = (player.count(), n - outbox.waiting());
    outbox.add("a", "late");
    sleep(200 * HOUR).await;
    assert_eq!(player.count(), tried, "a disabled endpoint was called");
    assert_eq!(outbox.waiting() + given_up, n + 1, "something got lost meanwhile");
    {
        let alarms = outbox.alarms.lock().unwrap();
        assert_eq!(alarms.len(), 1);
        assert!(alarms[0].1.contains("5 days"), "{}", alarms[0].1);
        let lines = lines.lock().unwrap();
        let said = lines.iter().filter(|line| line.contains("is disabled")).count();
        assert_eq!(said, 2, "each node says it once: {lines:?}");
    }

    works.store(1, Ordering::SeqCst);
    enable(outbox.as_ref(), "a").await.unwrap();
    until(async || outbox.waiting() == 0).await;
    assert_eq!(outbox.last("a", "late"), Some(AttemptVerdict::Delivered));
    assert_eq!(outbox.state("a").failing_since, None);
    for node in workers {
        node.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn one_success_in_five_days_keeps_an_endpoint() {
    let (watch, outbox) = scene();
    let player = Player::new(|event, _| {
        (
            Duration::ZERO,
            if event.id.parse::<u64>().unwrap() % 20 == 19 {
                AttemptOutcome::Delivered
            } else {
                AttemptOutcome::Failed
            },
        )
    });
    let _workers = begin(&outbox, &watch, &[("a", &player)]);
    for n in 0..80 {
        outbox.add("a", &n.to_string());
        sleep(5 * HOUR).await;
    }
    assert_eq!(outbox.state("a").disabled, None);
    assert!(outbox.alarms.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_is_gone_is_disabled_at_once_and_its_event_waits() {
    let (watch, outbox) = scene();
    let player = Player::new(|_, before| {
        (Duration::ZERO, if before == 0 { AttemptOutcome::Gone } else { AttemptOutcome::Delivered })
    });
    outbox.add("a", "one");
    let _workers = begin(&outbox, &watch, &[("a", &player)]);
    until(async || !outbox.log("a", "one").is_empty()).await;
    sleep(100 * HOUR).await;
    assert_eq!(player.count(), 1);
    assert_eq!(outbox.alarms.lock().unwrap().clone(), [("a".to_owned(), "it answered 410 Gone".to_owned())]);
    enable(outbox.as_ref(), "a").await.unwrap();
    let enabled = Instant::now();
    until(async || outbox.last("a", "one") == Some(AttemptVerdict::Delivered)).await;
    assert!(enabled.elapsed() < Duration::from_secs(61), "{:?}", enabled.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_back_by_years_makes_nothing_wait_for_years() {
    let (watch, outbox) = scene();
    let player = Player::new(|_, before| {
        (Duration::ZERO, if before < 3 { AttemptOutcome::Failed } else { AttemptOutcome::Delivered })
    });
    watch.set(4 * 365 * 86_400);
    outbox.add("a", "one");
    let _workers = begin(&outbox, &watch, &[("a", &player)]);
    until(async || player.count() == 2).await;
    watch.set(-4 * 365 * 86_400);
    let set = Instant::now();
    until(async || outbox.last("a", "one") == Some(AttemptVerdict::Delivered)).await;
    assert!(set.elapsed() < HOUR, "{:?}", set.elapsed());
    assert_eq!(outbox.state("a").failing_since, None);
}

#[tokio::test(start_paused = true)]
async fn a_database_that_is_away_for_an_hour_loses_nothing() {
    let (watch, outbox) = scene();
    let player = Player::new(|_, _| (Duration::from_secs(2), AttemptOutcome::Delivered));
    for n in 0..40 {
        outbox.add("a", &n.to_string());
    }
    let _workers = begin(&outbox, &watch, &[("a", &player)]);
    until(async || player.count() >= 8).await;
    outbox.away.store(true, Ordering::SeqCst);
    sleep(HOUR).await;
    outbox.away.store(false, Ordering::SeqCst);
    let back = Instant::now();
    until(async || outbox.waiting() == 0).await;
    assert!(back.elapsed() < Duration::from_secs(90), "{:?}", back.elapsed());
    for n in 0..40 {
        assert_eq!(outbox.last("a", &n.to_string()), Some(AttemptVerdict::Delivered));
    }
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_cannot_be_noted_for_some_seconds_is_not_made_twice() {
    let (watch, outbox) = scene();
    let player = Player::new(|_, _| (Duration::from_secs(2), AttemptOutcome::Delivered));
    outbox.add("a", "one");
    let _workers = begin(&outbox, &watch, &[("a", &player)]);
    until(async || player.count() == 1).await;
    outbox.away.store(true, Ordering::SeqCst);
    sleep(Duration::from_secs(15)).await;
    outbox.away.store(false, Ordering::SeqCst);
    until(async || outbox.waiting() == 0).await;
    assert_eq!(player.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn two_nodes_tell_each_event_once() {
    let (watch, outbox) = scene();
    let player = Player::new(|_, _| (Duration::from_millis(300), AttemptOutcome::Delivered));
    let _workers = [begin(&outbox, &watch, &[("a", &player)]), begin(&outbox, &watch, &[("a", &player)])];
    for n in 0..300 {
        outbox.add("a", &n.to_string());
    }
    until(async || outbox.waiting() == 0).await;
    let mut counts = HashMap::new();
    for (id, _) in player.tried.lock().unwrap().iter() {
        *counts.entry(id.clone()).or_insert(0) += 1;
    }
    assert!(counts.len() == 300 && counts.values().all(|count| *count == 1), "{counts:?}");
}

#[tokio::test(start_paused = true)]
async fn stopping_lets_short_attempts_end_and_gives_up_long_ones_to_whoever_comes_next() {
    let (watch, outbox) = scene();
    let player = Player::new(|event, before| {
        let takes = if event.id == "long" && before == 0 { HOUR } else { Duration::from_secs(3) };
        (takes, AttemptOutcome::Delivered)
    });
    for id in ["short", "long"] {
        outbox.add("a", id);
    }
    let workers = begin(&outbox, &watch, &[("a", &player)]);
    until(async || player.count() == 2).await;
    let stopped = Instant::now();
    let stopping = tokio::spawn(workers.stop());
    tokio::task::yield_now().await;
    outbox.add("a", "later");
    stopping.await.unwrap();
    let took = stopped.elapsed().as_secs_f64();
    assert!((4.9..5.2).contains(&took), "{took}");
    assert_eq!(outbox.last("a", "short"), Some(AttemptVerdict::Delivered));
    assert_eq!((outbox.last("a", "long"), outbox.last("a", "later")), (None, None));

    let next = begin(&outbox, &watch, &[("a", &player)]);
    until(async || outbox.waiting() == 0).await;
    assert!(stopped.elapsed() < Duration::from_secs(120), "{:?}", stopped.elapsed());
    assert_eq!(player.times("long").len(), 2);
    let stopped = Instant::now();
    next.stop().await;
    assert_eq!(stopped.elapsed(), Duration::ZERO, "nothing was under way");
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_logged_when_it_begins_and_when_it_ends() {
    let (watch, outbox) = scene();
    let (lines, _guard) = logged();
    let begun = Instant::now();
    let player = Player::new(move |_, _| {
        (
            Duration::ZERO,
            if begun.elapsed() < HOUR { AttemptOutcome::Failed } else { AttemptOutcome::Delivered },
        )
    });
    for n in 0..20 {
        outbox.add("a", &n.to_string());
    }
    let _workers = begin(&outbox, &watch, &[("a", &player)]);
    until(async || outbox.waiting() == 0).await;
    let lines = lines.lock().unwrap();
    assert!(lines[0].contains("does not accept events") && lines[0].contains("as planned"), "{lines:?}");
    assert!(lines[0].contains("https://example.org"), "{lines:?}");
    assert!(lines[1].contains("again"), "{lines:?}");
    assert_eq!(lines.len(), 2, "{lines:?}");
}

#[tokio::test(start_paused = true)]
async fn overload_that_asks_for_no_wait_at_all_is_not_believed() {
    let (watch, outbox) = scene();
    let player = Player::always(AttemptOutcome::Overloaded { wait: Some(Duration::ZERO), counts: false });
    outbox.add("a", "one");
    let _workers = begin(&outbox, &watch, &[("a", &player)]);
    sleep(24 * HOUR).await;
    assert!((24 * 50..24 * 60 + 60).contains(&player.count()), "{} attempts", player.count());
    assert!(
        outbox.log("a", "one").iter().all(|attempt| matches!(attempt.verdict, AttemptVerdict::Postponed(_)))
    );
}
