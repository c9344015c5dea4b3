//! What people type who know other programs, or earlier versions of this one.

use outflow_texts::{Text, text};

use crate::run::listen::ListenAddress;

/// Commands, the flags that they do not have, and the advice for the value that was typed.
type OptionAdvice = (&'static [&'static str], &'static str, fn(&str) -> Text);
/// The command above, names that it does not have, and the advice.
type CommandAdvice = (&'static str, &'static [&'static str], fn() -> Text);

/// Flags of other servers for a port.
const PORT: &str = "--port -p";
/// Flags of other servers for a host.
const HOST: &str = "--host --bind --interface --interfaces -b -i";

/// Flags of other servers for a certificate.
const CERTIFICATE: &str = "--cert --certificate --ssl-cert --tls-certificate";
/// Flags of other servers for a private key.
const KEY: &str = "--key --private-key --ssl-key";

/// Advice for an option that a command does not have. It may repeat the value that was typed.
const OPTIONS: &[OptionAdvice] = &[
    // Addresses: nginx, caddy, python -m http.server, miniserve, dufs, static-web-server, kcup.
    (&["serve", "tunnel serve"], PORT, |value| text!(hint_port, value)),
    (&["serve", "tunnel serve"], HOST, |host| text!(hint_host, address = %ListenAddress::of(host, 8080))),
    (&["serve", "tunnel serve"], "--address --addr --listen-address -l -a", |_| text!(hint_address)),
    (&["file"], "--listen --bind --address", |_| text!(hint_file_listen)),
    (&["relay"], "--listen --bind --port", |_| text!(hint_relay_listen)),
    (&["relay"], "--target --backend --to", |_| text!(hint_relay_target)),
    // What is served.
    (&["serve"], "--root --dir --directory --path --docroot --folder -d -r", |value| text!(hint_root, value)),
    (&["serve"], "--bucket --s3", |_| text!(hint_bucket)),
    (&["serve"], "--zip --enable-zip --archive", |_| text!(hint_zip)),
    (&["serve"], "--all -A", |_| text!(hint_all)),
    (&["serve"], "--symlinks --follow-links --allow-symlink", |_| text!(hint_symlinks)),
    (&["serve"], "--auth --password --basic-auth", |_| text!(hint_auth)),
    (&["serve"], "--cors", |_| text!(hint_cors)),
    // TLS.
    (&["serve", "file", "tunnel serve"], CERTIFICATE, |value| text!(hint_cert, value)),
    (&["serve", "file", "tunnel serve"], KEY, |value| text!(hint_key, value)),
    (&["serve", "tunnel serve"], "--tls --https --ssl", |_| text!(hint_tls)),
    (&["serve", "tunnel serve"], "--domain --letsencrypt --lets-encrypt", |value| text!(hint_domain, value)),
    // Limits and times.
    (&["serve", "file", "tunnel serve", "relay"], "--workers -j --jobs", |value| text!(hint_workers, value)),
    (&["serve", "file", "tunnel serve", "relay"], "--maxconn --connections --max-clients", |value| {
        text!(hint_maxconn, value)
    }),
    (&["serve", "file", "tunnel serve", "relay"], "--grace --grace-period --shutdown-timeout", |value| {
        text!(hint_grace, value)
    }),
    (&["relay"], "--timeout", |_| text!(hint_relay_timeout)),
    (&["serve", "file", "tunnel serve"], "--timeout", |value| text!(hint_timeout, value)),
    (&["serve"], "--allow --users --open", |_| text!(hint_allow)),
    (&["tunnel serve"], "--tunnel-allow --tunnel-users --tunnel-open", |_| {
        text!(hint_tunnel_serve_tunnel_allow)
    }),
    (&["serve"], "--keys --link-key", |value| text!(hint_keys, value)),
    (&["serve", "tunnel serve"], "--email --acme-email --mail", |value| text!(hint_email, value)),
    (&["serve"], "-f --file", |value| text!(hint_serve_file, value)),
    (&["config check"], "--config -c", |value| text!(hint_config_check_config, value)),
    (&["completions"], "--shell", |value| text!(hint_completions_shell, value)),
    (&["tunnel listen"], "-L -R", |_| text!(hint_tunnel_listen_forward)),
    (&["file"], "--stdin-read-timeout-seconds", |value| text!(hint_file_stdin_read_timeout_seconds, value)),
    (
        &["serve", "file", "tunnel serve", "tunnel connect", "tunnel listen", "relay"],
        "--verbose -v -vv --debug",
        |_| text!(hint_verbose),
    ),
    (
        &["serve", "file", "tunnel serve", "tunnel connect", "tunnel listen", "relay"],
        "--quiet -q --silent",
        |_| text!(hint_quiet),
    ),
    // The ledger.
    (&["serve"], "--db --database --state --store", |_| text!(hint_db)),
    (&["serve"], "--keep --retention", |value| text!(hint_keep, value)),
    // Transfers and links.
    (&["publish"], "--store --bucket --destination -o", |value| text!(hint_publish_store, value)),
    (&["publish", "link create"], "--ttl --expire --expiry --expires-in --valid-for", |value| {
        text!(hint_ttl, value)
    }),
    (&["publish"], "--name", |value| text!(hint_publish_name, value)),
    (&["link create"], "--to --for --email --user", |value| text!(hint_link_create_to, value)),
    (&["link create"], "--max --limit --uses", |value| text!(hint_link_create_max, value)),
    (&["link create", "link show"], "--key --keys --key-file", |value| text!(hint_link_keys, value)),
    (&["link create"], "--url --server --host", |value| text!(hint_link_create_url, value)),
    (&["transfer list", "transfer remove"], "--to --from", |value| text!(hint_to, value)),
    // Tunnels.
    (&["tunnel connect", "tunnel listen"], "--token", |_| text!(hint_token)),
    (&["tunnel connect", "tunnel listen"], "--insecure -k", |_| text!(hint_insecure)),
    (&["tunnel connect", "tunnel listen"], "--proxy -x", |_| text!(hint_proxy)),
];

/// Advice for a command that does not exist.
const COMMANDS: &[CommandAdvice] = &[
    ("", &["downloads", "ls-downloads"], || text!(hint_command_downloads)),
    ("", &["events"], || text!(hint_command_events)),
    ("", &["transfers", "ls", "list"], || text!(hint_command_transfers)),
    ("", &["unpublish", "delete", "rm", "remove"], || text!(hint_command_unpublish)),
    ("", &["links"], || text!(hint_command_links)),
    ("", &["link-key", "link-keys", "keygen"], || text!(hint_command_link_key)),
    ("", &["link-show"], || text!(hint_command_link_show)),
    ("", &["link-revoke", "revoke"], || text!(hint_command_link_revoke)),
    ("", &["share", "send"], || text!(hint_command_share)),
    ("", &["webhook", "webhooks", "webhook-secret", "secret"], || text!(hint_command_webhook)),
    ("", &["upload", "put", "push", "cp", "copy"], || text!(hint_command_upload)),
    ("", &["start", "run", "server", "http", "web", "up", "daemon"], || text!(hint_command_start)),
    ("", &["zip", "archive"], || text!(hint_command_zip)),
    ("", &["proxy", "forward", "lb"], || text!(hint_command_proxy)),
    ("", &["ssh", "connect"], || text!(hint_command_ssh)),
    ("", &["version"], || text!(hint_command_version)),
    ("", &["completion"], || text!(hint_command_completion)),
    ("", &["validate", "test", "check"], || text!(hint_command_validate)),
    ("link", &["make", "new", "add"], || text!(hint_command_link_make)),
    ("link", &["key", "gen-key", "genkey", "key-gen"], || text!(hint_command_link_keygen)),
    ("link", &["delete", "rm", "remove"], || text!(hint_command_link_delete)),
    ("link", &["ls"], || text!(hint_command_link_ls)),
    ("transfer", &["publish", "create", "add", "upload"], || text!(hint_command_transfer_publish)),
    ("transfer", &["ls"], || text!(hint_command_transfer_ls)),
    ("transfer", &["delete", "rm", "unpublish"], || text!(hint_command_transfer_delete)),
    ("event", &["ls"], || text!(hint_command_event_ls)),
    ("event", &["resend", "retry", "send"], || text!(hint_command_event_resend)),
    ("event", &["enable"], || text!(hint_command_event_enable)),
    ("download", &["ls"], || text!(hint_command_download_ls)),
    ("config", &["validate", "test"], || text!(hint_command_config_validate)),
    ("config", &["print", "dump", "list"], || text!(hint_command_config_print)),
    ("tunnel", &["server"], || text!(hint_command_tunnel_server)),
    ("tunnel", &["client"], || text!(hint_command_tunnel_client)),
    ("tunnel", &["reverse"], || text!(hint_command_tunnel_reverse)),
];

/// Advice for a flag for a host or a port, if there is one for the other as well. `value_of` is the
/// value of a flag in the command line.
pub(super) fn address<'a>(
    path: &[&str],
    flag: &str,
    value_of: impl Fn(&str) -> Option<&'a str>,
) -> Option<Text> {
    let (host, port) = (HOST.split(' '), PORT.split(' '));
    let is_of_address = host.clone().chain(port.clone()).any(|known| known == flag);
    if !is_of_address || !["serve", "tunnel serve"].contains(&path.get(1..)?.join(" ").as_str()) {
        return None;
    }
    let port = port.into_iter().find_map(&value_of)?.parse().ok()?;
    let address = ListenAddress::of(host.into_iter().find_map(&value_of)?, port);
    Some(text!(hint_host_and_port, %address))
}

/// Advice for an option at a command, whose path begins with `outflow`.
pub(super) fn option(path: &[&str], flag: &str, value: Option<&str>) -> Option<Text> {
    let command = path.get(1..)?.join(" ");
    let (.., advice) = OPTIONS.iter().find(|(commands, flags, _)| {
        commands.contains(&command.as_str()) && flags.split(' ').any(|known| known == flag)
    })?;
    let placeholder = ["PORT", "HOST", "FILE", "VALUE"];
    let standing = match flag {
        "--port" | "-p" => placeholder[0],
        "--host" | "--bind" => placeholder[1],
        _ if CERTIFICATE.split(' ').chain(KEY.split(' ')).any(|known| known == flag) => placeholder[2],
        _ => placeholder[3],
    };
    Some(advice(value.unwrap_or(standing)))
}

/// Advice for a command below another one.
pub(super) fn command(path: &[&str], typed: &str) -> Option<Text> {
    let above = path.get(1..)?.join(" ");
    let found = COMMANDS.iter().find(|(under, names, _)| *under == above && names.contains(&typed));
    found.map(|(.., advice)| advice())
}
