//! `outflow tunnel ssh-config`: the stanza for `~/.ssh/config`.

use std::fmt::Write as _;
use std::path::Path;

use clap::{Args, ValueEnum as _};
use outflow_texts::console;
use outflow_tunnel::client::TunnelUrl;

use super::client::TunnelClientArgs;
use crate::failure::Failure;

#[derive(Args, Clone, Debug)]
pub(crate) struct SshConfigArgs {
    /// Server, such as https://example.org
    #[arg(value_name = "URL")]
    url: String,

    /// Hosts that ssh reaches through the tunnel, in the form of ssh_config(5)
    #[arg(value_name = "PATTERN", default_value = "*")]
    pattern: String,

    #[command(flatten)]
    client: TunnelClientArgs,
}

pub(crate) fn run(options: &SshConfigArgs) -> Result<(), Failure> {
    let _: TunnelUrl = options
        .url
        .parse()
        .map_err(|error: outflow_tunnel::client::AddressError| Failure::Usage(error.into()))?;
    if options.pattern.chars().any(char::is_control) {
        return Err(Failure::Usage(anyhow::anyhow!(console!(
            tunnel_bad_pattern,
            pattern = format!("{:?}", options.pattern)
        ))));
    }
    print!("{}", stanza(options));
    Ok(())
}

fn stanza(options: &SshConfigArgs) -> String {
    let mut command = "outflow tunnel connect".to_owned();
    let client = &options.client;
    let mut flag = |name: &str, value: &str| {
        // Writing to a String cannot fail.
        let _ = write!(command, " {name} {}", quoted(value));
    };
    if let Some(path) = &client.token_file {
        flag("--token-file", &absolute(path));
    }
    for path in &client.cacert {
        flag("--cacert", &absolute(path));
    }
    if client.via != super::client::ViaArg::ConnectTcp
        && let Some(via) = client.via.to_possible_value()
    {
        flag("--via", via.get_name());
    }
    if !client.resume {
        command.push_str(" --no-resume");
    }
    format!("Host {}\n    ProxyCommand {command} {} %h %p\n", options.pattern, quoted(&options.url))
}

/// ssh runs the command in its own working directory.
fn absolute(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).to_string_lossy().into_owned()
}

/// Quotes for ssh and for the shell that runs the command: % doubled, in quotes where needed.
fn quoted(text: &str) -> String {
    let text = text.replace('%', "%%");
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+=,".contains(c);
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, FromArgMatches as _, Parser};

    use super::*;
    use crate::options;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: SshConfigArgs,
    }

    fn printed(arguments: &[&str]) -> String {
        let arguments: Vec<_> = ["x"].iter().chain(arguments).map(Into::into).collect();
        let command = options::complete(Line::command());
        let line = options::parse(&command, arguments).ok().expect("the arguments are right");
        stanza(&Line::from_arg_matches(&line.matches).unwrap().options)
    }

    #[test]
    fn options_are_passed_on_to_the_client() {
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
