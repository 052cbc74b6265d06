// SPDX-License-Identifier: Apache-2.0
// Fifo: a queue threaded through the `next` of what waits in it; it allocates nothing and owns
// nothing. Thread: one at a time; its owner has the lock.
#pragma once

#include <utility>

namespace larder {

template <class T>
class Fifo {
 public:
  bool empty() const { return head_ == nullptr; }
  T* front() const { return head_; }  // nullptr where nothing waits

  void push(T& item) {
    item.next = nullptr;
    *(head_ == nullptr ? &head_ : &tail_->next) = &item;
    tail_ = &item;
  }
  void push_front(T& item) {
    item.next = head_;
    if (head_ == nullptr) tail_ = &item;
    head_ = &item;
  }
  // nullptr where nothing waits.
  T* pop() {
    T* item = head_;
    if (item == nullptr) return nullptr;
    head_ = std::exchange(item->next, nullptr);
    if (head_ == nullptr) tail_ = nullptr;
    return item;
  }
  // Moves all of `other` to the end.
  void take(Fifo& other) {
    if (other.empty()) return;
    *(head_ == nullptr ? &head_ : &tail_->next) = other.head_;
    tail_ = other.tail_;
    other.head_ = other.tail_ = nullptr;
  }

 private:
  T* head_ = nullptr;
  T* tail_ = nullptr;
};

}  // namespace larder
