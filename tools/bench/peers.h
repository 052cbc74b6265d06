// SPDX-License-Identifier: Apache-2.0
// Peers: key-value stores that the store is compared with, each behind the same three calls, used
// as their manuals say. Built only where the libraries are installed.
// Thread: one at a time.
#pragma once

#include <larder/result.h>

#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <variant>
#include <vector>

namespace larder::bench {

class Peer {
 public:
  virtual ~Peer() = default;
  // All that is put before commit() is durable behind it.
  virtual SetUp<std::monostate> put(const std::string& key, std::span<const std::byte> value) = 0;
  virtual SetUp<std::monostate> commit() = 0;
  // Copies the value into `into`, as a read(2) would. Complaint: it is not there.
  virtual SetUp<std::monostate> get(const std::string& key, std::span<std::byte> into) = 0;
};

struct PeerKind {
  std::string name;
  // In a fresh directory that is made here; `bytes`: of all that will be put.
  std::function<SetUp<std::unique_ptr<Peer>>(const std::string& directory, std::uint64_t bytes)>
      open;
};

std::vector<PeerKind> peers();  // that are built in

SetUp<std::unique_ptr<Peer>> open_lmdb(const std::string& directory, std::uint64_t bytes);
SetUp<std::unique_ptr<Peer>> open_rocksdb(const std::string& directory, std::uint64_t bytes);

}  // namespace larder::bench
