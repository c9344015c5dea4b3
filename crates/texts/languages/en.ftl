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
