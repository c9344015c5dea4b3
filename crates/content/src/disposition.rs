//! `Content-Disposition` with a file name that every browser understands (RFC 6266, RFC 8187).

use std::borrow::Cow;

use http::HeaderValue;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// `attr-char` of RFC 8187, 3.2.1 stays; everything else is encoded.
const NOT_ATTR_CHAR: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'!')
    .remove(b'#')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b'-')
    .remove(b'.')
    .remove(b'^')
    .remove(b'_')
    .remove(b'`')
    .remove(b'|')
    .remove(b'~');

/// `kind; filename="…"`, and `filename*=UTF-8''…` where the former cannot express the name.
///
/// Path separators, control characters and characters that change the direction of writing become
/// `_` in both: none belongs in the name of one file, and each has been used to disguise one. In
/// the plain form, so do quotes (browsers disagree about escapes), `%` (some decode it; RFC 6266,
/// appendix D) and everything that is not ASCII. An empty name becomes `download`.
pub(crate) fn disposition(kind: &str, name: &str) -> HeaderValue {
    let name = if name.is_empty() { "download" } else { name };
    let name = replace(name, is_unfit_for_a_name);
    let plain = replace(&name, |c| !matches!(c, ' '..='~') || matches!(c, '"' | '%'));

    let mut value = format!("{kind}; filename=\"{plain}\"");
    if plain != name {
        value.push_str("; filename*=UTF-8''");
        value.extend(utf8_percent_encode(&name, NOT_ATTR_CHAR));
    }
    // Only visible ASCII and spaces are left, so that this cannot fail.
    HeaderValue::try_from(value).unwrap_or_else(|_| HeaderValue::from_static("attachment"))
}

fn is_unfit_for_a_name(c: char) -> bool {
    c.is_control() || matches!(c, '/' | '\\' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn replace(name: &str, unfit: impl Fn(char) -> bool) -> Cow<'_, str> {
    if name.chars().any(&unfit) {
        Cow::Owned(name.chars().map(|c| if unfit(c) { '_' } else { c }).collect())
    } else {
        Cow::Borrowed(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_fields() {
        for (name, field) in [
            ("a.zip", r#"attachment; filename="a.zip""#),
            ("a b; c.zip", r#"attachment; filename="a b; c.zip""#),
            ("it's.txt", r#"attachment; filename="it's.txt""#),
            ("naïve.txt", r#"attachment; filename="na_ve.txt"; filename*=UTF-8''na%C3%AFve.txt"#),
            ("€ rates", r#"attachment; filename="_ rates"; filename*=UTF-8''%E2%82%AC%20rates"#),
            ("файл.zip", "attachment; filename=\"____.zip\"; filename*=UTF-8''%D1%84%D0%B0%D0%B9%D0%BB.zip"),
            ("😀", r#"attachment; filename="_"; filename*=UTF-8''%F0%9F%98%80"#),
            ("say \"hi\"", r#"attachment; filename="say _hi_"; filename*=UTF-8''say%20%22hi%22"#),
            ("100%.txt", r#"attachment; filename="100_.txt"; filename*=UTF-8''100%25.txt"#),
            ("a%22.txt", r#"attachment; filename="a_22.txt"; filename*=UTF-8''a%2522.txt"#),
            ("../../etc/passwd", r#"attachment; filename=".._.._etc_passwd""#),
            ("C:\\x", r#"attachment; filename="C:_x""#),
            ("a\r\nSet-Cookie: x=1", r#"attachment; filename="a__Set-Cookie: x=1""#),
            ("a\0b\u{7f}c\u{85}d", r#"attachment; filename="a_b_c_d""#),
            ("gpj\u{202e}.exe", r#"attachment; filename="gpj_.exe""#),
            ("", r#"attachment; filename="download""#),
        ] {
            assert_eq!(disposition("attachment", name).to_str().unwrap(), field, "{name:?}");
        }
    }
}
