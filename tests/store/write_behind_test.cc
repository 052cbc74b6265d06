// SPDX-License-Identifier: Apache-2.0
#include "store/write_behind.h"

#include <vector>

#include "support/catch.h"

using namespace larder;
using store::WriteBehind;

namespace {

// Keeps what it is given until it is told to answer.
class Patient final : public IoEngine {
 public:
  void submit(IoRequest& request) override {
    CHECK(request.kind == IoRequest::Kind::kWriteback);
    CHECK(request.fd == 7);
    ++submitted;
    waiting = &request;
  }
  Status read_now(int, ByteOffset, std::span<std::byte>, ReadMode) override {
    return fail(ErrorCode::kStoreIo);
  }
  std::string name() const override { return "patient"; }

  void answer() {
    IoRequest* request = std::exchange(waiting, nullptr);
    request->done(*request, {});
  }

  int submitted = 0;
  IoRequest* waiting = nullptr;
};

}  // namespace

TEST_CASE("the system is asked to write out once for so many bytes, one request at a time") {
  Patient engine;
  WriteBehind behind(engine, 7);
  constexpr std::size_t kPart = WriteBehind::kEvery / 4;
  for (int i = 0; i < 3; ++i) behind.wrote(kPart);
  CHECK(engine.submitted == 0);
  behind.wrote(kPart);
  CHECK(engine.submitted == 1);
  for (int i = 0; i < 100; ++i) behind.wrote(kPart);
  CHECK(engine.submitted == 1);  // the first is still with the device
  engine.answer();
  CHECK(engine.submitted == 1);
  behind.wrote(1);  // what came meanwhile is behind
  CHECK(engine.submitted == 2);
  engine.answer();
  behind.wrote(kPart);
  CHECK(engine.submitted == 2);
}
