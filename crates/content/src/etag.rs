//! Entity tags: making them, and reading the lists of them that requests carry (RFC 9110, 8.8.3).

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};

/// An entity tag, the validator that tells one representation from another (RFC 9110, 8.8.3).
///
/// `==` compares the whole tag, mark included. Conditions compare by [`EntityTag::strong_eq`] or
/// [`EntityTag::weak_eq`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EntityTag {
    /// As in the field: `"opaque"` or `W/"opaque"`, so that answering with it copies nothing.
    value: HeaderValue,
}

impl EntityTag {
    /// A strong tag. `opaque` goes between the quotes and may be empty.
    ///
    /// `None` if it has a byte that is not an `etagc`: a quote, white space or a control character.
    #[must_use]
    pub fn strong(opaque: &str) -> Option<EntityTag> {
        if !opaque.bytes().all(is_etagc) {
            return None;
        }
        let mut value = Vec::with_capacity(opaque.len() + 2);
        value.push(b'"');
        value.extend_from_slice(opaque.as_bytes());
        value.push(b'"');
        HeaderValue::from_maybe_shared(bytes::Bytes::from(value)).ok().map(|value| EntityTag { value })
    }

    /// Reads one tag, strong or weak, as another server's `ETag` field has it. `None` if it is not
    /// exactly one.
    #[must_use]
    pub fn parse(value: &HeaderValue) -> Option<EntityTag> {
        let tag = TagRef::parse(value.as_bytes())?;
        if !tag.opaque.iter().copied().all(is_etagc) {
            return None;
        }
        let value = HeaderValue::from_bytes(value.as_bytes().trim_ascii()).ok()?;
        Some(EntityTag { value })
    }

    /// True for `W/"…"`.
    #[must_use]
    pub fn is_weak(&self) -> bool {
        self.value.as_bytes().starts_with(b"W/")
    }

    /// The text between the quotes.
    #[must_use]
    pub fn opaque(&self) -> &[u8] {
        let value = self.value.as_bytes();
        let open = if self.is_weak() { 3 } else { 1 };
        &value[open..value.len() - 1]
    }

    /// The tag as a field value, quotes and weak mark included.
    #[must_use]
    pub fn as_header_value(&self) -> &HeaderValue {
        &self.value
    }

    /// Strong comparison (RFC 9110, 8.8.3.2): the same and neither of them weak.
    #[must_use]
    pub fn strong_eq(&self, other: &EntityTag) -> bool {
        self.as_ref().strong_eq(other.as_ref())
    }

    /// Weak comparison (RFC 9110, 8.8.3.2): the same, weak or not.
    #[must_use]
    pub fn weak_eq(&self, other: &EntityTag) -> bool {
        self.as_ref().weak_eq(other.as_ref())
    }

    pub(crate) fn as_ref(&self) -> TagRef<'_> {
        TagRef { weak: self.is_weak(), opaque: self.opaque() }
    }
}

impl From<EntityTag> for HeaderValue {
    fn from(tag: EntityTag) -> HeaderValue {
        tag.value
    }
}

impl fmt::Display for EntityTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.value.as_bytes()))
    }
}

/// `etagc` of RFC 9110, 8.8.3: visible characters but the quote, and obs-text.
fn is_etagc(byte: u8) -> bool {
    matches!(byte, 0x21 | 0x23..=0x7e | 0x80..)
}

/// A tag inside a request's field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TagRef<'a> {
    weak: bool,
    opaque: &'a [u8],
}

impl<'a> TagRef<'a> {
    /// A field value that is one tag and nothing else.
    pub(crate) fn parse(value: &'a [u8]) -> Option<TagRef<'a>> {
        let (tag, rest) = TagRef::split(value.trim_ascii())?;
        rest.is_empty().then_some(tag)
    }

    /// The tag that `value` begins with, and what follows it. The text between the quotes is not
    /// checked: a tag with invalid characters equals none of ours.
    fn split(value: &'a [u8]) -> Option<(TagRef<'a>, &'a [u8])> {
        let (weak, quoted) = match value.strip_prefix(b"W/") {
            Some(quoted) => (true, quoted),
            None => (false, value),
        };
        let inner = quoted.strip_prefix(b"\"")?;
        let close = inner.iter().position(|byte| *byte == b'"')?;
        Some((TagRef { weak, opaque: &inner[..close] }, &inner[close + 1..]))
    }

    pub(crate) fn strong_eq(self, other: TagRef<'_>) -> bool {
        !self.weak && !other.weak && self.opaque == other.opaque
    }

    pub(crate) fn weak_eq(self, other: TagRef<'_>) -> bool {
        self.opaque == other.opaque
    }
}

/// All tags that the lines of a field list. Anything else is skipped up to the next comma.
pub(crate) fn listed<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = TagRef<'a>> {
    headers.get_all(name).iter().flat_map(|line| TagList { rest: line.as_bytes() })
}

/// True if the field is `*` and nothing else: with a list beside it, neither is valid.
pub(crate) fn is_star(headers: &HeaderMap, name: &HeaderName) -> bool {
    let mut lines = headers.get_all(name).iter();
    lines.next().is_some_and(|line| line.as_bytes().trim_ascii() == b"*") && lines.next().is_none()
}

struct TagList<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for TagList<'a> {
    type Item = TagRef<'a>;

    fn next(&mut self) -> Option<TagRef<'a>> {
        loop {
            let start = self.rest.iter().position(|byte| !matches!(byte, b' ' | b'\t' | b','))?;
            let element = &self.rest[start..];
            let (tag, after) = match TagRef::split(element) {
                Some((tag, after)) => (Some(tag), after.trim_ascii_start()),
                None => (None, element),
            };
            let comma = after.iter().position(|byte| *byte == b',');
            self.rest = comma.map_or(&[], |comma| &after[comma + 1..]);
            if tag.is_some() && (after.is_empty() || comma == Some(0)) {
                return tag;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http::header::IF_NONE_MATCH;

    use super::*;

    fn list(lines: &[&str]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(IF_NONE_MATCH, HeaderValue::from_str(line).unwrap());
        }
        listed(&headers, &IF_NONE_MATCH)
            .map(|tag| format!("{}{}", if tag.weak { "W/" } else { "" }, String::from_utf8_lossy(tag.opaque)))
            .collect()
    }

    #[test]
    fn lists_are_read_and_garbage_is_passed_over() {
        let none: &[&str] = &[];
        for (lines, tags) in [
            (&["\"a\""][..], &["a"][..]),
            (&["\"a\", W/\"b\""], &["a", "W/b"]),
            (&["\"a\",\"b\""], &["a", "b"]),
            (&["\"a\"", "\"b\""], &["a", "b"]),
            (&[" ,, \"a\" ,\t, \"b\" ,"], &["a", "b"]),
            (&["\"a,b\", \"c\""], &["a,b", "c"]),
            (&["\"\""], &[""]),
            (&["\"W/\""], &["W/"]),
            (&["a, \"b\""], &["b"]),
            (&["a"], none),
            (&["w/\"a\""], none),
            (&["W/a"], none),
            (&["W/ \"a\""], none),
            (&["\"a"], none),
            (&["\""], none),
            (&["W/"], none),
            (&["\"a\"x, \"b\""], &["b"]),
            (&["\"a\" \"b\", \"c\""], &["c"]),
            (&[""], none),
            (&[",,,"], none),
            (&["*"], none),
        ] {
            assert_eq!(list(lines), tags, "{lines:?}");
        }
    }

    #[test]
    fn star_counts_only_alone() {
        for (lines, star) in [
            (&["*"][..], true),
            (&[" * "], true),
            (&["*", "\"a\""], false),
            (&["*, \"a\""], false),
            (&[], false),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(IF_NONE_MATCH, HeaderValue::from_static(line));
            }
            assert_eq!(is_star(&headers, &IF_NONE_MATCH), star, "{lines:?}");
        }
    }
}
