// SPDX-License-Identifier: Apache-2.0
#include "store/write_behind.h"

namespace larder::store {

WriteBehind::WriteBehind(IoEngine& engine, int fd) : engine_(engine) {
  request_.kind = IoRequest::Kind::kWriteback;
  request_.fd = fd;
  request_.owner = this;
  request_.done = [](IoRequest& self, Status) {
    WriteBehind& owner = *static_cast<Request&>(self).owner;
    const MutexLock lock(owner.mutex_);
    owner.under_way_ = false;
    owner.ended_.notify_all();
  };
}

WriteBehind::~WriteBehind() {
  const MutexLock lock(mutex_);
  while (under_way_) ended_.wait(mutex_);
}

void WriteBehind::wrote(std::size_t bytes) {
  if (behind_.fetch_add(bytes) + bytes < kEvery) return;
  {
    const MutexLock lock(mutex_);
    if (under_way_) return;
    under_way_ = true;
  }
  behind_.store(0);
  engine_.submit(request_);
}

}  // namespace larder::store
