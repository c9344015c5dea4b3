//! Uploads, in one piece and in parts.

use std::fmt::Write as _;

use object_store::path::Path;
use object_store::{MultipartUpload as _, ObjectStoreExt as _};
use outflow_testkit::s3::{Double, pattern};
use reqwest::{Client, Response};

use super::{client, web};

const PART: usize = 5 << 20;

#[tokio::test]
async fn a_client_uploads_in_parts() {
    let double = Double::start().unwrap();
    let store = client(&double);
    let bytes = pattern(5, 0, PART * 2 + 1000);
    let mut upload = store.put_multipart(&Path::from("a/b")).await.unwrap();
    for part in bytes.chunks(PART) {
        upload.put_part(part.to_vec().into()).await.unwrap();
    }
    assert_eq!((double.open_uploads(), double.keys("").len()), (1, 0));
    let put = upload.complete().await.unwrap();
    assert!(put.e_tag.unwrap().ends_with("-3\""));
    assert!(double.bytes("a/b").unwrap() == bytes);
    assert_eq!(double.open_uploads(), 0);
    assert!(store.get(&Path::from("a/b")).await.unwrap().bytes().await.unwrap() == bytes);

    let mut upload = store.put_multipart(&Path::from("c")).await.unwrap();
    upload.put_part("part".into()).await.unwrap();
    upload.abort().await.unwrap();
    assert_eq!((double.open_uploads(), double.keys("c").len()), (0, 0));
}

/// An upload by hand, on a double that asks for no signature.
struct ByHand {
    double: Double,
    client: Client,
}

impl ByHand {
    fn new(double: Double) -> ByHand {
        ByHand { double, client: web() }
    }

    fn url(&self, rest: &str) -> String {
        format!("{}/outflow/{rest}", self.double.endpoint())
    }

    async fn create(&self, kind: &str) -> String {
        let request = self.client.post(self.url("a?uploads"));
        let request = request.header("x-amz-checksum-algorithm", "CRC32").header("x-amz-checksum-type", kind);
        let text = request.send().await.unwrap().text().await.unwrap();
        between(&text, "<UploadId>", "</UploadId>").to_owned()
    }

    async fn part(&self, id: &str, number: usize, bytes: &[u8], crc32: &str) -> Response {
        let url = self.url(&format!("a?partNumber={number}&uploadId={id}"));
        self.client.put(url).header("x-amz-checksum-crc32", crc32).body(bytes.to_vec()).send().await.unwrap()
    }

    async fn complete(&self, id: &str, etags: &[String], crc32: &str) -> (u16, String) {
        let mut body = "<CompleteMultipartUpload>".to_owned();
        for (number, etag) in (1..).zip(etags) {
            write!(body, "<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>").unwrap();
        }
        body += "</CompleteMultipartUpload>";
        let request = self.client.post(self.url(&format!("a?uploadId={id}")));
        let response = request.header("x-amz-checksum-crc32", crc32).body(body).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    let (_, rest) = text.split_once(start).unwrap_or_else(|| panic!("no {start}: {text}"));
    rest.split_once(end).unwrap().0
}

fn crc32(bytes: &[u8]) -> String {
    base64::Engine::encode(&base64::prelude::BASE64_STANDARD, crc32fast::hash(bytes).to_be_bytes())
}

#[tokio::test]
async fn checksums_of_parts_become_that_of_the_object() {
    let bytes = pattern(6, 0, 2500);
    for kind in ["FULL_OBJECT", "COMPOSITE"] {
        let hand = ByHand::new(Double::builder().anonymous().least_part(0).start().unwrap());
        let id = hand.create(kind).await;
        let mut etags = Vec::new();
        let mut crcs = Vec::new();
        for (number, part) in (1..).zip(bytes.chunks(1000)) {
            assert_eq!(hand.part(&id, number, part, &crc32(b"other")).await.status(), 400);
            let answer = hand.part(&id, number, part, &crc32(part)).await;
            etags.push(answer.headers()["etag"].to_str().unwrap().to_owned());
            crcs.extend(crc32fast::hash(part).to_be_bytes());
        }
        let right = if kind == "COMPOSITE" { format!("{}-3", crc32(&crcs)) } else { crc32(&bytes) };
        let (status, text) = hand.complete(&id, &etags, &crc32(b"other")).await;
        assert!(status == 400 && text.contains("BadDigest"), "{status} {text}");
        let (status, text) = hand.complete(&id, &etags, &right).await;
        assert_eq!(status, 200, "{text}");
        assert_eq!(between(&text, "<ChecksumCRC32>", "</ChecksumCRC32>"), right);
        assert_eq!(between(&text, "<ChecksumType>", "</ChecksumType>"), kind);
        assert!(hand.double.bytes("a").unwrap() == bytes);
    }
}

#[tokio::test]
async fn wrong_parts_are_refused() {
    let hand = ByHand::new(Double::builder().anonymous().start().unwrap());
    let id = hand.create("FULL_OBJECT").await;
    let etag = |answer: Response| answer.headers()["etag"].to_str().unwrap().to_owned();
    let first = etag(hand.part(&id, 1, b"small", &crc32(b"small")).await);
    let second = etag(hand.part(&id, 2, b"last", &crc32(b"last")).await);
    let whole = crc32(b"smalllast");
    for (etags, code) in [
        (vec![first.clone(), second.clone()], "EntityTooSmall"),
        (vec![second], "InvalidPart"),
        (vec![first.clone(), first.clone(), first], "EntityTooSmall"),
        (vec![], "MalformedXML"),
    ] {
        let (status, text) = hand.complete(&id, &etags, &whole).await;
        assert!(status == 400 && text.contains(code), "{code}: {status} {text}");
    }
    let (status, _) = hand.complete("other", &["\"x\"".to_owned()], &whole).await;
    assert_eq!(status, 404);
}

#[tokio::test]
async fn one_piece_is_compared_with_its_checksum() {
    let hand = ByHand::new(Double::builder().anonymous().start().unwrap());
    let put = async |crc32: &str| {
        let request = hand.client.put(hand.url("a")).header("x-amz-checksum-crc32", crc32).body("some bytes");
        request.send().await.unwrap()
    };
    let wrong = put(&crc32(b"other")).await;
    assert_eq!(wrong.status(), 400);
    assert!(wrong.text().await.unwrap().contains("BadDigest"));
    assert_eq!(hand.double.keys("").len(), 0);
    assert_eq!(put(&crc32(b"some bytes")).await.status(), 200);
    assert_eq!(hand.double.bytes("a").unwrap(), "some bytes");
}
