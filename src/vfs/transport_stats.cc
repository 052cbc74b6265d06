// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <larder/transport_stats.h>

#include <string_view>
#include <utility>

namespace larder {
namespace {

// FUSE opcodes that larder serves.
constexpr std::array<std::pair<unsigned, std::string_view>, 37> kNames{{
    {0, "other"},
    {1, "lookup"},
    {3, "getattr"},
    {4, "setattr"},
    {5, "readlink"},
    {6, "symlink"},
    {8, "mknod"},
    {9, "mkdir"},
    {10, "unlink"},
    {11, "rmdir"},
    {12, "rename"},
    {13, "link"},
    {14, "open"},
    {15, "read"},
    {16, "write"},
    {17, "statfs"},
    {18, "release"},
    {20, "fsync"},
    {21, "setxattr"},
    {22, "getxattr"},
    {23, "listxattr"},
    {24, "removexattr"},
    {25, "flush"},
    {27, "opendir"},
    {28, "readdir"},
    {29, "releasedir"},
    {30, "fsyncdir"},
    {31, "getlk"},
    {34, "access"},
    {35, "create"},
    {43, "fallocate"},
    {44, "readdirplus"},
    {45, "rename2"},
    {46, "lseek"},
    {47, "copy_file_range"},
    {51, "tmpfile"},
    {52, "statx"},
}};

}  // namespace

void TransportStats::register_in(stats::Registry& registry) {
  using stats::Unit;
  registry.add("fuse.ring_entries", Unit::kGauge, "entries that the rings have", ring_entries);
  registry.add("fuse.copied_bytes", Unit::kBytes, "bytes of answers that were not in their place",
               copied_bytes);
  registry.add("fuse.refused", Unit::kCount, "requests that found no room to wait in", refused);
  registry.add("fuse.io_errors", Unit::kCount, "requests answered with EIO", io_errors);
  registry.add("fuse.stale_answers", Unit::kCount, "answers that came twice or too late",
               stale_answers);
  registry.add("fuse.handed_over", Unit::kCount, "large reads that left a ring where others waited",
               handed_over);
  registry.add("fuse.nudges", Unit::kCount, "times that the kernel was made to look at its queue",
               nudges);
  registry.add("fuse.nudges_lost", Unit::kCount, "those that the kernel refused", nudges_lost);
  registry.add("fuse.standing_back", Unit::kGauge,
               "threads that serve requests and stand back from their processor (wake_in_place=)",
               standing_back);
  registry.add("fuse.kept_waiting", Unit::kCount,
               "times that one of them was kept waiting, and was ordinary again for a while",
               kept_waiting);
  for (const auto& [opcode, name] : kNames) {
    registry.add(fmt::format("op.{}", name), Unit::kCount, fmt::format("{} requests", name),
                 operations[opcode]);
    registry.add(fmt::format("op.{}_ns", name), Unit::kNanoseconds,
                 fmt::format("time of {} requests, of every eighth", name), operation_ns[opcode]);
  }
  registry.add("stage.queue_ns", Unit::kNanoseconds,
               "time that requests waited behind others that came with them over a ring, of every "
               "eighth; how long they lay in the kernel before is not to be seen",
               queue_ns);
  registry.add("stage.reply_ns", Unit::kNanoseconds, "time to send answers, of every eighth",
               reply_ns);
}

}  // namespace larder
