// SPDX-License-Identifier: Apache-2.0
// Superblock: where the last checkpoint and the journal behind it begin. Two of them, written in
// turn.
#pragma once

#include <larder/records.h>
#include <larder/units.h>

#include <cstdint>
#include <optional>
#include <string>

#include "store/format.h"
#include "store/layout.h"

namespace larder::store {

struct Superblock {
  Uuid uuid{};
  std::uint64_t generation = 0;
  Layout layout;
  unsigned slot = 0;  // of this superblock, and of its checkpoint's area
  std::uint64_t checkpoint_chunks = 0;
  std::uint64_t first_sequence = 1;
  std::uint64_t journal_position = 0;
  ObjectId next_object{kRootObject.value() + 1};
  std::uint64_t journal_generation = 0;
  std::uint32_t journal_previous = 0;
  bool clean = false;  // closed in order: no journal follows
  Nanoseconds written_wall_ns = 0;
  Nanoseconds use_tick_ns = 0;  // of the extents' ticks; 0: they say nothing
};

enum class SuperblockState : std::uint8_t {
  kValid,
  kZero,         // never written
  kOtherFormat,  // ours, of another format number
  kDamaged,      // ours by its magic, but the sum or what it says is wrong
  kForeign,      // not ours
};

SuperblockDisk encode(const Superblock& superblock);
// `slot`: the place from which `disk` was read. kValid fills `superblock`.
SuperblockState decode(const SuperblockDisk& disk, unsigned slot, Superblock& superblock);

// How the store on `fd` is laid out; nullopt where neither superblock can be read. For device.cc.
std::optional<Layout> stored_layout(int fd);
// Begins it as a store of ours does, of whatever format, whole or not?
bool bears_magic(int fd);

std::string to_text(const Uuid& uuid);

}  // namespace larder::store
