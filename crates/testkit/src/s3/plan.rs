//! Which request meets which fault.

use serde::{Deserialize, Serialize};

use crate::s3::body::mix;

/// A fault of one request.
///
/// Positions are in the response's body. A position behind its end, or a fault of ranges without a
/// range, has no effect.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "snake_case")]
pub enum Fault {
    /// 500 InternalError.
    Error500,
    /// 503 SlowDown.
    SlowDown {
        /// Seconds for `Retry-After`, if any.
        #[serde(default)]
        retry_after: Option<u64>,
    },
    /// 429 TooManyRequests.
    TooMany {
        /// Seconds for `Retry-After`, if any.
        #[serde(default)]
        retry_after: Option<u64>,
    },
    /// 403 ExpiredToken.
    Expired,
    /// 403 AccessDenied.
    Denied,
    /// Reset the connection. The client gets at most the bytes before it; a slow one gets fewer.
    /// Without a body, there is no response.
    Reset {
        /// The first byte that is not sent.
        at: At,
    },
    /// Close the connection (FIN) before the body ends. Without a body, there is no response.
    Close {
        /// The first byte that is not sent.
        at: At,
    },
    /// Pause the body. Without a body, the response waits.
    Stall {
        /// The byte that waits.
        at: At,
        /// Milliseconds; for ever if absent.
        #[serde(default)]
        ms: Option<u64>,
    },
    /// Delay the response's head.
    SlowHead {
        /// Milliseconds; for ever if absent.
        #[serde(default)]
        ms: Option<u64>,
    },
    /// `Content-Length` and the body are longer than the range.
    Long {
        /// By how many bytes.
        extra: u64,
    },
    /// `Content-Length` and the body are shorter than the range.
    Short {
        /// By how many bytes.
        missing: u64,
    },
    /// Send bytes behind a correct response.
    Junk {
        /// How many.
        extra: u64,
    },
    /// `Content-Range` names the range one byte further on.
    WrongRange,
    /// Answer a range with 200 and the whole object.
    WholeBody,
    /// Flip one bit of the body; its CRC-32 in the head stays.
    FlipBit {
        /// The byte with the wrong bit.
        at: At,
    },
    /// Replace the object by other bytes of the same size before the request is served: If-Match
    /// gets 412, now and later.
    Replace,
    /// The same, but ignore this request's If-Match: it gets the new bytes with the new ETag.
    ReplaceAndLie,
}

/// A position in a response's body.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum At {
    /// The byte with this number.
    Byte(u64),
    /// The byte at this share of the body, from 0.0 to below 1.0.
    Share(f64),
}

impl At {
    pub(crate) fn within(self, len: u64) -> u64 {
        match self {
            At::Byte(at) => at,
            At::Share(share) => ((len as f64 * share) as u64).min(len.saturating_sub(1)),
        }
    }
}

impl Fault {
    /// Its name in statistics and in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Fault::Error500 => "error500",
            Fault::SlowDown { .. } => "slow_down",
            Fault::TooMany { .. } => "too_many",
            Fault::Expired => "expired",
            Fault::Denied => "denied",
            Fault::Reset { .. } => "reset",
            Fault::Close { .. } => "close",
            Fault::Stall { .. } => "stall",
            Fault::SlowHead { .. } => "slow_head",
            Fault::Long { .. } => "long",
            Fault::Short { .. } => "short",
            Fault::Junk { .. } => "junk",
            Fault::WrongRange => "wrong_range",
            Fault::WholeBody => "whole_body",
            Fault::FlipBit { .. } => "flip_bit",
            Fault::Replace => "replace",
            Fault::ReplaceAndLie => "replace_and_lie",
        }
    }
}

/// The operation of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the operations of S3 by their names")]
pub enum Op {
    GetObject,
    HeadObject,
    GetObjectAttributes,
    ListObjects,
    PutObject,
    CreateMultipartUpload,
    UploadPart,
    CompleteMultipartUpload,
    AbortMultipartUpload,
    DeleteObject,
    DeleteObjects,
    Other,
}

/// A fault, and which requests meet it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FaultRule {
    /// Only this operation.
    #[serde(default = "get_object")]
    pub op: Option<Op>,
    /// Only this key, or with a `*` at the end only keys with this prefix.
    #[serde(default)]
    pub key: Option<String>,
    /// How many of these requests succeed first.
    #[serde(default)]
    pub skip: u64,
    /// How often the fault is played; without limit if absent.
    #[serde(default)]
    pub times: Option<u64>,
    /// Its probability, 0.0 to 1.0.
    #[serde(default = "always")]
    pub rate: f64,
    /// The fault.
    #[serde(flatten)]
    pub fault: Fault,
}

fn get_object() -> Option<Op> {
    Some(Op::GetObject)
}

fn always() -> f64 {
    1.0
}

impl FaultRule {
    /// Every GET of an object meets `fault`.
    #[must_use]
    pub fn get(fault: Fault) -> FaultRule {
        FaultRule { op: get_object(), key: None, skip: 0, times: None, rate: 1.0, fault }
    }

    /// Every request meets `fault`.
    #[must_use]
    pub fn any(fault: Fault) -> FaultRule {
        FaultRule { op: None, ..FaultRule::get(fault) }
    }

    /// Every request for `op` meets `fault`.
    #[must_use]
    pub fn on(op: Op, fault: Fault) -> FaultRule {
        FaultRule { op: Some(op), ..FaultRule::get(fault) }
    }

    /// Only for this key, or with a `*` at the end only for keys with this prefix.
    #[must_use]
    pub fn key(self, key: &str) -> FaultRule {
        FaultRule { key: Some(key.to_owned()), ..self }
    }

    /// Only the `nth` of these requests, counted from 1.
    #[must_use]
    pub fn nth(self, nth: u64) -> FaultRule {
        FaultRule { skip: nth.saturating_sub(1), times: Some(1), ..self }
    }

    /// At most `times` times.
    #[must_use]
    pub fn times(self, times: u64) -> FaultRule {
        FaultRule { times: Some(times), ..self }
    }

    /// Only with this probability.
    #[must_use]
    pub fn rate(self, rate: f64) -> FaultRule {
        FaultRule { rate, ..self }
    }

    fn is_about(&self, op: Op, key: &str) -> bool {
        let key_fits = self.key.as_deref().is_none_or(|wanted| match wanted.strip_suffix('*') {
            Some(start) => key.starts_with(start),
            None => key == wanted,
        });
        key_fits && self.op.is_none_or(|wanted| wanted == op)
    }
}

/// Random faults, the same for the same seed: the nth GET always meets the same one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SeededFaults {
    /// The probability that a GET meets a fault.
    pub rate: f64,
    /// Seed of the dice.
    pub seed: u64,
    /// Milliseconds of stalls and slow heads.
    #[serde(default = "two_seconds")]
    pub stall_ms: u64,
    /// Flip bits as well, which a client notices only if it knows a CRC-32 of the bytes.
    #[serde(default)]
    pub flip_bits: bool,
    /// Replace objects as well: downloads under way must fail.
    #[serde(default)]
    pub replace: bool,
}

fn two_seconds() -> u64 {
    2000
}

impl SeededFaults {
    /// All faults that leave the objects as they are and that any client notices.
    #[must_use]
    pub fn new(rate: f64, seed: u64) -> SeededFaults {
        SeededFaults { rate, seed, stall_ms: two_seconds(), flip_bits: false, replace: false }
    }

    fn draw(&self, number: u64) -> Option<Fault> {
        let mut dice = mix(self.seed ^ mix(number));
        let mut next = || {
            dice = mix(dice);
            dice
        };
        if share(next()) >= self.rate {
            return None;
        }
        let (pick, at, amount) = (next(), At::Share(share(next())), 1 + next() % 5000);
        let retry_after = (next() % 4 == 0).then_some(1);
        let ms = Some(self.stall_ms);
        let mut kinds = vec![
            Fault::Error500,
            Fault::SlowDown { retry_after },
            Fault::TooMany { retry_after },
            Fault::Expired,
            Fault::Reset { at },
            Fault::Reset { at: At::Byte(0) },
            Fault::Close { at },
            Fault::Stall { at, ms },
            Fault::SlowHead { ms },
            Fault::Long { extra: amount },
            Fault::Short { missing: amount },
            Fault::Junk { extra: amount },
            Fault::WrongRange,
            Fault::WholeBody,
        ];
        if self.flip_bits {
            kinds.push(Fault::FlipBit { at });
        }
        if self.replace {
            kinds.extend([Fault::Replace, Fault::ReplaceAndLie]);
        }
        Some(kinds[(pick % kinds.len() as u64) as usize])
    }
}

/// A number from 0.0 to below 1.0.
fn share(dice: u64) -> f64 {
    (dice >> 11) as f64 / (1u64 << 53) as f64
}

/// All faults to play. The first rule that matches decides; then the dice.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FaultPlan {
    /// Tried in order.
    #[serde(default)]
    pub rules: Vec<FaultRule>,
    /// Faults for GETs that no rule matched.
    #[serde(default)]
    pub seeded: Option<SeededFaults>,
}

/// A plan under way.
#[derive(Default)]
pub(crate) struct FaultPlayer {
    plan: FaultPlan,
    /// For each rule: how many requests it matched, and how often it was played.
    counts: Vec<(u64, u64)>,
    gets: u64,
}

impl FaultPlayer {
    pub(crate) fn of(plan: FaultPlan) -> FaultPlayer {
        FaultPlayer { counts: vec![(0, 0); plan.rules.len()], gets: 0, plan }
    }

    pub(crate) fn plan(&self) -> FaultPlan {
        self.plan.clone()
    }

    /// The fault of the next request.
    pub(crate) fn decide(&mut self, op: Op, key: &str) -> Option<Fault> {
        let mut found = None;
        for (at, (rule, (seen, played))) in self.plan.rules.iter().zip(&mut self.counts).enumerate() {
            if !rule.is_about(op, key) {
                continue;
            }
            *seen += 1;
            let lucky = share(mix(mix(at as u64) ^ *seen)) >= rule.rate;
            if found.is_some()
                || *seen <= rule.skip
                || rule.times.is_some_and(|times| *played >= times)
                || lucky
            {
                continue;
            }
            *played += 1;
            found = Some(rule.fault);
        }
        if op == Op::GetObject {
            self.gets += 1;
            if found.is_none() {
                found = self.plan.seeded.as_ref().and_then(|seeded| seeded.draw(self.gets));
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn played(plan: FaultPlan, requests: u64) -> Vec<u64> {
        let mut play = FaultPlayer::of(plan);
        (1..=requests).filter(|_| play.decide(Op::GetObject, "a/b").is_some()).collect()
    }

    #[test]
    fn rules_choose_their_requests() {
        let one = |rule: FaultRule| FaultPlan { rules: vec![rule], seeded: None };
        let fault = Fault::Error500;
        assert_eq!(played(one(FaultRule::get(fault)), 3), [1, 2, 3]);
        assert_eq!(played(one(FaultRule::get(fault).nth(2)), 5), [2]);
        assert_eq!(played(one(FaultRule::get(fault).times(2)), 5), [1, 2]);
        assert_eq!(played(one(FaultRule::get(fault).key("a/*")), 1), [1]);
        assert_eq!(played(one(FaultRule::any(fault).key("a/b")), 1), [1]);
        assert!(played(one(FaultRule::get(fault).key("a")), 5).is_empty());
        assert!(played(one(FaultRule::on(Op::HeadObject, fault)), 5).is_empty());
        let half = played(one(FaultRule::get(fault).rate(0.5)), 1000).len();
        assert!((400..600).contains(&half), "{half}");
    }

    #[test]
    fn the_dice_fall_the_same_way_for_the_same_seed() {
        let plan = |seed| FaultPlan { rules: Vec::new(), seeded: Some(SeededFaults::new(0.05, seed)) };
        let first = played(plan(1), 10_000);
        assert_eq!(played(plan(1), 10_000), first);
        assert_ne!(played(plan(2), 10_000), first);
        assert!((400..600).contains(&first.len()), "{}", first.len());
        let mut names: Vec<&str> =
            (0..10_000).filter_map(|n| SeededFaults::new(0.5, 1).draw(n)).map(Fault::name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 13, "{names:?}");
    }

    #[test]
    fn a_plan_can_be_written_by_hand() {
        let plan: FaultPlan = serde_json::from_str(
            r#"{"rules": [{"fault": "reset", "at": 1000, "key": "a", "times": 1},
                          {"fault": "stall", "at": 0.5},
                          {"fault": "slow_down", "op": null}],
                "seeded": {"rate": 0.05, "seed": 1}}"#,
        )
        .unwrap();
        let rules = vec![
            FaultRule::get(Fault::Reset { at: At::Byte(1000) }).key("a").times(1),
            FaultRule::get(Fault::Stall { at: At::Share(0.5), ms: None }),
            FaultRule::any(Fault::SlowDown { retry_after: None }),
        ];
        assert_eq!(plan, FaultPlan { rules, seeded: Some(SeededFaults::new(0.05, 1)) });
        let text = serde_json::to_string(&plan).unwrap();
        assert_eq!(serde_json::from_str::<FaultPlan>(&text).unwrap(), plan);
    }
}
