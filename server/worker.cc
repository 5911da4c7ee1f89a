#include "server/worker.h"

#include <algorithm>
#include <exception>
#include <iterator>
#include <numeric>
#include <utility>

#include "server/device_stages.h"
#include "server/job_pool.h"
#include "server/log.h"
#include "server/reply.h"
#include "server/status.h"
#include "server/text.h"

namespace vitower {
namespace {

constexpr int kMostSplits = 32;  // of one batch, two passes each
constexpr int64_t kTrialPatches = 256;
constexpr std::chrono::seconds kBetweenTrials{1};
constexpr std::chrono::seconds kShortestLimit{60};
constexpr std::chrono::minutes kWarmUpLimit{10};  // libraries that choose and compile kernels take a minute at times

int64_t PatchesOf(const Jobs& jobs) {
  return std::accumulate(jobs.begin(), jobs.end(), int64_t{0},
                         [](int64_t sum, const auto& job) { return sum + job->patches(); });
}

}  // namespace

Worker::Worker(std::unique_ptr<Encoder> encoder, Parts parts)
    : encoder_(std::move(encoder)),
      device_(encoder_->info().device),
      parts_(std::move(parts)),
      budget_(parts_.budget_patches),
      desk_(parts_.clock, [this](Jobs jobs, auto limit) { OnStall(std::move(jobs), limit); }),
      thread_([this] { Run(); }) {}

void Worker::Run() {
  NameThisThread("worker " + device_);
  WarmUpFirst();
  if (lost_) Revive();
  while (true) {
    Jobs jobs = parts_.batcher.Pull(budget_.patches());
    if (jobs.empty()) break;
    RunBatch(std::move(jobs));
    if (lost_) Revive();
  }
  parts_.metrics.SetDeviceUp(device_, parts_.index, false);
}

void Worker::WarmUpFirst() {
  const TimePoint began_at = parts_.clock.Now();
  desk_.Begin({}, std::max<std::chrono::nanoseconds>(parts_.stall_timeout, kWarmUpLimit));
  const absl::Status warm = WarmUp(*encoder_, parts_.budget_patches);
  lost_ = !desk_.End();
  warming_ = false;
  full_limit_ = parts_.stall_timeout;
  if (full_limit_.count() == 0) {
    full_limit_ = std::max<std::chrono::nanoseconds>(10 * (parts_.clock.Now() - began_at), kShortestLimit);
  }
  ShowBudget();
  if (lost_) return;
  parts_.metrics.SetDeviceUp(device_, parts_.index, warm.ok());
  parts_.on_warm(warm);
}

void Worker::RunBatch(Jobs jobs) {
  splits_ = 0;
  proven_ = false;
  desk_.Put(std::move(jobs));
  for (Jobs part = desk_.Next(); !part.empty(); part = desk_.Next()) {
    try {
      RunPart(std::move(part));
    } catch (const std::exception& error) {
      Log(LogLevel::kError, Cat("items were given up: ", error.what()));
    }
  }
}

void Worker::RunPart(Jobs part) {
  const PassInputs inputs = InputsOf(part, encoder_->info().tower);
  const std::chrono::nanoseconds limit = LimitOf(part);
  const TimePoint started_at = parts_.clock.Now();
  for (const std::unique_ptr<Job>& job : part) job->times.Set(Stage::kQueue, started_at - job->ready_at);
  desk_.Begin(std::move(part), limit);
  absl::StatusOr<std::shared_ptr<const ForwardResult>> forward = RunPass(*encoder_, inputs, parts_.clock);
  std::optional<Jobs> jobs = desk_.End();
  const std::chrono::nanoseconds spent = parts_.clock.Now() - started_at;
  const std::chrono::nanoseconds behind = forward.ok() ? (*forward)->batch.times.behind : std::chrono::nanoseconds(0);
  parts_.metrics.AddDeviceBusy(device_, spent - behind);
  if (!jobs) {
    lost_ = true;
    return Log(LogLevel::kWarning, Cat(device_, " came back after ", Seconds(spent), " s"));
  }
  for (const std::unique_ptr<Job>& job : *jobs) job->times.Set(Stage::kQueue, started_at - job->ready_at + behind);
  if (parts_.tracer.on()) TracePass(*jobs, forward.ok() ? (*forward)->batch.times : ForwardTimes(), started_at);
  absl::Status status = forward.status();
  if (status.ok()) status = CheckForward(**forward, *jobs, encoder_->info());
  status.ok() ? Finish(*std::move(jobs), *std::move(forward)) : Isolate(*std::move(jobs), status);
}

void Worker::TracePass(const Jobs& part, const ForwardTimes& times, TimePoint started_at) const {
  Tracer::Ids ids;
  ids.batch = parts_.tracer.NextNumber();
  ids.patches = PatchesOf(part);
  for (const std::unique_ptr<Job>& job : part) {
    parts_.tracer.Wait("queue", job->ready_at, started_at, job->number);
  }
  parts_.tracer.Span("pass", started_at, parts_.clock.Now(), ids);
  TimePoint at = started_at + times.behind;
  for (const auto& [stage, time] : kDeviceStages) {
    const std::chrono::nanoseconds spent = times.*time;
    if (spent.count() > 0) parts_.tracer.Span(Name(stage).data(), at, at + spent, {0, ids.batch});
    at += spent;
  }
}

void Worker::Finish(Jobs part, std::shared_ptr<const ForwardResult> forward) {
  for (size_t i = 0; i < part.size(); ++i) {
    part[i]->forward = forward;
    part[i]->batch_index = i;
  }
  parts_.metrics.ObserveBatch(forward->batch.times, forward->items, forward->patches, parts_.budget_patches);
  parts_.metrics.CountEncoded(forward->patches, forward->batch.token_offsets.back());
  parts_.on_done(std::move(part));
  proven_ = true;
  const int64_t before = budget_.patches();
  budget_.PassWentWell();
  if (budget_.patches() != before) ShowBudget();
}

void Worker::Isolate(Jobs part, const absl::Status& why) {
  Log(LogLevel::kWarning,
      Cat("a pass of ", part.size(), " items failed on ", device_, ": ", std::string(why.message())));
  const bool no_memory = absl::IsResourceExhausted(why);
  if (no_memory) {
    budget_.Shrink(PatchesOf(part));
    ShowBudget();
  }
  if (!proven_ && (!no_memory || part.size() == 1)) {
    desk_.Put(std::move(part));
    if (absl::Status trial = TryDevice(); !trial.ok()) {
      lost_ = true;
      return parts_.on_lost(desk_.TakeAll(), MakeStatus(Fault::kNoDevice, Cat(device_, " does not work")));
    }
    if (lost_) return;
    proven_ = true;
    part = desk_.Next();
  }
  if (part.size() == 1 || ++splits_ > kMostSplits) {
    for (std::unique_ptr<Job>& job : part) Refuse(std::move(job), why);
    return;
  }
  const auto middle = part.begin() + std::ssize(part) / 2;
  desk_.Put(Jobs(std::make_move_iterator(middle), std::make_move_iterator(part.end())));
  part.erase(middle, part.end());
  desk_.Put(std::move(part));
}

void Worker::Refuse(std::unique_ptr<Job> job, const absl::Status& why) {
  const std::string request_id = job->call().start().request_id;
  Log(LogLevel::kWarning, Cat("an item failed on ", device_, ": ", std::string(why.message())), request_id);
  if (absl::IsResourceExhausted(why)) {
    const std::string message = Cat("the device has no memory for the ", job->patches(), " patches of the item");
    return Fail(std::move(job), absl::ResourceExhaustedError(message), parts_.clock.Now());
  }
  const std::string message = Cat("the forward pass failed; the server's log says why for request id ", request_id);
  Fail(std::move(job), MakeStatus(Fault::kInternal, message), parts_.clock.Now());
}

// On the watchdog's thread.
void Worker::OnStall(Jobs jobs, std::chrono::nanoseconds limit) {
  const std::string message = Cat("device ", device_, " is stuck: ", warming_ ? "the warm-up" : "a pass",
                                  " has taken more than ", Seconds(limit), " s");
  Log(LogLevel::kError, message);
  parts_.metrics.SetDeviceUp(device_, parts_.index, false);
  const absl::Status why = MakeStatus(Fault::kNoDevice, message);
  parts_.on_stuck(std::move(jobs), why);
  if (warming_) parts_.on_warm(why);
}

// A failure to end in time is a stall, which has told `on_stuck` by the time this returns.
absl::Status Worker::TryDevice() {
  desk_.Begin({}, full_limit_);
  absl::Status trial = WarmUp(*encoder_, std::min(kTrialPatches, parts_.budget_patches));
  if (!desk_.End()) {
    lost_ = true;
    return absl::OkStatus();
  }
  parts_.metrics.SetDeviceUp(device_, parts_.index, trial.ok());
  return trial;
}

void Worker::Revive() {
  while (lost_) {
    lost_ = false;
    const absl::Status trial = TryDevice();
    if (!trial.ok()) {
      lost_ = true;
      Log(LogLevel::kError, Cat("device ", device_, " does not work: ", std::string(trial.message())));
      if (parts_.batcher.AwaitStop(parts_.clock.Now() + kBetweenTrials)) return;
    }
  }
  Log(LogLevel::kInfo, Cat("device ", device_, " works again"));
  parts_.on_back();
}

std::chrono::nanoseconds Worker::LimitOf(const Jobs& part) const {
  const double share =
      PassWeight(part, encoder_->info().tower) / static_cast<double>(std::max<int64_t>(parts_.budget_patches, 1));
  return std::chrono::duration_cast<std::chrono::nanoseconds>(full_limit_ * std::max(share, 1.0));
}

void Worker::ShowBudget() { parts_.metrics.SetDeviceBudget(device_, budget_.patches()); }

}  // namespace vitower
