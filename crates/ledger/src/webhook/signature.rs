//! Signatures of Standard Webhooks 1.0.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::{Ed25519KeyPair, KeyPair as _};

/// How to make a secret, for error messages.
pub(super) const MAKE_ONE: &str = "make one with: outflow endpoint keygen";

/// A key made of one secret.
pub(super) enum WebhookKey {
    /// v1: HMAC-SHA256. The receiver verifies with the same secret.
    Hmac(hmac::Key),
    /// v1a: ed25519. The receiver verifies with the public key.
    Ed25519(Box<Ed25519KeyPair>),
}

impl WebhookKey {
    /// Parses `whsec_…` or `whsk_…`. The error contains no part of the secret.
    pub(super) fn parse(secret: &str) -> Result<WebhookKey, String> {
        let secret = secret.trim();
        if let Some(encoded) = secret.strip_prefix("whsec_") {
            let bytes = decode("whsec_", encoded)?;
            if !(24..=64).contains(&bytes.len()) {
                let length = bytes.len();
                return Err(format!("a secret has {length} bytes, not 24 to 64; {MAKE_ONE}"));
            }
            return Ok(WebhookKey::Hmac(hmac::Key::new(hmac::HMAC_SHA256, &bytes)));
        }
        if let Some(encoded) = secret.strip_prefix("whsk_") {
            let bytes = decode("whsk_", encoded)?;
            // The seed alone, or followed by the public key, as many libraries store it.
            let pair = match bytes.len() {
                32 => Ed25519KeyPair::from_seed_unchecked(&bytes),
                64 => Ed25519KeyPair::from_seed_and_public_key(&bytes[..32], &bytes[32..]),
                length => {
                    return Err(format!(
                        "a whsk_ secret has {length} bytes, not 32 (the seed of an ed25519 key)"
                    ));
                }
            };
            let pair = pair.map_err(|_| {
                "a whsk_ secret is not an ed25519 key: its halves do not fit; copy it again".to_owned()
            })?;
            return Ok(WebhookKey::Ed25519(Box::new(pair)));
        }
        if secret.starts_with("whpk_") {
            return Err(
                "whpk_ is a public key, which is for the receiver; use the whsk_ secret here".to_owned()
            );
        }
        Err(format!("a secret begins neither with whsec_ (HMAC-SHA256) nor with whsk_ (ed25519); {MAKE_ONE}"))
    }

    fn sign(&self, content: &[u8]) -> String {
        match self {
            WebhookKey::Hmac(key) => format!("v1,{}", STANDARD.encode(hmac::sign(key, content))),
            WebhookKey::Ed25519(pair) => format!("v1a,{}", STANDARD.encode(pair.sign(content))),
        }
    }
}

/// A new secret `whsec_…` for v1. The receiver needs the same secret.
#[must_use]
pub fn new_webhook_secret() -> String {
    format!("whsec_{}", STANDARD.encode(random()))
}

/// A new secret `whsk_…` for v1a. The receiver needs its [`webhook_public_key`].
#[must_use]
pub fn new_signing_secret() -> String {
    format!("whsk_{}", STANDARD.encode(random()))
}

fn random() -> [u8; 32] {
    let mut bytes = [0; 32];
    SystemRandom::new().fill(&mut bytes).expect("Linux always has randomness once it has booted");
    bytes
}

/// The public key `whpk_…` of a secret `whsk_…`, for the receiver.
///
/// # Errors
///
/// The secret is not an ed25519 key. The text says what is wrong.
pub fn webhook_public_key(secret: &str) -> Result<String, String> {
    match WebhookKey::parse(secret)? {
        WebhookKey::Ed25519(pair) => Ok(format!("whpk_{}", STANDARD.encode(pair.public_key()))),
        WebhookKey::Hmac(_) => {
            Err("a whsec_ secret has no public key: the receiver needs the secret itself".to_owned())
        }
    }
}

/// The value of `webhook-signature`: one signature for each key. A receiver needs only one of them.
pub(super) fn signatures(keys: &[WebhookKey], id: &str, seconds: i64, body: &[u8]) -> String {
    let mut content = format!("{id}.{seconds}.").into_bytes();
    content.extend_from_slice(body);
    let each: Vec<String> = keys.iter().map(|key| key.sign(&content)).collect();
    each.join(" ")
}

fn decode(prefix: &str, encoded: &str) -> Result<Vec<u8>, String> {
    STANDARD
        .decode(encoded)
        .map_err(|_| format!("what follows {prefix} in a secret is not base64; {MAKE_ONE}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8032, section 7.1, test 1.
    const SEED: &str = "whsk_nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=";
    const PUBLIC: &str = "whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

    fn secret(prefix: &str, length: usize) -> String {
        format!("{prefix}{}", STANDARD.encode(vec![7; length]))
    }

    #[test]
    fn the_example_of_the_specification_has_its_signature() {
        let key = WebhookKey::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signature =
            signatures(&[key], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn public_keys_are_those_of_the_rfc() {
        assert_eq!(webhook_public_key(SEED).unwrap(), PUBLIC);
        let both = [
            STANDARD.decode(&SEED["whsk_".len()..]).unwrap(),
            STANDARD.decode(&PUBLIC["whpk_".len()..]).unwrap(),
        ];
        assert_eq!(webhook_public_key(&format!("whsk_{}", STANDARD.encode(both.concat()))).unwrap(), PUBLIC);
        assert!(webhook_public_key(&secret("whsec_", 32)).unwrap_err().contains("no public key"));
    }

    #[test]
    fn new_secrets_are_good_and_differ() {
        for new in [new_webhook_secret, new_signing_secret] {
            assert!(WebhookKey::parse(&new()).is_ok());
            assert_ne!(new(), new());
        }
        assert!(webhook_public_key(&new_signing_secret()).unwrap().starts_with("whpk_"));
    }

    #[test]
    fn secrets_that_are_none_are_refused_without_being_repeated() {
        for good in [24, 32, 64] {
            assert!(WebhookKey::parse(&secret("whsec_", good)).is_ok(), "{good}");
        }
        let halves = format!("whsk_{}", STANDARD.encode([7; 64]));
        for (bad, says) in [
            (secret("whsec_", 23), "23 bytes"),
            (secret("whsec_", 65), "65 bytes"),
            (secret("whsk_", 31), "31 bytes"),
            (secret("whpk_", 32), "public key"),
            (secret("", 32), "begins neither"),
            ("whsec_&&&&".to_owned(), "not base64"),
            ("whsec_".to_owned(), "0 bytes"),
            (String::new(), "begins neither"),
            (halves, "do not fit"),
        ] {
            let error = WebhookKey::parse(&bad).err().unwrap();
            assert!(error.contains(says), "{bad}: {error}");
            let encoded = bad.split('_').next_back().unwrap();
            assert!(encoded.len() < 5 || !error.contains(encoded), "{error}");
        }
    }
}
