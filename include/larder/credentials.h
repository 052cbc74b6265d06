// SPDX-License-Identifier: Apache-2.0
// Credentials: as whom a call is made to the share (creds=caller).
//
// With creds=caller a share thread takes the identity of whoever made the request for the length
// of the call, so that the share's own checks (an NFS server that squashes root, access lists that
// modes do not show) decide. What one caller was refused is never told to another: questions are
// shared, and answers kept, by caller.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace larder {

struct Credentials {
  std::uint32_t uid = 0, gid = 0;
  std::vector<std::uint32_t> groups;  // besides gid

  // Equal for the same credentials: a part of the keys that answers are kept under.
  std::string key() const {
    std::string text = std::to_string(uid) + ':' + std::to_string(gid);
    for (const std::uint32_t group : groups) text += ',' + std::to_string(group);
    return text;
  }
};
using CredentialsRef = std::shared_ptr<const Credentials>;  // null: as larder itself

}  // namespace larder
