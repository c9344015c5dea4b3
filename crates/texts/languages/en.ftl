# Every text that Outflow shows to people, in English. The syntax is Fluent's:
# https://projectfluent.org/fluent/guide/
#
# - NAME = TEXT. The code names a text by its NAME: text!(NAME, argument = value).
# - { $argument } stands for what the code gives. Several sentences may use it, in any order.
# - { GROUP($argument) } is a number with separators between groups of digits.
# - A text with a number has a form for each plural of the language: English has [one] and [other].
#
# To translate, copy this file to TAG.ftl, where TAG is the language's (RFC 5646), such as de or
# pt-BR. Keep the names and the arguments. A text that is left out is shown in English.

### How the language writes sizes, numbers and times

# Bytes, and six units of 1024 each, with a space between.
format_units = B KiB MiB GiB TiB PiB EiB
# In front of decimals.
format_decimal = .
# Between groups of three digits.
format_group = ,
# As of strftime; always UTC.
format_time = %Y-%m-%d %H:%M

### Problems: titles

# The titles of HTTP's status codes (RFC 9110).
status_400 = Bad Request
status_401 = Unauthorized
status_403 = Forbidden
status_404 = Not Found
status_405 = Method Not Allowed
status_406 = Not Acceptable
status_410 = Gone
status_413 = Payload Too Large
status_415 = Unsupported Media Type
status_426 = Upgrade Required
status_428 = Precondition Required
status_429 = Too Many Requests
status_500 = Internal Server Error
status_501 = Not Implemented
status_502 = Bad Gateway
status_503 = Service Unavailable
status_other = Error

missing_files_title = Selected files are missing
unreadable_files_title = Some files cannot be read
link_invalid_title = The link is not valid
link_expired_title = The link has expired
link_exhausted_title = The link has been used
link_revoked_title = The link was taken back
link_out_of_scope_title = The link is for something else
link_password_title = A password is needed
link_needed_title = A link is needed
link_too_many_tries_title = Too many wrong passwords

### Problems: any address

nothing_here = There is nothing at this address.
# $methods: a list of HTTP methods.
method_not_allowed = This address answers { $methods }.
task_lost = The server could not finish this request. Try again.
server_busy_memory = Too many large pages or forms are under way. Try again in a few seconds.
# $why: one of the texts below.
bad_address = There can be no such address: { $why }.
address_without_slash = the path does not begin with a slash
address_with_dots = the path has a component "." or ".."
address_with_nul = the path has a NUL byte
address_with_encoded_slash = the path has an encoded slash
address_with_bad_percent = the path has a % without two hexadecimal digits
address_with_backslash = the path has a backslash
# $why: one of the texts below.
bad_query = The query is invalid: { $why }.
query_two_picks = there is more than one "pick"
query_bad_pick = "pick" is not a selection
query_pick_and_file = "pick" and "file" exclude each other
query_empty_name = a selected name is empty
query_bad_name = a selected name is not a path below the folder
query_bad_percent = a value has a % without two hexadecimal digits

### Problems: files and folders

file_denied = The server may not read this. Ask its owner for the permission.
symbolic_link_refused = This is a symbolic link to a place outside the served folder.
not_a_file = This is neither a file nor a folder.
too_many_open_files = The server has too many files open. Try again in a few seconds.
folder_too_big = This folder has more than { $limit } entries, too many for one page. Open its files by their addresses, or download its archive (?zip).
unreadable = The server could not read this. Its log says why.
store_cannot_list = The store behind this server cannot list its files. Open a file by its full address.
store_unavailable = The store behind this server does not answer. Try again in a few seconds.
store_rejects = The store behind this server rejects the request. The server's log says why.
transfer_damaged = This transfer's manifest is damaged. Tell the sender of the link.
transfer_missing = There is no such transfer. It may have been removed; check the address.
transfer_expired = This transfer was available until { $time } (UTC). Ask the sender to publish it again.
cannot_record_download = The server cannot record downloads right now. Try again in a few seconds.

### Problems: selections and archives

selected_file_missing = { $name } is not in this folder. Select again.
selected_files_missing =
    { $count ->
        [one] { $count } of the selected files is
       *[other] { $count } of the selected files are
    } not in this folder. Select again.
selected_files_gone =
    { $gone } of the { $selected } selected { $selected ->
        [one] file
       *[other] files
    } { $gone ->
        [one] is
       *[other] are
    } no longer there. Select again in the folder.
unreadable_file = The server may not read { $name }, so the archive would not be complete. Select other files.
unreadable_files = The server may not read { $count } of the files, so the archive would not be complete. Select other files.
# $why: one of the texts below.
archive_too_large = This folder is too large for one archive: { $why }. Select parts of it.
more_than_files = there are more than { $limit } files and folders
nested_too_deeply = { $path }… is nested too deeply
# $error: what is wrong, in English.
archive_impossible = The server cannot make an archive of this: { $error }. Select parts of it.
archive_cannot_resume = Cannot resume: the server no longer knows which version of this archive you started. Download it again, or send its ETag in If-Range.
archive_of_a_file = Archives are made of folders. Leave out ?zip to get the file.
unknown_selection = "pick" is not a selection that this server made.
form_media_type = Send the selection as application/x-www-form-urlencoded, one "file" field for each file.
form_too_large = A form may have up to { $limit } bytes.
# $error: what went wrong, in English.
form_incomplete = The form did not arrive: { $error }.
form_empty = Nothing is selected. Go back and tick what you want.
form_too_many = Too many files are selected for one address. Select their folder instead.

### Problems: links and passwords

link_not_genuine = This link is not valid. Perhaps it was not copied completely: open it again from the message that it came in, or ask the sender for a new one.
# $why: what is wrong, in English.
link_invalid = This link was created with a mistake: { $why }. Ask the sender for a new one.
link_expired = This link expired on { $time } (UTC). Ask the sender for a new one.
link_exhausted =
    This link was for { $max ->
        [one] one download, which is complete
       *[other] { $max } downloads, which are complete
    }. Ask the sender for a new one.
link_revoked = The sender has taken back this link. Ask the sender for a new one.
link_out_of_scope = This link is for something else. Use it as you received it, or ask the sender for another one.
link_password_needed = This link needs a password. The sender of the link knows it; enter any user name.
link_password_wrong = The password is wrong. The sender of the link knows it; enter any user name.
link_too_many_tries =
    Too many wrong passwords were entered. Try again in { $seconds ->
        [one] { $seconds } second
       *[other] { $seconds } seconds
    }.
link_needed = These files need a link. Ask the person who sent you here for one.
link_password_unchecked = The server could not check the password. Try again.
link_needs_ledger = This link is for a limited number of downloads, but this server does not count downloads. Tell its operator: outflow serve needs --ledger.
link_unavailable = The server cannot look up this link right now. Try again in a few seconds.

### Problems: live progress

progress_needs_ledger = Live progress needs a ledger. Start the server with --ledger.
progress_needs_engine = Live progress needs Outflow's own HTTP engine, which this server does not use.
progress_unavailable = The server cannot look up the progress of downloads right now. Try again in a few seconds.

### Problems: the page around them

to_the_folder = To the folder
error_number = Error { $status }
# Below the first names of a list.
more_names = and { $count } more

### Pages: a folder, a transfer

folder_is_empty = This folder is empty.
download_all = Download all as ZIP
download_selected = Download selected
column_name = Name
column_size = Size
column_modified = Modified (UTC)
# Read aloud for the checkbox of a file or folder.
select_name = Select { $name }
transfer_content =
    { $files ->
        [one] { GROUP($files) } file
       *[other] { GROUP($files) } files
    }, { $size }
# Behind transfer_content. $until: time_in_utc.
transfer_available = , available until { $until }
time_in_utc = { $time } (UTC)
top_of_transfers = This is a download server. Open the link that you were sent to reach your files; there is no list of them.

### Problems: channels

channel_token_needed = A token is needed. Send it as Authorization: Bearer TOKEN, or, for subscribing, as ?token=TOKEN.
channel_token_unknown = The server does not know this token. Ask its operator for one.
channel_token_for_subscribing = This token is for subscribing only.
channel_token_for_others = This token is for other channels.
channel_one_topic = Name one topic, as ?topic=NAME or ?match=NAME: each connection is for one topic.
channel_bad_name = A channel's name has to have 1 to { $limit } letters, digits, dots, hyphens, underscores and tildes.
event_bad_name = An event's name has to have 1 to { $limit } letters, digits, dots, hyphens, underscores and tildes.
event_too_large = An event may have { $limit } bytes of data. Publish an address of the rest instead.
# $error: what went wrong, in English.
event_incomplete = The event did not arrive completely: { $error }.
event_not_text = An event is text: its data has to be UTF-8. Encode other bytes as base64.
channel_needs_engine = This server cannot serve subscribers: its HTTP engine does not hand over connections.
channel_ended = This channel has ended.
channel_busy = Subscribers have not received earlier events yet. Publish more slowly.
channel_subscribers_of_address = There are too many subscribers from this address. Close some, or share one connection.
channel_subscribers_of_token = There are too many subscribers with this token. Close some, or share one connection.
channel_full = This channel has reached its maximum number of subscribers.
channels_full = This server has reached its maximum number of channels.
channel_origin_refused = Pages of this origin may not subscribe here. The server's operator can allow it with --channel-origin.
websocket_with_body = A WebSocket handshake must not have a body.
websocket_version = Sec-WebSocket-Version has to be 13.
# $error: what is wrong, in English.
websocket_malformed = The WebSocket handshake is malformed: { $error }.

### Problems: outflow file

encoding_not_acceptable = This content is available only in encodings that Accept-Encoding excludes. Allow identity.

### Tunnels: why a server rejects one, in one line behind the status

# $error: what is wrong, in English.
tunnel_error = { $error }
tunnel_nothing_here = there is nothing at this address
tunnel_token_needed = a token is needed: Authorization: Bearer TOKEN, or as the password of Basic
tunnel_upgrade_required = request a tunnel with Upgrade: connect-tcp, websocket or purr, or with CONNECT
tunnel_methods = a tunnel is requested with GET or CONNECT
tunnel_no_upgrade = this request cannot become a tunnel: send it without a body, over HTTP/1.1 or HTTP/2
tunnel_resume_field = Outflow-Resume has to be `new`, or an id and `received=`
tunnel_session_unknown = this session does not exist: it has ended or expired
tunnel_session_of_another = this session belongs to another user
tunnel_session_out_of_window = this session cannot resume from this offset
tunnel_capsule_protocol = connect-tcp uses capsules: Capsule-Protocol has to be ?1
tunnel_connect_target = CONNECT names a host and a port: host:22
tunnel_no_target = the address has no host and port: …/tcp/HOST/PORT/
tunnel_listen_needs_capsules = a client that listens needs capsules: Upgrade: connect-tcp
tunnel_no_listen_address = the address has no host and port to listen on: …/listen/HOST/PORT/
tunnel_listen_on_name = a client can listen on an address of the server, not on a name
tunnel_listen_denied = { $address } is not among the addresses that clients may listen on
# $error: what the system reports, in English.
tunnel_cannot_listen = cannot listen on { $address }: { $error }
tunnel_websocket_version = Sec-WebSocket-Version has to be 13
tunnel_purr_request = Purr-Request has to be MEOW
tunnel_purr_version = Purr-Version has to be one of { $versions }
tunnel_origin_denied = pages of this origin may not open tunnels here
tunnel_target_denied = { $target } is not among the targets that are allowed
tunnel_address_denied = { $target } resolves to an address that is not allowed: list the address as well if it is intended
# $error: what the system reports, in English.
tunnel_not_resolved = { $name } has no address: { $error }
tunnel_resolving_slow = resolving { $name } took too long
tunnel_no_address = { $target } has no address
tunnel_no_answer = { $target } does not answer
# $error: what the system reports, in English.
tunnel_cannot_connect = cannot connect to { $target }: { $error }
tunnel_limit_of_owner =
    you have { $limit ->
        [one] { $limit } tunnel
       *[other] { $limit } tunnels
    } open already: close one
tunnel_limit_connecting = too many of your tunnels wait for their targets: try again later
tunnel_limit_of_server = the server has no room for another tunnel: try again later
tunnel_capability_invalid = this address is incomplete, or was not issued by this server: ask for a new one
tunnel_capability_expired = this address has expired: ask for a new one
tunnel_capability_used = this address was valid for one tunnel, and has been used: ask for a new one
tunnel_capability_not_recorded = the server cannot record that this address is used: try again later

### HTTPS only

https_redirect = This server uses HTTPS: see Location.
https_no_host = This server uses HTTPS, but the request does not name a valid host to redirect to.

### Command line: what several commands say

cannot_write_output = cannot write to standard output
cannot_write_json = cannot write JSON
cannot_start_runtime = cannot start a runtime
cannot_wait_for_signals = cannot wait for signals
socket_has_no_address = the listening socket has no address
cannot_set_up_tls = cannot set up TLS
server_ended = the server ended

### Command line: values of options

duration_wrong = a duration is a number with a unit: 45s, 30m, 12h, 7d or 2w
duration_needs_unit = a duration needs a unit: write { $number }s, { $number }m, { $number }h or { $number }d
duration_too_long = { $text } is more than a hundred years
duration_too_short = at least 1s is needed
retention_too_short = at least 1s is needed; --ledger none records nothing
expiry_wrong = write 30m, 12h, 7d or 2w, or a time such as 2026-12-24T18:00:00Z
network_wrong = a network is written like 10.0.0.0/8, one address like 10.0.0.1
size_wrong = a size is a number with a unit: 64KiB, 256MiB or 1GiB
size_in_powers_of_ten = sizes are in powers of 1024: write { $size }
size_too_large = { $text } is too large
element_empty = an element of the list is empty
address_wrong = an address is HOST:PORT, such as 127.0.0.1:8080 or [::]:80
address_with_scheme = an address is HOST:PORT, without a scheme; write { $address }
address_of_every_network = an address is HOST:PORT; write 0.0.0.0:{ $port } for every network
address_without_host = an address is HOST:PORT; write 127.0.0.1:{ $port } for this machine only, or 0.0.0.0:{ $port } for every network
address_is_port = an address is HOST:PORT; write 127.0.0.1:{ $port }, or 0.0.0.0:{ $port } for every network
url_path_wrong = a path begins with / and has neither ? nor #; what is not ASCII is percent-encoded
value_empty = the value is empty
header_field_wrong = a header field cannot contain control characters
link_id_wrong = a name has 1 to 64 letters, digits, hyphens and underscores
transfer_id_wrong = a transfer's name has 1 to 64 letters, digits, hyphens and underscores
password_in_command_line = other users can see a password on the command line; --password alone prompts for it, --password=- reads it from standard input, --password=@FILE from a file
one_of = one of: { $known }
# $error: what is wrong, in English.
webhook_key_wrong = { $error }
webhook_value_wrong = a value has the wrong type: url and the like are texts, secrets and events are lists of texts, allow-private is true or false

### Command line: wrong usage

# $error: one of the texts below.
usage_error =
    { $error }
    for all options: { $command } --help
# $error, $advice: two of the texts below.
error_with_advice = { $error }; { $advice }
one_and_next = { $one } and { $next }
needs_command = { $command } needs a command: { $known }
needs_argument = { $command } needs { $argument }
needs_argument_or_since = { $command } needs { $argument } or --since TIME
not_together = { $one } and { $other } cannot be used together; leave one out
another_argument = another argument
value_after_equals = { $flag } needs its value after an equals sign: { $flag }=VALUE
value_after_equals_help = { $flag } takes its value after an equals sign: `{ $command } --help` explains it
argument_not_utf8 = an argument is not UTF-8; only paths may be other bytes
# $error: what is wrong, in English.
other_usage_error = { $error }
value_is_empty = { $name } is empty; give it a value, or leave it out
needs_value = { $name } needs a value: { $name } { $value }
value_wrong = { $value } is wrong for { $name }: { $why }
value_of_variable_wrong = { $value } is wrong for { $name } (environment variable { $variable }): { $why }
# Stands for a value that is a secret.
the_value = the value
is_one_of = it is one of { $known }
is_whole_number = it is a whole number
write_boolean = write 1, true, yes or on, or 0, false, no or off
# $error: what is wrong.
value_error = { $error }
cannot_be_parsed = it cannot be parsed
wrong_number_of_values = { $flag } has the wrong number of values
switch_takes_no_value = { $switch } takes no value: { $switch } turns it on, { $off } turns it off
not_an_option_itself = { $flag } is not an option of outflow itself
has_no_option = { $command } has no option { $flag }
options_follow_command = options follow the command: { $command } { $flag }
takes_no_argument = { $command } takes no argument such as { $argument }; options begin with --
one_argument_too_many = { $argument } is one argument too many: { $command } takes { $arguments }
not_a_command = { $name } is not a command
has_no_command = { $command } has no command { $name }
did_you_mean = did you mean { $name }?
did_you_mean_in_table = did you mean { $key } in [{ $table }]?
to_serve_it = to serve it: outflow serve { $arguments }
commands_are = the commands are { $known }
variable_not_utf8 = the environment variable { $variable } is not UTF-8; set it again, or unset it

### Command line: advice for options of other programs

# $advice, $hint: two of the texts below.
advice_and_no_option = { $advice }; and no option { $flag }; { $hint }
hint_host_and_port = choose the address and the port with --listen { $address }
hint_port = choose a port with --listen 127.0.0.1:{ $value }
hint_host = choose an address with --listen { $address }
hint_address = choose an address with --listen HOST:PORT
hint_file_listen = choose an address with --host HOST and --port PORT
hint_relay_listen = the address is the first argument: outflow relay LISTEN TARGET
hint_relay_target = targets are arguments: outflow relay LISTEN TARGET
hint_root = the folder is an argument: outflow serve { $value }
hint_bucket = a store is an argument: outflow serve s3://BUCKET/PREFIX
hint_zip = every folder can be fetched as a ZIP: its address and ?zip
hint_all = --hidden serves names that begin with a dot
hint_symlinks = --follow-symlinks follows links out of the folder
hint_auth = links protect files: --link-keys and --require-links; for logins put a proxy in front
hint_cors = for channels there is --channel-origin; for files put a proxy in front
hint_cert = name the certificate with --tls-cert { $value }
hint_key = name the private key with --tls-key { $value }
hint_tls = TLS needs --tls-cert and --tls-key, or --acme DOMAIN
hint_domain = obtain a certificate with --acme { $value }
hint_workers = the number of threads is --threads { $value }
hint_maxconn = the limit is --max-connections { $value }
hint_grace = the time to finish is --drain { $value }
hint_relay_timeout = there are --connect-timeout and --idle-timeout
hint_timeout = the time to finish after a signal is --drain { $value }
hint_allow = options of tunnels begin with --tunnel-: outflow serve --help
hint_tunnel_serve_tunnel_allow = leave out tunnel-: outflow tunnel serve --help
hint_keys = the file of keys is --link-keys { $value }
hint_email = the address is --acme-contact { $value }
hint_serve_file = the file is an argument: outflow serve { $value }
hint_config_check_config = the file is an argument: outflow config check { $value }
hint_completions_shell = the shell is an argument: outflow completions { $value }
hint_tunnel_listen_forward = addresses are arguments: outflow tunnel listen ADDRESS URL HOST PORT
hint_file_stdin_read_timeout_seconds = it is --stdin-timeout now, with a unit: --stdin-timeout { $value }s
hint_verbose = more is logged by --log-level debug
hint_quiet = less is logged by --log-level error
hint_db = name the ledger with --ledger sqlite:PATH
hint_keep = how long records are kept is --ledger-keep { $value }
hint_publish_store = name the store with --to { $value }
hint_ttl = the time is --expires { $value }
hint_publish_name = the name of the transfer is --id { $value }
hint_link_create_to = the recipient is --recipient { $value }
hint_link_create_max = the limit is --max-downloads { $value }
hint_link_keys = the file of keys is --link-keys { $value }
hint_link_create_url = the URL of the server is --base-url { $value }
hint_to = name the store with --store { $value }
hint_token = a token on the command line can be seen by others: --token-file FILE, or OUTFLOW_TUNNEL_TOKEN
hint_insecure = trust the server's authority with --cacert FILE
hint_proxy = proxies come from https_proxy and http_proxy

### Command line: advice for commands of other programs

hint_command_downloads = downloads are listed by outflow download list
hint_command_events = events are listed by outflow event list
hint_command_transfers = transfers are listed by outflow transfer list
hint_command_unpublish = a transfer is deleted by outflow transfer remove ID
hint_command_links = links are listed by outflow link list
hint_command_link_key = a key for links is made by outflow link keygen
hint_command_link_show = a link is shown by outflow link show URL
hint_command_link_revoke = a link is revoked by outflow link revoke URL
hint_command_share = a link is made by outflow link create URL --recipient WHO
hint_command_webhook = a secret is made by outflow endpoint keygen
hint_command_upload = files are uploaded by outflow publish PATH --to STORE
hint_command_start = a folder is served by outflow serve PATH
hint_command_zip = outflow serve PATH serves every folder as a ZIP: its address and ?zip
hint_command_proxy = connections are passed on by outflow relay LISTEN TARGET
hint_command_ssh = ssh goes through outflow tunnel connect
hint_command_version = the version is shown by outflow --version
hint_command_completion = completions are printed by outflow completions SHELL
hint_command_validate = a configuration file is checked by outflow config check FILE
hint_command_link_make = a link is made by outflow link create
hint_command_link_keygen = a key is made by outflow link keygen
hint_command_link_delete = a link is ended by outflow link revoke
hint_command_link_ls = links are listed by outflow link list
hint_command_transfer_publish = a transfer is made by outflow publish PATH --to STORE
hint_command_transfer_ls = transfers are listed by outflow transfer list
hint_command_transfer_delete = a transfer is deleted by outflow transfer remove
hint_command_event_ls = events are listed by outflow event list
hint_command_event_resend = events are sent again by outflow event replay
hint_command_event_enable = an endpoint is enabled by outflow endpoint enable ID
hint_command_download_ls = downloads are listed by outflow download list
hint_command_config_validate = a file is checked by outflow config check FILE
hint_command_config_print = effective values are shown by outflow config show
hint_command_tunnel_server = a tunnel server is started by outflow tunnel serve
hint_command_tunnel_client = the clients are outflow tunnel connect and outflow tunnel listen
hint_command_tunnel_reverse = a tunnel in reverse is outflow tunnel listen --reverse

### Command line: the configuration file

# $problem: one of the texts below.
cannot_read_config = cannot read the configuration file { $path }: { $problem }
config_missing = no such file; check the path
config_denied = this user may not read it; change its permissions
config_is_folder = it is a folder; name the file in it
config_is_pipe = it is a named pipe; name a regular file
# $error: what the system reports, in English.
config_error = { $error }
config_too_large = it is larger than { $limit } MiB, which no configuration file is
config_not_utf8 = line { $line } is not UTF-8; save the file as UTF-8
config_problem_of_many = { $problem } (and { $count } more: `outflow config check { $path }` shows them)
key_is_table = { $key } is a table: write [{ $key }], and its keys below it
unknown_table = unknown table { $name }; { $advice }
options_are_at_top = options are keys at the top of the file
unknown_key = unknown key { $key }; { $advice }
keys_are_options = `outflow serve --help` lists the options, which are the keys
key_takes_one_value = { $key } takes one value, not a list
write_true_or_false = write true or false
value_empty_in_file = it is empty; leave the key out
value_has_zero_byte = it contains a zero byte
number_too_large = the number is too large
write_webhooks = write a table, [[webhooks]], with url and secrets
table_is_no_value = a table is not a value
switch_is_no_value = true and false are for switches; this needs a value
write_number = write a whole number
write_text = write a text in quotes
# What `outflow config show` prints behind a value: where it comes from.
origin_argument = argument
origin_flag = flag
origin_default = default
key_is_not_set = { $key } is not set
key_is_not_shown = { $key } is set and not shown
webhooks_not_shown = { $count } in the file, not shown
config_is_valid = { $path } is valid
cannot_write_man_pages = cannot write man pages to { $folder }; name a folder that you may write to
wrote_man_pages = wrote the man pages to { $folder }; read one by man -l { $folder }/outflow.1

### Command line: labels of what a command shows

label_acked = acked
label_address = address
label_client = client
label_completed = completed
label_deliveries = deliveries
label_download = download
label_downloads = downloads
label_etag = etag
label_expires = expires
label_file = file
label_files = files
label_generation = generation
label_id = id
label_inferred = inferred
label_key = key
label_link = link
label_name = name
label_operator = operator
label_password = password
label_receipts = receipts
label_recipient = recipient
label_scope = scope
label_started = started
label_state = state
label_transfer = transfer
label_updated = updated
label_user_agent = user agent
yes = yes
no = no

### Command line: link

anybody = anybody
never = never
any_number = any number
no_links = no link was used or revoked
link_downloads =
    { $count ->
        [one] { $count } download
       *[other] { $count } downloads
    }
link_revoked_at = revoked { $time }
# $why: what is wrong, in English.
link_is_invalid = it is invalid: { $why }
link_key_unknown = the key { $key } is not in { $file }
link_signature_wrong = the signature is wrong: it was altered, or signed by another key
link_has_expired = it has expired
link_was_revoked = it was revoked
link_is_exhausted =
    it is exhausted: { $receipts } of { $max ->
        [one] { $max } download is complete
       *[other] { $max } downloads are complete
    }
link_address_empty = the address is empty; / is the server's top
link_base_is_no_server = { $base } is not the URL of a server; write https://HOST
link_address_has_fragment = { $address } has a "#", and clients do not send what follows it; write %23 for one in a name
link_address_unknown_form = { $address } is neither a URL, nor a path that begins with a slash, nor the name of a transfer
link_address_is_link = { $address } is already a link; give the address without the link
link_url_without_scheme = { $url } is not a URL: it has no scheme
link_url_not_http = { $url } is not an address of an Outflow server; links are for http:// and https://
link_url_without_host = { $url } has no host
link_url_with_user = { $url } contains a user name, which links cannot have; leave it out
link_expires_in_past = --expires is in the past; name a later time
cannot_name_link = cannot make a name for the link
cannot_make_link = cannot make this link: { $error }
link_for_all = outflow: the link is for all of { $address }; --file limits it to what is selected
cannot_make_key = cannot make a key
link_keys_exposed = outflow: other users can read or change the link keys, and so make links: chmod 600 { $path }
cannot_list_links = cannot list the links
cannot_read_password_stdin = cannot read the password from standard input
cannot_read_password_file = cannot read the password from { $path }
password_empty = the password is empty
password_prompt = Password for the link:
password_prompt_again = Repeat the password:
passwords_differ = the two passwords differ; try again
cannot_turn_off_echo = cannot turn off terminal echo
cannot_turn_on_echo = could not turn terminal echo back on; run `reset`
cannot_read_terminal = cannot read from the terminal
link_name_expected = this is neither a link nor the name of one, or only a part; copy the whole address
cannot_revoke_link = cannot revoke the link { $id }
link_revoked_now = revoked { $id }: servers with this ledger refuse it within a second
link_expected = this is not a link, or only a part of one; copy the whole address
link_is_not_valid = the link is not valid: { $why }
cannot_query_link = cannot query the use of the link { $id }

### Command line: publish and transfer

publish_cannot_open = cannot publish { $path }: check that it exists and may be read
publish_no_files = nothing to publish: no files in { $paths }; names that begin with a dot need --hidden
publish_same_name = two files would have the name { $name }; publish the folder above them, or rename one
publish_folder_name = the name of the folder { $path } is not UTF-8; publish it alone
publish_cannot_list = cannot list { $path }
publish_unreadable =
    { $count ->
        [one] { $count } file or folder in { $path } cannot be read: { $names }; change its permissions, or publish the others by name
       *[other] { $count } files or folders in { $path } cannot be read, such as { $names }; change their permissions, or publish the others by name
    }
publish_file_name = the name of { $name } in { $path } is not UTF-8, which stores and browsers need; rename it
publish_no_modified_time = { $name } has no modified time
publish_begins =
    publishing { $files ->
        [one] { GROUP($files) } file
       *[other] { GROUP($files) } files
    }, { $size }, to { $store } as { $id }
transfer_exists = the transfer { $id } already exists; choose another --id, or delete it first with: outflow transfer remove { $id }
transfer_folder_taken = the folder { $id }/ has objects that are not from a broken run of publish; choose another --id
# Beside the bar on a terminal.
publish_bar = { $sent } of { $size }  { $rate }  { $time } left
publish_progress = { $sent } of { $size }, { $rate }/s, { $time } left
cannot_name_transfer = cannot make a name for the transfer
cannot_publish_this = cannot publish this
cannot_publish_transfer = cannot publish the transfer { $id }
publish_to_continue = { $error }
    Uploaded files stay in the store. To continue: { $command }
cannot_publish_file = cannot publish { $name }
publish_interrupted = it was interrupted
publish_terminated = it was terminated
cannot_list_transfers = cannot list the transfers
cannot_use_manifest = outflow: cannot use the manifest of the transfer { $id }: { $error }
cannot_remove_transfer = cannot remove the transfer { $id }
transfer_until = until { $time }
transfer_ended = ended { $time }
transfer_for_ever = for ever
transfer_files =
    { $count ->
        [one] { GROUP($count) } file
       *[other] { GROUP($count) } files
    }
transfer_removed =
    removed { $id }: { $objects ->
        [one] { GROUP($objects) } object
       *[other] { GROUP($objects) } objects
    } deleted
no_such_transfer = no transfer { $id } in { $store }; `outflow transfer list` lists them

### Command line: download, event, webhook

no_downloads = no downloads
download_open = open
download_aborted = aborted
download_failed = failed
download_completed = completed
recipient_by_address = { $recipient }  (address and User-Agent only)
bytes_of_total =
    { $bytes } of { $total ->
        [one] { $total } byte
       *[other] { $total } bytes
    } ({ $percent })
bytes_inferred =
    { $bytes ->
        [one] { $bytes } byte
       *[other] { $bytes } bytes
    }, inferred from where the recipient resumed after a crash
files_of_total = { $done } of { $files }
confirmed_by_recipient = { $time }, confirmed by the recipient
confirmed_by_proxy = { $time }, confirmed by a proxy in front of the recipient
acknowledged_by_recipient = { $time }, acknowledged by the recipient
acknowledged_by_proxy = { $time }, acknowledged by a proxy in front of the recipient
more_files_in_json = … and { $count } more: --json shows all
no_events = no events
event_next_at =
    to { $endpoint }: waiting, { $attempts ->
        [one] { $attempts } attempt
       *[other] { $attempts } attempts
    }, the next at { $time }
event_waiting =
    to { $endpoint }: waiting, { $attempts ->
        [one] { $attempts } attempt
       *[other] { $attempts } attempts
    }
event_delivered =
    to { $endpoint }: delivered, { $attempts ->
        [one] { $attempts } attempt
       *[other] { $attempts } attempts
    }
event_given_up =
    to { $endpoint }: given up, { $attempts ->
        [one] { $attempts } attempt
       *[other] { $attempts } attempts
    }
milliseconds = { $count } ms
ledger_no_folder = no ledger: neither XDG_STATE_HOME nor HOME is set; name one with --ledger
ledger_missing = no ledger at { $path }: no server has used it yet; start one, or name another ledger with --ledger
download_counts = counted by day, not recorded: completed, broken, deliveries, bytes
download_count = { $day }  { $completed }  { $broken }  { $deliveries }  { $bytes }  { $path }
download_other_files = (other files)
no_such_download = no download { $id }; `outflow download list` lists them
no_such_event = no event { $id }; `outflow event list` lists them
event_is_not_json = the data of the event is not JSON
event_or_time = name an event, or a time with --since
events_replayed =
    the running server will send { $count ->
        [one] { $count } event
       *[other] { $count } events
    } again
event_sent_nowhere = sent to no endpoint: none has a matching filter
no_such_endpoint = no endpoint { $endpoint }: no event was ever for it; `outflow event list --kind endpoint.disabled` lists those that were disabled
endpoint_enabled = { $endpoint } will receive its waiting events within a minute
webhook_public_key = The receiver needs the public key: { $key }

### Command line: relay

relay_loops = { $address } is the relay's own address, so each client would loop; name another target
cannot_start_relay = cannot start the runtime
relay_ended = the relay ended
cannot_listen_unix = cannot listen on unix:{ $path }: { $error }: { $advice }

### Command line: tunnel

tunnel_stopped = stopped
tunnel_leads_to_many = { $url } leads to many targets: name a HOST and a PORT
cannot_use_stdio = cannot use standard input and output
cannot_use_socket = cannot use the listening socket
tunnel_bad_target = { $host }:{ $port } is not a host and a port
tunnel_reverse_needs_ip = --reverse needs an IP address, and { $address } is a name
tunnel_reverse_needs_target = --reverse needs a target: name a HOST and a PORT
tunnel_listening_far = listening on tcp://{ $address }/ of the server
tunnel_bad_pattern = { $pattern } is not a pattern of hosts
file_longer_than = it is longer than { $limit } bytes
file_is_empty = it is empty
cannot_use_token_file = cannot use the file of the token { $path }
users_file_too_large = it is larger than { $limit } MiB
users_file_without_user = it has no user; add [[user]] with name = "anna" and token = "…"
cannot_use_users_file = cannot use the file of users { $path }

### Command line: file

standard_input = standard input
input_changes = { $name } changes while it is read; write a new file and rename it over the old one
cannot_allocate_content = cannot allocate memory for the content
cannot_seal_content = cannot seal the memory of the content
input_is_empty = nothing to serve from { $name }: { $advice }
advice_stdin_empty = standard input ended without a byte; name a file, or pipe something in
advice_file_empty = the file is empty; write something into it, or name another one
advice_files_empty = all files are empty; write something into them, or name others
input_is_folder = { $name } is a folder; `outflow serve { $name }` serves folders
input_does_not_end = { $name } did not end within { $seconds } s: its writer has to close it; allow more time with --stdin-timeout, or 0s for no limit
input_too_large = { $name } has more than { $limit } bytes: raise --max-size, or use `outflow serve`, which sends files from disk
cannot_wait_for_input = cannot wait for input
cannot_read_input = cannot read { $name }: { $error }: { $advice }
advice_check_path = check the path
advice_may_not_read = this user may not read it; change its permissions, or run as a user who may
advice_other_file = name another file, or - for standard input
stdin_once = `-` (standard input) may be given only once
watch_needs_files = --watch needs files: standard input cannot be read again; name a file
cannot_start_reload = cannot start the thread that reloads the content
cannot_watch = cannot watch files (inotify)
cannot_watch_folder = cannot watch the folder of { $path }
cannot_start_watch = cannot start the thread that watches files

### Command line: listening

cannot_listen = cannot listen on { $address }: { $error }: { $advice }
advice_port_in_use = another program already listens there; choose another port with { $flag }, 0 picks a free one
advice_port_denied = ports below 1024 need privileges; choose a higher one with { $flag }
advice_other_address = choose another address with { $flag }
advice_path_in_use = another program already listens there; choose another path
advice_path_no_socket = the path exists and is not a socket; remove it, or choose another path
advice_path_no_folder = no such folder; make it, or choose another path
advice_path_denied = this user may not write to that folder; choose another path, or run as a user who may
advice_other_path = choose another path
cannot_make_signal_runtime = cannot make the runtime that waits for signals
no_signal_thread = no thread to wait for signals

### Command line: TLS

tls_files_differ = --tls-cert is given { $certificates } and --tls-key { $keys }: each certificate needs its key; if both are in one file, name that file for both
number_of_times =
    { $count ->
        [0] not at all
        [one] once
       *[other] { $count } times
    }
cannot_watch_certificates = cannot start the thread that watches certificates
flag_needs_acme = { $flag } needs --acme: name the domain with --acme DOMAIN
flag_needs_tls = { $flag } needs TLS, which this server does not speak: add --tls-cert and --tls-key, or --acme
tls_no_certificate = no certificate for TLS; name one with --tls-cert, or use --acme
acme_no_folder = no folder for certificates: neither XDG_STATE_HOME nor HOME is set; name one with --acme-cache

### Command line: serve

channels_need_tokens = channels need --channel-tokens: name the file with the tokens that may publish
cannot_start_channels = cannot start the threads of channels
unknown_event = unknown event { $name }; the events are { $known }
cannot_start_log = cannot start the thread that writes the log
cannot_start_metrics = cannot start the thread that serves metrics
events_need_ledger = events need a ledger: leave out --ledger none, or --webhook and --on-event
ledger_not_an_address = --ledger needs an address: sqlite:PATH, postgres://USER@HOST/DATABASE, or none
secret_without_webhook = --webhook-secret needs --webhook: name the URL that receives the events
ledger_no_place = no place for the ledger: neither XDG_STATE_HOME nor HOME is set; name one with --ledger
cannot_serve = cannot serve { $path }: { $error }: { $advice }
advice_nothing_there = no such folder or file; check the path
advice_folder_or_file = name a folder or a regular file
advice_no_such_address = this machine has no such address; choose another with { $flag }: 0.0.0.0 and [::] mean all of its addresses
plain_needs_store = --plain needs a store, such as s3://bucket/prefix; files of a local path are always served as they are
require_links_needs_keys = --require-links needs --link-keys: name the file with the keys; `outflow link keygen` makes a key
proxy_protocol_needs_proxies = --proxy-protocol needs --trusted-proxies: name the networks of the proxies that send the header
tunnel_without_clients = no client could use this tunnel: name a file of users with { $flag }users, a key for links with { $flag }link-key, or accept all clients with { $flag }open
tunnel_without_targets = no target can be reached through this tunnel; list targets with { $flag }allow HOST:PORT
tunnel_origin_needs_open = { $flag }origin needs { $flag }open: pages have no token
flag_value_error = { $flag } { $error }
