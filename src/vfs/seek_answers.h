// SPDX-License-Identifier: Apache-2.0
// SeekAnswers: what the share said of where data and holes of a file lie. Whoever walks a tree for
// text (grep) asks that of each larger file, the same each time.
//
// Guarded by the inode's lock.
#pragma once

#include <larder/identity.h>
#include <larder/result.h>

#include <algorithm>
#include <optional>
#include <vector>

namespace larder {

class SeekAnswers {
 public:
  // What the file was when the share was asked. Answers are of nothing else.
  struct State {
    Identity version;
    std::uint64_t last_change = 0;
    friend bool operator==(const State&, const State&) = default;
  };
  struct Question {
    int whence = 0;
    ByteOffset offset;
    friend bool operator==(const Question&, const Question&) = default;
  };

  // Asked behind `since`; null: nothing is known.
  const Result<ByteOffset>* find(const State& now, const Question& question,
                                 Nanoseconds since_mono_ns) const {
    if (now != state_) return nullptr;
    const auto known = std::find_if(answers_.begin(), answers_.end(), [&](const Answer& one) {
      return one.question == question && one.asked_mono_ns > since_mono_ns;
    });
    return known == answers_.end() ? nullptr : &known->said;
  }
  void keep(const State& state, const Question& question, Nanoseconds asked_mono_ns,
            const Result<ByteOffset>& said) {
    if (state != state_) answers_.clear();
    state_ = state;
    std::erase_if(answers_, [&](const Answer& one) { return one.question == question; });
    if (answers_.size() == kAnswersMax) answers_.erase(answers_.begin());
    answers_.push_back({question, asked_mono_ns, said});
  }

 private:
  static constexpr std::size_t kAnswersMax = 8;
  struct Answer {
    Question question;
    Nanoseconds asked_mono_ns = 0;
    Result<ByteOffset> said;
  };
  State state_;
  std::vector<Answer> answers_;
};

}  // namespace larder
