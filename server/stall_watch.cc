#include "server/stall_watch.h"

#include <utility>

namespace vitower {

void StallWatch::Wait::Begin(StallWatch& watch, std::function<void()> on_stall) {
  watch_ = &watch;
  MutexLock lock(watch.mu_);
  watch.waiting_.push_back({watch.clock_.Now() + watch.timeout_, std::move(on_stall)});
  entry_ = std::prev(watch.waiting_.end());
}

bool StallWatch::Wait::End() {
  if (watch_ == nullptr) return false;
  StallWatch& watch = *std::exchange(watch_, nullptr);
  std::list<Entry> ended;  // freed without the lock
  MutexLock lock(watch.mu_);
  ended.splice(ended.begin(), entry_->told ? watch.told_ : watch.waiting_, entry_);
  return ended.front().told;
}

StallWatch::StallWatch(Clock& clock, std::chrono::nanoseconds timeout)
    : clock_(clock), timeout_(timeout), thread_([this] { Run(); }) {}

StallWatch::~StallWatch() {
  {
    MutexLock lock(mu_);
    stop_ = true;
  }
  stop_changed_.NotifyAll();
  thread_.join();
}

// Nobody wakes it for a wait that begins: none that begins while it sleeps is due before it wakes.
void StallWatch::Run() {
  mu_.Lock();
  while (!stop_) {
    if (std::function<void()> on_stall = TakeDue()) {
      mu_.Unlock();
      on_stall();
      on_stall = nullptr;  // without the lock: what it holds may end a wait
      mu_.Lock();
      continue;
    }
    const TimePoint next = waiting_.empty() ? clock_.Now() + timeout_ : waiting_.front().due;
    clock_.WaitUntil(stop_changed_, mu_, next);
  }
  mu_.Unlock();
}

std::function<void()> StallWatch::TakeDue() {
  if (waiting_.empty() || waiting_.front().due > clock_.Now()) return nullptr;
  waiting_.front().told = true;
  std::function<void()> on_stall = std::move(waiting_.front().on_stall);
  told_.splice(told_.end(), waiting_, waiting_.begin());
  return on_stall;
}

}  // namespace vitower
