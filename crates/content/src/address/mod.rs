//! What the path of a URL names, below the folder that is served.
//!
//! ```text
//! rel_path   a path below a folder, checked
//! url_path   the path of a URL: percent-encoded text <-> a path below a folder
//! encoding   percent-encoding
//! ```

mod encoding;
mod rel_path;
mod url_path;

pub use encoding::{encode, encode_path, hex};
pub use rel_path::{BadPath, RelPath};
pub use url_path::{BadUrlPath, MalformedUrlPath, UrlPath, address_of};
