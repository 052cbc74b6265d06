// SPDX-License-Identifier: Apache-2.0
#include <larder/result.h>

#include <fmt/core.h>

#include <cstdio>
#include <cstdlib>
#include <system_error>

namespace larder {
namespace {

std::string_view sentence_of(ErrorCode code) {
  switch (code) {
#define X(name, text)   \
  case ErrorCode::name: \
    return text;
    LARDER_ERROR_CODES(X)
#undef X
  }
  return "unknown error";
}

}  // namespace

std::string_view name_of(ErrorCode code) {
  switch (code) {
#define X(name, text)   \
  case ErrorCode::name: \
    return #name;
    LARDER_ERROR_CODES(X)
#undef X
  }
  return "kUnknown";
}

std::string to_text(Error error) {
  if (error.sys_errno == 0) return std::string(sentence_of(error.code));
  return fmt::format("{}: {}", sentence_of(error.code),
                     std::generic_category().message(error.sys_errno));
}

void check_failed(const char* what, const char* file, int line) {
  std::fprintf(stderr, "larder: broken invariant: %s (%s:%d)\n", what, file, line);
  std::abort();
}

}  // namespace larder
