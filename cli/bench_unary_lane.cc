#include <utility>

#include "absl/strings/str_cat.h"
#include "cli/bench_lane.h"

namespace vitower {
namespace {

using std::chrono::steady_clock;
using std::chrono::system_clock;

class UnaryLane final : public BenchLane {
 public:
  explicit UnaryLane(const LaneParts& parts) : parts_(parts) {}

  void Run() override {
    while (const std::optional<LoadGate::TimePoint> begun = parts_.gate.Next()) Send(parts_.payloads.Next(), *begun);
    parts_.gate.AwaitAll();
  }

 private:
  void Send(const BenchPayload& payload, LoadGate::TimePoint begun) {
    const auto waited = std::chrono::duration_cast<std::chrono::microseconds>(steady_clock::now() - begun);
    parts_.client.EmbedAsync({payload.item}, system_clock::now() + parts_.timeout - waited,
                             [this, &payload, begun](absl::StatusOr<std::vector<EmbedResult>> results) {
                               parts_.Record(results.ok() ? OutcomeOf(payload, begun, results->front())
                                                          : OutcomeOf(payload, begun, results.status()));
                             });
  }

  const LaneParts parts_;
};

}  // namespace

std::unique_ptr<BenchLane> MakeUnaryLane(const LaneParts& parts) { return std::make_unique<UnaryLane>(parts); }

BenchOutcome OutcomeOf(const BenchPayload& payload, LoadGate::TimePoint begun, const EmbedResult& result) {
  BenchOutcome outcome = OutcomeOf(payload, begun, result.status);
  outcome.stage_seconds = result.stage_seconds;
  outcome.patches = result.grid_thw[0] * result.grid_thw[1] * result.grid_thw[2];
  outcome.batch_items = result.batch_items;
  for (const OutputTensor& output : result.outputs) outcome.received_bytes += static_cast<int64_t>(output.data.size());
  if (result.id != payload.item->id) {
    outcome.status = absl::InternalError(
        absl::StrCat("the item \"", payload.item->id, "\" was answered with the result of \"", result.id, "\""));
  }
  return outcome;
}

BenchOutcome OutcomeOf(const BenchPayload& payload, LoadGate::TimePoint begun, absl::Status failure) {
  BenchOutcome outcome;
  outcome.begun = begun;
  outcome.ended = steady_clock::now();
  outcome.part = payload.part;
  outcome.sent_bytes = payload.bytes;
  outcome.status = std::move(failure);
  return outcome;
}

}  // namespace vitower
