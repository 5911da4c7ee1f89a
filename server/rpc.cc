#include "server/rpc.h"

#include "server/request_id.h"

namespace vitower {

bool IsPassing(Fault fault) { return fault == Fault::kQueueFull || fault == Fault::kBytesFull; }

LogLevel RefusalLevel(Fault fault) {
  const bool servers_state = IsPassing(fault) || Row(fault).code == absl::StatusCode::kUnavailable;
  return servers_state ? LogLevel::kDebug : LogLevel::kWarning;
}

grpc::Status ToGrpc(const absl::Status& status) {
  return {static_cast<grpc::StatusCode>(status.code()), std::string(status.message())};
}

std::string RequestIdOf(const grpc::CallbackServerContext& context) {
  const auto found = context.client_metadata().find(kRequestIdKey);
  if (found == context.client_metadata().end()) return RequestId({});
  return RequestId({found->second.data(), found->second.size()});
}

TimePoint DeadlineOf(const grpc::CallbackServerContext& context, TimePoint now) {
  constexpr std::chrono::hours kNever{24 * 365};
  const auto deadline = context.deadline();
  const auto wall_now = std::chrono::system_clock::now();
  if (deadline > wall_now + kNever) return TimePoint::max();
  return now + std::chrono::duration_cast<TimePoint::duration>(deadline - wall_now);
}

void ObserveStages(const StageTimes& times, Metrics& metrics) {
  for (size_t i = 0; i < kStageCount; ++i) {
    const Stage stage = static_cast<Stage>(i);
    if (times.reached(stage)) metrics.ObserveStage(stage, times.seconds(stage));
  }
}

}  // namespace vitower
