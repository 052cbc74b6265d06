// SPDX-License-Identifier: Apache-2.0
#include <larder/work_queue.h>

#include <memory>
#include <utility>

namespace larder {

void post(WorkQueue& queue, Callback<> function) {
  struct Once : Work {
    explicit Once(Callback<> f) : function(std::move(f)) {
      run = [](Work& self) {
        std::unique_ptr<Once> once(static_cast<Once*>(&self));
        std::move(once->function)();
      };
    }
    Callback<> function;
  };
  queue.post(*std::make_unique<Once>(std::move(function)).release());
}

}  // namespace larder
