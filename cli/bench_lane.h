#pragma once

#include <chrono>
#include <memory>

#include "cli/bench_gate.h"
#include "cli/bench_payloads.h"
#include "cli/bench_recorder.h"
#include "client/client.h"

namespace vitower {

// What a lane works with; all that is referred to must outlive it.
struct LaneParts {
  Client& client;
  LoadGate& gate;
  PayloadPicker& payloads;
  BenchRecorder& recorder;
  std::chrono::microseconds timeout{};  // of one item, from when it was to go
  StreamOptions stream;

  // Once for each item that the gate let through.
  void Record(const BenchOutcome& outcome) const {
    recorder.Add(outcome);
    gate.Done();
  }
};

// Sends one server its share of the load and records every item once: its answer, or how its call failed.
class BenchLane {
 public:
  virtual ~BenchLane() = default;

  // Returns when the gate has nothing more and every item is recorded. Call it once.
  virtual void Run() = 0;
};

// A call an item, begun on the thread of Run and answered on gRPC's.
std::unique_ptr<BenchLane> MakeUnaryLane(const LaneParts& parts);

// All items on one stream, opened again where it breaks: what its attempts left unanswered has failed.
std::unique_ptr<BenchLane> MakeStreamLane(const LaneParts& parts);

// The outcome of an item that was answered, by its result. INTERNAL where the answer is another item's.
BenchOutcome OutcomeOf(const BenchPayload& payload, LoadGate::TimePoint begun, const EmbedResult& result);
// And of one whose call failed.
BenchOutcome OutcomeOf(const BenchPayload& payload, LoadGate::TimePoint begun, absl::Status failure);

}  // namespace vitower
