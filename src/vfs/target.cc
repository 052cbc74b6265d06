// SPDX-License-Identifier: Apache-2.0
#include "vfs/target.h"

#include <fcntl.h>

#include <cerrno>

namespace larder {

bool leads_nowhere(const Error& error) {
  return error.code == ErrorCode::kShareStale ||
         (error.code == ErrorCode::kShareAnswer &&
          (error.sys_errno == ENOENT || error.sys_errno == ENOTDIR));
}

bool is_refused(const Error& error) {
  return error.code == ErrorCode::kShareAnswer && error.sys_errno == EACCES;
}

bool goes_by_another_name(const Error& error) { return leads_nowhere(error) || is_refused(error); }

bool Target::is(const Attributes& attributes, const Traits& traits) const {
  const auto shown = file_id_of(attributes, traits);
  return (attributes.mode & 0170000) == type_bits && (!shown || *shown == id);
}

Result<Attributes> Target::stat(Netfs& netfs) const {
  if (file) return netfs.stat(*file, Freshness::kServer);
  auto by_last = netfs.stat(path, Freshness::kServer);
  if (by_last ? is(*by_last, netfs.traits()) : !goes_by_another_name(by_last.error()))
    return by_last;
  for (const std::string& other : other_paths) {
    auto found = netfs.stat(other, Freshness::kServer);
    if (found && is(*found, netfs.traits())) return found;
  }
  return by_last;
}

Result<std::shared_ptr<NetfsFile>> Target::opened(Netfs& netfs) const {
  if (file) return file;
  const auto open = [&](const std::string& name) -> Result<std::shared_ptr<NetfsFile>> {
    TRY(OpenedFile found, netfs.open(name, O_RDONLY, 0));
    if (!is(found.attributes, netfs.traits())) return fail(ErrorCode::kShareStale);
    return std::move(found.file);
  };
  auto by_last = open(path);
  if (by_last || !goes_by_another_name(by_last.error())) return by_last;
  for (const std::string& other : other_paths) {
    auto found = open(other);
    if (found || !goes_by_another_name(found.error())) return found;
  }
  if (is_refused(by_last.error())) return by_last;
  return fail(ErrorCode::kShareStale);
}

}  // namespace larder
