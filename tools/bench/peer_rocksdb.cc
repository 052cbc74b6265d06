// SPDX-License-Identifier: Apache-2.0
// RocksDB as it comes: one WriteBatch for all that is committed at once, with sync; reads without a
// copy of its own (PinnableSlice), through a block cache that holds everything.
#include <fmt/format.h>
#include <rocksdb/cache.h>
#include <rocksdb/db.h>
#include <rocksdb/table.h>
#include <rocksdb/write_batch.h>

#include <algorithm>
#include <cstring>

#include "bench/peers.h"

namespace larder::bench {
namespace {

tl::unexpected<Complaint> complain_of(const rocksdb::Status& status) {
  return complain(ErrorCode::kSystem, "RocksDB: " + status.ToString());
}

rocksdb::Slice slice_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

class RocksDb final : public Peer {
 public:
  SetUp<std::monostate> open(const std::string& directory, std::uint64_t bytes) {
    rocksdb::Options options;
    options.create_if_missing = true;
    rocksdb::BlockBasedTableOptions table;
    table.block_cache = rocksdb::NewLRUCache(std::max<std::uint64_t>(bytes * 2, 64u << 20));
    options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
    rocksdb::DB* opened = nullptr;
    const rocksdb::Status status = rocksdb::DB::Open(options, directory, &opened);
    if (!status.ok()) return complain_of(status);
    db_.reset(opened);
    return std::monostate{};
  }
  SetUp<std::monostate> put(const std::string& key, std::span<const std::byte> value) override {
    const rocksdb::Status status = batch_.Put(key, slice_of(value));
    if (!status.ok()) return complain_of(status);
    return std::monostate{};
  }
  SetUp<std::monostate> commit() override {
    rocksdb::WriteOptions options;
    options.sync = true;
    const rocksdb::Status status = db_->Write(options, &batch_);
    batch_.Clear();
    if (!status.ok()) return complain_of(status);
    return std::monostate{};
  }
  SetUp<std::monostate> get(const std::string& key, std::span<std::byte> into) override {
    rocksdb::PinnableSlice value;
    const rocksdb::Status status =
        db_->Get(rocksdb::ReadOptions(), db_->DefaultColumnFamily(), key, &value);
    if (!status.ok()) return complain_of(status);
    if (value.size() != into.size()) return complain(ErrorCode::kInvalid, "RocksDB: another value");
    std::memcpy(into.data(), value.data(), into.size());
    return std::monostate{};
  }

 private:
  std::unique_ptr<rocksdb::DB> db_;
  rocksdb::WriteBatch batch_;
};

}  // namespace

SetUp<std::unique_ptr<Peer>> open_rocksdb(const std::string& directory, std::uint64_t bytes) {
  auto db = std::make_unique<RocksDb>();
  TRY_OK(db->open(directory, bytes));
  return db;
}

}  // namespace larder::bench
