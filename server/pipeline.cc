#include "server/pipeline.h"

#include <algorithm>
#include <functional>
#include <iterator>
#include <numeric>
#include <string>
#include <utility>
#include <variant>

#include "preprocess/image.h"
#include "server/log.h"
#include "server/reply.h"
#include "server/status.h"
#include "server/text.h"

namespace vitower {
namespace {

// Casting is memory-bound: a quarter of the preprocessing threads keeps up with them.
int ReplyThreads(int preprocess_threads) { return std::max(1, preprocess_threads / 4); }

std::string_view DropMessage(Fault why) {
  switch (why) {
    case Fault::kExpired:
      return "the deadline passed before work on the item began";
    case Fault::kCancelled:
      return "the call was cancelled before work on the item began";
    default:
      return "the server stopped before work on the item began";
  }
}

// Frees the encoded bytes: nobody needs them again.
absl::StatusOr<RgbImage> Decode(Job& job) {
  const std::string bytes = job.TakeImage();
  const absl::Span<const uint8_t> span(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
  return DecodeImage(span, job.plan.header, job.plan.image_options);
}

}  // namespace

Pipeline::Pipeline(Options options, std::vector<std::unique_ptr<Encoder>> encoders, Metrics& metrics, Clock& clock,
                   const std::function<void(absl::Status)>& on_warm)
    : options_(options),
      info_(encoders.front()->info()),
      metrics_(metrics),
      clock_(clock),
      admission_(options.admission, metrics),
      replies_("reply", ReplyThreads(options.preprocess_threads), [this](auto job) { Reply(std::move(job)); }),
      batcher_({options.max_batch_patches, options.max_batch_delay,
                [this](auto job, Fault why) { Drop(std::move(job), why); }},
               clock),
      preprocessing_("preprocess", options.preprocess_threads, [this](auto job) { Preprocess(std::move(job)); }) {
  for (std::unique_ptr<Encoder>& encoder : encoders) {
    workers_.push_back(std::make_unique<Worker>(
        std::move(encoder), Worker::Parts{batcher_, metrics, clock, options.max_batch_patches, on_warm,
                                          [this](auto job) { replies_.Post(std::move(job)); }}));
  }
}

Pipeline::~Pipeline() { Stop(); }

void Pipeline::Stop() { batcher_.Stop(); }

std::optional<Refusal> Pipeline::Accept(const std::shared_ptr<Call>& call, int64_t request_bytes, Permit& permit) {
  if (call->request().items().empty()) return Refusal{Fault::kNoItems, "the request has no items"};
  Plans plans = Check(*call);
  if (std::optional<Refusal> refusal = Admit(*call, plans, request_bytes, permit)) return refusal;
  Dispatch(call, std::move(plans));
  return std::nullopt;
}

Pipeline::Plans Pipeline::Check(const Call& call) const {
  Plans plans;
  for (const v1::Item& item : call.request().items()) plans.push_back(CheckItem(item, info_, options_.items));
  return plans;
}

std::optional<Refusal> Pipeline::Admit(const Call& call, const Plans& plans, int64_t request_bytes, Permit& permit) {
  Need need;
  int64_t reply_bytes = 0;
  for (size_t i = 0; i < plans.size(); ++i) {
    const absl::StatusOr<ItemPlan>& plan = plans[i];
    reply_bytes += plan.ok() ? plan->reply_bytes : FixedReplyBytes(call.request().items(static_cast<int>(i)));
    if (!plan.ok()) continue;
    ++need.items;
    need.patches += plan->grid.patches();
  }
  if (reply_bytes > options_.max_reply_bytes) {
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
  return std::nullopt;
}

// Of the call's largest images: no more of them are decoded at once than there are threads for it.
int64_t Pipeline::DecodedBytes(const Plans& plans) const {
  std::vector<int64_t> bytes;
  for (const absl::StatusOr<ItemPlan>& plan : plans) {
    if (plan.ok()) bytes.push_back(3 * plan->header.size.height * plan->header.size.width);
  }
  const auto at_once = std::min<ptrdiff_t>(std::ssize(bytes), options_.preprocess_threads);
  std::partial_sort(bytes.begin(), bytes.begin() + at_once, bytes.end(), std::greater<>());
  return std::accumulate(bytes.begin(), bytes.begin() + at_once, int64_t{0});
}

void Pipeline::Dispatch(const std::shared_ptr<Call>& call, Plans plans) {
  StageTimes times;
  times.Set(Stage::kReceive, call->start().parsed_at - call->start().started_at);
  for (size_t i = 0; i < plans.size(); ++i) {
    if (plans[i].ok()) {
      auto job = std::make_unique<Job>(call, i, *std::move(plans[i]));
      job->times = times;
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
  TimePoint at = EndStage(*job, Stage::kAdmit, job->call().start().parsed_at);
  if (const std::optional<Fault> gone = job->Gone(at)) return Drop(std::move(job), *gone);
  absl::StatusOr<RgbImage> image = Decode(*job);
  at = EndStage(*job, Stage::kDecode, at);
  if (!image.ok()) return Fail(std::move(job), image.status(), at);
  absl::StatusOr<Frames> frames = ResizeToFrames(*std::move(image), job->plan.target, job->plan.image_options);
  const absl::Status resized = frames.status();
  if (resized.ok()) job->frames = *std::move(frames);
  at = EndStage(*job, Stage::kResize, at);
  if (!resized.ok()) return Fail(std::move(job), resized, at);
  if (!batcher_.Submit(job)) Drop(std::move(job), Fault::kAbandoned);
}

// Each stage begins where the one before ended, the freeing of memory included, so that together they leave no gap.
TimePoint Pipeline::EndStage(Job& job, Stage stage, TimePoint began_at) const {
  const TimePoint now = clock_.Now();
  job.times.Set(stage, now - began_at);
  return now;
}

void Pipeline::Reply(std::unique_ptr<Job> job) {
  absl::StatusOr<v1::Result> result = BuildResult(*job, info_);
  if (!result.ok()) {
    if (absl::IsInternal(result.status())) metrics_.CountNonfinite();
    Log(LogLevel::kWarning, Cat("an item failed: ", std::string(result.status().message())),
        job->call().start().request_id);
    return Fail(std::move(job), result.status(), clock_.Now());
  }
  const TimePoint downloaded_at = job->forward->downloaded_at;
  job->forward.reset();
  const StageTimes times = job->times;
  Answer(std::move(job), ItemAnswer{*std::move(result), times, downloaded_at});
}

void Pipeline::Drop(std::unique_ptr<Job> job, Fault why) {
  metrics_.CountDropped(why);
  Fail(std::move(job), MakeStatus(why, DropMessage(why)), clock_.Now());
}

}  // namespace vitower
