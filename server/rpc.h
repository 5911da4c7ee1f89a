// private header
#pragma once

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <cstdint>
#include <exception>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "server/admission.h"
#include "server/clock.h"
#include "server/lifecycle.h"
#include "server/log.h"
#include "server/metrics.h"
#include "server/pipeline.h"
#include "server/stage.h"
#include "server/stall_watch.h"
#include "server/status.h"
#include "server/text.h"
#include "server/tracer.h"
#include "vitower/v1/vitower.pb.h"

namespace vitower {

// What every RPC needs. Outlives them all.
struct Rpc {
  const v1::ModelInfo model_info;
  Lifecycle& lifecycle;
  Metrics& metrics;
  Tracer& tracer;
  Clock& clock;
  StallWatch& stalls;
  Pipeline* pipeline = nullptr;  // set before the state is kServing; read only by what entered the lifecycle
};

inline constexpr char kRequestIdKey[] = "x-request-id";

// Refused for what others hold now: worth a retry.
bool IsPassing(Fault fault);
// The level to log a refusal at: an overloaded or stopping server refuses much, and the metrics count it.
LogLevel RefusalLevel(Fault fault);

grpc::Status ToGrpc(const absl::Status& status);

// The client's own, where it sent a fit one.
std::string RequestIdOf(const grpc::CallbackServerContext& context);

// gRPC's deadlines are times of day; ours are of the clock that does not jump. TimePoint::max() where there is none.
TimePoint DeadlineOf(const grpc::CallbackServerContext& context, TimePoint now);

// A call of gRPC's that somebody may want to end when its reactor is perhaps gone.
std::shared_ptr<grpc_call> Hold(grpc::CallbackServerContext& context);
// Drops what gRPC still has to write; the client is told `status`.
void EndCall(grpc_call& call, const absl::Status& status);
// DEADLINE_EXCEEDED; `what` the client did not do.
absl::Status StalledStatus(const StallWatch& stalls, std::string_view what);

// The stages that an item reached.
void ObserveStages(const StageTimes& times, Metrics& metrics);

// What `step` returns; of what it throws the client learns only where to read on.
template <typename Step>
absl::Status Guarded(std::string_view method, const std::string& request_id, const Step& step) {
  try {
    return step();
  } catch (const std::exception& error) {
    Log(LogLevel::kError, Cat(method, " failed: ", error.what()), request_id);
  }
  return MakeStatus(Fault::kInternal, Cat("the call failed; the server's log says why for request id ", request_id));
}

}  // namespace vitower
