//! Every limit of the system: name with unit, default, and why. No other file holds a limit as a number.

use crate::time::Nanos;

// --- input ---------------------------------------------------------------------------------------------------

/// The longest row of a list. No server takes a URL near this; a longer row is a broken file.
pub const INPUT_ROW_BYTES_MAX: usize = 64 << 10;
/// What is held of a row that is a record of an earlier run, without the columns that are not used: its own row with every
/// character escaped. The record itself may be as long as its body.
pub const INPUT_RECORD_BYTES_MAX: usize = 256 << 10;
/// The most columns of a list that is a table.
pub const INPUT_COLUMNS_MAX: usize = 4_096;
/// How much of a list is read at once: one crossing to a thread for about a thousand URLs. More of them at once are
/// more that lie about, here and in what the allocator keeps for the next.
pub const INPUT_BLOCK_BYTES: usize = 32 << 10;
/// How many rows are pulled at once from a source that has rows, not bytes.
pub const INPUT_BLOCK_ROWS: usize = 1_024;
/// The largest window of a list compressed with zstd, 128 MiB: what `zstd --long` makes and every decoder takes.
pub const LIST_ZSTD_WINDOW_LOG_MAX: u32 = 27;
/// Hosts that a dry run counts one by one: about 40 MB.
pub const HOSTS_SURVEYED_MAX: usize = 1_000_000;
/// The largest hosts that a dry run names.
pub const LARGEST_HOSTS_TOLD: usize = 20;
/// The bad rows that a dry run names.
pub const BAD_ROWS_TOLD: usize = 20;
/// Rows read ahead of the fetching, over all hosts, where it needs so many to keep them busy.
pub const WINDOW_ROWS: usize = 100_000;
/// The same at first: a fifth of a second at the highest rate. It doubles when no host of these can start.
pub const WINDOW_ROWS_FIRST: usize = 16_384;
/// Rows of one host that stay in memory when others of it go to disk to make room. They last until more are back: ten
/// times what a host has in flight. With half of them, when more are asked for, it still has `PARK_ROWS_MIN`.
pub const WINDOW_ROWS_HOST: usize = 64;
/// The part of the window that is made free at once, as a divisor.
pub const SPILL_SHARE: usize = 4;
/// Bytes of one block of the file that rows go to. The last one of each host is in memory.
pub const SPILL_BLOCK_BYTES: usize = 4 << 10;
/// Blocks that wait to be written before rows count as being in memory again, so that reading does.
pub const SPILL_BLOCKS_WAITING_MAX: usize = 256;
/// The longest row in that file, with all it says: larger than any that was read from a list.
pub const SPILL_ROW_BYTES_MAX: usize = 4 << 20;
/// Bytes of that file, over all shards: ten billion rows of a plain file, 200 million that come through a pipe. When it
/// is full the list is read no faster than rows come back from it.
pub const SPILL_BYTES_MAX: u64 = 16 << 30;
/// Hosts whose rows come back at once: the first of them must not wait for the last.
pub const SPILL_HOSTS_A_TRIP: usize = 64;
/// Bytes of a list that are read at once when rows are read again, with what lies between them.
pub const SPILL_READ_BYTES: u64 = 256 << 10;

// --- concurrency ---------------------------------------------------------------------------------------------

/// Requests in flight at once.
pub const PARALLEL_MAX: usize = 256;
/// Requests that a shard starts before it looks at those that are in flight.
pub const STARTS_A_TURN: usize = 128;
/// The largest `--parallel-max`: two thirds of the local ports one address has.
pub const PARALLEL_MAX_MAX: usize = 40_000;
/// Shards of one process.
pub const SHARDS_MAX: usize = 256;
/// Requests in flight to one host, as browsers do. There is no limit for this machine itself.
pub const PARALLEL_MAX_HOST: usize = 6;
/// Failures in a row to reach an origin before it is parked.
pub const HOST_ERRORS_MAX: u32 = 20;
/// Failures in a row before an origin is parked earlier, because a row would be lost, or given up, because its time is
/// over: one or two may be chance.
pub const REACH_FAILURES_MIN: u32 = 3;
/// First parking of an origin that cannot be reached; doubles with each probe that fails.
pub const REACH_PAUSE_BASE: Nanos = Nanos::from_secs(1);
/// The longest pause between two probes of an origin.
pub const REACH_PAUSE_MAX: Nanos = Nanos::from_secs(60);
/// How long an origin may give no answer before its rows fail: longer than a server takes to restart.
pub const HOST_DOWN_AFTER: Nanos = Nanos::from_secs(60);
/// Requests at once to an origin that answers again after it was parked. Each answer adds one, so that they double with
/// each round, and what waited does not come all at once.
pub const REACH_ROOM_FIRST: u32 = 2;
/// The same, from where on only the limits of the host count.
pub const REACH_ROOM_MAX: u32 = 256;
/// Further origins of one host that are told apart; beyond it one without rows is forgotten.
pub const ORIGINS_HOST_MAX: usize = 1_024;
/// Hosts remembered that have no rows at the moment; beyond it the longest unused is forgotten.
pub const HOSTS_MAX: usize = 100_000;
/// `getaddrinfo` calls at once. Each holds a thread until it really ends.
pub const DNS_PARALLEL_MAX: usize = 32;
/// Names kept in the address cache.
pub const DNS_CACHE_MAX: usize = 10_000;
/// How long an address is kept: `getaddrinfo` does not tell the record's own time.
pub const DNS_CACHE_TTL: Nanos = Nanos::from_secs(60);
/// Addresses tried for one connection.
pub const ADDRESSES_MAX: usize = 8;
/// Delay before the next address is tried beside the first (RFC 8305).
pub const HAPPY_EYEBALLS_DELAY: Nanos = Nanos::from_millis(250);
/// Blocking disk operations at once.
pub const DISK_PARALLEL_MAX: usize = 4;
/// Hosts whose times and failures are counted one by one for the summary.
pub const HOSTS_TALLIED_MAX: usize = 10_000;
/// Open files kept free for the list, the sinks and the journal.
pub const FILES_RESERVED: u64 = 64;
/// Open files that a run needs for itself at the least: the list, the outputs, the journal, the shards' event queues.
pub const FILES_OWN: usize = 28;
/// How often opening a file of the run's own is tried while connections hold all the files there are.
pub const OPEN_TRIES: u32 = 2_000;
/// The pause between two tries.
pub const OPEN_PAUSE: Nanos = Nanos::from_millis(5);
/// How long nothing starts on a thread after it found no open file or local port.
pub const SHORTAGE_PAUSE: Nanos = Nanos::from_millis(5);
/// The same while nothing is in flight, so that it is not this run that must give something back.
pub const SHORTAGE_PAUSE_ALONE: Nanos = Nanos::from_millis(200);
/// The time between two raises of the requests at once after a shortage.
pub const SHORTAGE_RAISE: Nanos = Nanos::from_secs(1);
/// How long nothing may move before rows fail for want of files or ports: twice the life of a closed port.
pub const SHORTAGE_MAX: Nanos = Nanos::from_secs(120);
/// Rows that must be done before a share of failures ends a run: of the first few, one failure is a large share.
pub const MAX_ERRORS_ROWS_MIN: u64 = 100;

// --- connections ---------------------------------------------------------------------------------------------

/// Idle connections kept per origin beyond the host's own concurrency.
pub const IDLE_MAX: usize = 512;
/// How long a connection may stay idle: below the common server settings, to avoid the race with their close.
pub const IDLE_TIMEOUT: Nanos = Nanos::from_secs(15);
/// How long a connection may have been idle for a request that must not be sent twice.
pub const REUSE_ONCE_IDLE_MAX: Nanos = Nanos::from_secs(1);
/// How long a connection of an origin whose habit is unknown is watched before such a request uses it: longer than a
/// server needs that closes each connection after its answer, and longer than most ways there.
pub const REUSE_ONCE_WATCH: Nanos = Nanos::from_millis(100);
/// Answers on one connection after each of which it is watched, once for each origin. Servers that take only so many
/// requests on a connection, and then close it without a word, mostly take very few, or a hundred and more.
pub const REUSE_ONCE_WATCHES: u32 = 4;
/// Origins of which a thread remembers whether they keep connections open.
pub const HABITS_MAX: usize = 10_000;
/// Reads from an idle TLS connection that bring no data, such as session tickets, before it is given up.
pub const IDLE_TLS_READS_MAX: u32 = 16;
/// The longest life of a connection, so that a change of address is seen.
pub const CONNECTION_AGE_MAX: Nanos = Nanos::from_secs(600);

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
/// From the first interrupt to the end: what runs may finish.
pub const DRAIN_GRACE: Nanos = Nanos::from_secs(4);

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
/// First parking of a host that answers 429 or 503 without `Retry-After`; doubles.
pub const PARK_BASE: Nanos = Nanos::from_secs(60);
/// The longest parking of a host.
pub const PARK_MAX: Nanos = Nanos::from_secs(86_400);
/// Answers 429 or 503 in a row, from different rows, before a host is parked without its asking: one broken page must
/// not stop a healthy host.
pub const PARK_STRIKES: u8 = 2;
/// Rows that wait for a host before it is parked without its asking. For fewer, backing off row by row costs the
/// host less than a hundred requests, and a short list does not stand still for a minute.
pub const PARK_ROWS_MIN: usize = 20;
/// Time that a host may stay parked, over all its parkings since its last good answer, before it counts as down: so
/// that a run ends.
pub const PARKED_SUM_MAX: Nanos = Nanos::from_secs(2 * 86_400);
/// Hosts that fail in a row, with no answer from any, before the network seems down: our own, since others work.
pub const NETWORK_HOSTS_MIN: u32 = 10;
/// The same before anything was reached: a short list of dead hosts must not wait.
pub const NETWORK_HOSTS_MIN_UNPROVEN: u32 = 100;
/// First pause while the network seems down; doubles with each probe.
pub const NETWORK_PAUSE_BASE: Nanos = Nanos::from_secs(1);
/// The longest pause between two probes.
pub const NETWORK_PAUSE_MAX: Nanos = Nanos::from_secs(60);
/// How long the network may seem down before rows fail again, so that a run ends.
pub const NETWORK_DOWN_MAX: Nanos = Nanos::from_secs(3_600);

// --- responses -----------------------------------------------------------------------------------------------

/// Redirects followed for one row.
pub const REDIRECTS_MAX: u16 = 10;
/// Bytes of a redirect's own body that are read to keep the connection.
pub const REDIRECT_DRAIN_BYTES: u64 = 64 << 10;
/// How long a redirect's own body may take: after that a new connection costs less than the old one.
pub const REDIRECT_DRAIN_TIME: Nanos = Nanos::from_secs(1);
/// Header fields in a response.
pub const HEADERS_MAX: usize = 1_000;
/// Empty lines before a response. Servers send one or two, behind a body that was not counted right.
pub const BLANK_LINES_MAX: u32 = 32;
/// Bytes of a response's head.
pub const HEAD_BYTES_MAX: usize = 256 << 10;
/// Interim responses (1xx) before the one that counts. Servers send one or two.
pub const INTERIM_RESPONSES_MAX: u32 = 32;
/// Digits of a chunk's size: those of 64 bits.
pub const CHUNK_DIGITS_MAX: u32 = 16;
/// Bytes of the extensions of one chunk, with the blanks around its size. They are not counted as body.
pub const CHUNK_EXTENSION_BYTES_MAX: u64 = 16 << 10;
/// The same over all chunks of a body, whatever its length ...
pub const CHUNK_EXTENSIONS_BYTES_FREE: u64 = 64 << 10;
/// ... and for each byte of data: sizes padded to eight digits, or a signature for each chunk of some KiB, fit in many times.
pub const CHUNK_EXTENSIONS_BYTES_PER_BYTE: u64 = 8;
/// Bytes of the fields behind a chunked body.
pub const TRAILER_BYTES_MAX: usize = 16 << 10;
/// Bytes that are read from a connection at once. There is one such block for each shard, and none in a connection.
pub const READ_BYTES: usize = 128 << 10;
/// Decoded bytes of one body.
pub const BODY_BYTES_MAX: u64 = 1 << 30;
/// Decoded bytes of one body that is held in memory. A larger one waits on disk for its record to be written.
pub const BODY_HELD_BYTES_MAX: usize = 8 << 20;
/// Bytes of heads, bodies and decoders that the program holds in memory, over all rows.
pub const MEMORY_BYTES: u64 = 512 << 20;
/// The part of it beyond which what can go to disk does, as a divisor. The rest is for heads and decoders, which cannot.
pub const MEMORY_DISK_SHARE: usize = 2;
/// A response that holds less is not counted: 10,000 of them, as many as may wait for their turn, are 20 MB.
pub const MEMORY_COUNTED_BYTES: usize = 2 << 10;
/// Bytes that are read from a connection at once while memory is short.
pub const READ_BYTES_SHORT: usize = 16 << 10;
/// Beyond this a body that goes to a file is written while it arrives.
pub const BODY_INLINE_BYTES: usize = 256 << 10;
/// The blocks of the file that bodies wait in: where it gives space back, it does so by whole pages.
pub const STORE_BLOCK_BYTES: u64 = 4 << 10;
/// Content encodings on one response, over all its header lines.
pub const ENCODINGS_MAX: usize = 5;
/// Bytes that a decoder takes, and puts out, in one step: then its limits are checked.
pub const DECODE_STEP_BYTES: usize = 16 << 10;
/// Bytes that are worth a thread crossing when they must be decoded: some 50 µs of work for a crossing of 5.
pub const DECODE_CROSSING_BYTES: usize = 64 << 10;
/// Bytes that all stages of a decoder take and put out on the thread of a shard, for one piece of a body: about a
/// millisecond. What is left is done elsewhere.
pub const DECODE_INLINE_BYTES: usize = 256 << 10;
/// The same for one crossing to another thread, between two looks at the clock.
pub const DECODE_SLICE_BYTES: usize = 1 << 20;
/// What the beginning of another gzip member counts in these: a new window is made for it.
pub const DECODE_MEMBER_BYTES: usize = 16 << 10;
/// What a coding may take beyond `ENCODED_RATIO_MAX`, before it has put out anything: the longest header of any honest one.
pub const ENCODED_BYTES_MIN: u64 = 1 << 20;
/// Bytes that a coding may take for each that it puts out: a server that flushes after each byte sends seven.
pub const ENCODED_RATIO_MAX: u64 = 8;
/// Bytes behind the end of the coded data that are passed over; of more, nothing further is read.
pub const ENCODED_TRAILING_BYTES_MAX: u64 = 1 << 10;
/// Memory of a decoder of gzip or deflate, with its window of 32 KiB.
pub const INFLATE_BYTES: usize = 64 << 10;
/// The most that one of brotli takes, whose largest window is 16 MiB.
pub const BROTLI_BYTES_MAX: usize = (16 << 20) + BROTLI_TABLES_BYTES;
/// Of that, what is not the window.
pub const BROTLI_TABLES_BYTES: usize = 256 << 10;
/// The most that one of zstd takes, with a window of `ZSTD_WINDOW_LOG_MAX`.
pub const ZSTD_BYTES_MAX: usize = (8 << 20) + (512 << 10);
/// Pieces after which a body that never pauses lets the other rows of its thread have a turn, and its deadlines be
/// looked at.
pub const BODY_TURN_PIECES: u32 = 16;
/// The largest zstd window (RFC 9659): 8 MiB.
pub const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// Bytes of a robots.txt that are read, the least that RFC 9309 asks for.
pub const ROBOTS_BYTES_MAX: usize = 500 << 10;
/// Redirects that are followed for a robots.txt (RFC 9309, section 2.3.1.2).
pub const ROBOTS_REDIRECTS_MAX: u16 = 5;
/// How long a robots.txt is kept (RFC 9309, section 2.4).
pub const ROBOTS_TTL: Nanos = Nanos::from_secs(86_400);
/// Origins of which a thread keeps the rules.
pub const ROBOTS_ORIGINS_MAX: usize = 10_000;
/// Memory for the rules that a thread keeps.
pub const ROBOTS_CACHE_BYTES_MAX: usize = 16 << 20;
/// The longest `Crawl-delay` that is honoured.
pub const CRAWL_DELAY_MAX: Nanos = Nanos::from_secs(600);

// --- output --------------------------------------------------------------------------------------------------

/// Rows handed to a shard, or records to the writer, at once.
pub const BATCH_RECORDS: usize = 256;
/// Bytes of heads and bodies handed to the writer at once.
pub const BATCH_BYTES: usize = 1 << 20;
/// Batches that wait for the writer before fetching stops.
pub const BATCHES_WAITING_MAX: usize = 2;
/// Emptied batches that are kept to be filled again.
pub const BATCHES_SPARE_MAX: usize = 4;
/// How long a finished record may wait for its batch to fill.
pub const BATCH_DELAY: Nanos = Nanos::from_millis(5);
/// Rows between the one that is written and the furthest that has finished, in ordered mode.
pub const REORDER_ROWS: usize = 10_000;
/// The longest error message.
pub const ERROR_MESSAGE_BYTES: usize = 1 << 10;
/// The longest quotation of foreign text, such as a bad row or a `Location`, in a message.
pub const QUOTE_BYTES_MAX: usize = 256;
/// The longest part of a bad row that its record shows as its URL.
pub const GIVEN_BYTES_MAX: usize = 1 << 10;
/// Of a longer foreign text no more is searched for secrets, and what may be one at its end is not shown.
pub const REDACTED_BYTES_MAX: usize = 8 << 10;
/// The longest file name that is made from a URL or a template.
pub const FILE_NAME_BYTES_MAX: usize = 150;
/// Directories, with the file itself, in a path made from a template or a row.
pub const FILE_DEPTH_MAX: usize = 16;
/// Names that seemed free and are tried for one row before it gets that of its number: others may take them just then.
pub const FILE_NAME_TRIES: u32 = 100;
/// Names of which the last number is remembered, some 64 bytes each. Of another one the next number is searched for.
pub const FILE_TWINS_KEPT: usize = 16_384;
/// The pause before the clock of a file system is looked at once more: it ticks every few milliseconds.
pub const FILE_CLOCK_PAUSE: Nanos = Nanos::from_millis(1);
/// What is gathered of an output before it is written, and read of it at once.
pub const OUTPUT_BUFFER_BYTES: usize = 256 << 10;
/// Hosts that a summary names, of each kind.
pub const HOSTS_TOLD: usize = 5;
/// Records that wait to be taken from a stream.
pub const STREAM_RECORDS_MAX: usize = 1_024;

// --- durable runs --------------------------------------------------------------------------------------------

/// Rows of a list that a journal can tell of: eight times the longest list that is planned for.
pub const DURABLE_ROWS_MAX: u64 = 1 << 32;
/// Results that are made durable at once. While they are, as many more may come: twice this is what a crash can cost.
pub const COMMIT_RESULTS: u64 = 2_048;
/// Bytes of bodies that are made durable at once, likewise.
pub const COMMIT_BYTES: u64 = 4 << 20;
/// The longest wait of a result until it is made durable, likewise.
pub const COMMIT_DELAY: Nanos = Nanos::from_millis(500);
/// Bytes of a journal and its intents before they begin anew from a snapshot: they are read whole when a run goes on.
pub const JOURNAL_BYTES: u64 = 64 << 20;
/// Places in a list that are remembered, from where a run may go on.
pub const MARKS_MAX: usize = 4_096;
/// The longest frame of a journal or snapshot: two sets of rows at their worst.
pub const FRAME_BYTES_MAX: u64 = 2 << 30;
/// Files that are synced one by one; for more, the whole file system is.
pub const SYNCED_FILES_MAX: usize = 8;
/// Files that get their names while no others are made.
pub const RENAMES_A_TURN: usize = 64;
/// How often the lock of a run is tried: whoever held it may remove it just then.
pub const LOCK_TRIES: usize = 10;
/// The end of an output by which it is known again when a run goes on: some lines, and no more to remember a commit.
pub const OUTPUT_END_BYTES: usize = 4 << 10;
/// The shortest record of a row in an output: of fewer bytes a row the state has told an untruth.
pub const RECORD_BYTES_MIN: u64 = 8;
/// By how much the file of intents grows at a time. It is full of zeros at first, so that one that was cut shows it.
pub const INTENTS_STEP_BYTES: u64 = 64 << 10;
/// Bytes of a lock that is ours: a process number.
pub const LOCK_BYTES_MAX: u64 = 32;
/// The block at each end of a list by which it is known again.
pub const IDENTITY_BLOCK_BYTES: u64 = 64 << 10;
