/*
 * How jemalloc is set in programs of ours that are linked with it: the command, and the arms of benches.
 *
 * librdkafka takes a fetch response, of up to a megabyte, and some hundred bytes for each of its messages on one
 * thread; others free them. jemalloc cuts a request out of a free extent only if it is at least a 64th of it
 * (lg_extent_max_active_fit:6), so where responses were no messages come, but on pages never touched before: three
 * times the resident memory, and seven times the page faults, each of which costs as much as ten messages. 1,024 are
 * enough.
 *
 * jemalloc reads it before main; MALLOC_CONF in the environment is stronger.
 */
__attribute__((visibility("default"))) const char *malloc_conf = "lg_extent_max_active_fit:10";
