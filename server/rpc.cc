#include "server/rpc.h"

#include <grpc/grpc.h>

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

std::shared_ptr<grpc_call> Hold(grpc::CallbackServerContext& context) {
  grpc_call* call = context.c_call();
  grpc_call_ref(call);
  return {call, grpc_call_unref};
}

void EndCall(grpc_call& call, const absl::Status& status) {
  const std::string message(status.message());
  grpc_call_cancel_with_status(&call, static_cast<grpc_status_code>(status.code()), message.c_str(), nullptr);
}

absl::Status StalledStatus(const StallWatch& stalls, std::string_view what) {
  const auto time = std::chrono::duration_cast<std::chrono::milliseconds>(stalls.timeout());
  return MakeStatus(Fault::kStalled, Cat("the client ", what, " for ", time.count(), " ms (--client-stall-timeout)"));
}

void ObserveStages(const StageTimes& times, Metrics& metrics) {
  for (size_t i = 0; i < kStageCount; ++i) {
    const Stage stage = static_cast<Stage>(i);
    if (times.reached(stage)) metrics.ObserveStage(stage, times.seconds(stage));
  }
}

}  // namespace vitower
