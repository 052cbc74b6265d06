// SPDX-License-Identifier: Apache-2.0
// Operations: what a cookie's user does to its object, in order. The rules and their invariants are
// told on top of operation.cc; the calls are Object's (object.h). Here: what the rest of the floor
// needs.
#pragma once

#include <larder/cookie.h>

#include <string_view>

namespace larder::cache {

// The operation that `work` is embedded in.
Operation& operation_of(Work& work);

std::string_view to_text(OperationState state);
std::string_view to_text(OperationKind kind);
std::string_view to_text(OperationType type);

}  // namespace larder::cache
