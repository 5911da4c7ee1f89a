#include "server/pass_desk.h"

#include <iterator>
#include <utility>

#include "server/job_pool.h"

namespace vitower {
namespace {

void Append(Jobs part, Jobs& all) {
  all.insert(all.end(), std::make_move_iterator(part.begin()), std::make_move_iterator(part.end()));
}

}  // namespace

PassDesk::PassDesk(Clock& clock, OnStall on_stall)
    : clock_(clock), on_stall_(std::move(on_stall)), watchdog_([this] {
        NameThisThread("watchdog");
        Watch();
      }) {}

PassDesk::~PassDesk() {
  {
    MutexLock lock(mu_);
    stopping_ = true;
  }
  changed_.NotifyAll();
}

void PassDesk::Put(Jobs part) {
  MutexLock lock(mu_);
  waiting_.push_back(std::move(part));
}

Jobs PassDesk::Next() {
  MutexLock lock(mu_);
  if (waiting_.empty()) return {};
  Jobs part = std::move(waiting_.back());
  waiting_.pop_back();
  return part;
}

Jobs PassDesk::TakeAll() {
  MutexLock lock(mu_);
  return Everything();
}

Jobs PassDesk::Everything() {
  Jobs all = std::move(running_);
  running_.clear();
  for (; !waiting_.empty(); waiting_.pop_back()) Append(std::move(waiting_.back()), all);
  return all;
}

// A watchdog that sleeps until the end of an earlier pass sees by itself that there is a later one: the ordinary pass
// wakes nobody.
void PassDesk::Begin(Jobs part, std::chrono::nanoseconds limit) {
  bool wake = false;
  {
    MutexLock lock(mu_);
    running_ = std::move(part);
    pass_ = true;
    limit_ = limit;
    due_ = clock_.Now() + limit;
    wake = due_ < looks_at_;
  }
  if (wake) changed_.NotifyAll();
}

std::optional<Jobs> PassDesk::End() {
  MutexLock lock(mu_);
  while (handing_over_) changed_.Wait(mu_);
  pass_ = false;
  if (std::exchange(stalled_, false)) return std::nullopt;
  return std::exchange(running_, {});
}

void PassDesk::Watch() {
  while (true) {
    Jobs taken;
    std::chrono::nanoseconds limit{0};
    {
      MutexLock lock(mu_);
      while (!stopping_ && (!pass_ || stalled_ || clock_.Now() < due_)) {
        const bool watching = pass_ && !stalled_;
        looks_at_ = watching ? due_ : TimePoint::max();
        watching ? clock_.WaitUntil(changed_, mu_, due_) : changed_.Wait(mu_);
      }
      if (stopping_) return;
      stalled_ = true;
      handing_over_ = true;
      limit = limit_;
      taken = Everything();
    }
    on_stall_(std::move(taken), limit);
    {
      MutexLock lock(mu_);
      handing_over_ = false;
    }
    changed_.NotifyAll();
  }
}

}  // namespace vitower
