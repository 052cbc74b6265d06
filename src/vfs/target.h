// SPDX-License-Identifier: Apache-2.0
// Target: how the share is asked about an inode. By a file that is open on it where there is one:
// right also when its name is gone, or another file's. Else by name, and where the name that was
// seen last leads nowhere or to another file, by whichever of the others still leads to this one:
// whoever holds a descriptor is not told ESTALE for a name that went.
// Thread: what takes a Netfs, on share threads.
#pragma once

#include <larder/identity.h>
#include <larder/netfs.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace larder {

// The path is no more, or the file behind it is another one.
bool leads_nowhere(const Error& error);

struct Target {
  std::string path;                           // "" where its last name is gone (or it is the root)
  std::shared_ptr<NetfsFile> file = nullptr;  // null: by name
  std::vector<std::string> other_paths = {};
  FileId id = {};
  std::uint32_t type_bits = 0;

  // As far as the share's numbers tell.
  bool is(const Attributes& attributes, const Traits& traits) const;
  Result<Attributes> stat(Netfs& netfs) const;
  // `file`, or what a name is now, opened for reading. kShareStale: no name leads to it.
  Result<std::shared_ptr<NetfsFile>> opened(Netfs& netfs) const;

  // `work(target)`, a Result: of this one; where its path leads nowhere, of one with another path.
  template <class Work>
  auto ask(Netfs& netfs, Work work) const {
    auto answer = work(*this);
    for (const std::string& other : other_paths) {
      if (answer || file || !leads_nowhere(answer.error())) break;
      const Target by_other{.path = other, .id = id, .type_bits = type_bits};
      const auto found = netfs.stat(other, Freshness::kServer);
      if (found && is(*found, netfs.traits())) answer = work(by_other);
    }
    return answer;
  }
};

}  // namespace larder
