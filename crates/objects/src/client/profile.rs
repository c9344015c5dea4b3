//! The files that the AWS tools share: `~/.aws/config` and `~/.aws/credentials`, as far as a store
//! needs them.
//!
//! Reads keys, token, region and endpoint of a profile. Ways to get credentials from others (SSO,
//! roles, `credential_process`) are recognised and refused with advice.
//!
//! No library: the AWS tools' dialect of INI nests keys by indentation and cuts comments after a
//! blank, which the INI crates do not read, and the AWS SDK's own loader brings its whole runtime
//! along. 50 lines parse it.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

/// The settings of a profile.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Profile {
    pub(crate) key_id: Option<String>,
    pub(crate) secret: Option<String>,
    pub(crate) token: Option<String>,
    pub(crate) region: Option<String>,
    pub(crate) endpoint: Option<String>,
    /// The key that stands for an unsupported way to get credentials.
    pub(crate) elsewhere: Option<&'static str>,
}

impl fmt::Debug for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Profile")
            .field("region", &self.region)
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

/// Keys that stand for ways to get credentials from others.
const ELSEWHERE: [&str; 5] =
    ["sso_session", "sso_start_url", "role_arn", "credential_process", "web_identity_token_file"];

type Sections = HashMap<String, HashMap<String, String>>;

/// The profile that the environment chooses. Missing files count as empty.
pub(crate) fn read(env: impl Fn(&str) -> Option<OsString>) -> Result<Profile, String> {
    let home = env("HOME").map(PathBuf::from);
    let file = |variable: &str, name: &str| {
        env(variable).map(PathBuf::from).or_else(|| Some(home.as_ref()?.join(".aws").join(name)))
    };
    let text = |path: Option<PathBuf>| path.and_then(|path| std::fs::read_to_string(path).ok());
    let config = text(file("AWS_CONFIG_FILE", "config"));
    let credentials = text(file("AWS_SHARED_CREDENTIALS_FILE", "credentials"));
    let chosen = env("AWS_PROFILE").or_else(|| env("AWS_DEFAULT_PROFILE"));
    let chosen = chosen.and_then(|name| name.into_string().ok()).filter(|name| !name.is_empty());
    let name = chosen.as_deref().unwrap_or("default");
    match choose(config.as_deref().unwrap_or(""), credentials.as_deref().unwrap_or(""), name) {
        Some(profile) => Ok(profile),
        None if chosen.is_some() => Err(format!(
            "AWS_PROFILE names the profile {name:?}, which is neither in ~/.aws/config nor in ~/.aws/credentials"
        )),
        None => Ok(Profile::default()),
    }
}

fn choose(config: &str, credentials: &str, name: &str) -> Option<Profile> {
    let config = parse(config);
    let credentials = parse(credentials);
    let section = if name == "default" && config.contains_key(name) {
        config.get(name)
    } else {
        config.get(&format!("profile {name}"))
    };
    let keys = credentials.get(name);
    if section.is_none() && keys.is_none() {
        return None;
    }
    // The credentials file has precedence.
    let get = |key: &str| {
        let value = keys.and_then(|keys| keys.get(key)).or_else(|| section.and_then(|s| s.get(key)));
        value.filter(|value| !value.is_empty()).cloned()
    };
    let service = get("services")
        .and_then(|name| config.get(&format!("services {name}"))?.get("s3.endpoint_url").cloned());
    let endpoint = service.or_else(|| get("s3.endpoint_url")).or_else(|| get("endpoint_url"));
    let key_id = get("aws_access_key_id");
    let elsewhere =
        if key_id.is_none() { ELSEWHERE.into_iter().find(|key| get(key).is_some()) } else { None };
    Some(Profile {
        secret: get("aws_secret_access_key"),
        token: get("aws_session_token"),
        region: get("region"),
        key_id,
        endpoint,
        elsewhere,
    })
}

/// Sections of `key = value`; an indented line belongs to the key above and is called `above.key`.
fn parse(text: &str) -> Sections {
    let mut sections = Sections::new();
    let mut section = None;
    let mut above = String::new();
    for line in text.lines() {
        let content = line.trim();
        if content.is_empty() || content.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = content.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            let name = name.split_whitespace().collect::<Vec<_>>().join(" ");
            section = Some(name.replace(['"', '\''], ""));
            above.clear();
            continue;
        }
        let (Some(section), Some((key, value))) = (&section, content.split_once('=')) else { continue };
        let mut key = key.trim().to_ascii_lowercase();
        // A comment after a value begins with a blank.
        let value = value.split(" #").next().unwrap_or_default().trim().to_owned();
        if line.starts_with([' ', '\t']) && !above.is_empty() {
            key = format!("{above}.{key}");
        } else {
            above.clone_from(&key);
        }
        sections.entry(section.clone()).or_default().insert(key, value);
    }
    sections
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "
        # comment
[default]
region = eu-central-1   # where it is
[profile  minio]
region=us-east-1
endpoint_url = http://127.0.0.1:9000
[profile nested]
s3 =
    endpoint_url = http://nested:1
    max_concurrent_requests = 20
[profile serviced]
services = local
[services local]
s3 =
  endpoint_url = http://serviced:2
dynamodb =
  endpoint_url = http://wrong:3
[profile single]
sso_session = corp
";
    const CREDENTIALS: &str = "[default]
aws_access_key_id = ID
aws_secret_access_key = SE=CRET
[minio]
aws_access_key_id=ID2
aws_secret_access_key=SECRET2
aws_session_token=TOKEN
";

    #[test]
    fn profiles_are_found_in_both_files() {
        let default = choose(CONFIG, CREDENTIALS, "default").unwrap();
        assert_eq!(default.secret.as_deref(), Some("SE=CRET"));
        assert_eq!(default.region.as_deref(), Some("eu-central-1"));
        let minio = choose(CONFIG, CREDENTIALS, "minio").unwrap();
        assert_eq!(minio.token.as_deref(), Some("TOKEN"));
        assert_eq!(minio.endpoint.as_deref(), Some("http://127.0.0.1:9000"));
        let nested = choose(CONFIG, CREDENTIALS, "nested").unwrap();
        assert_eq!(nested.endpoint.as_deref(), Some("http://nested:1"));
        let serviced = choose(CONFIG, CREDENTIALS, "serviced").unwrap();
        assert_eq!(serviced.endpoint.as_deref(), Some("http://serviced:2"));
        assert_eq!(choose(CONFIG, CREDENTIALS, "single").unwrap().elsewhere, Some("sso_session"));
        assert_eq!(choose(CONFIG, CREDENTIALS, "nobody"), None);
        assert_eq!(choose("", "", "default"), None);
    }

    #[test]
    fn a_profile_shows_no_secret() {
        let shown = format!("{:?}", choose(CONFIG, CREDENTIALS, "minio").unwrap());
        assert!(!shown.contains("SECRET2") && !shown.contains("TOKEN") && !shown.contains("ID2"), "{shown}");
    }

    #[test]
    fn a_profile_that_was_named_has_to_exist() {
        let env = |name: &str| (name == "AWS_PROFILE").then(|| OsString::from("nobody"));
        assert!(read(env).unwrap_err().contains("nobody"));
        assert_eq!(read(|_| None).unwrap(), Profile::default());
    }
}
