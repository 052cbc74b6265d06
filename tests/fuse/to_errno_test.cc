// SPDX-License-Identifier: Apache-2.0
#include "to_errno.h"

#include <cerrno>

#include "support/catch.h"

using namespace larder;
using larder::fuse::to_errno;

TEST_CASE("what the share said reaches the user as it is") {
  CHECK(to_errno({ErrorCode::kShareAnswer, ENOSPC}) == ENOSPC);
  CHECK(to_errno({ErrorCode::kShareAnswer, EDQUOT}) == EDQUOT);
  CHECK(to_errno({ErrorCode::kShareAnswer, 0}) == EIO);
}

TEST_CASE("a share that is not there is not a file that is not there") {
  CHECK(to_errno({ErrorCode::kShareAway, ENOENT}) == EHOSTUNREACH);
  CHECK(to_errno({ErrorCode::kShareDeadline}) == ETIMEDOUT);
  CHECK(to_errno({ErrorCode::kShareStale}) == ESTALE);
}

TEST_CASE("every code has an errno, and none is 0") {
#define X(name, text) CHECK(to_errno({ErrorCode::name}) > 0);
  LARDER_ERROR_CODES(X)
#undef X
}
