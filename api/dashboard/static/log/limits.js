// Owns the named limits of the log view.

/** Most lines that are kept; the raw download has them all. */
export const LINES_MAX = 4_000_000;
/** Most bytes of output that are kept. */
export const OUTPUT_BYTES_MAX = 512 * 1024 * 1024;
/** Output is kept in blocks of this size, so that growing never copies what is there. */
export const BLOCK_BYTES = 4 * 1024 * 1024;
/** Longest event on the wire; an output event has at most 64 KiB of text, six times as long when escaped. */
export const EVENT_BYTES_MAX = 4 * 1024 * 1024;

/** So much of one line is read to show it; of a line that rewrites itself it is the end. */
export const LINE_BYTES_SHOWN_MAX = 16 * 1024;
/** Rows that one question to the worker may ask for. */
export const ROWS_ASKED_MAX = 1_000;
/** Rows of one page of the cache, and how many such pages are kept. */
export const PAGE_ROWS = 64;
export const PAGES_KEPT_MAX = 64;
/** Pages that are asked for at once. */
export const PAGES_COMING_MAX = 24;
/** Elements in all the browsers we know may be this high; above it positions are mapped. */
export const SCROLL_PX_MAX = 8_000_000;
/** Rows kept ready above and below what is seen, in shares of its height. */
export const OVERSCAN = 0.75;
/** While the reader scrolls, the rows of so many of the next frames are asked for, at the pace of the last one. */
export const FRAMES_AHEAD = 3;
/** A pace counts for so long; then the list stands. */
export const PACE_MS_MAX = 150;
/** What was seen last stays for so long while the rows that belong there are on their way. */
export const HELD_MS_MAX = 150;

/** The worker answers questions at least this often while it reads or searches. */
export const SLICE_MS = 8;
/** What the server sent is taken in pieces of this size: a few milliseconds each. */
export const PIECE_BYTES = 128 * 1024;
/**
 * Growth is told at most this often; while history is read, of which nobody reads along, less often, once there
 * are lines.
 */
export const GROWN_EVERY_MS = 50;
export const GROWN_EVERY_MS_IN_HISTORY = 400;
/** Facts and questions that wait between page and worker. */
export const QUESTIONS_WAITING_MAX = 256;

export const SEARCH_CHARS_MAX = 500;
export const SEARCH_HITS_MAX = 100_000;
/** Lines are searched in pieces of this size. */
export const SEARCH_PIECE_BYTES = 256 * 1024;
export const COPY_BYTES_MAX = 8 * 1024 * 1024;
export const HISTOGRAM_BUCKETS_MAX = 2_000;

/** Waits before the next try after a lost connection; the last one repeats. */
export const RETRY_AFTER_S = [1, 2, 4, 8, 15];
/** The server sends a comment every 10 s; after this silence the connection counts as lost. */
export const SILENCE_MS_MAX = 25_000;
/** Browsers open six connections to one host: the tails of all tabs share these, the others ask again. */
export const STREAMS_MAX = 3;
/** How often a tab without a stream asks for what is new. */
export const ASK_AGAIN_MS = 1_500;
