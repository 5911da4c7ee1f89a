#pragma once

#include <chrono>
#include <memory>
#include <vector>

#include "cli/bench_gate.h"
#include "cli/bench_payloads.h"
#include "cli/bench_recorder.h"
#include "client/client.h"

namespace vitower {

struct LaneOptions {
  std::chrono::microseconds timeout{};  // of one item, from when it was to go
  StreamOptions stream;
};

// Sends one server its share of the load and records every item once: its answer, or how its call failed.
class BenchLane {
 public:
  virtual ~BenchLane() = default;

  // Returns when the gate has nothing more and every item is recorded. Call it once.
  virtual void Run() = 0;
};

// A call an item, begun on the thread of Run and answered on gRPC's. What is passed must outlive the lane.
std::unique_ptr<BenchLane> MakeUnaryLane(Client& client, LoadGate& gate, PayloadPicker& payloads,
                                         BenchRecorder& recorder, const LaneOptions& options);

// All items on one stream, opened again where it breaks: what was unanswered then has failed.
std::unique_ptr<BenchLane> MakeStreamLane(Client& client, LoadGate& gate, PayloadPicker& payloads,
                                          BenchRecorder& recorder, const LaneOptions& options);

// The outcome of an item that was answered, by its result. INTERNAL where the answer is another item's.
BenchOutcome OutcomeOf(const BenchPayload& payload, LoadGate::TimePoint begun, const EmbedResult& result);
// And of one whose call failed.
BenchOutcome OutcomeOf(const BenchPayload& payload, LoadGate::TimePoint begun, absl::Status failure);

}  // namespace vitower
