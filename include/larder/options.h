// SPDX-License-Identifier: Apache-2.0
// Options: everything a user can set, in one table that feeds parsing, `--help`, the docs and
// `.larder/options`.
#pragma once

#include <larder/io_engine.h>
#include <larder/log.h>
#include <larder/netfs.h>
#include <larder/result.h>
#include <larder/settings.h>
#include <larder/store.h>
#include <larder/units.h>

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace larder {

enum class Permissions : std::uint8_t {
  kLocal,  // the kernel checks modes, owners and groups (default_permissions)
  kShare,  // the share decides: every call goes through to it
};

enum class Creds : std::uint8_t {
  kLarder,  // the share is called as the user that larder runs as
  kCaller,  // as whoever asks; for root
};

enum class TransportChoice : std::uint8_t {
  kAuto,     // io_uring where the kernel has it, else /dev/fuse
  kUring,    // the same, with a warning where it cannot be had
  kClassic,  // /dev/fuse
};

// One of the caches of a mount: "TAG:STORE:SIZE", the size optional.
struct CacheSpec {
  std::string tag;
  std::string store;  // absolute
  ByteCount size{0};  // 0: the default
  friend bool operator==(const CacheSpec&, const CacheSpec&) = default;
};

enum class StoreReads : std::uint8_t {
  kAuto,        // where the kernel keeps what was read: from it, or past it; else kBuffered
  kBuffered,    // through the system's page cache, which keeps the store's pages
  kDropBehind,  // through it, and nothing that was not there before stays
  kDirect,      // past it
};

enum class ReadDirPlus : std::uint8_t { kAuto, kAlways, kNever };

// What larder asks of the kernel's FUSE.
struct KernelTuning {
  unsigned max_background = 4096;
  ByteCount read_ahead{0};  // 0: as the kernel has it
  ReadDirPlus readdirplus = ReadDirPlus::kAuto;
  bool async_dio = true;
  bool parallel_dirops = true;
  bool cache_directories = true;
  bool cache_symlinks = false;
  bool skip_flush = true;  // of handles that cannot write
};

enum class Locks : std::uint8_t {
  kLocal,  // the kernel keeps them, on this machine
  kShare,  // the share keeps them, for all its clients
};

struct MountOptions {
  std::string share;       // absolute
  std::string mountpoint;  // absolute

  std::string store;  // empty: below the user's or the system's cache directory
  ByteCount size{0};  // 0: the default
  std::string tag = "larder";
  // Others besides store=; instead of it where that is not set.
  std::vector<CacheSpec> caches;
  Settings
      settings;  // attr_timeout, entry_timeout, negative_timeout, coherency, ro, uid, gid, umask
  bool allow_other = false;
  Permissions permissions = Permissions::kLocal;
  Creds creds = Creds::kLarder;
  TransportChoice transport = TransportChoice::kAuto;
  ByteCount transport_memory{0};  // 0: an eighth of the machine's, 64 MiB to 1 GiB
  bool wake_in_place = true;      // callers stay on their processors
  StoreReads store_reads = StoreReads::kAuto;
  KernelTuning kernel;
  bool check_sums = true;  // no: for measuring
  bool verify = false;     // what is kept is compared with the share each time it would be served
  Locks locks = Locks::kLocal;
  bool writeback_cache = false;      // the kernel gathers writes
  std::vector<std::string> nocache;  // patterns of files that are not cached (path_patterns.h)
  unsigned threads = 0;              // of the classic transport; 0: 2 per processor, 4 to 16
  unsigned share_threads = 32;
  Nanoseconds share_deadline_ns = 30 * kSecond;
  Nanoseconds share_slow_ns = 2 * kSecond;
  std::string share_id;  // overrides the share's identity
  ShareInodes share_inodes = ShareInodes::kAuto;
  EngineChoice engine = EngineChoice::kAuto;
  Nanoseconds commit_ns = 500 * kMillisecond;
  ByteCount memory{0};      // for inodes, listings, fetches and copies; 0: the default
  double cache_factor = 1;  // scales what is kept of listings, links, xattrs and absent names
  bool preallocate = false;
  store::Culling culling;
  std::uint32_t objects = 1u << 20;
  store::Culling object_culling;
  ByteCount index_memory{256u << 20};
  Nanoseconds store_deadline_ns = 10 * kSecond;
  Nanoseconds expire_ns = 0;  // 0: what is cached does not expire
  ByteCount min_free{0};      // of the disk below the store; 0: no bound
  std::string control = ".larder";
  LogLevel log = LogLevel::kInfo;
  std::uint32_t debug = 0;
  std::vector<std::string>
      kernel_words;        // of the mount itself, for the kernel: "noexec", "noatime"
  bool direct_io = false;  // the kernel keeps no pages: every read reaches larder; for measuring
};

// Whether the kernel may read and write files that are not cached by itself: where nothing that
// larder does with reads and writes is asked for.
bool wants_pass_through(const MountOptions& options);

// One row of the table.
struct OptionSpec {
  std::string_view group;        // "Store": rows of a group stand together
  std::string_view name;         // "attr_timeout"
  std::string_view value;        // "SECONDS", "PATH", "cto|ttl=N"; empty: a flag without a value
  std::string_view fallback;     // the default, as text
  std::string_view description;  // one sentence
  std::string_view accepts;      // what a value must be, for complaints: "a number from 1 to 64"
  // Sets it; false when `value` is malformed. A flag takes "" and "yes", and "no" takes it back.
  bool (*set)(MountOptions& options, std::string_view value);
  // As text, as a user would write it; set() takes it back to the same.
  std::string (*get)(const MountOptions& options);
};

std::span<const OptionSpec> option_table();

// Reads "opt,opt=value,..." (as after -o; a backslash keeps a comma) into `options`. Generic mount
// words
// (_netdev, nofail, x-..., defaults, rw, noatime, ...) are accepted and ignored. The complaint
// names the option, what is wrong with it and what would be right; for an unknown one, the nearest
// that exists.
SetUp<std::monostate> parse_options(std::string_view list, MountOptions& options);

// Durations: "5", "1.5", "500ms", "10m", "1h" (a bare number is seconds). Sizes: "64M", "10G",
// "1T", bytes.
std::optional<Nanoseconds> parse_duration(std::string_view text);
std::optional<ByteCount> parse_size(std::string_view text);
std::optional<CacheSpec> parse_cache(std::string_view text);
std::string cache_text(const CacheSpec& cache);
std::string duration_text(Nanoseconds time);
std::string size_text(ByteCount size);

// The table for --help, as Markdown for docs/, and as "name=value" lines of a mount.
std::string options_help();
std::string options_markdown();
std::string options_text(const MountOptions& options);

}  // namespace larder
