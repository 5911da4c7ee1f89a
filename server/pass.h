#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/encoder.h"
#include "server/clock.h"
#include "server/job.h"

namespace vitower {

// What a pass works on: kept by the pass itself, so that its jobs can be answered while a device hangs.
struct PassInputs {
  std::vector<std::shared_ptr<const JobInput>> items;
  OutputSet wanted;
  int64_t patches = 0;
};

PassInputs InputsOf(absl::Span<const std::unique_ptr<Job>> jobs, const TowerConfig& tower);

// One forward pass. What the encoder throws is its fault like an error that it returns: RESOURCE_EXHAUSTED where memory
// ran out, else INTERNAL.
absl::StatusOr<std::shared_ptr<const ForwardResult>> RunPass(Encoder& encoder, const PassInputs& inputs, Clock& clock);

std::chrono::nanoseconds Sum(const ForwardTimes& times);

// Synthetic images that fill `budget_patches` as a full batch does: what an encoder is warmed up with.
std::vector<Frames> WarmUpFrames(const TowerConfig& tower, int64_t budget_patches);
absl::Status WarmUp(Encoder& encoder, int64_t budget_patches);

// What a pass costs, in patches of a small picture: attention is quadratic in a slice's patches, and costs as much as
// all the rest at about 6 * hidden_size of them.
double PassWeight(absl::Span<const std::unique_ptr<Job>> jobs, const TowerConfig& tower);

}  // namespace vitower
