#include "server/batcher.h"

#include <algorithm>

namespace vitower {
namespace {

std::chrono::seconds Penalty(Priority priority) {
  switch (priority) {
    case Priority::kHigh:
      break;
    case Priority::kNormal:
      return std::chrono::seconds(1);
    case Priority::kLow:
      return std::chrono::seconds(10);
  }
  return std::chrono::seconds(0);
}

}  // namespace

Batcher::Batcher(Options options, Clock& clock) : options_(std::move(options)), clock_(clock) {}

std::optional<Fault> Batcher::Submit(std::unique_ptr<Job>& job) {
  {
    MutexLock lock(mu_);
    if (stopped_) return Fault::kAbandoned;
    if (closed_) return Fault::kNoDevice;
    if (job->lost_devices == 0) job->ready_at = clock_.Now();
    queued_patches_ += job->patches();
    const Key key{job->ready_at + Penalty(job->plan.priority), next_number_++};
    queue_.emplace(key, std::move(job));
  }
  changed_.NotifyAll();
  return std::nullopt;
}

Jobs Batcher::Close() {
  Jobs left;
  MutexLock lock(mu_);
  closed_ = true;
  for (auto at = queue_.begin(); at != queue_.end();) left.push_back(Take(at));
  return left;
}

void Batcher::Open() {
  MutexLock lock(mu_);
  closed_ = false;
}

Jobs Batcher::Pull(int64_t budget_patches) {
  while (true) {
    Picked picked;
    bool finished = false;
    {
      MutexLock lock(mu_);
      WaitForWork();
      finished = queue_.empty();
      picked = Pick(budget_patches);
    }
    for (auto& [job, why] : picked.dropped) options_.drop(std::move(job), why);
    if (finished || !picked.jobs.empty()) return std::move(picked.jobs);
  }
}

void Batcher::Stop() {
  {
    MutexLock lock(mu_);
    stopped_ = true;
  }
  changed_.NotifyAll();
}

bool Batcher::AwaitStop(TimePoint deadline) {
  MutexLock lock(mu_);
  while (!stopped_ && clock_.Now() < deadline) clock_.WaitUntil(changed_, mu_, deadline);
  return stopped_;
}

// Returns with work to pick, or stopped. The delay counts from the arrival of the job that has waited longest, so a
// device that comes back from a long batch does not wait again, and newcomers of a higher priority do not prolong it.
void Batcher::WaitForWork() {
  while (!stopped_) {
    if (queue_.empty()) {
      changed_.Wait(mu_);
      continue;
    }
    if (options_.max_delay.count() == 0 || queued_patches_ >= options_.budget_patches) return;
    const TimePoint due = OldestArrival() + options_.max_delay;
    if (clock_.Now() >= due) return;
    clock_.WaitUntil(changed_, mu_, due);
  }
}

TimePoint Batcher::OldestArrival() const {
  TimePoint oldest = TimePoint::max();
  for (const auto& [key, job] : queue_) oldest = std::min(oldest, job->ready_at);
  return oldest;
}

Batcher::Picked Batcher::Pick(int64_t budget_patches) {
  Picked picked;
  const TimePoint now = clock_.Now();
  int64_t room = budget_patches;
  for (auto at = queue_.begin(); at != queue_.end() && (room > 0 || picked.jobs.empty());) {
    const Job& job = *at->second;
    if (const std::optional<Fault> gone = job.Gone(now)) {
      picked.dropped.emplace_back(Take(at), *gone);
    } else if (picked.jobs.empty() || job.patches() <= room) {
      room -= job.patches();
      picked.jobs.push_back(Take(at));
    } else {
      ++at;
    }
  }
  return picked;
}

std::unique_ptr<Job> Batcher::Take(Queue::iterator& at) {
  std::unique_ptr<Job> job = std::move(at->second);
  at = queue_.erase(at);
  queued_patches_ -= job->patches();
  return job;
}

}  // namespace vitower
