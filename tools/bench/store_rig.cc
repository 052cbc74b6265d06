// SPDX-License-Identifier: Apache-2.0
#include "bench/store_rig.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <larder/device.h>

#include <cerrno>
#include <cstring>

namespace larder::bench {

Worker::Worker() : thread_([this] { run(); }) {}

Worker::~Worker() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    wake_.notify_one();
  }
  thread_.join();
}

void Worker::post(larder::Work& work) {
  const std::lock_guard lock(mutex_);
  work.next = nullptr;
  *last_ = &work;
  last_ = &work.next;
  wake_.notify_one();
}

void Worker::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    while (first_ == nullptr && !stopping_) wake_.wait(lock);
    larder::Work* work = first_;
    if (work == nullptr) return;
    first_ = work->next;
    if (first_ == nullptr) last_ = &first_;
    lock.unlock();
    work->run(*work);
    lock.lock();
  }
}

SetUp<OpenStore> OpenStore::open(const std::string& path, const StoreShape& shape) {
  OpenStore opened;
  TRY(store::Device device, store::open_device({path, shape.size, false, {}}));
  TRY(OpenedEngine engine, open_engine({}));
  opened.engine_ =
      shape.wrap ? shape.wrap(std::move(engine.engine), device.size) : std::move(engine.engine);
  opened.machine_ = std::make_unique<Worker>();
  opened.fd_ = device.fd.get();
  TRY(opened.store_, store::Store::open(std::move(device), shape.options, *opened.engine_,
                                        *opened.machine_, system_clock(), Seed{1}));
  return opened;
}

OpenStore::~OpenStore() {
  if (!store_) return;
  static_cast<void>(set_direct(false));  // it was so before
  store_->close();
  store_.reset();
}

SetUp<std::monostate> OpenStore::set_direct(bool direct) {
  const int flags = ::fcntl(fd_, F_GETFL);
  if (::fcntl(fd_, F_SETFL, direct ? flags | O_DIRECT : flags & ~O_DIRECT) == 0)
    return std::monostate{};
  return complain(ErrorCode::kNotSupported,
                  fmt::format("O_DIRECT cannot be had here: {}", std::strerror(errno)), errno);
}

Filler::Filler(store::Store& store, std::size_t bytes, unsigned depth) : store_(store) {
  for (unsigned i = 0; i < depth; ++i) {
    slots_.push_back(std::make_unique<Slot>());
    slots_.back()->memory = AlignedBuffer(bytes);
    slots_.back()->filler = this;
    slots_.back()->done = [](store::Fill& fill, Status status) {
      Slot& self = static_cast<Slot&>(fill);
      const std::lock_guard lock(self.filler->mutex_);
      self.busy = false;
      if (!status) ++self.filler->refused_;
      self.filler->back_.notify_one();
    };
  }
}

Filler::~Filler() { wait(); }

std::span<std::byte> Filler::buffer() {
  std::unique_lock lock(mutex_);
  for (;;) {
    for (std::size_t i = 0; i < slots_.size(); ++i) {
      next_ = (next_ + 1) % slots_.size();
      if (!slots_[next_]->busy) return slots_[next_]->memory.span();
    }
    back_.wait(lock);
  }
}

void Filler::put(const store::ObjectRef& object, PageIndex first, std::size_t count,
                 ByteCount file_size) {
  Slot& slot = *slots_[next_];
  slot.object = object;
  slot.generation = store_.generation(object);
  slot.first = first;
  slot.data = slot.memory.span().first(count);
  slot.file_size = file_size;
  {
    const std::lock_guard lock(mutex_);
    slot.busy = true;
  }
  store_.fill(slot);
}

void Filler::wait_keeping_objects() {
  std::unique_lock lock(mutex_);
  for (const auto& slot : slots_) {
    while (slot->busy) back_.wait(lock);
  }
}

void Filler::wait() {
  wait_keeping_objects();
  for (const auto& slot : slots_) slot->object.reset();
}

void paint(std::span<std::byte> bytes, std::uint64_t seed) {
  std::uint64_t state = seed * 0x9E3779B97F4A7C15ull + 1;
  for (std::size_t i = 0; i + 8 <= bytes.size(); i += 8) {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    std::memcpy(bytes.data() + i, &state, 8);
  }
}

}  // namespace larder::bench
