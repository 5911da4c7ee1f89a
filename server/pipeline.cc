#include "server/pipeline.h"

#include <algorithm>
#include <functional>
#include <iterator>
#include <numeric>
#include <string>
#include <utility>
#include <variant>

#include "server/device_stages.h"
#include "server/log.h"
#include "server/prepare.h"
#include "server/reply.h"
#include "server/status.h"
#include "server/text.h"

namespace vitower {
namespace {

// Casting is memory-bound: a quarter of the preprocessing threads keeps up with them.
int ReplyThreads(int preprocess_threads) { return std::max(1, preprocess_threads / 4); }

std::vector<std::string> EachDevice(const std::vector<std::unique_ptr<Encoder>>& encoders) {
  std::vector<std::string> devices;
  for (const std::unique_ptr<Encoder>& encoder : encoders) devices.push_back(encoder->info().device);
  return devices;
}

std::string_view DropMessage(Fault why) {
  switch (why) {
    case Fault::kExpired:
      return "the deadline passed before the item was done";
    case Fault::kCancelled:
      return "the call was cancelled before the item was done";
    case Fault::kNoDevice:
      return "no device of the server works";
    default:
      return "the server stopped before the item was done";
  }
}

// As the cache keeps it.
std::shared_ptr<const v1::Result> WithoutTimes(const v1::Result& result) {
  auto kept = std::make_shared<v1::Result>(result);
  kept->clear_times();
  return kept;
}

void SetDeviceTimes(const ForwardTimes& times, StageTimes& spent) {
  for (const auto& [stage, time] : kDeviceStages) spent.Set(stage, times.*time);
}

}  // namespace

Pipeline::Pipeline(Options options, std::vector<std::unique_ptr<Encoder>> encoders, Metrics& metrics, Tracer& tracer,
                   Clock& clock, const Listeners& listeners)
    : options_(options),
      info_(encoders.front()->info()),
      metrics_(metrics),
      tracer_(tracer),
      clock_(clock),
      admission_(options.admission, metrics, clock),
      replies_("reply", ReplyThreads(options.preprocess_threads), [this](auto job) { Reply(std::move(job)); }),
      batcher_({options.max_batch_patches, options.max_batch_delay,
                [this](auto job, Fault why) { DropLater(std::move(job), why); }},
               clock),
      devices_(EachDevice(encoders), batcher_, listeners.on_devices),
      preprocessing_(
          "preprocess", options.preprocess_threads, [this](auto job) { Preprocess(std::move(job)); },
          [](const Job& job) { return IsClip(job.plan); }) {
  if (options.cache_bytes > 0) {
    cache_.emplace(options.cache_bytes, metrics, [this](Jobs jobs) { OnOrphans(std::move(jobs)); });
  }
  for (size_t i = 0; i < encoders.size(); ++i) {
    workers_.push_back(std::make_unique<Worker>(std::move(encoders[i]), PartsFor(i, listeners)));
  }
}

Worker::Parts Pipeline::PartsFor(size_t index, const Listeners& listeners) {
  return Worker::Parts{batcher_,
                       metrics_,
                       tracer_,
                       clock_,
                       index,
                       options_.max_batch_patches,
                       options_.device_stall_timeout,
                       listeners.on_warm,
                       [this](Jobs jobs) { replies_.Post(std::move(jobs)); },
                       [this, index](Jobs jobs, const absl::Status& why) { OnLost(index, std::move(jobs), why); },
                       [this, index](Jobs jobs, const absl::Status& why) { OnStuck(index, std::move(jobs), why); },
                       [this, index] { devices_.Back(index); }};
}

Pipeline::~Pipeline() { Stop(); }

void Pipeline::Stop() {
  if (cache_) cache_->Stop();
  {
    MutexLock lock(orphans_mu_);
    stopping_ = true;
  }
  batcher_.Stop();
}

std::optional<Refusal> Pipeline::Accept(const std::shared_ptr<Call>& call, int64_t request_bytes, Permit& permit) {
  if (call->request().items().empty()) return Refusal{Fault::kNoItems, "the request has no items"};
  Plans plans = Check(*call);
  if (std::optional<Refusal> refusal = Admit(*call, plans, request_bytes, permit)) return refusal;
  Dispatch(call, std::move(plans), permit);
  return std::nullopt;
}

Pipeline::Plans Pipeline::Check(const Call& call) const {
  Plans plans;
  for (const v1::Item& item : call.request().items()) plans.push_back(CheckItem(item, info_, options_.items));
  return plans;
}

std::optional<Refusal> Pipeline::Admit(Call& call, const Plans& plans, int64_t request_bytes, Permit& permit) {
  Need need;
  int64_t reply_bytes = 0;
  for (size_t i = 0; i < plans.size(); ++i) {
    const absl::StatusOr<ItemPlan>& plan = plans[i];
    reply_bytes += plan.ok() ? plan->reply_bytes : FixedReplyBytes(call.request().items(static_cast<int>(i)));
    if (!plan.ok()) continue;
    ++need.items;
    need.patches += plan->grid.patches();
  }
  if (!call.start().in_parts && reply_bytes > options_.max_reply_bytes) {
    return Refusal{
        Fault::kReplyTooLarge,
        Cat("the reply would take ", reply_bytes, " bytes, above the limit of ", options_.max_reply_bytes,
            " (--max-reply-bytes): ask for fewer items, a smaller preprocessing.max_pixels or fewer outputs in one ",
            "call, or use EmbedStream")};
  }
  if (need.items == 0) return std::nullopt;
  need.bytes = request_bytes + DecodedBytes(plans) + reply_bytes;
  std::variant<Permit, Refusal> admitted = admission_.TryAcquire(need);
  if (Refusal* refusal = std::get_if<Refusal>(&admitted)) return std::move(*refusal);
  permit = std::move(std::get<Permit>(admitted));
  call.AddReplyBytes(reply_bytes);
  return std::nullopt;
}

// The resized frames of all clips, which wait for the tower, and the call's largest images and frames as sent: no more
// of them are decoded at once than there are threads for it.
int64_t Pipeline::DecodedBytes(const Plans& plans) const {
  int64_t clip_bytes = 0;
  std::vector<int64_t> bytes;
  for (const absl::StatusOr<ItemPlan>& plan : plans) {
    if (!plan.ok()) continue;
    clip_bytes += plan->clip_bytes;
    bytes.push_back(plan->decode_bytes);
  }
  const auto at_once = std::min<ptrdiff_t>(std::ssize(bytes), options_.preprocess_threads);
  std::partial_sort(bytes.begin(), bytes.begin() + at_once, bytes.end(), std::greater<>());
  return std::accumulate(bytes.begin(), bytes.begin() + at_once, clip_bytes);
}

void Pipeline::Dispatch(const std::shared_ptr<Call>& call, Plans plans, const Permit& permit) {
  tracer_.Span("receive", call->start().started_at, call->start().parsed_at, {});
  StageTimes times;
  times.Set(Stage::kReceive, call->start().parsed_at - call->start().started_at);
  for (size_t i = 0; i < plans.size(); ++i) {
    if (plans[i].ok()) {
      auto job = std::make_unique<Job>(call, i, *std::move(plans[i]));
      job->times = times;
      job->number = tracer_.NextNumber();
      job->permit = permit.share();
      preprocessing_.Post(std::move(job));
    } else {
      const TimePoint now = clock_.Now();
      StageTimes spent = times;
      spent.Set(Stage::kAdmit, now - call->start().parsed_at);
      call->Answer(i, FailedAnswer(plans[i].status(), spent, now));
    }
  }
}

void Pipeline::Preprocess(std::unique_ptr<Job> job) {
  TimePoint began_at = clock_.Now();
  job->times.Set(Stage::kAdmit, began_at - job->call().start().parsed_at);
  if (const std::optional<Fault> gone = job->Gone(began_at)) return Drop(std::move(job), *gone);
  if (cache_ && !job->cache_claim) {
    job = LookUp(std::move(job));
    if (!job) return;
    began_at = job->ready_at;
  }
  const GridThw expected = job->plan.grid;
  absl::Status prepared = Prepare(*job, clock_, began_at);
  if (tracer_.on()) TracePreparation(*job, began_at);
  if (absl::IsCancelled(prepared)) {
    const Fault why = job->Gone(clock_.Now()).value_or(Fault::kCancelled);
    return Drop(std::move(job), why);
  }
  if (prepared.ok()) prepared = Settle(*job, expected);
  if (!prepared.ok()) return Fail(std::move(job), prepared, clock_.Now());
  if (const std::optional<Fault> refused = batcher_.Submit(job)) Drop(std::move(job), *refused);
}

// Nothing where the job is answered, or waits for another that makes its answer.
std::unique_ptr<Job> Pipeline::LookUp(std::unique_ptr<Job> job) {
  v1::Item& item = job->item();
  item.clear_id();
  item.clear_priority();
  const ItemKey key = KeyOf(item, info_.fingerprint);
  job->ready_at = clock_.Now();
  job->times.Set(Stage::kAdmit, job->ready_at - job->call().start().parsed_at);
  if (const std::shared_ptr<const v1::Result> cached = cache_->Find(key, job)) AnswerFromCache(std::move(job), *cached);
  return job;
}

void Pipeline::AnswerFromCache(std::unique_ptr<Job> job, const v1::Result& cached) {
  const TimePoint now = clock_.Now();
  if (const std::optional<Fault> gone = job->Gone(now)) return Drop(std::move(job), *gone);
  const GridThw expected = job->plan.grid;
  job->plan.grid = GridThw{cached.grid_thw().t(), cached.grid_thw().h(), cached.grid_thw().w()};
  if (absl::Status settled = Settle(*job, expected); !settled.ok()) return Fail(std::move(job), settled, now);
  v1::Result result = cached;
  SetTimes(job->times, *result.mutable_times());
  const StageTimes times = job->times;
  Answer(std::move(job), ItemAnswer{std::move(result), times, now});
}

void Pipeline::OnOrphans(Jobs jobs) {
  {
    MutexLock lock(orphans_mu_);
    if (!stopping_) return preprocessing_.Post(std::move(jobs));
  }
  for (std::unique_ptr<Job>& job : jobs) Drop(std::move(job), Fault::kAbandoned);
}

void Pipeline::TracePreparation(const Job& job, TimePoint began_at) {
  tracer_.Wait("admit", job.call().start().parsed_at, began_at, job.number);
  for (const Stage stage : {Stage::kDecode, Stage::kResize}) {
    if (!job.times.reached(stage)) continue;
    const TimePoint end = began_at + job.times.spent(stage);
    tracer_.Span(Name(stage).data(), began_at, end, {job.number, 0, job.patches()});
    began_at = end;
  }
}

// A clip's size is an estimate until it is decoded: what the call holds for it is put right.
absl::Status Pipeline::Settle(Job& job, const GridThw& expected) {
  if (job.plan.grid == expected) return absl::OkStatus();
  ItemPlan before = job.plan;
  before.grid = expected;
  const int64_t output_bytes = OutputBytes(job.plan, info_);
  const int64_t reply_change = output_bytes - OutputBytes(before, info_);
  const int64_t patch_change = job.patches() - expected.patches();
  job.permit.Correct({/*items=*/0, patch_change, reply_change + patch_change * info_.tower.patch_dim()});
  const int64_t reply_bytes = job.call().AddReplyBytes(reply_change);
  if (job.call().start().in_parts || reply_bytes <= options_.max_reply_bytes) return absl::OkStatus();
  job.call().AddReplyBytes(-output_bytes);  // it will have none
  return MakeStatus(
      Fault::kReplyTooLarge,
      Cat("the clip is longer than its header says: with its ", job.patches(), " patches the reply would take ",
          reply_bytes, " bytes, above the limit of ", options_.max_reply_bytes, " (--max-reply-bytes)"));
}

void Pipeline::Reply(std::unique_ptr<Job> job) {
  if (job->dropped) {
    const Fault why = *job->dropped;
    return Drop(std::move(job), why);
  }
  job->input.reset();
  SetDeviceTimes(job->forward->batch.times, job->times);
  const TimePoint began_at = clock_.Now();
  absl::StatusOr<v1::Result> result = BuildResult(*job, info_);
  tracer_.Span("encode", began_at, clock_.Now(), {job->number});
  if (!result.ok()) {
    if (absl::IsInternal(result.status())) metrics_.CountNonfinite();
    Log(LogLevel::kWarning, Cat("an item failed: ", std::string(result.status().message())),
        job->call().start().request_id);
    return Fail(std::move(job), result.status(), clock_.Now());
  }
  std::shared_ptr<const v1::Result> kept;
  Jobs waiting;
  if (job->cache_claim) {
    kept = WithoutTimes(*result);
    waiting = job->cache_claim->Keep(kept);
  }
  const TimePoint downloaded_at = job->forward->downloaded_at;
  job->forward.reset();
  const StageTimes times = job->times;
  Answer(std::move(job), ItemAnswer{*std::move(result), times, downloaded_at});
  for (std::unique_ptr<Job>& other : waiting) {
    other->times.Set(Stage::kQueue, clock_.Now() - other->ready_at);
    AnswerFromCache(std::move(other), *kept);
  }
}

void Pipeline::Drop(std::unique_ptr<Job> job, Fault why) {
  metrics_.CountDropped(why);
  Fail(std::move(job), MakeStatus(why, DropMessage(why)), clock_.Now());
}

// On a worker's thread, whose device waits.
void Pipeline::DropLater(std::unique_ptr<Job> job, Fault why) {
  job->dropped = why;
  replies_.Post(std::move(job));
}

void Pipeline::OnLost(size_t index, Jobs jobs, const absl::Status& why) {
  Devices::Loss loss = devices_.Lost(index);
  const bool again = loss.encoders_left > 0;
  PassOn(std::move(loss), std::move(jobs), why, again);
}

// What made a device hang must not take the last one with it.
void Pipeline::OnStuck(size_t index, Jobs jobs, const absl::Status& why) {
  Devices::Loss loss = devices_.Lost(index);
  const bool again = loss.other_devices_left > 1;
  PassOn(std::move(loss), std::move(jobs), why, again);
}

// What one encoder did not finish another may, once: an item that takes devices down must not take them all.
void Pipeline::PassOn(Devices::Loss loss, Jobs jobs, const absl::Status& why, bool again) {
  for (std::unique_ptr<Job>& job : jobs) {
    if (!again || job->lost_devices++ > 0 || batcher_.Submit(job)) Lose(std::move(job), why);
  }
  for (std::unique_ptr<Job>& job : loss.orphans) Lose(std::move(job), why);
}

void Pipeline::Lose(std::unique_ptr<Job> job, const absl::Status& why) {
  metrics_.CountDropped(Fault::kNoDevice);
  Fail(std::move(job), why, clock_.Now());
}

}  // namespace vitower
