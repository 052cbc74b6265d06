// SPDX-License-Identifier: Apache-2.0
// The one table of options. A row says how the option is called, what it takes, how it is set and
// how it is printed; parsing, --help, docs/options.md and `.larder/options` are made of it and of
// nothing else.
//
// Invariant: whatever set() accepts, get() prints, and set() takes that back to the same. "auto"
// (and "share" for owners) is how a value is printed that nobody chose.
#include <fmt/format.h>
#include <larder/options.h>

#include <array>

#include "vfs/options_kinds.h"
#include "vfs/options_rules.h"

namespace larder {
namespace {

using namespace option;

constexpr ByteCount kLeastMemory{8u << 20};
constexpr ByteCount kLeastSize{16u << 20};
constexpr ByteCount kLeastTransport{1u << 20};
constexpr ByteCount kMostReadAhead{64u << 20};

using Out = MountOptions&;
using In = const MountOptions&;
using Text = std::string_view;

constexpr std::string_view kDuration = "a duration such as 5, 1.5, 500ms, 10m or 1h, 0 or more";
constexpr std::string_view kPositive = "a duration such as 5, 500ms, 10m or 1h, more than 0";
constexpr std::string_view kFlag = "no value";
constexpr std::string_view kYesNo = "yes or no";
constexpr std::string_view kId = "a number from 0 to 4294967294, or `share`";

constexpr auto kTable = std::to_array<OptionSpec>({
    {"Store", "store", "PATH", "auto",
     "The file (or block device) that keeps the cache; by default one per share below the user's "
     "or the system's cache directory.",
     "a path of a file, or `auto`", set_store, get_store},
    {"Store", "size", "SIZE", "auto",
     "How large the store may grow (K, M, G, T), at least 16M; by default 10 % of the free space, "
     "from 256M to 32G, and a store that exists keeps its size. Another size than it has lets it "
     "grow or shrink.",
     "a size of 16M or more, such as 512M, 10G or 1T, or `auto`",
     [](Out o, Text v) { return set_auto_size(v, kLeastSize, kNoMost, o.size); },
     [](In o) { return auto_size_text(o.size); }},
    {"Store", "tag", "NAME", "larder", "The name of the cache in the statistics.",
     "1 to 32 letters, digits, dots, dashes and underscores", set_tag, [](In o) { return o.tag; }},
    {"Store", "cache", "TAG:STORE[:SIZE]", "none",
     "A cache besides that of `store=`, or instead of it where that is not given; any number of "
     "times. Each has a tag and a store of its own.",
     "TAG:STORE or TAG:STORE:SIZE, such as disk:/var/cache/big.store:100G, each tag once",
     set_cache, get_caches},
    {"Store", "select_cache", "TAG", "first",
     "Which of several caches keeps this share; it may be added later.",
     "the tag of a cache, or `first`", set_select_cache,
     [](In o) { return o.settings.select_cache.empty() ? "first" : o.settings.select_cache; }},
    {"Store", "commit", "MS", "500ms",
     "What was cached longer ago than this survives a crash; a bare number is milliseconds.",
     "a time from 1 ms to 60 s, such as 500 (milliseconds) or 2s", set_commit,
     [](In o) { return duration_text(o.commit_ns); }},
    {"Store", "preallocate", "", "no",
     "All of the store gets its blocks at once, so that the disk below cannot fill up under it.",
     kFlag, [](Out o, Text v) { return set_flag(v, o.preallocate); },
     [](In o) { return flag_text(o.preallocate); }},
    {"Store", "brun", "PERCENT", "10",
     "Culling stops when so much of the store is free (bstop < bcull < brun).",
     "a number from 1 to 99", [](Out o, Text v) { return set_count(v, 99, o.culling.run); },
     [](In o) { return fmt::format("{}", o.culling.run); }},
    {"Store", "bcull", "PERCENT", "7",
     "Culling begins when less than this is free: what was used least goes.",
     "a number from 1 to 99", [](Out o, Text v) { return set_count(v, 99, o.culling.cull); },
     [](In o) { return fmt::format("{}", o.culling.cull); }},
    {"Store", "bstop", "PERCENT", "3", "Nothing new is kept while less than this is free.",
     "a number from 1 to 99", [](Out o, Text v) { return set_count(v, 99, o.culling.stop); },
     [](In o) { return fmt::format("{}", o.culling.stop); }},
    {"Store", "min_free", "SIZE", "none",
     "What the disk below the store keeps free: where others fill it, the cache gives room back, "
     "and it never takes from this itself.",
     "a size such as 1G, or `none`",
     [](Out o, Text v) {
       const auto size = v == "none" ? std::optional(ByteCount{0}) : parse_size(v);
       return keep(size, o.min_free);
     },
     [](In o) { return o.min_free.value() == 0 ? "none" : size_text(o.min_free); }},
    {"Store", "expire", "SECONDS", "never",
     "What was not used for that long is no longer cached; what is pinned stays.",
     "a duration of a second or more, such as 30, 10m or 720h, or `never`",
     [](Out o, Text v) {
       if (v == "never") {
         o.expire_ns = 0;
         return true;
       }
       const auto time = parse_duration(v);
       return time && *time >= kSecond && keep(time, o.expire_ns);
     },
     [](In o) { return o.expire_ns == 0 ? "never" : duration_text(o.expire_ns); }},
    {"Store", "objects", "COUNT", "1048576", "How many cache objects are kept in memory.",
     "a number from 1000 to 100000000",
     [](Out o, Text v) {
       const auto count = parse_number_within(v, 1000, 100'000'000);
       if (count) o.objects = static_cast<std::uint32_t>(*count);
       return count.has_value();
     },
     [](In o) { return fmt::format("{}", o.objects); }},
    {"Store", "frun", "PERCENT", "10",
     "Closing of idle objects stops when so much of `objects=` is free (fstop < fcull < frun).",
     "a number from 1 to 99", [](Out o, Text v) { return set_count(v, 99, o.object_culling.run); },
     [](In o) { return fmt::format("{}", o.object_culling.run); }},
    {"Store", "fcull", "PERCENT", "7", "Closing of idle objects begins when less is free.",
     "a number from 1 to 99", [](Out o, Text v) { return set_count(v, 99, o.object_culling.cull); },
     [](In o) { return fmt::format("{}", o.object_culling.cull); }},
    {"Store", "fstop", "PERCENT", "3", "No new object is made when less is free.",
     "a number from 1 to 99", [](Out o, Text v) { return set_count(v, 99, o.object_culling.stop); },
     [](In o) { return fmt::format("{}", o.object_culling.stop); }},
    {"Store", "index_memory", "SIZE", "256M",
     "Memory for the store's index; where it needs more, what was used least goes.",
     "a size of 1M or more, such as 64M or 2G",
     [](Out o, Text v) {
       const auto size = parse_size(v);
       return size && size->value() >= 1u << 20 && keep(size, o.index_memory);
     },
     [](In o) { return size_text(o.index_memory); }},
    {"Store", "store_deadline", "SECONDS", "10s",
     "When a read of the store takes longer, new ones go past it to the share until it comes back.",
     "a time such as 2s, 500ms or 1m",
     [](Out o, Text v) { return set_positive(v, o.store_deadline_ns); },
     [](In o) { return duration_text(o.store_deadline_ns); }},
    {"Store", "engine", "auto|uring|threads", "auto",
     "How the store is read and written: io_uring, threads where that is forbidden, or either.",
     "auto, uring or threads", [](Out o, Text v) { return set_word(kEngines, v, o.engine); },
     [](In o) { return word_text(kEngines, o.engine); }},
    {"Store", "store_reads", "auto|buffered|dropbehind|direct", "auto",
     "What reading the store leaves in the system's page cache: its pages (buffered), none that "
     "were not there before (dropbehind), or nothing, past it (direct). auto: what is there is "
     "taken from there and the rest read past it, since the kernel keeps what it was given itself; "
     "buffered with direct_io.",
     "auto, buffered, dropbehind or direct",
     [](Out o, Text v) { return set_word(kStoreReads, v, o.store_reads); },
     [](In o) { return word_text(kStoreReads, o.store_reads); }},

    {"Coherency", "coherency", "strict|cto|ttl=N|immutable", "cto",
     "strict: each open and each read asks the share whether the file changed. cto: each open does "
     "(close-to-open). ttl=N: nothing is asked again within N seconds. immutable: nothing is asked "
     "again.",
     "strict, cto, immutable, or ttl= and a duration as in coherency=ttl=60", set_coherency,
     get_coherency},
    {"Coherency", "attr_timeout", "SECONDS", "1s",
     "How long attributes are trusted without asking the share.", kDuration,
     [](Out o, Text v) { return keep(parse_duration(v), o.settings.attr_ttl_ns); },
     [](In o) { return duration_text(o.settings.attr_ttl_ns); }},
    {"Coherency", "entry_timeout", "SECONDS", "1s",
     "How long a name is trusted without asking the share.", kDuration,
     [](Out o, Text v) { return keep(parse_duration(v), o.settings.entry_ttl_ns); },
     [](In o) { return duration_text(o.settings.entry_ttl_ns); }},
    {"Coherency", "negative_timeout", "SECONDS", "0",
     "How long the absence of a name is trusted without asking the share.", kDuration,
     [](Out o, Text v) { return keep(parse_duration(v), o.settings.negative_ttl_ns); },
     [](In o) { return duration_text(o.settings.negative_ttl_ns); }},

    {"Coherency", "nocache", "PATTERN[:PATTERN...]", "none",
     "Files that are not cached. A pattern as the shell has them means each name on a path, or "
     "where it has a slash the path from the share's root; what lies below is meant too. Where "
     "the kernel and root's rights allow it, the kernel reads and writes such files by itself.",
     "patterns such as *.sqlite:.git:/home/*/mail, with colons between, or `none`",
     [](Out o, Text v) { return keep(parse_patterns(v), o.nocache); },
     [](In o) { return patterns_text(o.nocache); }},

    {"Access", "ro", "", "no", "Mounts read-only.", kFlag,
     [](Out o, Text v) { return set_flag(v, o.settings.read_only); },
     [](In o) { return flag_text(o.settings.read_only); }},
    {"Access", "allow_other", "", "no", "Lets users other than the one who mounts use the mount.",
     kFlag, [](Out o, Text v) { return set_flag(v, o.allow_other); },
     [](In o) { return flag_text(o.allow_other); }},
    {"Access", "permissions", "local|share", "local",
     "local: the kernel checks modes, owners and groups. share: the share decides, as far as it "
     "tells the user of larder.",
     "local or share", [](Out o, Text v) { return set_word(kPermissions, v, o.permissions); },
     [](In o) { return word_text(kPermissions, o.permissions); }},
    {"Access", "creds", "larder|caller", "larder",
     "As whom the share is called. caller: as whoever asks, so that the share's own checks decide; "
     "each open asks it. For root.",
     "larder or caller", [](Out o, Text v) { return set_word(kCreds, v, o.creds); },
     [](In o) { return word_text(kCreds, o.creds); }},
    {"Access", "uid", "ID", "share", "Shows this user as the owner of every file.", kId,
     [](Out o, Text v) { return set_id(v, o.settings.uid); },
     [](In o) { return id_text(o.settings.uid); }},
    {"Access", "gid", "ID", "share", "Shows this group as the group of every file.", kId,
     [](Out o, Text v) { return set_id(v, o.settings.gid); },
     [](In o) { return id_text(o.settings.gid); }},
    {"Access", "umask", "OCTAL", "000", "Takes these bits from the mode of every file.",
     "an octal number from 0 to 777", set_umask,
     [](In o) { return fmt::format("{:03o}", o.settings.umask); }},

    {"Access", "locks", "local|share", "local",
     "Where locks of files are kept: local, by this machine's kernel; share, by the share, for all "
     "its clients.",
     "local or share", [](Out o, Text v) { return set_word(kLocks, v, o.locks); },
     [](In o) { return word_text(kLocks, o.locks); }},
    {"Access", "writeback_cache", "", "no",
     "The kernel gathers writes and sends them later: faster, but a failing write is told by fsync "
     "and close only, and what other clients do to a file that is open here may be overwritten.",
     kFlag, [](Out o, Text v) { return set_flag(v, o.writeback_cache); },
     [](In o) { return flag_text(o.writeback_cache); }},

    {"Share", "share_threads", "N", "32", "How many calls to the share may be out at once.",
     "a number from 1 to 1024", [](Out o, Text v) { return set_count(v, 1024, o.share_threads); },
     [](In o) { return fmt::format("{}", o.share_threads); }},
    {"Share", "share_deadline", "SECONDS", "30s",
     "How long a look-up or a read waits for the share before it fails.", kPositive,
     [](Out o, Text v) { return set_positive(v, o.share_deadline_ns); },
     [](In o) { return duration_text(o.share_deadline_ns); }},
    {"Share", "share_slow", "SECONDS", "2s",
     "A call that takes longer marks the share as slow, and what is cached is served without "
     "asking.",
     kPositive, [](Out o, Text v) { return set_positive(v, o.share_slow_ns); },
     [](In o) { return duration_text(o.share_slow_ns); }},
    {"Share", "share_id", "TEXT", "auto",
     "Takes the place of the identity by which larder tells one share from another.",
     "1 to 255 characters, or `auto`", set_share_id,
     [](In o) { return o.share_id.empty() ? std::string("auto") : o.share_id; }},
    {"Share", "share_ino", "auto|stable|unstable", "auto",
     "Whether the share's inode numbers name a file for good; auto goes by its file system.",
     "auto, stable or unstable",
     [](Out o, Text v) { return set_word(kShareInodes, v, o.share_inodes); },
     [](In o) { return word_text(kShareInodes, o.share_inodes); }},

    {"Transport", "transport", "auto|uring|classic", "auto",
     "How requests come from the kernel: over io_uring, one queue a processor, or over /dev/fuse. "
     "Where io_uring cannot be had a line says why, and /dev/fuse serves.",
     "auto, uring or classic", [](Out o, Text v) { return set_word(kTransports, v, o.transport); },
     [](In o) { return word_text(kTransports, o.transport); }},
    {"Transport", "transport_memory", "SIZE", "auto",
     "What the buffers of requests may take when all are in use with the largest reads and writes; "
     "by default an eighth of the machine's memory, from 64M to 1G. It bounds how many requests "
     "may wait for the share at once.",
     "a size of 1M or more, such as 64M or 1G, or `auto`",
     [](Out o, Text v) { return set_auto_size(v, kLeastTransport, kNoMost, o.transport_memory); },
     [](In o) { return auto_size_text(o.transport_memory); }},
    {"Transport", "wake_in_place", "yes|no", "yes",
     "Callers are woken on the processor that they called from, where that may be had: the threads "
     "that answer run under SCHED_IDLE while nobody else wants their processors. It takes root, or "
     "RLIMIT_NICE.",
     kYesNo, [](Out o, Text v) { return set_flag(v, o.wake_in_place); },
     [](In o) { return flag_text(o.wake_in_place); }},
    {"Transport", "threads", "N", "auto",
     "How many threads answer requests over /dev/fuse, 1 to 64; by default two per processor, from "
     "4 to 16. Of them one for each processor reads requests; the others are for when those wait "
     "for the disk.",
     "a number from 1 to 64, or `auto`", set_threads,
     [](In o) { return o.threads == 0 ? std::string("auto") : fmt::format("{}", o.threads); }},
    {"Kernel", "max_background", "N", "4096",
     "How many read-aheads and other requests that nobody waits for the kernel sends at once; so "
     "many that those of a file that hangs do not hold up the others.",
     "a number from 1 to 65535",
     [](Out o, Text v) { return set_count(v, 65535, o.kernel.max_background); },
     [](In o) { return fmt::format("{}", o.kernel.max_background); }},
    {"Kernel", "read_ahead", "SIZE", "auto",
     "How far ahead the kernel reads in files that are read in order; auto leaves it as the system "
     "has it, and only root can set more.",
     "a size from 4K to 64M, or `auto`",
     [](Out o, Text v) {
       return set_auto_size(v, ByteCount{kPageSize}, kMostReadAhead, o.kernel.read_ahead);
     },
     [](In o) { return auto_size_text(o.kernel.read_ahead); }},
    {"Kernel", "readdirplus", "auto|always|never", "auto",
     "Whether listings bring the attributes of their files: auto, when somebody asks for them.",
     "auto, always or never",
     [](Out o, Text v) { return set_word(kReadDirPlus, v, o.kernel.readdirplus); },
     [](In o) { return word_text(kReadDirPlus, o.kernel.readdirplus); }},
    {"Kernel", "async_dio", "yes|no", "yes",
     "Reads and writes past the kernel's pages go several at a time.", kYesNo,
     [](Out o, Text v) { return set_flag(v, o.kernel.async_dio); },
     [](In o) { return flag_text(o.kernel.async_dio); }},
    {"Kernel", "parallel_dirops", "yes|no", "yes",
     "Look-ups and listings in one directory go several at a time.", kYesNo,
     [](Out o, Text v) { return set_flag(v, o.kernel.parallel_dirops); },
     [](In o) { return flag_text(o.kernel.parallel_dirops); }},
    {"Kernel", "cache_directories", "yes|no", "yes",
     "The kernel keeps listings, where an open of a directory does not ask the share.", kYesNo,
     [](Out o, Text v) { return set_flag(v, o.kernel.cache_directories); },
     [](In o) { return flag_text(o.kernel.cache_directories); }},
    {"Kernel", "cache_symlinks", "yes|no", "no", "The kernel keeps where symbolic links point to.",
     kYesNo, [](Out o, Text v) { return set_flag(v, o.kernel.cache_symlinks); },
     [](In o) { return flag_text(o.kernel.cache_symlinks); }},
    {"Kernel", "skip_flush", "yes|no", "yes",
     "Closing a file that was open for reading sends nothing.", kYesNo,
     [](Out o, Text v) { return set_flag(v, o.kernel.skip_flush); },
     [](In o) { return flag_text(o.kernel.skip_flush); }},

    {"Running", "memory", "SIZE", "auto",
     "What inodes, listings and fetches may take in memory. Above it listings are forgotten and "
     "the kernel is asked to let go of names; by default a sixteenth of the machine's memory, from "
     "64M to 1G.",
     "a size of 8M or more, such as 64M or 1G, or `auto`",
     [](Out o, Text v) { return set_auto_size(v, kLeastMemory, kNoMost, o.memory); },
     [](In o) { return auto_size_text(o.memory); }},
    {"Running", "verify", "", "no",
     "Whatever would be answered from the cache is asked for all the same and compared: where they "
     "differ the share's is served, what was kept goes, and a line and vfs.stale_answers tell. For "
     "finding a cache that lies; nothing is faster with it.",
     kFlag, [](Out o, Text v) { return set_flag(v, o.verify); },
     [](In o) { return flag_text(o.verify); }},
    {"Running", "cache_factor", "FACTOR", "1",
     "Scales how many listings, link targets, extended attributes and absent names are kept in "
     "memory; 0 keeps none.",
     "a number from 0 to 1000, such as 0.5 or 4", set_factor,
     [](In o) { return fmt::format("{}", o.cache_factor); }},
    {"Running", "control", "NAME", ".larder",
     "The name of the directory with the control files in the root of the mount.",
     "a name without a slash, not `.` nor `..`", set_control, [](In o) { return o.control; }},
    {"Running", "log", "debug|info|warn|error", "info", "The least level that is logged.",
     "debug, info, warn or error", [](Out o, Text v) { return set_word(kLogLevels, v, o.log); },
     [](In o) { return word_text(kLogLevels, o.log); }},
    {"Running", "debug", "MASK", "0",
     "Which parts of larder trace what they do, with the bits of FS-Cache: cache 1 2 4, cookie 8 "
     "16 32, page 64 128 256, operation 512 1024 2048 (enter, leave, within); decimal or 0x.",
     "a number of 32 bits, decimal or with 0x", set_debug,
     [](In o) { return o.debug == 0 ? std::string("0") : fmt::format("{:#x}", o.debug); }},
    {"Running", "check_sums", "yes|no", "yes",
     "Whether what is read from the store is checked; no is for measuring what that costs.", kYesNo,
     [](Out o, Text v) { return set_flag(v, o.check_sums); },
     [](In o) { return flag_text(o.check_sums); }},
    {"Running", "direct_io", "", "no",
     "The kernel keeps no pages and every read reaches larder; for measuring.", kFlag,
     [](Out o, Text v) { return set_flag(v, o.direct_io); },
     [](In o) { return flag_text(o.direct_io); }},
});

}  // namespace

std::span<const OptionSpec> option_table() { return kTable; }

}  // namespace larder
