//! Which operation a request means, by its address alone: faults are played before its signature is
//! checked.

use http::{Method, Uri};
use percent_encoding::percent_decode_str;

use crate::s3::plan::Op;

/// The operation, the bucket and the key that a request means.
pub(crate) fn meaning(method: &Method, uri: &Uri) -> (Op, String, String) {
    let path = uri.path().strip_prefix('/').unwrap_or_default();
    let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
    let key = percent_decode_str(key).decode_utf8_lossy().into_owned();
    let has = |name: &str| {
        uri.query().unwrap_or_default().split('&').any(|pair| pair.split('=').next() == Some(name))
    };
    let op = match (method.as_str(), key.is_empty()) {
        ("GET", true) if !bucket.is_empty() && !has("location") && !has("uploads") => Op::ListObjects,
        ("GET", false) if has("attributes") => Op::GetObjectAttributes,
        ("GET", false) if !has("uploadId") => Op::GetObject,
        ("HEAD", false) => Op::HeadObject,
        ("PUT", false) if has("uploadId") => Op::UploadPart,
        ("PUT", false) => Op::PutObject,
        ("POST", false) if has("uploadId") => Op::CompleteMultipartUpload,
        ("POST", false) if has("uploads") => Op::CreateMultipartUpload,
        ("POST", true) if has("delete") => Op::DeleteObjects,
        ("DELETE", false) if has("uploadId") => Op::AbortMultipartUpload,
        ("DELETE", false) => Op::DeleteObject,
        _ => Op::Other,
    };
    (op, bucket.to_owned(), key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_meanings() {
        for (method, uri, op, key) in [
            ("GET", "/b/a%20b/c?versionId=1", Op::GetObject, "a b/c"),
            ("GET", "/b?list-type=2&prefix=a", Op::ListObjects, ""),
            ("GET", "/b/?list-type=2", Op::ListObjects, ""),
            ("GET", "/b/k?attributes", Op::GetObjectAttributes, "k"),
            ("GET", "/", Op::Other, ""),
            ("POST", "/b/k?uploads", Op::CreateMultipartUpload, "k"),
            ("POST", "/b/k?uploadId=1", Op::CompleteMultipartUpload, "k"),
            ("PUT", "/b/k?partNumber=1&uploadId=1", Op::UploadPart, "k"),
            ("PUT", "/b", Op::Other, ""),
            ("POST", "/b?delete", Op::DeleteObjects, ""),
        ] {
            let (found, bucket, found_key) = meaning(&method.parse().unwrap(), &uri.parse().unwrap());
            assert_eq!((found, found_key.as_str()), (op, key), "{method} {uri}");
            assert_eq!(bucket, if uri == "/" { "" } else { "b" });
        }
    }
}
