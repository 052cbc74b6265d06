// SPDX-License-Identifier: Apache-2.0
#include "rings.h"

#include <fmt/format.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <fstream>
#include <optional>
#include <system_error>
#include <utility>

#include "courtesy.h"

namespace larder::fuse {
namespace {

// So many reads of the store are at the disk at once. Untouched entries cost no memory, and the
// kernel takes the one that was used last.
constexpr unsigned kDepthMost = 32;
constexpr unsigned kDepthGood = 4;  // rather smaller payloads than fewer entries
constexpr std::size_t kPayloadLeast = 64 << 10;
constexpr unsigned kCompletions = 4096;

unsigned possible_processors() {
  std::ifstream file("/sys/devices/system/cpu/possible");
  std::string list;
  std::getline(file, list);
  return count_processors(list);
}

bool is_online(std::uint16_t processor) {
  std::ifstream file(fmt::format("/sys/devices/system/cpu/cpu{}/online", processor));
  char state = '1';  // one that cannot go has no such file
  file >> state;
  return state == '1';
}

// The kernel sends a NOTIFY_REPLY, of no bytes, to the queue of the processor that this runs on.
// It takes no lock on the way that an answer is waited for under. `node`: a regular file that it
// knows. False: it does not.
bool send_nudge(int device_fd, std::uint64_t node) {
  // No number of the kernel's is as large. Even: odd ones are interrupts.
  static std::atomic<std::uint64_t> next{std::uint64_t{1} << 61};
  struct {
    OutHeader head;
    NotifyRetrieve retrieve;
  } const notice{{sizeof notice, kNotifyRetrieve, 0},
                 {next.fetch_add(2, std::memory_order_relaxed), node, 0, 0, 0}};
  return ::write(device_fd, &notice, sizeof notice) == static_cast<ssize_t>(sizeof notice);
}

// This thread runs on that processor while this lives, where that may be had.
class Visit {
 public:
  explicit Visit(std::uint16_t processor) {
    if (::sched_getcpu() == processor ||
        ::pthread_getaffinity_np(::pthread_self(), sizeof before_, &before_) != 0)
      return;
    cpu_set_t there;
    CPU_ZERO(&there);
    CPU_SET(processor, &there);
    moved_ = ::pthread_setaffinity_np(::pthread_self(), sizeof there, &there) == 0;
  }
  ~Visit() {
    if (moved_) ::pthread_setaffinity_np(::pthread_self(), sizeof before_, &before_);
  }
  Visit(const Visit&) = delete;
  Visit& operator=(const Visit&) = delete;

 private:
  cpu_set_t before_;
  bool moved_ = false;
};

void pin_to(int processor) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(static_cast<std::size_t>(processor), &set);
  // Best effort: unpinned is as right, and slower at times.
  ::pthread_setaffinity_np(::pthread_self(), sizeof set, &set);
}

}  // namespace

SetUp<RingLayout> plan_rings(ByteCount memory, unsigned queues) {
  const std::size_t half = memory.value() / 2;
  for (std::size_t payload = kMaxRead;; payload /= 2) {
    const std::size_t entry = RingEntry::memory_bytes(payload);
    const auto depth =
        static_cast<unsigned>(std::min<std::size_t>(kDepthMost, half / queues / entry));
    if (depth >= kDepthGood || (payload == kPayloadLeast && depth >= 1))
      return RingLayout{payload, depth, static_cast<std::int64_t>(memory.value() / entry)};
    if (payload == kPayloadLeast)
      return complain(
          ErrorCode::kInvalid,
          fmt::format("transport_memory={}M is too little for {} processors; {}M is enough",
                      memory.value() >> 20, queues, (2 * queues * entry >> 20) + 1));
  }
}

unsigned count_processors(const std::string& list) {
  unsigned count = 0;
  for (std::size_t at = 0; at < list.size();) {
    unsigned first = 0, last = 0;
    const std::size_t end = std::min(list.find(',', at), list.size());
    const std::string range = list.substr(at, end - at);
    const int got = std::sscanf(range.c_str(), "%u-%u", &first, &last);
    if (got < 1 || (got == 2 && last < first)) return 0;
    count += got == 2 ? last - first + 1 : 1;
    at = end + 1;
  }
  return count;
}

SetUp<std::unique_ptr<Rings>> Rings::prepare(const Options& options, TransportStats& stats) {
  const unsigned processors = possible_processors();
  if (processors == 0)
    return complain(ErrorCode::kSystem, "/sys does not say how many processors there may be");
  TRY(const RingLayout layout, plan_rings(options.memory, processors));
  std::unique_ptr<Rings> self(new Rings(layout, options, stats));
  self->commons_.session = options.session;
  self->commons_.device_fd = fuse_session_fd(options.session);
  self->commons_.crew = &self->crew_;
  self->commons_.nudge = [fd = self->commons_.device_fd,
                          files = &self->commons_.known_files](std::uint16_t processor) {
    const Visit there(processor);
    return files->offer([fd](std::uint64_t node) { return send_nudge(fd, node); });
  };
  self->commons_.payload_bytes = layout.payload_bytes;
  self->commons_.entries_left.store(layout.entries_most);
  self->queues_.resize(processors);
  const cpu_set_t& allowed = allowed_processors();
  std::vector<std::uint16_t> others;
  SetUp<std::monostate> added;
  for (unsigned cpu = 0; cpu < processors && added; ++cpu) {
    if (CPU_ISSET(cpu, &allowed))
      added = self->add_ring(static_cast<int>(cpu), {static_cast<std::uint16_t>(cpu)});
    else
      others.push_back(static_cast<std::uint16_t>(cpu));
  }
  if (added && !others.empty()) added = self->add_ring(-1, others);
  if (added) return self;
  self->cancelled_ = true;
  self->started_.count_down();
  self->join();
  return tl::make_unexpected(std::move(added).error());
}

SetUp<std::monostate> Rings::add_ring(int processor, const std::vector<std::uint16_t>& queues) {
  auto ring = std::make_unique<Ring>();
  TRY(ring->reactor, open_reactor({.entries = 64, .completions = kCompletions}));
  ring->processor = processor;
  for (const std::uint16_t id : queues) {
    queues_[id] = std::make_unique<RingQueue>(commons_, *ring->reactor, id, ring->live);
    ring->queues.push_back(queues_[id].get());
  }
  sigset_t all, before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);  // inherited: no signal disturbs a ring
  std::string refusal;
  try {
    ring->thread = std::thread([this, r = ring.get()] { run(*r); });
  } catch (const std::system_error& error) {
    refusal = error.what();
  }
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (!refusal.empty())
    return complain(ErrorCode::kSystem, "a thread for each processor cannot be had: " + refusal);
  ring->ready.wait();
  const Status begun = ring->begun;
  rings_.push_back(std::move(ring));
  if (!begun)
    return complain(begun.error().code, "a ring cannot be enabled: " + to_text(begun.error()),
                    begun.error().sys_errno);
  return std::monostate{};
}

Rings::~Rings() {
  for (const auto& ring : rings_)
    check(!ring->thread.joinable(), "the rings are joined before they go");
}

void Rings::start(std::function<void(int sys_errno)> on_refused) {
  commons_.on_refused = [this, told = std::move(on_refused)](int sys_errno) {
    if (!refusal_told_.exchange(true)) told(sys_errno);
  };
  started_.count_down();
}

void Rings::run(Ring& ring) {
  ::pthread_setname_np(::pthread_self(), ring.processor < 0
                                             ? "ring"
                                             : fmt::format("ring-{}", ring.processor).c_str());
  if (ring.processor >= 0) pin_to(ring.processor);
  ring.begun = ring.reactor->begin();
  ring.ready.count_down();
  started_.wait();
  if (cancelled_ || !ring.begun) return;
  std::optional<Courtesy> courtesy;  // one that is not pinned wakes its callers from elsewhere
  if (wake_in_place_ && ring.processor >= 0) courtesy.emplace(commons_.stats);
  // The queue of a processor that is not there starts with one entry, and grows if it comes.
  for (RingQueue* queue : ring.queues) queue->start(is_online(queue->id()) ? layout_.depth : 1);
  while (ring.live > 0 && !ring.quits) {
    if (courtesy) courtesy->look();
    for (RingQueue* queue : ring.queues) queue->new_turn();
    if (std::ranges::none_of(ring.queues, &RingQueue::is_starved)) {
      ring.reactor->turn();
    } else if (!ring.reactor->turn_for(RingQueue::kNudgeAgain_ns)) {
      for (RingQueue* queue : ring.queues)
        if (queue->is_starved()) queue->nudge_again();
    }
  }
}

void Rings::answer(std::uint64_t tag, const iovec* parts, int count) {
  const std::uint16_t queue = RingTag::queue(tag);
  RingEntry* entry = queue < queues_.size() ? queues_[queue]->entry(RingTag::index(tag)) : nullptr;
  if (entry == nullptr || !entry->answer(tag, parts, count)) commons_.stats.stale_answers.add();
}

std::uint64_t Rings::tag_of(std::uint64_t unique) const {
  for (const auto& queue : queues_) {
    const std::size_t size = queue->size();
    for (std::size_t i = 0; i < size; ++i)
      if (const std::uint64_t tag = queue->entry(i)->tag_of(unique); tag != 0) return tag;
  }
  return 0;
}

void Rings::refuse() { commons_.refuses.store(true); }

void Rings::join() {
  crew_.stop();  // first: what it answers is posted to the rings
  std::vector<std::unique_ptr<Quit>> quits;
  for (const auto& ring : rings_) {
    quits.push_back(std::make_unique<Quit>(*ring));
    quits.back()->run = [](Work& self) { static_cast<Quit&>(self).ring.quits = true; };
    ring->reactor->post(*quits.back());
  }
  for (const auto& ring : rings_)
    if (ring->thread.joinable()) ring->thread.join();
}

}  // namespace larder::fuse
