//! `Content-Disposition` of any name.

use http::Method;
use outflow_content::Content;
use proptest::prelude::*;

use crate::double::get;

#[test]
fn attachment_and_inline_name_the_file() {
    let field = |content: Content| get(content, &[]).headers()["content-disposition"].clone();
    assert_eq!(field(Content::bytes("x").attachment("a.txt")), "attachment; filename=\"a.txt\"");
    assert_eq!(field(Content::bytes("x").inline("a.txt")), "inline; filename=\"a.txt\"");
    assert_eq!(field(Content::bytes("x").attachment("a").inline("b")), "inline; filename=\"b\"");
}

/// What a client reads out of the field, by RFC 6266 and RFC 8187.
fn read(field: &str) -> (String, Option<String>) {
    let rest = field.strip_prefix("attachment; filename=\"").expect("starts with filename");
    let (plain, rest) = rest.split_once('"').expect("the quote is closed");
    if rest.is_empty() {
        return (plain.to_owned(), None);
    }
    let encoded = rest.strip_prefix("; filename*=UTF-8''").expect("nothing else follows");
    assert!(encoded.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&+-.^_`|~%".contains(&b)), "{encoded}");
    (
        plain.to_owned(),
        Some(percent_encoding::percent_decode_str(encoded).decode_utf8().unwrap().into_owned()),
    )
}

proptest! {
    #[test]
    fn any_name_is_one_harmless_field(name in any::<String>()) {
        let response = Content::bytes("x").attachment(&name).respond(&Method::GET, &http::HeaderMap::new());
        let field = response.headers()["content-disposition"].to_str().expect("visible ASCII").to_owned();
        let (plain, extended) = read(&field);
        prop_assert!(plain.bytes().all(|b| matches!(b, b' '..=b'~') && !b"\"\\/%".contains(&b)));
        prop_assert!(!plain.is_empty());
        let told = extended.as_ref().unwrap_or(&plain);
        prop_assert!(!told.chars().any(|c| c.is_control() || c == '/' || c == '\\'));
        if !name.is_empty() {
            prop_assert_eq!(told.chars().count(), name.chars().count());
            for (told, asked) in told.chars().zip(name.chars()) {
                prop_assert!(told == asked || told == '_');
            }
        }
        prop_assert_eq!(extended.is_some(), told.chars().any(|c| !c.is_ascii() || c == '"' || c == '%'));
    }
}
