//! What people type who know other programs, or earlier versions of this one.

use crate::run::listen::ListenAddress;

/// Flags of other servers for a port.
const PORT: &str = "--port -p";
/// Flags of other servers for a host.
const HOST: &str = "--host --bind --interface --interfaces -b -i";

/// Advice for an option that a command does not have. `{}` stands for the value that was typed.
const OPTIONS: &[(&[&str], &str, &str)] = &[
    // Addresses: nginx, caddy, python -m http.server, miniserve, dufs, static-web-server, kcup.
    (&["serve", "tunnel serve"], PORT, "choose a port with --listen 127.0.0.1:{}"),
    (&["serve", "tunnel serve"], HOST, "choose an address with --listen {}:8080"),
    (
        &["serve", "tunnel serve"],
        "--address --addr --listen-address -l -a",
        "choose an address with --listen HOST:PORT",
    ),
    (&["file"], "--listen --bind --address", "choose an address with --host HOST and --port PORT"),
    (&["relay"], "--listen --bind --port", "the address is the first argument: outflow relay LISTEN TARGET"),
    (&["relay"], "--target --backend --to", "targets are arguments: outflow relay LISTEN TARGET"),
    // What is served.
    (
        &["serve"],
        "--root --dir --directory --path --docroot --folder -d -r",
        "the folder is an argument: outflow serve {}",
    ),
    (&["serve"], "--bucket --s3", "a store is an argument: outflow serve s3://BUCKET/PREFIX"),
    (
        &["serve"],
        "--zip --enable-zip --archive",
        "every folder can be fetched as a ZIP: its address and ?zip",
    ),
    (&["serve"], "--all -A", "--hidden serves names that begin with a dot"),
    (
        &["serve"],
        "--symlinks --follow-links --allow-symlink",
        "--follow-symlinks follows links out of the folder",
    ),
    (
        &["serve"],
        "--auth --password --basic-auth",
        "links protect files: --link-keys and --require-links; for logins put a proxy in front",
    ),
    (&["serve"], "--cors", "for channels there is --channel-origin; for files put a proxy in front"),
    // TLS.
    (
        &["serve", "file", "tunnel serve"],
        "--cert --certificate --ssl-cert --tls-certificate",
        "name the certificate with --tls-cert {}",
    ),
    (
        &["serve", "file", "tunnel serve"],
        "--key --private-key --ssl-key",
        "name the private key with --tls-key {}",
    ),
    (
        &["serve", "tunnel serve"],
        "--tls --https --ssl",
        "TLS needs --tls-cert and --tls-key, or --acme DOMAIN",
    ),
    (
        &["serve", "tunnel serve"],
        "--domain --letsencrypt --lets-encrypt",
        "obtain a certificate with --acme {}",
    ),
    // Limits and times.
    (
        &["serve", "file", "tunnel serve", "relay"],
        "--workers -j --jobs",
        "the number of threads is --threads {}",
    ),
    (
        &["serve", "file", "tunnel serve", "relay"],
        "--maxconn --connections --max-clients",
        "the limit is --max-connections {}",
    ),
    (
        &["serve", "file", "tunnel serve", "relay"],
        "--grace --grace-period --shutdown-timeout",
        "the time to finish is --drain {}",
    ),
    (&["relay"], "--timeout", "there are --connect-timeout and --idle-timeout"),
    (&["serve", "file", "tunnel serve"], "--timeout", "the time to finish after a signal is --drain {}"),
    (&["serve"], "--allow --users --open", "options of tunnels begin with --tunnel-: outflow serve --help"),
    (
        &["tunnel serve"],
        "--tunnel-allow --tunnel-users --tunnel-open",
        "leave out tunnel-: outflow tunnel serve --help",
    ),
    (&["serve"], "--keys --link-key", "the file of keys is --link-keys {}"),
    (&["serve", "tunnel serve"], "--email --acme-email --mail", "the address is --acme-contact {}"),
    (&["serve"], "-f --file", "the file is an argument: outflow serve {}"),
    (&["config check"], "--config -c", "the file is an argument: outflow config check {}"),
    (&["completions"], "--shell", "the shell is an argument: outflow completions {}"),
    (&["tunnel listen"], "-L -R", "addresses are arguments: outflow tunnel listen ADDRESS URL HOST PORT"),
    (
        &["file"],
        "--stdin-read-timeout-seconds",
        "it is --stdin-timeout now, with a unit: --stdin-timeout {}s",
    ),
    (
        &["serve", "file", "tunnel serve", "tunnel connect", "tunnel listen", "relay"],
        "--verbose -v -vv --debug",
        "more is logged by --log-level debug",
    ),
    (
        &["serve", "file", "tunnel serve", "tunnel connect", "tunnel listen", "relay"],
        "--quiet -q --silent",
        "less is logged by --log-level error",
    ),
    // The ledger.
    (&["serve"], "--db --database --state --store", "name the ledger with --ledger sqlite:PATH"),
    (&["serve"], "--keep --retention", "how long records are kept is --ledger-keep {}"),
    // Transfers and links.
    (&["publish"], "--store --bucket --destination -o", "name the store with --to {}"),
    (
        &["publish", "link create"],
        "--ttl --expire --expiry --expires-in --valid-for",
        "the time is --expires {}",
    ),
    (&["publish"], "--name", "the name of the transfer is --id {}"),
    (&["link create"], "--to --for --email --user", "the recipient is --recipient {}"),
    (&["link create"], "--max --limit --uses", "the limit is --max-downloads {}"),
    (&["link create", "link show"], "--key --keys --key-file", "the file of keys is --link-keys {}"),
    (&["link create"], "--url --server --host", "the URL of the server is --base-url {}"),
    (&["transfer list", "transfer remove"], "--to --from", "name the store with --store {}"),
    // Tunnels.
    (
        &["tunnel connect", "tunnel listen"],
        "--token",
        "a token on the command line can be seen by others: --token-file FILE, or OUTFLOW_TUNNEL_TOKEN",
    ),
    (
        &["tunnel connect", "tunnel listen"],
        "--insecure -k",
        "trust the server's authority with --cacert FILE",
    ),
    (&["tunnel connect", "tunnel listen"], "--proxy -x", "proxies come from https_proxy and http_proxy"),
];

/// Advice for a command that does not exist.
const COMMANDS: &[(&str, &str, &str)] = &[
    ("", "downloads ls-downloads", "downloads are listed by outflow download list"),
    ("", "events", "events are listed by outflow event list"),
    ("", "transfers ls list", "transfers are listed by outflow transfer list"),
    ("", "unpublish delete rm remove", "a transfer is deleted by outflow transfer remove ID"),
    ("", "links", "links are listed by outflow link list"),
    ("", "link-key link-keys keygen", "a key for links is made by outflow link keygen"),
    ("", "link-show", "a link is shown by outflow link show URL"),
    ("", "link-revoke revoke", "a link is revoked by outflow link revoke URL"),
    ("", "share send", "a link is made by outflow link create URL --recipient WHO"),
    ("", "webhook webhooks webhook-secret secret", "a secret is made by outflow endpoint keygen"),
    ("", "upload put push cp copy", "files are uploaded by outflow publish PATH --to STORE"),
    ("", "start run server http web up daemon", "a folder is served by outflow serve PATH"),
    ("", "zip archive", "outflow serve PATH serves every folder as a ZIP: its address and ?zip"),
    ("", "proxy forward lb", "connections are passed on by outflow relay LISTEN TARGET"),
    ("", "ssh connect", "ssh goes through outflow tunnel connect"),
    ("", "version", "the version is shown by outflow --version"),
    ("", "completion", "completions are printed by outflow completions SHELL"),
    ("", "validate test check", "a configuration file is checked by outflow config check FILE"),
    ("link", "make new add", "a link is made by outflow link create"),
    ("link", "key gen-key genkey key-gen", "a key is made by outflow link keygen"),
    ("link", "delete rm remove", "a link is ended by outflow link revoke"),
    ("link", "ls", "links are listed by outflow link list"),
    ("transfer", "publish create add upload", "a transfer is made by outflow publish PATH --to STORE"),
    ("transfer", "ls", "transfers are listed by outflow transfer list"),
    ("transfer", "delete rm unpublish", "a transfer is deleted by outflow transfer remove"),
    ("event", "ls", "events are listed by outflow event list"),
    ("event", "resend retry send", "events are sent again by outflow event replay"),
    ("event", "enable", "an endpoint is enabled by outflow endpoint enable ID"),
    ("download", "ls", "downloads are listed by outflow download list"),
    ("config", "validate test", "a file is checked by outflow config check FILE"),
    ("config", "print dump list", "effective values are shown by outflow config show"),
    ("tunnel", "server", "a tunnel server is started by outflow tunnel serve"),
    ("tunnel", "client", "the clients are outflow tunnel connect and outflow tunnel listen"),
    ("tunnel", "reverse", "a tunnel in reverse is outflow tunnel listen --reverse"),
];

/// Advice for a flag for a host or a port, if there is one for the other as well. `value_of` is the
/// value of a flag in the command line.
pub(super) fn address<'a>(
    path: &[&str],
    flag: &str,
    value_of: impl Fn(&str) -> Option<&'a str>,
) -> Option<String> {
    let (host, port) = (HOST.split(' '), PORT.split(' '));
    let is_of_address = host.clone().chain(port.clone()).any(|known| known == flag);
    if !is_of_address || !["serve", "tunnel serve"].contains(&path.get(1..)?.join(" ").as_str()) {
        return None;
    }
    let port = port.into_iter().find_map(&value_of)?.parse().ok()?;
    let address = ListenAddress::of(host.into_iter().find_map(&value_of)?, port);
    Some(format!("choose the address and the port with --listen {address}"))
}

/// Advice for an option at a command, whose path begins with `outflow`.
pub(super) fn option(path: &[&str], flag: &str, value: Option<&str>) -> Option<String> {
    let command = path.get(1..)?.join(" ");
    let (.., advice) = OPTIONS.iter().find(|(commands, flags, _)| {
        commands.contains(&command.as_str()) && flags.split(' ').any(|known| known == flag)
    })?;
    let placeholder = ["PORT", "HOST", "FILE", "VALUE"];
    let standing = match flag {
        "--port" | "-p" => placeholder[0],
        "--host" | "--bind" => placeholder[1],
        _ if advice.contains("--tls-") => placeholder[2],
        _ => placeholder[3],
    };
    Some(advice.replace("{}", value.unwrap_or(standing)))
}

/// Advice for a command below another one.
pub(super) fn command(path: &[&str], typed: &str) -> Option<&'static str> {
    let above = path.get(1..)?.join(" ");
    let found = COMMANDS
        .iter()
        .find(|(under, names, _)| *under == above && names.split(' ').any(|name| name == typed));
    found.map(|(.., advice)| *advice)
}
