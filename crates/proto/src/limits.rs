//! Every limit and default of the fetch engine, with its unit and its reason.

use crate::time::Nanos;

// --- input ---------------------------------------------------------------------------------------------------

/// The longest name of a method. The longest registered one has 17 characters.
pub const METHOD_BYTES_MAX: usize = 32;
/// The longest row of a list. No server takes a URL near this; a longer row is a broken file.
pub const INPUT_ROW_BYTES_MAX: usize = 64 << 10;
/// Bytes held of a row that is a record of an earlier run, without the columns that are not used: enough for the longest
/// row with every character escaped. The record itself may be as long as its body.
pub const INPUT_RECORD_BYTES_MAX: usize = 256 << 10;
/// The most columns of a list that is a table.
pub const INPUT_COLUMNS_MAX: usize = 4_096;
/// Bytes of a list that are read at once: one hand-over to a thread for about a thousand URLs. Larger blocks hold more
/// memory, here and in the allocator's caches.
pub const INPUT_BLOCK_BYTES: usize = 32 << 10;
/// Rows that are pulled at once from a source of rows.
pub const INPUT_BLOCK_ROWS: usize = 1_024;
/// The largest window of a list compressed with zstd, 128 MiB: what `zstd --long` makes and every decoder takes.
pub const LIST_ZSTD_WINDOW_LOG_MAX: u32 = 27;
/// Hosts that a dry run counts separately: about 40 MB.
pub const HOSTS_SURVEYED_MAX: usize = 1_000_000;
/// The largest hosts that a dry run names.
pub const LARGEST_HOSTS_TOLD: usize = 20;
/// The bad rows that a dry run names.
pub const BAD_ROWS_TOLD: usize = 20;
/// The bad rows that a summary names.
pub const BAD_ROWS_NAMED: usize = 5;
/// The largest window: rows read ahead of the fetching, over all hosts.
pub const WINDOW_ROWS: usize = 100_000;
/// The initial window: a tenth of a second at the highest rate, in 2.5 MB. It doubles when no host in it can start.
pub const WINDOW_ROWS_FIRST: usize = 8_192;
/// Rows of one host that stay in memory when its others are spilled: ten times its requests in flight, so that they last
/// until spilled rows are read back. Rows are requested at half of it.
pub const WINDOW_ROWS_HOST: usize = 64;
/// The part of the window that is freed at once by spilling, as a divisor.
pub const SPILL_SHARE: usize = 4;
/// Bytes of one block of the spill file. The last block of each host is in memory.
pub const SPILL_BLOCK_BYTES: usize = 4 << 10;
/// Spilled blocks that wait to be written before reading the list is held back.
pub const SPILL_BLOCKS_WAITING_MAX: usize = 256;
/// The longest encoded row in the spill file: larger than any that was read from a list.
pub const SPILL_ROW_BYTES_MAX: usize = 4 << 20;
/// Bytes of the spill files, over all shards: ten billion rows of a plain file, 200 million of a pipe. When they are
/// full, the list is read no faster than rows are read back.
pub const SPILL_BYTES_MAX: u64 = 16 << 30;
/// Hosts whose spilled rows are read back in one job: the first of them must not wait for the last.
pub const SPILL_HOSTS_A_TRIP: usize = 64;
/// Bytes of a list that are read at once when spilled rows are read again, with the bytes between them.
pub const SPILL_READ_BYTES: u64 = 256 << 10;

// --- concurrency ---------------------------------------------------------------------------------------------

/// Requests in flight at once.
pub const PARALLEL_MAX: usize = 256;
/// Requests that a shard starts before it polls those in flight.
pub const STARTS_A_TURN: usize = 128;
/// The largest `--parallel-max`: two thirds of the local ports one address has.
pub const PARALLEL_MAX_MAX: usize = 40_000;
/// Shards of one process.
pub const SHARDS_MAX: usize = 256;
/// Requests in flight to one host, as browsers do. There is no limit for this machine itself.
pub const PARALLEL_MAX_HOST: usize = 6;
/// Rows that a host starts in one turn, while hosts lose their idle connections between two turns, so that a new connection
/// serves this number of rows. Another host waits for at most twice this number of starts of each host before it: those of the
/// turn it is in, and of one more.
pub const WARM_STARTS_MAX: u16 = 32;
/// How long such a turn lasts, so that slow hosts do not hold their places for 32 answers.
pub const WARM_TIME_MAX: Nanos = Nanos::from_secs(1);
/// How long turns are of more than one row after a host has lost an idle connection before its turn.
pub const WARM_AFTER_LOSS: Nanos = IDLE_TIMEOUT;
/// Failures in a row to reach an origin before it is parked.
pub const HOST_ERRORS_MAX: u32 = 20;
/// The least failures in a row before an origin is parked early, because a row would be lost, or given up, because
/// `HOST_DOWN_AFTER` is over: one or two may be chance.
pub const REACH_FAILURES_MIN: u32 = 3;
/// First parking of an origin that cannot be reached; doubles with each probe that fails.
pub const REACH_PAUSE_BASE: Nanos = Nanos::from_secs(1);
/// The longest pause between two probes of an origin.
pub const REACH_PAUSE_MAX: Nanos = Nanos::from_secs(60);
/// How long an origin may give no answer before its rows fail: longer than a server takes to restart.
pub const HOST_DOWN_AFTER: Nanos = Nanos::from_secs(60);
/// Slow start: requests at once to an origin that answers again after it was parked. Each answer adds one, so they double
/// with each round trip.
pub const REACH_ROOM_FIRST: u32 = 2;
/// Requests at once at which slow start ends, and only the limits of the host apply.
pub const REACH_ROOM_MAX: u32 = 256;
/// Further origins tracked for one host; beyond it one without rows is forgotten.
pub const ORIGINS_HOST_MAX: usize = 1_024;
/// Hosts without rows that are remembered; beyond it the least recently used is forgotten.
pub const HOSTS_MAX: usize = 100_000;
/// The part of the requests at once that may go to origins that have not answered, in quarters: connects without an answer
/// hold their places for `CONNECT_TIMEOUT`, and the rest is for origins that answer. Three of four, because in a list of many
/// hosts most of the time may go into connecting.
pub const CONNECTS_QUARTERS: usize = 3;
/// How long no origin answers for the first time, while that part is used up, before rows of other hosts are read instead.
pub const CONNECTS_SLOW: Nanos = Nanos::from_secs(1);
/// `getaddrinfo` calls at once, without those that are late. Each holds a thread until it really ends.
pub const DNS_PARALLEL_MAX: usize = 32;
/// How long such a call takes before it is late, and another one may begin: far longer than a name server that answers.
pub const DNS_LATE: Nanos = Nanos::from_secs(1);
/// Calls that are late. With more of them, further ones count against [`DNS_PARALLEL_MAX`] until they end.
pub const DNS_LATE_MAX: usize = 96;
/// How often a look-up that has no place asks for one, beside when others end.
pub const DNS_RETRY: Nanos = Nanos::from_millis(50);
/// Those that wait for a place and are told when others end; the rest asks.
pub const DNS_WAKERS_MAX: usize = 1_024;
/// How many of them are told of one place: some may not want it any more.
pub const DNS_WAKERS_TOLD: usize = 4;
/// Names kept in the address cache.
pub const DNS_CACHE_MAX: usize = 10_000;
/// How long an address is cached: `getaddrinfo` does not return the TTL of the record.
pub const DNS_CACHE_TTL: Nanos = Nanos::from_secs(60);
/// Addresses tried for one connection.
pub const ADDRESSES_MAX: usize = 8;
/// Delay before the next address is tried beside the first (RFC 8305).
pub const HAPPY_EYEBALLS_DELAY: Nanos = Nanos::from_millis(250);
/// Blocking disk operations at once.
pub const DISK_PARALLEL_MAX: usize = 4;
/// Hosts whose times and failures are counted separately for the summary.
pub const HOSTS_TALLIED_MAX: usize = 10_000;
/// Open files kept free for the list, the sinks and the journal.
pub const FILES_RESERVED: u64 = 64;
/// Open files of the run itself, which idle connections leave to it: the list, the outputs, the journal, the shards' event queues.
pub const FILES_OWN: u64 = 28;
/// Open files that a run needs at the least, without its outputs and shards: signals (5), the list (2), the state (6), a body
/// that is written and one that is read, a name lookup and a connection.
pub const FILES_RUN: u64 = 17;
/// Open files of a shard: its event queue.
pub const FILES_SHARD: u64 = 4;
/// The last free file descriptors, which connections leave to bodies, sinks and the journal; half of those that are free,
/// if there are few.
pub const FILES_LAST: u64 = 16;
/// Those of them that bodies leave to the sinks and the journal; a third, if there are few.
pub const FILES_LAST_SINKS: u64 = 10;
/// Tries to open a file of the run's own while connections hold all open files.
pub const OPEN_TRIES: u32 = 2_000;
/// The pause between two tries.
pub const OPEN_PAUSE: Nanos = Nanos::from_millis(5);
/// How long nothing starts on a thread after it found no open file or local port.
pub const SHORTAGE_PAUSE: Nanos = Nanos::from_millis(5);
/// The same while nothing is in flight: then other programs hold the files and ports.
pub const SHORTAGE_PAUSE_ALONE: Nanos = Nanos::from_millis(200);
/// The pause, on average, before a Unix socket is asked again whose backlog was full. It doubles.
pub const UNIX_PAUSE: Nanos = Nanos::from_millis(1);
/// The longest such pause.
pub const UNIX_PAUSE_MAX: Nanos = Nanos::from_millis(32);
/// The time between two raises of the adaptive limit after a shortage.
pub const SHORTAGE_RAISE: Nanos = Nanos::from_secs(1);
/// How long nothing may be in flight before rows fail for want of files or ports: twice TIME_WAIT.
pub const SHORTAGE_MAX: Nanos = Nanos::from_secs(120);
/// Rows that must be done before a share of failures ends a run: of the first few, one failure is a large share.
pub const MAX_ERRORS_ROWS_MIN: u64 = 100;

// --- connections ---------------------------------------------------------------------------------------------

/// Idle connections of a run, over all shards and origins: one for each of some thousand hosts. Each holds an open file, so
/// there are fewer where the system allows fewer.
pub const IDLE_MAX: usize = 4_096;
/// Idle connections that are kept however few files may be open.
pub const IDLE_LEAST: u64 = 2;
/// Hosts with settings of their own.
pub const HOST_CONFIGS_MAX: usize = 10_000;
/// Hosts whose TLS sessions are kept to be resumed.
pub const TLS_HOSTS_MAX: usize = 8_192;
/// TLS sessions of one host that are kept: what the library allows.
pub const TLS_SESSIONS_HOST: usize = 8;
/// The idle timeout of a connection: below the common server settings, to avoid the race with their close.
pub const IDLE_TIMEOUT: Nanos = Nanos::from_secs(15);
/// How long a connection may have been idle for a request that must not be sent twice: well below the second after which some
/// servers close, since the way to the server and back counts for them too.
pub const REUSE_ONCE_IDLE_MAX: Nanos = Nanos::from_millis(500);
/// How long a connection of an origin whose habit is unknown is watched before such a request uses it: longer than most
/// round trips, and than a server takes that closes each connection after its response.
pub const REUSE_ONCE_WATCH: Nanos = Nanos::from_millis(100);
/// Responses on one connection after each of which it is watched, once for each origin. Servers that limit the requests
/// of a connection, and close it unannounced, mostly allow very few, or a hundred and more.
pub const REUSE_ONCE_WATCHES: u32 = 4;
/// Answers of a connection after each of which the system is asked whether more has come. Later it is not asked again in the
/// step that has read the answer.
pub const LOOKS_MIN: u32 = 8;
/// Connections opened for a request before a server that sends data unasked fails it: the first may be an accident.
pub const CONNECTION_TRIES: usize = 2;
/// Origins whose habit of keeping connections open a thread remembers.
pub const HABITS_MAX: usize = 10_000;
/// Reads from an idle TLS connection that yield no data, such as session tickets, before it is closed.
pub const IDLE_TLS_READS_MAX: u32 = 16;
/// Bytes on an idle connection that are looked at to find out what they are.
pub const IDLE_BYTES_LOOKED_AT: usize = 64;
/// Bytes of the head with which a proxy answers to CONNECT. It is read byte by byte.
pub const PROXY_HEAD_BYTES_MAX: usize = 16 << 10;
/// The longest life of a connection, so that a change of address is seen.
pub const CONNECTION_AGE_MAX: Nanos = Nanos::from_secs(600);

// --- HTTP/2 --------------------------------------------------------------------------------------------------

/// Requests at once on one connection, if the server takes more.
pub const H2_STREAMS_MAX: usize = 1_000;
/// The same before the server has said how many it takes: the least that it should take (RFC 9113, section 6.5.2).
pub const H2_STREAMS_FIRST: usize = 100;
/// Connections to one origin. A further request waits for a stream of one of them.
pub const H2_CONNECTIONS_ORIGIN_MAX: usize = 32;
/// How often a request waits for a connection that another request opens, before it opens one itself: each that is opened
/// may be full when it is its turn.
pub const H2_OPENINGS_AWAITED: u32 = 16;
/// How often a request that was not processed is sent again at once (GOAWAY, `REFUSED_STREAM`), the last time on a connection of
/// its own. Then the row is retried.
pub const H2_RESENDS_MAX: u32 = 2;
/// Connections to an origin that end by an error of HTTP/2 while several requests are on them, before HTTP/2 is left, or each
/// request gets a connection of its own. As often at most is a request sent again that was on one of them.
pub const H2_BROKEN_MAX: u32 = 2;
/// How often a request is sent again at once whose connection ended without GOAWAY while several requests were on it, the last time
/// on a connection of its own.
pub const H2_LOST_MAX: u32 = 2;
/// The largest window of a stream: what arrives in 10 ms at a gigabit a second.
pub const H2_STREAM_WINDOW_MAX: u32 = 1 << 20;
/// The smallest window of a stream: one frame.
pub const H2_STREAM_WINDOW_MIN: u32 = 16 << 10;
/// The part of the memory budget that the windows of all requests in flight may take, as a divisor.
pub const H2_MEMORY_SHARE: u64 = 4;
/// The window of a connection, in windows of a stream.
pub const H2_WINDOWS_A_CONNECTION: u32 = 16;
/// The smallest window of a connection: a client cannot lower the initial one (RFC 9113, section 6.9.2).
pub const H2_CONNECTION_WINDOW_MIN: u32 = 65_535;
/// The largest window of a connection.
pub const H2_CONNECTION_WINDOW_MAX: u32 = 4 << 20;
/// The largest window that there can be (RFC 9113, section 6.9.1): no bound for a connection, beside those of its streams.
pub const H2_WINDOW_MAX: u32 = (1 << 31) - 1;
/// Bytes of one frame: the least that a client must take. Larger ones would make other streams wait.
pub const H2_FRAME_BYTES_MAX: u32 = 16 << 10;
/// Bytes of a head that may always come.
pub const H2_HEAD_BYTES_MIN: usize = 16 << 10;
/// The part of the memory budget that the heads of all requests in flight may take, as a divisor.
pub const H2_HEADS_SHARE: u64 = 2;
/// Bytes of the table with which a server compresses heads: the default of the standard.
pub const H2_HEADER_TABLE_BYTES: u32 = 4 << 10;
/// Frames other than DATA, HEADERS and CONTINUATION that may come in a row without any progress of a request or response:
/// PING, SETTINGS, WINDOW_UPDATE, unknown ones.
pub const H2_IDLE_FRAMES_MAX: u32 = 1_000;
/// What a frame of a response that nobody reads counts as, in bytes, if it is shorter: what may come of such ones is a number of
/// bytes, and each frame costs some work.
pub const H2_STRAY_FRAME_BYTES_MIN: usize = 128;
/// Bytes of the bodies of requests that wait to be written, for each connection.
pub const H2_SEND_BYTES_MAX: usize = 256 << 10;
/// Streams that were reset from this side and whose late frames are ignored. As many windows of a stream may come at most without
/// a reader.
pub const H2_RESETS_REMEMBERED: usize = 128;
/// How long they are remembered: longer than most round trips.
pub const H2_RESET_REMEMBERED: Nanos = Nanos::from_secs(5);
/// Streams of one connection that end by an error of the server, before the connection is closed.
pub const H2_ERRORS_MAX: usize = 1_024;
/// Cookies shorter than this are not put into the compression table, where they could be guessed.
pub const H2_COOKIE_BYTES_INDEXED: usize = 20;

// --- cookies -------------------------------------------------------------------------------------------------

/// Bytes of the name and value of a cookie (RFC 6265bis, section 5.6).
pub const COOKIE_BYTES_MAX: usize = 4_096;
/// Bytes of the value of an attribute of a cookie; a longer attribute is ignored (RFC 6265bis, section 5.6).
pub const COOKIE_ATTRIBUTE_BYTES_MAX: usize = 1_024;
/// Seconds that a cookie may last: 400 days (RFC 6265bis, section 5.5).
pub const COOKIE_AGE_MAX_S: i64 = 400 * 86_400;
/// Cookies of one response; further ones are ignored.
pub const COOKIES_RESPONSE_MAX: usize = 50;
/// Cookies of one site, as browsers have it.
pub const COOKIES_SITE_MAX: usize = 180;
/// Cookies of a jar.
pub const COOKIES_MAX: usize = 3_000;
/// Memory of a jar: the most cookies of the largest size.
pub const COOKIES_BYTES_MAX: usize = 16 << 20;
/// Memory of the cookies that one row's redirects have set: twice what a request carries.
pub const COOKIES_ROW_BYTES_MAX: usize = 16 << 10;
/// Cookies of a request.
pub const COOKIES_HEADER_MAX: usize = 150;
/// Bytes of the `Cookie` field of a request: what most servers take of one field.
pub const COOKIE_HEADER_BYTES_MAX: usize = 8 << 10;
/// Hosts of which it is known that they are to be reached by https only (HSTS).
pub const HSTS_HOSTS_MAX: usize = 10_000;
/// Bytes of a file of cookies that is read: four times the largest that is written.
pub const COOKIE_FILE_BYTES_MAX: u64 = 64 << 20;

// --- single requests -----------------------------------------------------------------------------------------

/// TLS sessions that are kept for requests with settings of TLS of their own.
pub const TLS_SESSIONS_SINGLE: usize = 256;
/// Settings of TLS that a client distinguishes; beyond it the oldest get new connections.
pub const TLS_SETTINGS_MAX: usize = 64;
/// Proxies of single requests that a client distinguishes; beyond it the oldest get new connections.
pub const PROXIES_MAX: usize = 64;
/// Event loops of blocking calls that a client keeps while they are not in use: one for each thread that calls at once.
pub const CLIENT_RUNTIMES_IDLE_MAX: usize = 64;
/// Timers that a client keeps while no request uses them: as many as are used again in a short time.
pub const CLIENT_ALARMS_IDLE_MAX: usize = 64;
/// A body of this size from a file of a flag is held in memory; a larger one is read from disk while it is sent.
pub const UPLOAD_HELD_BYTES_MAX: u64 = 1 << 20;
/// Bytes of a pipe or of standard input that are copied to disk to be sent.
pub const UPLOAD_SPOOL_BYTES_MAX: u64 = 16 << 30;
/// Bytes that are read at once from the file or the reader of a request's body.
pub const UPLOAD_BLOCK_BYTES: usize = 64 << 10;

// --- time ----------------------------------------------------------------------------------------------------

/// Name resolution.
pub const DNS_TIMEOUT: Nanos = Nanos::from_secs(5);
/// Opening a connection.
pub const CONNECT_TIMEOUT: Nanos = Nanos::from_secs(10);
/// The TLS handshake.
pub const TLS_TIMEOUT: Nanos = Nanos::from_secs(10);
/// From the request to the first byte of the response.
pub const FIRST_BYTE_TIMEOUT: Nanos = Nanos::from_secs(30);
/// The slowest body: fewer bytes a second than this over `SPEED_TIME` end it.
pub const SPEED_LIMIT_BYTES: u64 = 100;
/// The span over which the speed of a body is judged.
pub const SPEED_TIME: Nanos = Nanos::from_secs(30);
/// One attempt in all.
pub const TOTAL_TIMEOUT: Nanos = Nanos::from_secs(300);
/// From the first interrupt to the end of the run: requests in flight may finish.
pub const DRAIN_GRACE: Nanos = Nanos::from_secs(4);
/// From the first interrupt to one that ends the program at once: what comes sooner is the same one, sent to the process
/// and to its group.
pub const SIGNALS_APART: Nanos = Nanos::from_millis(100);

// --- retries -------------------------------------------------------------------------------------------------

/// Further attempts after the first.
pub const RETRIES: u16 = 2;
/// First back-off; doubles with each attempt.
pub const RETRY_BASE: Nanos = Nanos::from_millis(500);
/// The longest back-off.
pub const RETRY_MAX: Nanos = Nanos::from_secs(60);
/// The longest `Retry-After` that is honoured.
pub const RETRY_AFTER_MAX: Nanos = Nanos::from_secs(600);
/// Retries in a hundred requests.
pub const RETRY_BUDGET_PERCENT: u64 = 10;
/// Retries that a run may make before that share counts, so that a small run retries normally.
pub const RETRY_BUDGET_FLOOR: u64 = 1_000;
/// Retries that may be saved up while all goes well.
pub const RETRY_BUDGET_MAX: u64 = 10_000;
/// First parking of a host that refuses (429, 502, 503, 504, 522, 524) without `Retry-After`; doubles each time. Most
/// limits are of requests a second.
pub const PARK_BASE: Nanos = Nanos::from_secs(1);
/// The longest parking that a host did not ask for: some limits are of requests a minute.
pub const PARK_MAX: Nanos = Nanos::from_secs(60);
/// Refusals in a row, from different rows, before a host is parked without its asking: one broken page must not stop a
/// healthy host. A 429 parks at once, because it speaks of the host.
pub const PARK_STRIKES: u8 = 2;
/// How long a row is refused, while its host answers others, before the refusal is attributed to the row's page instead of the host.
pub const PAGE_AFTER: Nanos = Nanos::from_secs(8);
/// Parkings in a row before a host is given up for its refusals (`--host-down-after`): what few rows got may be chance.
pub const PARKINGS_MIN: u8 = 2;
/// Parkings in a row whose time does not count against `--host-down-after`, because the host asked for it. With more of
/// them, a host that always answers 429 with `Retry-After` would never be given up.
pub const PARK_ASKED_MAX: u8 = 10;
/// Time that a host may stay parked, over all its parkings since its last good answer, before it counts as down, so that
/// a run ends that gives up no host (`--host-down-after 0`).
pub const PARKED_SUM_MAX: Nanos = Nanos::from_secs(2 * 86_400);
/// Answers between two refusals of a host that are few: it may refuse by chance.
pub const SHORT_RUN_MAX: u8 = 8;
/// How often there are so few, before a host counts as one that refuses by chance.
pub const SHORT_RUNS_MIN: u8 = 4;
/// The longest parking of such a host.
pub const PARK_MAX_MIXED: Nanos = Nanos::from_secs(4);
/// Parkings in a row before such a host may be given up: so many are no chance.
pub const PARKINGS_MIN_MIXED: u8 = 20;
/// The lowest rate to which answers 429 slow a host, in starts in a thousand seconds: 6 a minute. Lower limits of a host
/// are met by parking it.
pub const SLOWED_RATE_MIN: u32 = 100;
/// The same for other refusals, and for hosts that refuse by chance: they may speak of single pages, and many broken pages must
/// not stop a healthy host.
pub const SLOWED_RATE_MIN_PAGES: u32 = 1_000;
/// The rate from which on a host is not slowed any more, in starts in a thousand seconds: more than a host of this
/// machine takes.
pub const SLOWED_RATE_MAX: u32 = 10_000_000;
/// Hosts that fail in a row, with no answer from any, before the local network counts as down.
pub const NETWORK_HOSTS_MIN: u32 = 10;
/// The same before anything was reached: a short list of dead hosts must not wait.
pub const NETWORK_HOSTS_MIN_UNPROVEN: u32 = 100;
/// First pause while the network counts as down; doubles with each probe.
pub const NETWORK_PAUSE_BASE: Nanos = Nanos::from_secs(1);
/// The longest pause between two probes.
pub const NETWORK_PAUSE_MAX: Nanos = Nanos::from_secs(60);
/// How long the network may count as down before rows fail again, so that a run ends.
pub const NETWORK_DOWN_MAX: Nanos = Nanos::from_secs(3_600);

// --- responses -----------------------------------------------------------------------------------------------

/// Redirects followed for one row.
pub const REDIRECTS_MAX: u16 = 10;
/// Bytes of a URL that a redirect leads to. Servers refuse request lines of more than 8 KiB; a longer one only fills the
/// memory of its row, once for each redirect.
pub const REDIRECT_URL_BYTES_MAX: usize = 8 << 10;
/// Bytes of a redirect's own body that are read to keep the connection.
pub const REDIRECT_DRAIN_BYTES: u64 = 64 << 10;
/// How long draining a redirect's own body may take: after that a new connection is cheaper.
pub const REDIRECT_DRAIN_TIME: Nanos = Nanos::from_secs(1);
/// Bytes of a body that is fetched in several runs, after which it is synced: at most these are fetched again.
pub const PART_SYNC_BYTES: u64 = 16 << 20;
/// Bytes of the file that tells what such a body is of.
pub const PART_FROM_BYTES_MAX: u64 = 10 << 10;
/// Header fields in a response.
pub const HEADERS_MAX: usize = 1_000;
/// Empty lines before a response. Servers send one or two, behind a body whose length is wrong.
pub const BLANK_LINES_MAX: u32 = 32;
/// Bytes of a response's head.
pub const HEAD_BYTES_MAX: usize = 256 << 10;
/// Interim responses (1xx) before the final one. Servers send one or two.
pub const INTERIM_RESPONSES_MAX: u32 = 32;
/// Digits of a chunk's size: those of 64 bits.
pub const CHUNK_DIGITS_MAX: u32 = 16;
/// Bytes of the extensions of one chunk, with the blanks around its size. They are not counted as body.
pub const CHUNK_EXTENSION_BYTES_MAX: u64 = 16 << 10;
/// Bytes of the extensions of all chunks of a body, whatever its length.
pub const CHUNK_EXTENSIONS_BYTES_FREE: u64 = 64 << 10;
/// Further bytes of extensions for each byte of data: far above sizes padded to eight digits, or a signature for each
/// chunk of some KiB.
pub const CHUNK_EXTENSIONS_BYTES_PER_BYTE: u64 = 8;
/// Bytes of the trailer fields behind a body.
pub const TRAILER_BYTES_MAX: usize = 16 << 10;
/// Bytes that are read from a connection at once. There is one such buffer for each thread, and none for a connection.
pub const READ_BYTES: usize = 128 << 10;
/// Decoded bytes of one body.
pub const BODY_BYTES_MAX: u64 = 1 << 30;
/// Decoded bytes of one body that is held in memory. A larger one waits on disk for its record to be written.
pub const BODY_HELD_BYTES_MAX: usize = 8 << 20;
/// Bytes of heads, bodies and decoders that the program holds in memory, over all rows.
pub const MEMORY_BYTES: u64 = 512 << 20;
/// The part of it beyond which bodies go to disk, as a divisor. The rest is for heads in transit and decoders, which
/// cannot.
pub const MEMORY_DISK_SHARE: usize = 2;
/// Responses that hold less are not counted: there are as many as requests in flight, and those of a few batches.
pub const MEMORY_COUNTED_BYTES: usize = 2 << 10;
/// The same in ordered mode, where up to `REORDER_ROWS` finished responses wait for an earlier row.
pub const MEMORY_COUNTED_BYTES_ORDERED: usize = 256;
/// The part of it that the texts of rows may take (URLs, `meta`, bodies to send, redirects), as a divisor. Beyond it the
/// list is not read any further.
pub const MEMORY_ROWS_SHARE: usize = 4;
/// Rows with shorter texts are not counted: the 100,000 of the largest window are 50 MB.
pub const MEMORY_COUNTED_ROW_BYTES: usize = 512;
/// Bytes that are read from a connection at once while memory is short.
pub const READ_BYTES_SHORT: usize = 16 << 10;
/// A body that goes to a file is held up to this size, and beyond it written while it arrives.
pub const BODY_INLINE_BYTES: usize = 256 << 10;
/// The block size of the file that holds spooled bodies: holes are punched in whole pages.
pub const STORE_BLOCK_BYTES: u64 = 4 << 10;
/// Content encodings on one response, over all its header lines.
pub const ENCODINGS_MAX: usize = 5;
/// Bytes that a decoder consumes or produces in one step, after which its limits are checked.
pub const DECODE_STEP_BYTES: usize = 16 << 10;
/// Encoded bytes that are worth a hand-over to another thread: some 50 µs of work, for a hand-over of 5.
pub const DECODE_CROSSING_BYTES: usize = 64 << 10;
/// Bytes that all stages of a decoder consume and produce on the thread of a shard, for one piece of a body: about a
/// millisecond. The rest is decoded on the cpu view.
pub const DECODE_INLINE_BYTES: usize = 256 << 10;
/// The same for one hand-over to the cpu view, after which the deadline is checked.
pub const DECODE_SLICE_BYTES: usize = 1 << 20;
/// The cost in bytes of the beginning of another gzip member, which allocates a window.
pub const DECODE_MEMBER_BYTES: usize = 16 << 10;
/// Bytes that a decoder may consume beyond `ENCODED_RATIO_MAX`: more than the longest header of any valid stream.
pub const ENCODED_BYTES_MIN: u64 = 1 << 20;
/// Bytes that a decoder may consume for each that it produces: a server that flushes after each byte sends seven.
pub const ENCODED_RATIO_MAX: u64 = 8;
/// Bytes behind the end of the encoded data that are ignored; with more, reading stops.
pub const ENCODED_TRAILING_BYTES_MAX: u64 = 1 << 10;
/// Memory of a decoder of gzip or deflate, with its window of 32 KiB.
pub const INFLATE_BYTES: usize = 64 << 10;
/// The most memory of a decoder of brotli, whose largest window is 16 MiB.
pub const BROTLI_BYTES_MAX: usize = (16 << 20) + BROTLI_TABLES_BYTES;
/// Memory of a decoder of brotli without its window.
pub const BROTLI_TABLES_BYTES: usize = 256 << 10;
/// The most memory of a decoder of zstd, with a window of `ZSTD_WINDOW_LOG_MAX`.
pub const ZSTD_BYTES_MAX: usize = (8 << 20) + (512 << 10);
/// Pieces of a body after which its attempt yields to the others of its thread and checks its deadlines, even if more
/// data is ready.
pub const BODY_TURN_PIECES: u32 = 16;
/// The largest zstd window (RFC 9659): 8 MiB.
pub const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// Bytes of a robots.txt that are read: the least that RFC 9309 asks for.
pub const ROBOTS_BYTES_MAX: usize = 500 << 10;
/// Redirects that are followed for a robots.txt (RFC 9309, section 2.3.1.2).
pub const ROBOTS_REDIRECTS_MAX: u16 = 5;
/// How long a robots.txt is cached (RFC 9309, section 2.4).
pub const ROBOTS_TTL: Nanos = Nanos::from_secs(86_400);
/// Origins whose rules a thread caches.
pub const ROBOTS_ORIGINS_MAX: usize = 10_000;
/// Memory for the rules that a thread caches.
pub const ROBOTS_CACHE_BYTES_MAX: usize = 16 << 20;
/// The longest `Crawl-delay` that is honoured.
pub const CRAWL_DELAY_MAX: Nanos = Nanos::from_secs(600);

// --- output --------------------------------------------------------------------------------------------------

/// The longest plan or manifest of shards. A plan with the most shards, of 2^64 rows each, has less than 2 MiB.
pub const PLAN_BYTES_MAX: u64 = 16 << 20;

/// Rows in a batch to a shard, or records in a batch to the writer.
pub const BATCH_RECORDS: usize = 256;
/// Bytes of heads and bodies in a batch to the writer.
pub const BATCH_BYTES: usize = 1 << 20;
/// Batches that wait for the writer before back-pressure stops fetching.
pub const BATCHES_WAITING_MAX: usize = 2;
/// Empty batches that are kept for reuse.
pub const BATCHES_SPARE_MAX: usize = 4;
/// How long a finished record may wait for its batch to fill.
pub const BATCH_DELAY: Nanos = Nanos::from_millis(5);
/// The largest window in ordered mode: finished rows that wait for an earlier one take about a KiB each, and what counts of
/// their responses goes to disk.
pub const REORDER_ROWS: usize = 65_536;
/// The longest error message.
pub const ERROR_MESSAGE_BYTES: usize = 1 << 10;
/// The longest quotation of foreign text, such as a bad row or a `Location`, in a message.
pub const QUOTE_BYTES_MAX: usize = 256;
/// The longest part of a bad row that its record shows as its URL.
pub const GIVEN_BYTES_MAX: usize = 1 << 10;
/// The longest part of a foreign text that is searched for secrets. Of a longer text, what may be one at the cut is not
/// shown.
pub const REDACTED_BYTES_MAX: usize = 8 << 10;
/// How many times over a text may be percent-encoded to be searched for secrets. What is encoded more often is not shown.
pub const NESTED_ENCODINGS_MAX: usize = 6;
/// The longest number in an entity such as `&#0064;` that is decoded in such a search.
pub const ENTITY_BYTES_MAX: usize = 9;
/// The longest file name that is made from a URL or a template.
pub const FILE_NAME_BYTES_MAX: usize = 150;
/// Directories, with the file itself, in a path made from a template or a row.
pub const FILE_DEPTH_MAX: usize = 16;
/// Free names that are tried for one row before it is named by its number: another program may take each of them first.
pub const FILE_NAME_TRIES: u32 = 100;
/// Names whose last number is cached, some 64 bytes each. For others the next number is searched.
pub const FILE_TWINS_KEPT: usize = 16_384;
/// The pause between two reads of a file system's clock, which ticks every few milliseconds.
pub const FILE_CLOCK_PAUSE: Nanos = Nanos::from_millis(1);
/// The size of the buffer in which an output is written, and read.
pub const OUTPUT_BUFFER_BYTES: usize = 256 << 10;
/// The longest name of a file that the usual file systems take.
pub const SYSTEM_NAME_BYTES_MAX: usize = 255;
/// Records after which a batch of a table is full.
pub const TABLE_BATCH_ROWS: usize = 4_096;
/// Bytes of bodies and heads after which a batch of a table is full. Larger ones leave the caches of the processor, and their
/// memory is taken from the system anew each time.
pub const TABLE_BATCH_BYTES: usize = 1 << 20;
/// Bytes of a batch up to which room for as many is made at once in the next one: a full batch, and one record beyond it.
pub const TABLE_BATCH_BYTES_KEPT_MAX: usize = 2 << 20;
/// Bytes of a batch up to which it is compressed in the spool: until it is written, memory has it three times.
pub const TABLE_PACKED_BYTES_MAX: usize = 4 << 20;
/// Rows from which on a batch is written to a table by itself; smaller ones become one.
pub const TABLE_SMALL_BATCH_ROWS: usize = 512;
/// Bytes of a page of Parquet before it is compressed. A row group has an unfinished one in memory for each column.
pub const TABLE_PAGE_BYTES: usize = 256 << 10;
/// Batches of the spool that a table gets for each new one while it is behind: then it catches up.
pub const TABLE_BATCHES_BEHIND: usize = 2;
/// Bytes of a redirect that an archive has; larger ones are left out.
pub const REDIRECT_KEPT_BYTES_MAX: usize = 16 << 10;
/// The size of a file of WARC at which the next one begins.
pub const WARC_FILE_BYTES: u64 = 1_000_000_000;
/// The least size that may be set for that.
pub const WARC_FILE_BYTES_MIN: u64 = 1_000_000;
/// Bytes of a body that are written to WARC at once; a chunk, if the body came in chunks.
pub const WARC_PIECE_BYTES: usize = 64 << 10;
/// The shortest payload that is not written again: a `revisit` is about as long.
pub const WARC_REVISIT_BYTES_MIN: u64 = 512;
/// The shortest block of a record that is compressed: of less, little would be saved for the time that it takes.
pub const WARC_PACKED_BYTES_MIN: u64 = 2 << 10;
/// Payloads whose digests are remembered, so that they are not written again.
pub const WARC_PAYLOADS_MAX: usize = 65_536;
/// Bytes of the URLs that are remembered with them.
pub const WARC_PAYLOADS_BYTES_MAX: usize = 8 << 20;
/// The memory in which the lines of an index are sorted.
pub const SORT_BYTES: usize = 32 << 20;
/// The least buffer of a sorted part of them: with 1 TB of lines the buffers have 128 MiB.
pub const SORT_BUFFER_BYTES_MIN: usize = 4 << 10;
/// Bytes of the buffers of all shards together while a list is split, if that leaves each its least.
pub const SHARD_BLOCKS_BYTES: usize = 96 << 20;
/// The least and the most bytes of the buffer of a shard; powers of two.
pub const SHARD_BLOCK_BYTES: (usize, usize) = (4 << 10, 256 << 10);
/// The most shards of a list that is split: each has a buffer of at least 4 KiB.
pub const PARTITIONS_MAX: u32 = 1 << 16;
/// Room in such a buffer for the rest of a row behind a block that is almost full: most rows fit.
pub const SHARD_TAIL_BYTES: usize = 512;
/// Bytes of a list that are read at once when it is split.
pub const SHARD_READ_BYTES: usize = 256 << 10;
/// Bytes of rows among which the hosts of a shard are interleaved.
pub const SHARD_WINDOW_BYTES: usize = 32 << 20;
/// Rows of a shard that are written at once.
pub const SHARD_BATCH_ROWS: usize = 8_192;
/// The most columns of a list that are columns of its shards; more are one.
pub const SHARD_COLUMNS_MAX: usize = 256;
/// Bytes that a batch of Arrow may have when it is unpacked.
pub const TABLE_BUFFER_BYTES: u64 = 4 << 30;
/// Rows that are read at once of a list that is a table.
pub const TABLE_LIST_BATCH_ROWS: usize = 1_024;
/// Bytes after which fewer rows are read at once.
pub const TABLE_LIST_BATCH_BYTES: u64 = 4 << 20;
/// Bytes of a row group of Parquet, compressed and in memory, at which the next one begins.
pub const TABLE_ROW_GROUP_BYTES: usize = 32 << 20;
/// Hosts that a summary names, of each kind.
pub const HOSTS_TOLD: usize = 5;
/// Records that wait to be taken from a stream.
pub const STREAM_RECORDS_MAX: usize = 1_024;

// --- durable runs --------------------------------------------------------------------------------------------

/// Rows of a list that a journal can record: eight times the longest list that is planned for.
pub const DURABLE_ROWS_MAX: u64 = 1 << 32;
/// Results of one checkpoint. While one group is synced the next one fills, so a crash can lose twice this.
pub const COMMIT_RESULTS: u64 = 2_048;
/// Bytes of bodies of one checkpoint; a crash can lose twice this.
pub const COMMIT_BYTES: u64 = 4 << 20;
/// The longest wait of a result for its checkpoint; a crash can lose the results of twice this.
pub const COMMIT_DELAY: Nanos = Nanos::from_millis(500);
/// How long the row that is next in order must be missing before many or large results behind it are written to the file
/// of waiting records: without a host that is away, a result waits only a few milliseconds.
pub const WAITS_BLOCKED: Nanos = Nanos::from_millis(100);
/// Bytes of the file of waiting records. When it is full, further results wait in memory, and a crash loses them.
pub const WAITING_BYTES_MAX: u64 = 16 << 30;
/// Rows of one frame of a journal that are decoded: a hundred times what may be in flight. More is a malformed frame.
pub const GROUP_ROWS_MAX: u64 = 1 << 24;
/// Sinks of one run that have a checkpoint.
pub const SINKS_MAX: usize = 64;
/// Bytes of a journal and its intents before a snapshot replaces them: a resumed run reads them whole.
pub const JOURNAL_BYTES: u64 = 64 << 20;
/// Positions of a list that are remembered, at which a resumed run may start reading.
pub const MARKS_MAX: usize = 4_096;
/// The longest frame of a journal or snapshot: two sets of rows at their worst.
pub const FRAME_BYTES_MAX: u64 = 2 << 30;
/// Files that are synced one by one; for more, the whole file system is.
pub const SYNCED_FILES_MAX: usize = 8;
/// Files that are renamed to their final names at once, while no others are created.
pub const RENAMES_A_TURN: usize = 64;
/// Tries to take the lock of a run: its holder may be removing it.
pub const LOCK_TRIES: usize = 10;
/// The shortest record of a row in an output. If an output has fewer bytes a row, the state is wrong.
pub const RECORD_BYTES_MIN: u64 = 8;
/// Bytes by which the file of intents is extended, with zeros, before it is written; so a truncated file is detected.
pub const INTENTS_STEP_BYTES: u64 = 64 << 10;
/// The longest content of a lock file of ours: a process number.
pub const LOCK_BYTES_MAX: u64 = 32;
/// Bytes at each end of a list that identify it.
pub const IDENTITY_BLOCK_BYTES: u64 = 64 << 10;
