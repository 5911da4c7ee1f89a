#include "cli/send_queue.h"

#include <algorithm>

namespace vitower {

SendQueue::SendQueue(size_t count, size_t window) : count_(count), window_(std::max<size_t>(window, 1)) {}

std::optional<size_t> SendQueue::Next() {
  MutexLock lock(mu_);
  while (!stopped_ && finished_ < count_) {
    const std::optional<TimePoint> due = DueAt();
    if (due && *due <= std::chrono::steady_clock::now()) return Take();
    due ? changed_.WaitUntil(mu_, *due) : changed_.Wait(mu_);
  }
  return std::nullopt;
}

// One that was refused goes before one that was never sent, when its time has come.
std::optional<SendQueue::TimePoint> SendQueue::DueAt() const {
  const bool room = begun_ < count_ && begun_ - finished_ < window_;
  if (room) return TimePoint::min();
  if (again_.empty()) return std::nullopt;
  return again_.begin()->first;
}

size_t SendQueue::Take() {
  const bool is_due = !again_.empty() && again_.begin()->first <= std::chrono::steady_clock::now();
  if (is_due) return again_.extract(again_.begin()).mapped();
  return begun_++;
}

void SendQueue::Finished() {
  MutexLock lock(mu_);
  ++finished_;
  changed_.NotifyAll();
}

void SendQueue::Again(size_t index, TimePoint when) {
  MutexLock lock(mu_);
  again_.emplace(when, index);
  changed_.NotifyAll();
}

void SendQueue::Stop() {
  MutexLock lock(mu_);
  stopped_ = true;
  changed_.NotifyAll();
}

}  // namespace vitower
