//! Any bytes as a link's terms, its token and its address, and as a capability's token: what is
//! signed comes back as it was, and changed in any byte it is not genuine.
#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use outflow_links::{Link, LinkError, LinkKeys, Terms, split, unverified, without_token};
use outflow_tunnel::server::CapabilityKeys;

/// 32 bytes in Base64.
const SECRET: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

static LINK_KEYS: LazyLock<LinkKeys> = LazyLock::new(|| {
    let text = format!("new = \"{SECRET}\"\nold = \"{}\"\n", SECRET.to_ascii_lowercase());
    from_file(&text, |path| LinkKeys::load(path).expect("two keys"))
});

static CAPABILITY_KEYS: LazyLock<(CapabilityKeys, String)> = LazyLock::new(|| {
    from_file(SECRET, |path| {
        let target = "example.org:22".parse().expect("a target");
        let minted = CapabilityKeys::sign(path, &target, std::time::Duration::MAX, true).expect("a key");
        let token = minted.rsplit_once('/').expect("a path").1.to_owned();
        let keys = CapabilityKeys::open(path).expect("a key");
        assert_eq!(keys.verify(&token).expect("genuine").target, target);
        (keys, token)
    })
});

fuzz_target!(|data: &[u8]| {
    let [at, bits, data @ ..] = data else { return };
    let change = |token: &str| changed(token, usize::from(*at), *bits);
    let (capabilities, capability) = &*CAPABILITY_KEYS;
    if let Some(other) = change(capability) {
        assert!(capabilities.verify(&other).is_err(), "{other}");
    }
    if let Ok(text) = std::str::from_utf8(data) {
        assert!(capabilities.verify(text).is_err(), "nobody guesses a signature");
        assert_eq!(LINK_KEYS.verify(text).err(), Some(LinkError::NotGenuine));
        let _ = unverified(text);
        address(text);
    }
    let Ok(terms) = serde_json::from_slice::<Terms>(data) else { return };
    let Ok(token) = LINK_KEYS.sign(terms.clone()) else { return };
    let signed = Terms { key: "new".to_owned(), ..terms };
    let link = LINK_KEYS.verify(&token).expect("just signed");
    assert_eq!(*link, signed);
    assert_eq!(unverified(&token).as_ref(), Some(&signed));
    if let Some(other) = change(&token) {
        assert_eq!(LINK_KEYS.verify(&other).err(), Some(LinkError::NotGenuine), "{other}");
    }
    scope(&link);
    let path = format!("/l/{token}{}", link.address());
    let addressed = split(&path).expect("a token");
    assert_eq!((addressed.token, addressed.rest), (&*token, &*link.address()));
    assert!(!without_token(&path).contains(&token));
});

/// What can be asked about a link's scope.
fn scope(link: &Link) {
    let address = link.address();
    assert!(link.covers(&address), "{address}");
    assert_eq!(link.leads_to(&address), None);
    assert_eq!(link.leads_to("").as_ref(), Some(&address));
    let selected = link.selected_below("").unwrap_or_default();
    assert!(selected.is_sorted() && selected.len() <= link.files.len());
}

fn address(path: &str) {
    let shown = without_token(path);
    match split(path) {
        Some(addressed) => {
            assert_eq!([addressed.base(path), addressed.rest].concat(), path);
            assert_eq!(shown, format!("/l/…{}", addressed.rest));
        }
        None => assert_eq!(shown, path),
    }
}

/// The token with another byte at `at`, or cut there if `bits` changes nothing.
fn changed(token: &str, at: usize, bits: u8) -> Option<String> {
    let mut bytes = token.as_bytes().to_vec();
    let at = at * 31 % bytes.len();
    match bits & 0x7f {
        0 => bytes.truncate(at),
        bits => bytes[at] ^= bits,
    }
    String::from_utf8(bytes).ok()
}

/// What `load` makes of a file with this text.
fn from_file<T>(text: &str, load: impl FnOnce(&std::path::Path) -> T) -> T {
    let folder: PathBuf = std::env::temp_dir().join(format!("outflow-fuzz-tokens-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder for temporary files");
    let file = folder.join("keys");
    std::fs::write(&file, text).expect("a temporary file");
    let loaded = load(&file);
    let _ = std::fs::remove_dir_all(&folder);
    loaded
}
