// SPDX-License-Identifier: Apache-2.0
#include "places.h"

namespace larder::fuse {

bool Places::Held::enter(Places& places) {
  if (of_ != nullptr) return true;
  if (!places.take()) return false;
  of_ = &places;
  return true;
}

void Places::Held::leave() {
  if (Places* const places = std::exchange(of_, nullptr)) places->give_back();
}

bool Places::take() {
  std::unique_lock lock(mutex_);
  freed_.wait(lock, [&] { return free_ != 0 || closed_; });
  if (closed_) return false;
  --free_;
  return true;
}

void Places::give_back() {
  {
    const std::lock_guard lock(mutex_);
    ++free_;
  }
  freed_.notify_one();
}

void Places::close() {
  {
    const std::lock_guard lock(mutex_);
    closed_ = true;
  }
  freed_.notify_all();
}

}  // namespace larder::fuse
