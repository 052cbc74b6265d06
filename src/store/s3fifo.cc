// SPDX-License-Identifier: Apache-2.0
#include "store/s3fifo.h"

#include <algorithm>
#include <bit>

namespace larder::store {
namespace {

constexpr std::uint64_t kRegion = 16;     // pages
constexpr std::uint64_t kSmallPart = 10;  // the small queue has 1/10 of all blocks
constexpr unsigned kWhenBits = 12;
constexpr std::uint64_t kTicks = 2048;  // that the reach lasts; half of what `when` can tell

}  // namespace

void Ghost::set_reach(std::uint64_t regions) {
  reach_ = std::max<std::uint64_t>(regions, 64);
  step_ = std::max<std::uint64_t>(reach_ / kTicks, 1);
}

std::uint64_t Ghost::hash(ObjectId object, std::uint64_t region) {
  std::uint64_t h = object.value() * 0x9E3779B97F4A7C15ull ^ region * 0xC2B2AE3D27D4EB4Full;
  h ^= h >> 32;
  h *= 0xD6E8FEB86659FD93ull;
  return h ^ h >> 32;
}

void Ghost::remember(ObjectId object, PageRange range) {
  if (reach_ == 0) return;
  if (words_.empty()) words_.resize(std::bit_ceil(reach_ * 5 / 4 + kWays), 0);
  const std::uint64_t last = (range.end().value() - 1) / kRegion;
  for (std::uint64_t region = range.first.value() / kRegion; region <= last; ++region) {
    const std::uint64_t h = hash(object, region);
    const std::size_t set = h & (words_.size() - kWays);
    const auto print = static_cast<std::uint32_t>(h >> 44) | 1u;
    ++remembered_;
    // The place of the same, or the oldest.
    std::size_t oldest = set;
    std::uint32_t age = 0;
    for (std::size_t way = set; way < set + kWays; ++way) {
      const std::uint32_t word = words_[way];
      const std::uint32_t its = word == 0 ? ~0u : (now() - word) & 0xfffu;
      if (word >> kWhenBits == print || its > age) {
        oldest = way;
        age = its;
        if (word >> kWhenBits == print) break;
      }
    }
    words_[oldest] = print << kWhenBits | now();
  }
}

bool Ghost::knows(ObjectId object, PageIndex first) const {
  if (words_.empty()) return false;
  const std::uint64_t h = hash(object, first.value() / kRegion);
  const std::size_t set = h & (words_.size() - kWays);
  const auto print = static_cast<std::uint32_t>(h >> 44) | 1u;
  for (std::size_t way = set; way < set + kWays; ++way) {
    const std::uint32_t word = words_[way];
    if (word >> kWhenBits != print) continue;
    return ((now() - word) & 0xfffu) <= std::min(kTicks, reach_);
  }
  return false;
}

Place S3Fifo::push(QueueName queue, Whose whose, std::uint64_t weight, Renumber renumber) {
  weights_[index(queue)] += weight;
  const auto tell = [&](Whose other, std::uint32_t ticket) { renumber(queue, other, ticket); };
  return {queue, queues_[index(queue)].push(whose, tell)};
}

bool S3Fifo::put_back(Place place, Whose whose, std::uint64_t weight) {
  if (!queues_[index(place.queue)].put_back(place.ticket, whose)) return false;
  weights_[index(place.queue)] += weight;
  return true;
}

void S3Fifo::erase(Place place, std::uint64_t weight) {
  queues_[index(place.queue)].erase(place.ticket);
  weights_[index(place.queue)] -= weight;
}

void S3Fifo::replace(Place place, Whose whose, std::uint64_t old_weight, std::uint64_t new_weight) {
  queues_[index(place.queue)].replace(place.ticket, whose);
  weights_[index(place.queue)] += new_weight;
  weights_[index(place.queue)] -= old_weight;
}

QueueName S3Fifo::next_queue() const {
  if (queues_[index(QueueName::kMain)].empty()) return QueueName::kSmall;
  if (queues_[index(QueueName::kSmall)].empty()) return QueueName::kMain;
  const std::uint64_t all = weights_[0] + weights_[1];
  return weights_[index(QueueName::kSmall)] * kSmallPart >= all ? QueueName::kSmall
                                                                : QueueName::kMain;
}

std::uint64_t S3Fifo::bytes() const {
  return queues_[0].bytes() + queues_[1].bytes() + ghost_.bytes();
}

}  // namespace larder::store
