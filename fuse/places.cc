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

bool Places::Held::leave_to_another() {
  if (of_ == nullptr || !of_->give_to_another()) return false;
  of_ = nullptr;
  return true;
}

bool Places::take() {
  std::unique_lock lock(mutex_);
  ++waiting_;
  freed_.wait(lock, [&] { return free_ != 0 || closed_; });
  --waiting_;
  if (closed_) return false;
  --free_;
  return true;
}

bool Places::give_to_another() {
  {
    const std::lock_guard lock(mutex_);
    if (waiting_ <= free_) return false;  // each of those who wait has one coming
    ++free_;
  }
  freed_.notify_one();
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
