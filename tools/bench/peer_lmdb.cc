// SPDX-License-Identifier: Apache-2.0
// LMDB: one transaction for all that is committed at once, synchronous; reads in a transaction that
// is renewed for each, from the map.
#include <fmt/format.h>
#include <lmdb.h>

#include <cstring>
#include <filesystem>

#include "bench/peers.h"

namespace larder::bench {
namespace {

tl::unexpected<Complaint> complain_of(const char* call, int code) {
  return complain(ErrorCode::kSystem, fmt::format("LMDB: {}: {}", call, ::mdb_strerror(code)));
}

MDB_val value_of(std::span<const std::byte> bytes) {
  return {bytes.size(), const_cast<std::byte*>(bytes.data())};  // not written to
}
MDB_val value_of(const std::string& key) {
  return value_of(std::as_bytes(std::span{key.data(), key.size()}));
}

class Lmdb final : public Peer {
 public:
  ~Lmdb() override {
    if (reading_ != nullptr) ::mdb_txn_abort(reading_);
    if (writing_ != nullptr) ::mdb_txn_abort(writing_);
    if (environment_ != nullptr) ::mdb_env_close(environment_);
  }

  SetUp<std::monostate> open(const std::string& directory, std::uint64_t bytes) {
    if (const int code = ::mdb_env_create(&environment_); code != 0)
      return complain_of("mdb_env_create", code);
    ::mdb_env_set_mapsize(environment_, bytes * 2 + (64u << 20));
    if (const int code = ::mdb_env_open(environment_, directory.c_str(), 0, 0600); code != 0)
      return complain_of("mdb_env_open", code);
    TRY_OK(begin());
    if (const int code = ::mdb_dbi_open(writing_, nullptr, 0, &dbi_); code != 0)
      return complain_of("mdb_dbi_open", code);
    return commit();
  }
  SetUp<std::monostate> put(const std::string& key, std::span<const std::byte> value) override {
    if (writing_ == nullptr) {
      TRY_OK(begin());
    }
    MDB_val its_key = value_of(key), its_value = value_of(value);
    if (const int code = ::mdb_put(writing_, dbi_, &its_key, &its_value, 0); code != 0)
      return complain_of("mdb_put", code);
    return std::monostate{};
  }
  SetUp<std::monostate> commit() override {
    if (const int code = ::mdb_txn_commit(std::exchange(writing_, nullptr)); code != 0)
      return complain_of("mdb_txn_commit", code);
    return std::monostate{};
  }
  SetUp<std::monostate> get(const std::string& key, std::span<std::byte> into) override {
    const int began = reading_ == nullptr
                          ? ::mdb_txn_begin(environment_, nullptr, MDB_RDONLY, &reading_)
                          : ::mdb_txn_renew(reading_);
    if (began != 0) return complain_of("mdb_txn_renew", began);
    MDB_val its_key = value_of(key), its_value{};
    const int code = ::mdb_get(reading_, dbi_, &its_key, &its_value);
    if (code == 0 && its_value.mv_size == into.size())
      std::memcpy(into.data(), its_value.mv_data, into.size());
    ::mdb_txn_reset(reading_);
    if (code != 0 || its_value.mv_size != into.size()) return complain_of("mdb_get", code);
    return std::monostate{};
  }

 private:
  SetUp<std::monostate> begin() {
    if (const int code = ::mdb_txn_begin(environment_, nullptr, 0, &writing_); code != 0)
      return complain_of("mdb_txn_begin", code);
    return std::monostate{};
  }
  MDB_env* environment_ = nullptr;
  MDB_txn* writing_ = nullptr;
  MDB_txn* reading_ = nullptr;
  MDB_dbi dbi_ = 0;
};

}  // namespace

SetUp<std::unique_ptr<Peer>> open_lmdb(const std::string& directory, std::uint64_t bytes) {
  std::error_code error;
  std::filesystem::create_directory(directory, error);
  auto lmdb = std::make_unique<Lmdb>();
  TRY_OK(lmdb->open(directory, bytes));
  return lmdb;
}

}  // namespace larder::bench
