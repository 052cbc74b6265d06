// SPDX-License-Identifier: Apache-2.0
// FakeRing: a Reactor, and behind it a kernel that speaks FUSE over io_uring, as far as entries,
// queues and commit numbers go. No ring, no mount, one thread that turns it.
//
// What it holds larder to (a breach is a failed check): an entry is registered once, before it is
// used; a commit names the request that the entry holds; no entry is submitted twice.
#pragma once

#include <larder/reactor.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "protocol.h"
#include "support/catch.h"

namespace larder::test {

class FakeRing final : public Reactor {
 public:
  struct Answer {
    std::int32_t error = 0;
    std::uint64_t unique = 0;
    std::string payload;
  };

  Status begin() override { return {}; }
  void command(const RingCommand& command, Completion& completion) override;
  void read(int, ByteOffset, std::span<std::byte>, int, Completion&) override {
    FAIL("nothing is read");
  }
  void turn() override;
  bool turn_for(Nanoseconds) override {
    turn();
    return true;
  }
  std::size_t waiting() const override { return waiting_; }
  void post(Work& work) override {
    const std::lock_guard lock(mutex_);
    posted_.push_back(&work);
  }

  // -- the kernel's side
  void say_waiting(std::size_t count) { waiting_ = count; }
  std::size_t idle() const { return idle_.size(); }
  std::size_t registered() const { return entries_.size(); }
  // A request of `operation_bytes` bytes of first argument and `payload`. REQUIRES: idle() > 0.
  void request(std::uint32_t opcode, std::uint64_t unique, std::string_view operation,
               std::string_view payload);
  // All idle entries end so: umount, or an abort.
  void end_all(int result);
  // The next registrations end so.
  void refuse_registrations(int result) { refusal_ = result; }
  // The next completion of a command comes so first: as if it was disturbed.
  void disturb_once(int result) { disturbance_ = result; }
  const std::map<std::uint64_t, Answer>& answers() const { return answers_; }
  // What the entries of requests under way hold, changed: a kernel that is not to be believed.
  void lie_about_payload(std::uint32_t bytes) { lie_ = bytes; }

 private:
  struct Entry {
    fuse::RingHeader* header = nullptr;
    std::span<std::byte> payload;
    std::uint64_t commit_id = 0;  // of the request that it holds; 0: none
    Completion* completion = nullptr;
  };
  Entry& of(Completion& completion);
  void take_answer(Entry& entry);

  std::map<Completion*, Entry> entries_;
  std::deque<Completion*> idle_;
  std::deque<std::pair<Completion*, int>> completed_;
  std::map<std::uint64_t, Answer> answers_;
  std::size_t waiting_ = 0;
  int refusal_ = 0, disturbance_ = 0;
  std::uint32_t lie_ = 0;
  std::mutex mutex_;
  std::vector<Work*> posted_;
};

inline void FakeRing::command(const RingCommand& command, Completion& completion) {
  fuse::RingCommandBody body{};
  std::memcpy(&body, command.body.data(), sizeof body);
  if (command.operation == fuse::kRegister) {
    REQUIRE(command.parts.size() == 2);
    REQUIRE(command.parts[0].iov_len >= sizeof(fuse::RingHeader));
    REQUIRE(body.commit_id == 0);
    Entry entry;
    entry.header = static_cast<fuse::RingHeader*>(command.parts[0].iov_base);
    entry.payload = {static_cast<std::byte*>(command.parts[1].iov_base), command.parts[1].iov_len};
    entry.completion = &completion;
    entries_[&completion] = entry;
    if (refusal_ != 0) return completed_.push_back({&completion, refusal_});
  } else {
    REQUIRE(command.operation == fuse::kCommitAndFetch);
    Entry& entry = entries_.at(&completion);
    if (entry.commit_id != 0) {
      REQUIRE(body.commit_id == entry.commit_id);
      take_answer(entry);
      entry.commit_id = 0;
    }
  }
  for (const Completion* one : idle_) REQUIRE(one != &completion);
  if (disturbance_ != 0) return completed_.push_back({&completion, std::exchange(disturbance_, 0)});
  idle_.push_back(&completion);
}

inline void FakeRing::take_answer(Entry& entry) {
  fuse::OutHeader head{};
  std::memcpy(&head, entry.header->in_out.data(), sizeof head);
  const std::size_t bytes = entry.header->payload_bytes;
  REQUIRE(bytes <= entry.payload.size());
  REQUIRE(head.length == sizeof head + bytes);
  // One request, one answer.
  REQUIRE(answers_.count(head.unique) == 0);
  answers_[head.unique] = {head.error, head.unique,
                           std::string(reinterpret_cast<const char*>(entry.payload.data()), bytes)};
}

inline void FakeRing::turn() {
  std::vector<Work*> posted;
  {
    const std::lock_guard lock(mutex_);
    posted.swap(posted_);
  }
  for (Work* work : posted) work->run(*work);
  std::deque<std::pair<Completion*, int>> completed;
  completed.swap(completed_);
  for (const auto& [completion, result] : completed) completion->done(*completion, result);
}

inline void FakeRing::request(std::uint32_t opcode, std::uint64_t unique,
                              std::string_view operation, std::string_view payload) {
  REQUIRE_FALSE(idle_.empty());
  Entry& entry = entries_.at(idle_.back());
  idle_.pop_back();
  fuse::InHeader in{};
  in.length = static_cast<std::uint32_t>(sizeof in + operation.size() + payload.size());
  in.opcode = opcode;
  in.unique = unique;
  in.node = 1;
  std::memcpy(entry.header->in_out.data(), &in, sizeof in);
  std::ranges::copy(operation, reinterpret_cast<char*>(entry.header->operation.data()));
  std::ranges::copy(payload, reinterpret_cast<char*>(entry.payload.data()));
  entry.header->payload_bytes = lie_ != 0 ? lie_ : static_cast<std::uint32_t>(payload.size());
  entry.header->commit_id = entry.commit_id = unique * 1000 + 7;  // not the unique number
  completed_.push_back({entry.completion, 0});
}

inline void FakeRing::end_all(int result) {
  for (Completion* completion : idle_) completed_.push_back({completion, result});
  idle_.clear();
}

}  // namespace larder::test
