//! Pages and problems come out entirely in the language that they are asked for in: no text is
//! outside the catalogue.

use fluent_syntax::ast::{Entry, PatternElement};
use fluent_syntax::{parser, serializer};
use outflow_catalog::RootOptions;
use outflow_server::DownloadOptions;
use outflow_texts::{Language, TextCatalog};

use crate::help::{Reply, Site, settings};
use crate::shop::{Shop, in_seconds, manifest};

/// A language that wraps every English text in `⟦⟧`.
fn wrapped() -> Language {
    let english = include_str!("../../../texts/languages/en.ftl");
    let mut resource = parser::parse(english.to_owned()).unwrap();
    for entry in &mut resource.body {
        if let Entry::Message(message) = entry
            && !message.id.name.starts_with("format_")
        {
            let elements = &mut message.value.as_mut().unwrap().elements;
            elements.insert(0, PatternElement::TextElement { value: "⟦".to_owned() });
            elements.push(PatternElement::TextElement { value: "⟧".to_owned() });
        }
    }
    let source = serializer::serialize(&resource);
    Language::of(Box::leak(Box::new(TextCatalog::parse("en-XA", &source).unwrap())))
}

fn wrapped_settings() -> DownloadOptions {
    DownloadOptions { language: wrapped(), ..settings() }
}

/// What people see of a page, or hear: the text between its tags and the labels in them.
fn visible(page: &str) -> String {
    let body = &page[page.find("</head>").unwrap()..];
    let mut seen = String::new();
    for piece in body.split('<').skip(1) {
        let (tag, text) = piece.split_once('>').unwrap();
        for label in ["aria-label=\"", "title=\"", "alt=\"", "placeholder=\""] {
            seen.extend(tag.split_once(label).map(|(_, label)| label.split_once('"').unwrap().0));
        }
        seen.push_str(text);
        seen.push(' ');
    }
    seen
}

/// What is outside of `⟦⟧`.
fn outside(text: &str) -> String {
    let mut depth = 0;
    let mut outside = String::new();
    for c in text.chars() {
        match c {
            '⟦' => depth += 1,
            '⟧' => depth -= 1,
            c if depth == 0 => outside.push(c),
            _ => {}
        }
    }
    assert_eq!(depth, 0, "{text}");
    outside
}

/// Fails if a page has letters outside of the catalogue that are not in `data`.
fn assert_wrapped(page: &Reply, data: &[&str]) {
    assert!(page.text().starts_with("<!DOCTYPE html><html lang=\"en-XA\">"), "{}", page.text());
    let seen = visible(page.text());
    let mut rest = outside(&seen);
    for known in data {
        rest = rest.replace(known, "");
    }
    assert!(!rest.chars().any(char::is_alphabetic), "outside the catalogue: {rest:?} of {seen:?}");
    assert!(seen.contains('⟦'), "{seen}");
}

#[tokio::test]
async fn every_page_is_in_the_language() {
    let site = Site::with(
        &[("folder/file.bin", "1"), ("folder/sub/x", "2"), ("folder/new\nline", "3")],
        RootOptions::default(),
        &wrapped_settings(),
    );
    std::fs::create_dir(site.at("empty")).unwrap();
    let html = [("accept", "text/html")];
    let data = ["served", "folder", "empty", "file.bin", "sub", "new␊line", " B "];
    for target in ["/", "/folder/", "/empty/"] {
        let page = site.ask("GET", target, &html).await;
        assert_eq!(page.status, 200);
        assert_wrapped(&page, &data);
    }
    for target in ["/none", "/none/", "/%2e", "/?pick=%", "/folder/?zip&file=none", "/folder/file.bin?zip"] {
        let page = site.ask("GET", target, &html).await;
        assert!(page.status.is_client_error(), "{target}: {}", page.status);
        assert_wrapped(&page, &["none"]);
    }

    let shop = Shop::with(&wrapped_settings());
    let mut about = manifest("20261201", &["a.bin"]);
    about.expires = Some(in_seconds(60));
    shop.publish(&about);
    let top = shop.page("/").await;
    assert_eq!(top.status, 200);
    assert_wrapped(&top, &["Outflow"]);
    let page = shop.page("/t/20261201/").await;
    assert_eq!(page.status, 200, "{}", page.text());
    let title = about.title.clone().unwrap_or_default();
    let message = about.message.clone().unwrap_or_default();
    assert_wrapped(&page, &["a.bin", "20261201", &title, message.trim(), " B "]);
}

#[tokio::test]
async fn every_problem_is_in_the_language() {
    let site = Site::with(&[("a", "1"), ("sub/b", "2")], RootOptions::default(), &wrapped_settings());
    for (method, target) in [
        ("GET", "/none"),
        ("DELETE", "/a"),
        ("GET", "/%00"),
        ("GET", "/%2f"),
        ("GET", "/%5c"),
        ("GET", "/a%4"),
        ("GET", "/.."),
        ("GET", "/?zip&pick=a&pick=b"),
        ("GET", "/?zip&pick=%ff"),
        ("GET", "/?zip&pick=x"),
        ("GET", "/?zip&pick=x&file=a"),
        ("GET", "/?zip&file="),
        ("GET", "/?zip&file=.."),
        ("GET", "/?zip&file=%"),
        ("GET", "/?zip&file=none"),
        ("GET", "/?zip&file=none&file=gone"),
        ("GET", "/a?zip"),
        ("GET", "/?events"),
        ("POST", "/?zip"),
    ] {
        let reply = site.ask(method, target, &[]).await;
        assert!(reply.status.is_client_error() || reply.status.is_server_error(), "{method} {target}");
        let problem = reply.json();
        for member in ["title", "detail"] {
            let text = problem[member].as_str().unwrap();
            assert_eq!(outside(text), "", "{method} {target}: {member} {text:?}");
        }
    }
}
