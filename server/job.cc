#include "server/job.h"

#include <utility>

#include "server/result_cache.h"
#include "server/status.h"

namespace vitower {

Job::Job(std::shared_ptr<Call> call, size_t index, ItemPlan item_plan)
    : plan(std::move(item_plan)), call_(std::move(call)), index_(index) {}

Job::~Job() {
  if (!call_) return;
  const absl::Status lost = MakeStatus(Fault::kInternal, "the server gave the item up: its log may say why");
  call_->Answer(index_, FailedAnswer(lost, times, std::chrono::steady_clock::now()));
}

void Answer(std::unique_ptr<Job> job, ItemAnswer answer) {
  const std::shared_ptr<Call> call = std::move(job->call_);
  const size_t index = job->index_;
  job.reset();
  call->Answer(index, std::move(answer));
}

void Fail(std::unique_ptr<Job> job, const absl::Status& status, TimePoint now) {
  ItemAnswer answer = FailedAnswer(status, job->times, now);
  Answer(std::move(job), std::move(answer));
}

}  // namespace vitower
