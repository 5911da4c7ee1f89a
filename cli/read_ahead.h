#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <thread>
#include <utility>
#include <vector>

#include "server/mutex.h"

namespace vitower {

// Runs make(0), ..., make(count - 1) on threads of its own and hands the results out in order: while the caller works
// on one, the next are made. At most `window` results are made ahead of the caller, so memory stays bounded. `make`
// must be thread-safe and must not throw. Next blocks until its result is there. The destructor waits for calls that
// run and starts no more. Not for calls that depend on each other.
template <class T>
class ReadAhead final {
 public:
  ReadAhead(size_t count, size_t threads, size_t window, std::function<T(size_t)> make)
      : count_(count), window_(std::max<size_t>(window, 1)), make_(std::move(make)) {
    for (size_t i = 0; i < std::min(threads, count); ++i) threads_.emplace_back([this] { Work(); });
  }

  ~ReadAhead() {
    MutexLock lock(mu_);
    stopped_ = true;
    changed_.NotifyAll();
  }

  ReadAhead(const ReadAhead&) = delete;
  ReadAhead& operator=(const ReadAhead&) = delete;

  // The next result in order. REQUIRES: fewer than `count` calls so far, all from one thread.
  T Next() {
    MutexLock lock(mu_);
    while (made_.count(taken_) == 0) changed_.Wait(mu_);
    T result = std::move(made_.extract(taken_).mapped());
    ++taken_;
    changed_.NotifyAll();
    return result;
  }

 private:
  void Work() {
    size_t index = 0;
    while (Claim(index)) Deliver(index, make_(index));
  }

  bool Claim(size_t& index) {
    MutexLock lock(mu_);
    while (!stopped_ && started_ < count_ && started_ >= taken_ + window_) changed_.Wait(mu_);
    if (stopped_ || started_ >= count_) return false;
    index = started_++;
    return true;
  }

  void Deliver(size_t index, T result) {
    MutexLock lock(mu_);
    made_.emplace(index, std::move(result));
    changed_.NotifyAll();
  }

  const size_t count_;
  const size_t window_;
  const std::function<T(size_t)> make_;

  Mutex mu_;
  CondVar changed_;
  size_t started_ ABSL_GUARDED_BY(mu_) = 0;
  size_t taken_ ABSL_GUARDED_BY(mu_) = 0;
  bool stopped_ ABSL_GUARDED_BY(mu_) = false;
  std::map<size_t, T> made_ ABSL_GUARDED_BY(mu_);

  std::vector<std::jthread> threads_;  // last: joined before the rest goes
};

}  // namespace vitower
