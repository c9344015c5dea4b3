//! `outflow tunnel ssh-config`: what to write into `~/.ssh/config`.

use std::fmt::Write as _;
use std::path::Path;

use clap::{Args, ValueEnum as _};
use outflow_tunnel::client::Address;

use super::client::ClientOptions;
use crate::Failure;

/// What it can be told.
#[derive(Args, Clone, Debug)]
pub(crate) struct SshConfigOptions {
    /// The server, such as https://example.org
    #[arg(value_name = "URL")]
    url: String,

    /// The hosts that are reached through it, as ssh_config(5) writes them
    #[arg(value_name = "PATTERN", default_value = "*")]
    pattern: String,

    #[command(flatten)]
    client: ClientOptions,
}

pub(crate) fn run(options: &SshConfigOptions) -> Result<(), Failure> {
    let _: Address = options
        .url
        .parse()
        .map_err(|error: outflow_tunnel::client::BadAddress| Failure::Usage(error.into()))?;
    if options.pattern.chars().any(char::is_control) {
        return Err(Failure::Usage(anyhow::anyhow!("{:?} is no pattern of hosts", options.pattern)));
    }
    print!("{}", stanza(options));
    Ok(())
}

fn stanza(options: &SshConfigOptions) -> String {
    let mut command = "outflow tunnel connect".to_owned();
    let client = &options.client;
    let mut flag = |name: &str, value: &str| {
        // Nothing can be said about a String that cannot be written to.
        let _ = write!(command, " {name} {}", quoted(value));
    };
    if let Some(path) = &client.token_file {
        flag("--token-file", &absolute(path));
    }
    for path in &client.cacert {
        flag("--cacert", &absolute(path));
    }
    if client.via != super::client::Via::ConnectTcp
        && let Some(via) = client.via.to_possible_value()
    {
        flag("--via", via.get_name());
    }
    if client.no_resume {
        command.push_str(" --no-resume");
    }
    format!("Host {}\n    ProxyCommand {command} {} %h %p\n", options.pattern, quoted(&options.url))
}

/// ssh runs the command from wherever it was started itself.
fn absolute(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).to_string_lossy().into_owned()
}

/// As ssh and the shell that it hands the command to both understand it: % doubled, in quotes where it has to be.
fn quoted(text: &str) -> String {
    let text = text.replace('%', "%%");
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+=,".contains(c);
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: SshConfigOptions,
    }

    fn printed(arguments: &[&str]) -> String {
        stanza(&Line::parse_from([&["x"], arguments].concat()).options)
    }

    #[test]
    fn what_was_said_to_it_is_said_to_the_client() {
        assert_eq!(
            printed(&["https://h", "*.corp"]),
            "Host *.corp\n    ProxyCommand outflow tunnel connect https://h %h %p\n"
        );
        let more = [
            "https://h/a%20b{?target_host,target_port}",
            "--token-file",
            "/it's",
            "--via=websocket",
            "--no-resume",
        ];
        assert_eq!(
            printed(&more),
            "Host *\n    ProxyCommand outflow tunnel connect --token-file '/it'\\''s' --via websocket --no-resume \
             'https://h/a%%20b{?target_host,target_port}' %h %p\n"
        );
    }
}
