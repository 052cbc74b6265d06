// SPDX-License-Identifier: Apache-2.0
// Target: how the share is asked about an inode. By a file that is open on it where there is one:
// right also when its name is gone, or another file's. Else by name, and where the name that was
// seen last leads nowhere or to another file, or through a directory that who asks may not search,
// by whichever of the others leads to this one: whoever holds a descriptor is not told ESTALE for a
// name that went, nor EACCES for one that he did not come by.
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
// Perhaps on the way there: by another name it may be allowed.
bool is_refused(const Error& error);
// Either: another name may lead there.
bool goes_by_another_name(const Error& error);

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

  // `work(target)`, a Result: of this one; where its path leads nowhere or is refused, of one with
  // another path.
  template <class Work>
  auto ask(Netfs& netfs, Work work) const {
    return ask_others_if(netfs, &goes_by_another_name, work);
  }
  // The same where a name that is gone is to be told: of a call that comes by name.
  template <class Work>
  auto ask_by_name(Netfs& netfs, Work work) const {
    return ask_others_if(netfs, &is_refused, work);
  }

 private:
  template <class OnError, class Work>
  auto ask_others_if(Netfs& netfs, OnError goes_on, Work& work) const {
    auto answer = work(*this);
    for (const std::string& other : other_paths) {
      if (answer || file || !goes_on(answer.error())) break;
      const Target by_other{.path = other, .id = id, .type_bits = type_bits};
      const auto found = netfs.stat(other, Freshness::kServer);
      if (found && is(*found, netfs.traits())) answer = work(by_other);
    }
    return answer;
  }
};

}  // namespace larder
