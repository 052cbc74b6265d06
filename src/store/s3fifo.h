// SPDX-License-Identifier: Apache-2.0
// S3Fifo: which extent goes next (Yang et al., "FIFO queues are all you need for cache eviction",
// SOSP 2023).
//
// What is new enters a small queue, a tenth of all blocks. Who was read there twice by the time it
// comes to the front moves to the main queue, who was not is evicted and remembered for a while by
// a few bits (the ghost); who comes back in that time enters the main queue at once. In the main
// queue who was read since goes round once more. So what is read once, as a backup does, passes
// through the small queue and leaves the main one as it was.
//
// Thread: one at a time (the index's lock).
#pragma once

#include <larder/records.h>

#include <array>
#include <cstdint>
#include <vector>

#include "store/extent.h"
#include "store/fifo.h"

namespace larder::store {

// What was evicted lately: a few bits for each 64 KiB of a file. It may err, which costs an extent
// the better queue or gives it to it.
class Ghost {
 public:
  // `reach`: so many of the last regions are remembered.
  void set_reach(std::uint64_t regions);
  void remember(ObjectId object, PageRange range);
  bool knows(ObjectId object, PageIndex first) const;
  std::uint64_t bytes() const { return words_.capacity() * sizeof(std::uint32_t); }

 private:
  static constexpr std::size_t kWays = 4;
  static std::uint64_t hash(ObjectId object, std::uint64_t region);
  std::uint32_t now() const { return static_cast<std::uint32_t>(remembered_ / step_) & 0xfffu; }

  std::vector<std::uint32_t> words_;  // fingerprint << 12 | when; made when it is first needed
  std::uint64_t reach_ = 0;
  std::uint64_t step_ = 1;        // regions for each tick of `when`
  std::uint64_t remembered_ = 0;  // in all
};

class S3Fifo {
 public:
  using Renumber = absl::FunctionRef<void(QueueName queue, Whose whose, std::uint32_t ticket)>;

  // `weight`: blocks; an extent of zeros weighs 1.
  Place push(QueueName queue, Whose whose, std::uint64_t weight, Renumber renumber);
  void erase(Place place, std::uint64_t weight);
  // A piece of what was there takes its place.
  void replace(Place place, Whose whose, std::uint64_t old_weight, std::uint64_t new_weight);

  bool empty() const { return queues_[0].empty() && queues_[1].empty(); }
  std::uint64_t size() const { return queues_[0].size() + queues_[1].size(); }
  std::uint64_t weight(QueueName queue) const { return weights_[index(queue)]; }
  // From which queue the next one goes. REQUIRES: not empty.
  QueueName next_queue() const;
  Whose front(QueueName queue) const { return queues_[index(queue)].front(); }
  void for_each(QueueName queue, absl::FunctionRef<void(Whose)> visit) const {
    queues_[index(queue)].for_each(visit);
  }
  Ghost& ghost() { return ghost_; }
  const Fifo& queue(QueueName queue) const { return queues_[index(queue)]; }
  // For loading; see fifo.h.
  void expect(QueueName queue, std::uint64_t oldest, std::uint64_t next) {
    queues_[index(queue)].expect(oldest, next);
  }
  bool put_back(Place place, Whose whose, std::uint64_t weight);
  std::uint64_t bytes() const;

 private:
  static std::size_t index(QueueName queue) { return static_cast<std::size_t>(queue); }
  std::array<Fifo, 2> queues_;
  std::array<std::uint64_t, 2> weights_{};
  Ghost ghost_;
};

inline std::uint64_t weight_of(const Extent& extent) { return extent.zeros() ? 1 : extent.pages(); }

}  // namespace larder::store
