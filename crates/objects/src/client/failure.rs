//! Turns a client's error into a message that never has a URL's query, a header or a request in it.

use std::error::Error as _;

use object_store::Error;
use object_store::client::{HttpError, HttpErrorKind};

use crate::error::StoreErrorKind;

/// Maximum length of a server's message that is repeated, in bytes.
///
/// Bound: object stores.
const MAX_MESSAGE: usize = 300;

/// What `error` means.
pub(crate) fn kind_of(error: &Error) -> StoreErrorKind {
    match error {
        Error::NotFound { .. } => not_found(&chain(error)),
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => {
            StoreErrorKind::Denied(words(error).unwrap_or_else(|| "no reason was given".to_owned()))
        }
        Error::NotSupported { .. } | Error::NotImplemented { .. } => {
            StoreErrorKind::Unsupported("this kind of store has no such operation".to_owned())
        }
        Error::InvalidPath { .. } => {
            StoreErrorKind::Misconfigured("the name cannot be a key of this store".to_owned())
        }
        Error::Precondition { .. } => {
            StoreErrorKind::Unavailable("the object has been replaced since it was looked at".to_owned())
        }
        _ => other(error),
    }
}

fn other(error: &Error) -> StoreErrorKind {
    if let Some(http) = http_error(error) {
        return StoreErrorKind::Unavailable(transport(http));
    }
    let text = chain(error);
    if text.contains("169.254.169.254") || text.contains("169.254.170.2") {
        return StoreErrorKind::Denied(NO_CREDENTIALS.to_owned());
    }
    match status(&text) {
        Some(404) => not_found(&text),
        Some(status @ (401 | 403)) => StoreErrorKind::Denied(answer(status, &text)),
        Some(status @ (405 | 501)) => StoreErrorKind::Unsupported(answer(status, &text)),
        Some(status @ 301..=308) => StoreErrorKind::Misconfigured(format!(
            "{}, a redirection: the region or the endpoint is probably wrong (AWS_REGION, AWS_ENDPOINT_URL)",
            answer(status, &text)
        )),
        Some(status @ 400) => StoreErrorKind::Misconfigured(answer(status, &text)),
        Some(status) => StoreErrorKind::Unavailable(answer(status, &text)),
        None if text.contains("without LOCATION") => StoreErrorKind::Misconfigured(
            "it redirects to nowhere: the region is probably wrong, set AWS_REGION".to_owned(),
        ),
        None => StoreErrorKind::Unavailable(scrub(&text)),
    }
}

const NO_CREDENTIALS: &str = "no credentials were found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or \
                              AWS_PROFILE, or AWS_SKIP_SIGNATURE=true for a public bucket";

/// The message of a transport's error.
pub(crate) fn transport(error: &HttpError) -> String {
    let mut deepest: &dyn std::error::Error = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    let detail = scrub(&deepest.to_string());
    match error.kind() {
        HttpErrorKind::Connect if detail.contains("UnknownIssuer") => format!(
            "cannot connect: its certificate is signed by nobody that is trusted here ({detail}); name a file with \
             the issuer's certificate by SSL_CERT_FILE"
        ),
        HttpErrorKind::Connect => format!("cannot connect: {detail}; check the endpoint, and that it runs"),
        HttpErrorKind::Timeout => "no answer in time".to_owned(),
        _ => format!("the connection failed: {detail}"),
    }
}

/// The meaning of a status and the body of an S3 error.
pub(crate) fn answered(status: http::StatusCode, body: &str) -> StoreErrorKind {
    let text = answer(status.as_u16(), body);
    match status.as_u16() {
        404 => not_found(body),
        401 | 403 => StoreErrorKind::Denied(text),
        405 | 501 => StoreErrorKind::Unsupported(text),
        300..=400 => StoreErrorKind::Misconfigured(text),
        _ => StoreErrorKind::Unavailable(text),
    }
}

fn not_found(text: &str) -> StoreErrorKind {
    if text.contains("NoSuchBucket") || text.contains("ContainerNotFound") {
        return StoreErrorKind::Misconfigured(
            "there is no such bucket or container; create it, or correct the address".to_owned(),
        );
    }
    StoreErrorKind::NotFound
}

fn http_error(error: &Error) -> Option<&HttpError> {
    let mut source = error.source();
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<HttpError>() {
            return Some(error);
        }
        source = error.source();
    }
    None
}

fn chain(error: &Error) -> String {
    // The text of an error names its sources already, wherever a status could be in them.
    error.to_string()
}

fn status(text: &str) -> Option<u16> {
    let after = text.split("status code: ").nth(1).or_else(|| text.split("got \"HTTP/1.1 ").nth(1))?;
    after.get(..3)?.parse().ok()
}

fn answer(status: u16, text: &str) -> String {
    let reason = http::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
    let mut answer = format!("it answered {status}");
    if let Some(reason) = reason {
        answer = format!("{answer} {reason}");
    }
    match code_and_message(text) {
        Some(words) => format!("{answer} ({words})"),
        None => answer,
    }
}

/// The message of a refusal.
fn words(error: &Error) -> Option<String> {
    let text = chain(error);
    code_and_message(&text).or_else(|| status(&text).map(|status| answer(status, "")))
}

/// Code and message of an S3 error in XML, of Azure likewise. All else of it may hold a signature's
/// parts.
fn code_and_message(text: &str) -> Option<String> {
    let element = |name: &str| {
        let start = text.find(&format!("<{name}>"))? + name.len() + 2;
        let end = text[start..].find(&format!("</{name}>"))?;
        Some(&text[start..start + end])
    };
    let code = element("Code")?;
    let words = match element("Message") {
        // The message is advice, or names an object; the rest of the body may hold parts of a
        // signature.
        Some(message) => format!("{code}: {message}"),
        None => code.to_owned(),
    };
    Some(scrub(&words))
}

/// `text` in one line, cut, and with all queries of URLs and everything that looks like a
/// credential taken out.
fn scrub(text: &str) -> String {
    let mut safe = String::with_capacity(text.len().min(MAX_MESSAGE));
    for word in text.split_whitespace() {
        if safe.len() + word.len() > MAX_MESSAGE {
            safe.push('…');
            break;
        }
        if !safe.is_empty() {
            safe.push(' ');
        }
        let url = word.find("://");
        let secret = ["X-Amz-", "Signature=", "Credential=", "sig=", "Bearer", "token="];
        if let Some(at) = url {
            let end = word.find('?').unwrap_or(word.len());
            match word[at..end].find('@') {
                Some(_) => safe.push_str("(URL)"),
                None => safe.push_str(&word[..end]),
            }
        } else if secret.iter().any(|mark| word.contains(mark)) {
            safe.push_str("(hidden)");
        } else {
            safe.extend(word.chars().filter(|c| !c.is_control()));
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generic(text: &str) -> StoreErrorKind {
        kind_of(&Error::Generic { store: "S3", source: text.into() })
    }

    #[test]
    fn refusals_keep_code_and_message_only() {
        let kind = generic(
            "Error performing GET http://h/b/k?X-Amz-Signature=SECRET in 1ms - Server returned non-2xx status code: \
             403 Forbidden: <Error><Code>SignatureDoesNotMatch</Code><Message>The request signature does not match\
             </Message><AWSAccessKeyId>SECRET</AWSAccessKeyId><CanonicalRequest>x-amz-security-token:SECRET\
             </CanonicalRequest></Error>",
        );
        let StoreErrorKind::Denied(text) = &kind else { panic!("{kind:?}") };
        assert!(text.contains("SignatureDoesNotMatch: The request"), "{text}");
        assert!(!kind.to_string().contains("SECRET"), "{kind}");
    }

    #[test]
    fn statuses_have_meanings() {
        let of = |status: &str| generic(&format!("… Server returned non-2xx status code: {status}: <x>"));
        assert!(matches!(of("404 Not Found"), StoreErrorKind::NotFound));
        assert!(matches!(of("405 Method Not Allowed"), StoreErrorKind::Unsupported(_)));
        assert!(matches!(of("301 Moved"), StoreErrorKind::Misconfigured(_)));
        let StoreErrorKind::Unavailable(text) = of("503 Slow Down") else { panic!() };
        assert_eq!(text, "it answered 503 Service Unavailable");
    }

    #[test]
    fn whatever_else_is_said_holds_no_secret() {
        let StoreErrorKind::Unavailable(text) = generic(
            "sending to https://user:SECRET@host/p and https://h/p?sig=SECRET failed\nwith Credential=SECRET/x",
        ) else {
            panic!()
        };
        assert!(!text.contains("SECRET"), "{text}");
        assert!(text.contains("https://h/p failed with (hidden)"), "{text}");
    }
}
